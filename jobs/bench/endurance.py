"""Three hundred tiny steps in a row, and whether any process grows: `python -m jobs.bench.endurance`, eight minutes.

Five rounds of a private run, each of thirty steps of the Challenger and thirty of the Solver, with a checkpoint after each step.
The processes are looked at after every step. The medians of a round count, from the second on, when all is warm.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from actors.cluster import FOLDER_PREFIX, parent_folder
from actors.processes import run_processes
from conf.load import ROOT
from pipeline.store.manifest import read_manifest
from pipeline.store.runs import is_run

NAME = "endurance"
ROUNDS, STEPS = 5, 30  # steps of each role in a round
TINY = (
    *(f"challenger.steps={STEPS}", "challenger.batch=8", "challenger.group=4", f"solver.steps={STEPS}", "solver.batch=8"),
    *("solver.group=4", "curriculum.questions=32", "curriculum.delta=0.5", "reward.samples=4", "sampling.max_tokens=48"),
    *("rollout.kv_cache_mb=64", "rollout.engines=1", "evaluation.sets=[]", "stop_without_signal=false"),
)
MOST_GROWTH = 0.05
POLL_S = 0.1
NOT_THERE = (OSError, psutil.Error, LookupError, StopIteration)  # a file not yet, or half written; a process no more
MIB = 1 << 20
Key = tuple[str, str]  # what is measured, of which processes


@dataclass(frozen=True, slots=True)
class Look:
    """What was found after a step of `round`: resident MiB, open files and processes by role, objects in Ray's store."""

    round: int
    values: Mapping[Key, float]


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 nothing grew, 1 something did, or the run failed."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.bench.endurance", description="Whether any process grows over 300 steps."
    )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"rounds of {2 * STEPS} steps, 3 or more (default: %(default)s)"
    )
    if (rounds := parser.parse_args(arguments).rounds) < 3:
        parser.error(f"--rounds {rounds}: valid: 3 or more, since the last is compared with the second")
    with tempfile.TemporaryDirectory() as folder:
        places = [f"runs_dir={folder}", f"tracking_uri=sqlite:///{folder}/mlflow.db"]
        command = [sys.executable, "-m", "jobs.round", "--iter", str(rounds), "--name", NAME, "--set", *TINY, *places]
        with (Path(folder) / "output").open("w+") as output:
            with subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as run:
                looks = watched(run, Path(folder) / NAME)
            if run.returncode:
                output.seek(0)
                print(output.read()[-2000:])
                return 1
    return int(shown(looks, rounds))


def watched(run: "subprocess.Popen[bytes]", folder: Path) -> list[Look]:
    """A look after every step of the run, until it ends."""
    looks: list[Look] = []
    seen = (0, 0)
    while run.poll() is None:
        with suppress(*NOT_THERE):
            if (now := steps(folder)) > seen:
                looks.append(look(folder, run.pid, now[0]))
                seen = now
        time.sleep(POLL_S)  # between two looks at the manifest
    return looks


def steps(folder: Path) -> tuple[int, int]:
    """The round, and how many of its steps were made."""
    if not is_run(folder):
        return 0, 0
    manifest = read_manifest(folder)
    last = max(manifest.rounds, default=0)
    return last, sum(len(manifest.round(last).phase(role).metrics) for role in ("challenger", "solver"))


def look(folder: Path, driver: int, round_: int) -> Look:
    values: dict[Key, float] = defaultdict(float)
    for found in run_processes(folder):
        with suppress(psutil.NoSuchProcess):
            values["MiB", found.role] += found.process.memory_info().rss / MIB
            values["open files", found.role] += found.process.num_fds()
            values["processes", found.role] += 1
    cluster = next(iter(parent_folder().glob(f"{FOLDER_PREFIX}{driver}-*")))
    state = (cluster / "session_latest" / "logs" / "debug_state.txt").read_text()  # which the raylet writes every ten seconds
    values["objects", "object store"] = float(re.findall(r"num local plasma objects: (\d+)", state)[0])
    values["MiB", "object store"] = float(re.findall(r"pinned objects size: (\d+)", state)[0]) / MIB
    return Look(round_, dict(values))


def shown(looks: Sequence[Look], rounds: int) -> bool:
    """Prints the table; whether anything has grown from the second round to the last by more than `MOST_GROWTH`."""
    print(f"{len(looks)} steps in {rounds} rounds; medians of each round")
    numbers = range(1, rounds + 1)
    print(f"{'':<12}{'processes':<28}" + "".join(f"{f'round {number}':>10}" for number in numbers) + f"{'growth':>10}")
    grew = False
    for kind, role in sorted({key for each in looks for key in each.values}):
        medians = [median(each.values.get((kind, role), 0.0) for each in looks if each.round == number) for number in numbers]
        growth = medians[-1] / medians[1] - 1 if medians[1] else float(medians[-1] > 0)
        grew |= growth > MOST_GROWTH
        print(f"{kind:<12}{role:<28}" + "".join(f"{value:>10.0f}" for value in medians) + f"{growth:>+10.1%}")
    return grew


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
