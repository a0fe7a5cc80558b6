"""Tiny rounds, through the command a user types or in the tests' own process, for the tests that compare them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pyarrow.parquet as pq

from actors.cluster import FOLDER_PREFIX, ROOT
from actors.placement import ANYWHERE
from actors.rollout.fleet import RolloutFleet
from conf.schema import Config
from jobs.chaos import targets
from pipeline.inputs import check_inputs
from pipeline.round import run_rounds
from pipeline.run import open_run
from pipeline.store.state import RunState
from pipeline.types import Role
from tests.watch import SECRETS

SMALL = [
    "challenger.steps=2",
    "challenger.batch=16",
    "solver.steps=1",
    "solver.members=2",
    "solver.batch=20",
    "curriculum.questions=48",
    "curriculum.part=16",
    "curriculum.delta=0.4",
    "reward.samples=4",
    "rollout.kv_cache_mb=64",
    "rollout.engines=1",  # each more takes as long to start as such a run to sample
    "sampling.max_tokens=80",
    "evaluation.samples=2",
]


def small_set(folder: Path) -> Path:
    """The held-out set of these rounds, in `folder`."""
    path = folder / "heldout.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(ROOT / "assets" / "heldout.parquet").slice(0, 12), path)
    return path


def places(folder: Path) -> list[str]:
    """Settings by which a round keeps all that is its own in `folder`."""
    return [f"runs_dir={folder}", f"tracking_uri=sqlite:///{folder}/mlflow.db", f"evaluation.sets=[{small_set(folder)}]"]


def manifest(folder: Path) -> dict:
    return json.loads((folder / "small" / "manifest.json").read_text())


def start(folder: Path, *more: str, session: bool = False) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | SECRETS
    command = [sys.executable, "-m", "jobs.round", "--name", "small", "--set", *SMALL, *places(folder), *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=PIPE, stderr=subprocess.STDOUT, start_new_session=session
    )


def run_here(config: Config, fleets: dict[Role, RolloutFleet]) -> Path:
    """A round in this process, on engines that may have had other runs; returns the run's folder."""
    for fleet in fleets.values():
        fleet.forget_policy()  # runs have policies of the same names
    with RunState(config) as state, open_run(config, check_inputs(config), state, fleets, ANYWHERE) as run:
        run_rounds(run, 1)
    return state.folder


def ended(process: subprocess.Popen[str]) -> str:
    """Waits for the end of a run, which in a quarter of an hour is its end in any case; its output."""
    try:
        return process.communicate(timeout=900)[0]
    finally:
        process.kill()


def finish(process: subprocess.Popen[str]) -> str:
    output = ended(process)
    assert process.returncode == 0, output
    return output


def processes_of(pid: int) -> dict[int, str]:
    """Processes of the private cluster of the driver `pid`, and what they are called."""
    return targets.processes_of(f"{FOLDER_PREFIX}{pid}-", pid)


def wait_until_gone(pid: int) -> None:
    """Waits for the end of what the driver `pid` had started. Ray kills its processes, and does not wait for them."""
    deadline = time.monotonic() + 60
    while left := processes_of(pid):
        assert time.monotonic() < deadline, f"processes of a run that has ended are still there: {left}"
        time.sleep(0.2)  # polls, as above
