"""A round on four raylets, of which one is killed in each phase: `NODES=1 .venv/bin/python -m pytest -q tests/ray/test_nodes.py`.

The driver has a node for itself, both engines and the reward actor another, each of two learner ranks its own: a logical GPU
each. A killed node is replaced, as a cluster that can grow would do. Curriculum and evaluation have to be those of one node.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from conf.load import ROOT
from jobs.bench.common import in_new_process

pytestmark = [
    pytest.mark.skipif(os.environ.get("NODES") != "1", reason="six minutes on four raylets: NODES=1 (docs/cluster.md)"),
    pytest.mark.timeout(1800),
]

SMALL = (
    *("challenger.steps=3", "challenger.batch=16", "solver.steps=4", "solver.batch=20", "curriculum.questions=48"),
    *("curriculum.part=16", "curriculum.delta=0.4", "reward.samples=4", "rollout.kv_cache_mb=64", "rollout.engines=2"),
    *("sampling.max_tokens=80", "evaluation.samples=8", "learner.ranks=2", "learner.zero_stage=3"),
)
ENGINES = {"num_cpus": 4, "num_gpus": 0}
RANK = {"num_cpus": 0, "num_gpus": 1}
HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 2}  # a dead node is soon noticed
FILES = ("round-1/curriculum.parquet", "round-1/evaluation/heldout.parquet", "round-1/solver/samples-0004.parquet")


class Nodes:
    """A cluster in a folder of its own: `engines`, `rank-0` and `rank-1` beside the head, where the driver runs."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "num_gpus": 0, "temp_dir": str(folder), "include_dashboard": False}
        self.cluster = Cluster(
            initialize_head=True, head_node_args=head | {"object_store_memory": 200 << 20, "_system_config": HEALTH}
        )
        self.options = {"engines": ENGINES, "rank-0": RANK, "rank-1": RANK}
        self.nodes: dict[str, Any] = {}
        for name in self.options:
            self.add(name)

    def add(self, name: str) -> None:
        self.nodes[name] = self.cluster.add_node(**self.options[name], object_store_memory=200 << 20)

    def lose(self, name: str) -> None:
        """Kills a node with all that runs on it; another takes its place."""
        self.cluster.remove_node(self.nodes.pop(name), allow_graceful=False)
        self.add(name)


def start(folder: Path, environment: Mapping[str, str], *settings: str) -> subprocess.Popen[str]:
    small_set = folder / "heldout.parquet"
    if not small_set.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(ROOT / "assets" / "heldout.parquet").slice(0, 12), small_set)
    places = (f"runs_dir={folder}", f"tracking_uri=sqlite:///{folder}/mlflow.db", f"evaluation.sets=[{small_set}]")
    command = [sys.executable, "-m", "jobs.round", "--name", "small", "--set", *SMALL, *places, *settings]
    with (folder / "output").open("a") as output:
        return subprocess.Popen(command, cwd=ROOT, env=dict(environment), text=True, stdout=output, stderr=output)


def wait_until(condition: Callable[[], bool], run: "subprocess.Popen[str]", folder: Path) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert run.poll() is None, (folder / "output").read_text()
        assert time.monotonic() < deadline, (folder / "output").read_text()
        time.sleep(0.05)  # polls for a state that the loop's condition checks


def stage(folder: Path, name: str) -> dict[str, Any]:
    manifest = folder / "small" / "manifest.json"
    stages = json.loads(manifest.read_text())["rounds"].get("1", {}) if manifest.exists() else {}
    found: dict[str, Any] = stages.get(name, {})
    return found


def stepped(folder: Path, role: str, steps: int) -> Callable[[], bool]:
    return lambda: len(stage(folder, role).get("metrics", [])) >= steps


def wrote(folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any((folder / "small" / "round-1").glob(pattern))


def on_nodes(folder: Path) -> None:
    """The run, with a node lost in each phase, and at last the driver's with all others."""
    temporary = Path(os.environ.setdefault("RAY_TMPDIR", tempfile.mkdtemp(prefix="rzero-")))
    (temporary / "ray").mkdir(exist_ok=True)
    os.environ["PYTHONPATH"] = str(ROOT)  # every node has the repository
    placed = ("resources.learner_gpus=1", "resources.rollout_gpus=0")
    try:
        nodes = Nodes(temporary)
        run = start(folder, os.environ | {"RAY_ADDRESS": nodes.cluster.address}, *placed)
        wait_until(stepped(folder, "challenger", 1), run, folder)
        nodes.lose("rank-0")
        wait_until(wrote(folder, "curriculum/part-*.parquet"), run, folder)
        nodes.lose("engines")
        wait_until(stepped(folder, "solver", 1), run, folder)
        nodes.lose("rank-1")
        wait_until(stepped(folder, "solver", 2), run, folder)
        run.kill()
        nodes.cluster.shutdown()
        run.wait()
        nodes = Nodes(temporary)
        run = start(folder, os.environ | {"RAY_ADDRESS": nodes.cluster.address}, *placed)
        wait_until(lambda: bool(stage(folder, "solver").get("policy")), run, folder)
        nodes.lose("engines")
        run.wait(600)
        nodes.cluster.shutdown()
        assert run.returncode == 0, (folder / "output").read_text()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: pq.read_table(folder / "small" / name).to_pylist() for name in FILES}


def test_a_round_that_loses_a_node_in_each_phase_ends_as_on_one_node(tmp_path: Path) -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    one = start(tmp_path / "one", alone)
    one.wait(900)
    assert one.returncode == 0, (tmp_path / "one" / "output").read_text()
    in_new_process(on_nodes, tmp_path / "several")
    output = " ".join((tmp_path / "several" / "output").read_text().split())
    assert output.count("starts again from step") >= 2
    assert results(tmp_path / "several") == results(tmp_path / "one")
