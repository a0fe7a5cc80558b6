"""Learner ranks and engines on logical GPUs of several raylets: where they are placed, and placed again after a kill.

The fleet and the learner's handle are real; their actors only tell where they are, so that eight start in seconds.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RayActorError

import actors.learner.group
import actors.rollout.worker
from actors.learner.group import LearnerGroup
from actors.placement import Placement, reserved
from actors.rollout.fleet import RolloutFleet
from conf.errors import ConfigError
from conf.load import load_config
from conf.schema import Config
from jobs.bench.common import in_new_process
from pipeline.types import Checksums, Policy

FOUR = ("learner.ranks=4", "rollout.engines=4")
WHOLE = load_config("tiny", [*FOUR, "resources.learner_gpus=1", "resources.rollout_gpus=1"])
HALF = load_config("tiny", [*FOUR, "resources.learner_gpus=0.5", "resources.rollout_gpus=0.5", "resources.placement=colocated"])
Place = tuple[str, int]  # a node and a GPU


def light_actors() -> None:
    """Puts actors without vLLM and DeepSpeed in the place of engines and ranks; sent by value, as Ray cannot import this file."""

    class Light:
        def __init__(self, *arguments: object) -> None:
            pass

        def ready(self) -> bool:
            return True

        def accept(self, version: str, checksums: object) -> list[str]:
            return []

        def place(self) -> tuple[str, int, int]:
            (gpu,) = ray.get_gpu_ids()
            return ray.get_runtime_context().get_node_id(), int(gpu), os.getpid()

    actors.rollout.worker.RolloutWorker = Light  # type: ignore[misc,assignment]
    actors.learner.group.Learner = Light  # type: ignore[misc,assignment]


class Nothing:
    """Weights that are there already."""

    def send(self, engines: Sequence[Any]) -> Checksums:
        return Checksums(None, {})


def started(config: Config, placement: Placement) -> tuple[LearnerGroup, RolloutFleet]:
    learner, fleet = LearnerGroup(config, placement), RolloutFleet(config, "", placement)
    learner.launch()
    fleet.wait_ready()
    return learner, fleet


def places(workers: Sequence[Any]) -> list[Place]:
    return [place[:2] for place in ray.get([worker.place.remote() for worker in workers])]


def nodes_of(found: Sequence[Place]) -> set[str]:
    return {node for node, _ in found}


def ended(worker: Any) -> None:
    """Waits until Ray knows that an actor is dead."""
    with suppress(RayActorError):
        while True:
            ray.get(worker.ready.remote())


def placed_and_placed_again() -> None:
    light_actors()
    folder = os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="rzero-")
    (Path(folder) / "ray").mkdir()
    head: dict[str, Any] = {
        "num_cpus": 4,
        "num_gpus": 0,
        "temp_dir": folder,
        "include_dashboard": False,
        "object_store_memory": 80 << 20,
    }
    head["_system_config"] = {"health_check_period_ms": 1000, "health_check_failure_threshold": 2}  # a dead node is soon noticed
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False)
    said: list[str] = []

    def grow(line: str) -> None:
        """What a cluster that can grow does while the run waits."""
        said.append(line)
        cluster.add_node(num_gpus=8, num_cpus=1)

    try:
        no_room_is_told()
        with reserved(WHOLE, 60, grow) as placement:
            on_one_node(WHOLE, placement)
        assert said[0].startswith("no node has room for learner rank 0 (1 of the 8 GPUs reserved); free GPUs: none; waiting 60 s")
        cluster.remove_node(next(node for node in cluster.worker_nodes))
        for _ in range(2):
            cluster.add_node(num_gpus=4, num_cpus=1)
        with reserved(WHOLE, 30, said.append) as placement:
            on_two_nodes(WHOLE, placement, cluster)
        with reserved(HALF, 30, said.append) as placement:
            in_shared_bundles(placement)
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def no_room_is_told() -> None:
    began = time.monotonic()
    with (
        pytest.raises(ConfigError, match=r"no node has room for learner rank 0 .* free GPUs: none; valid: fewer"),
        reserved(WHOLE, 2, lambda _: None),
    ):
        pass
    assert time.monotonic() - began < 10


def on_one_node(config: Config, placement: Placement) -> None:
    learner, fleet = started(config, placement)
    ranks, engines = places(learner._ranks), places(fleet._workers)
    assert len(nodes_of(ranks + engines)) == 1
    assert len(set(ranks + engines)) == 8  # a GPU each
    # An engine that dies is placed where it was.
    (_, _, process) = ray.get(fleet._workers[2].place.remote())
    dead = fleet._workers[2]
    os.kill(process, signal.SIGKILL)
    ended(dead)
    fleet.load(Policy("next", Nothing()))
    assert fleet.take_counts()["replaced"] == 1
    fleet.wait_ready()
    assert places(fleet._workers) == engines
    with pytest.raises(ConfigError, match=r"no node has room for .*free GPUs: 0 of 8 on"), reserved(config, 0, lambda _: None):
        pass


def on_two_nodes(config: Config, placement: Placement, cluster: Cluster) -> None:
    learner, fleet = started(config, placement)
    ranks, engines = places(learner._ranks), places(fleet._workers)
    assert len(nodes_of(ranks)) == len(nodes_of(engines)) == 1
    assert nodes_of(ranks) != nodes_of(engines)
    # A node that dies takes its engines along; their bundles move to the node that comes in its place.
    (lost,) = (node for node in cluster.worker_nodes if node.node_id in nodes_of(engines))
    cluster.remove_node(lost, allow_graceful=False)
    cluster.add_node(num_gpus=4, num_cpus=1)
    for worker in list(fleet._workers):
        ended(worker)
    fleet.load(Policy("next", Nothing()))
    assert fleet.take_counts()["replaced"] == 4
    again = places(fleet._workers)
    assert len(set(again)) == 4
    assert len(nodes_of(again)) == 1
    assert nodes_of(again).isdisjoint(nodes_of(ranks) | nodes_of(engines))
    assert places(learner._ranks) == ranks


def in_shared_bundles(placement: Placement) -> None:
    learner, fleet = started(HALF, placement)
    ranks = places(learner._ranks)
    assert places(fleet._workers) == ranks  # engine i on the GPU of rank i
    assert len(set(ranks)) == 4
    assert len(nodes_of(ranks)) == 1


def test_ranks_and_engines_are_placed_killed_and_placed_again() -> None:
    in_new_process(placed_and_placed_again)
