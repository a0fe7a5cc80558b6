"""Weights by vLLM's own API, from the learner straight to the engines: shared memory, and what NCCL and IPC have of it."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import RayActorError
from safetensors.torch import load_file, save_file

from actors.cluster import ROOT
from actors.learner.group import LearnerGroup
from actors.rollout.fleet import RolloutFleet
from actors.rollout.worker import RolloutWorker
from actors.weights.device import PACKED_BYTES, EngineClient, LearnerSource, ipc
from conf.schema import Config, LearnerConfig, ModelConfig, RolloutConfig, SamplingConfig
from pipeline.errors import LearnerError, MismatchError
from pipeline.types import Checksums, Policy, Request, Sample, TrainingBatch

BASE = ROOT / "assets" / "tiny-base"
SAMPLING = SamplingConfig(max_tokens=8)
REQUESTS = [Request(tuple(10 + place + i for i in range(6)), seeds=(place, 100 + place)) for place in range(12)]
ROLLOUT = RolloutConfig(transfer="shared", engines=2, chunk=4, kv_cache_mb=32)


@pytest.fixture(scope="module")
def fleet(ray_cluster: None) -> Iterator[RolloutFleet]:
    fleet = RolloutFleet(Config(rollout=ROLLOUT), str(BASE))
    fleet.wait_ready()
    yield fleet
    fleet.shutdown()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with every weight moved by noise."""
    folder = tmp_path_factory.mktemp("other") / "model"
    shutil.copytree(BASE, folder)
    torch.manual_seed(0)
    weights = {name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in load_file(BASE / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def learner(ray_cluster: None, other: Path) -> Iterator[LearnerGroup]:
    """Two ranks under ZeRO 3."""
    group = LearnerGroup(Config(rollout=ROLLOUT, learner=LearnerConfig(ranks=2, zero_stage=3)))
    group.begin_phase(str(other), lr=1e-3)
    yield group
    group.shutdown()


class Tampered:
    """Says of a parameter that it should be another than was sent."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    def send(self, engines: Any) -> Checksums:
        checksums = self.weights.send(engines)
        assert checksums.offset is not None  # of some rows, others at each transfer
        return replace(checksums, of=checksums.of | {"model.norm.weight": 0})


def kill(actor: Any) -> None:
    """Kills an actor and waits until Ray knows that it is dead."""
    ray.kill(actor)
    with suppress(RayActorError):
        while True:
            ray.get(actor.ready.remote())


def draw(fleet: RolloutFleet, learner: LearnerGroup, policy: Policy) -> list[Sample]:
    """Samples whose log-probabilities are those that the learner has for them."""
    samples = [sample for group in fleet.sample(REQUESTS, policy, SAMPLING) for sample in group]
    for sample, logprobs in zip(samples, learner.logprobs(samples), strict=True):
        assert sample.version == policy.version
        assert torch.allclose(torch.tensor(sample.logprobs), torch.tensor(logprobs), atol=1e-4)
    return samples


def test_engines_take_on_the_learners_present_weights(
    fleet: RolloutFleet, learner: LearnerGroup, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.forget_policy()
    fleet.take_counts()
    first = Policy("first", learner.weights())
    drawn = draw(fleet, learner, first)

    # One that takes a dead one's place gets the same, from the learner again.
    kill(fleet._workers[0])
    assert draw(fleet, learner, first) == drawn
    assert fleet.take_counts()["replaced"] == 1
    fleet.wait_ready()
    assert draw(fleet, learner, first) == drawn

    with pytest.raises(MismatchError, match=r"model\.norm\.weight"):
        fleet.load(Policy("second", Tampered(learner.weights())))

    # The learner outlives one that was dead before, and one of whose death it learns in the transfer.
    ray.kill(fleet._workers[1])
    assert draw(fleet, learner, Policy("after a death", learner.weights()))[0].logprobs == drawn[0].logprobs
    assert fleet.take_counts()["replaced"] == 1
    fleet.wait_ready()
    with monkeypatch.context() as unnoticed:
        unnoticed.setattr(fleet, "_failed", lambda workers: {})
        ray.kill(fleet._workers[1])
        assert draw(fleet, learner, Policy("after another", learner.weights())) == [
            replace(sample, version="after another") for sample in drawn
        ]
    assert fleet.take_counts()["replaced"] == 1

    # An update in place reaches no engine before it is asked for, and what was before it cannot be had again.
    learner.update(TrainingBatch(tuple(drawn[:8]), (1.0, -1.0) * 4))
    with pytest.raises(LearnerError, match="no longer"):
        fleet.load(Policy("third", first.weights))
    third = draw(fleet, learner, Policy("third", learner.weights()))
    assert third[0].logprobs != drawn[0].logprobs

    # A phase starts from weights that lie elsewhere.
    learner.begin_phase(str(other), lr=1e-3)
    assert [sample.logprobs for sample in draw(fleet, learner, Policy("again", learner.weights()))] == [s.logprobs for s in drawn]


def test_an_engine_that_fails_over_a_transfer_is_replaced(
    ray_cluster: None, other: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failed = tmp_path / "failed"

    class FailingOnce(RolloutWorker):
        """The first of its kind fails as weights reach it."""

        def __init__(self, config: Config, model_path: str) -> None:
            super().__init__(config, model_path)
            call = self.llm.collective_rpc

            def fail_once(name: str, args: tuple = ()) -> list:
                if name == "update_weights" and not failed.exists():
                    failed.touch()
                    raise MemoryError("CUDA out of memory")
                return call(name, args=args)

            self.llm.collective_rpc = fail_once

    monkeypatch.setattr("actors.rollout.worker.RolloutWorker", FailingOnce)
    config = Config(rollout=replace(ROLLOUT, engines=1))
    fleet, learner = RolloutFleet(config, str(BASE)), LearnerGroup(config)
    learner.begin_phase(str(other), lr=1e-3)
    drawn = draw(fleet, learner, Policy("first", learner.weights()))
    assert failed.exists()
    assert fleet.take_counts()["replaced"] == 1

    # One rank shares its parameters' own memory: after an update, and in a phase that begins elsewhere.
    learner.update(TrainingBatch(tuple(drawn[:8]), (1.0, -1.0) * 4))
    assert draw(fleet, learner, Policy("updated", learner.weights()))[0].logprobs != drawn[0].logprobs
    learner.begin_phase(str(other), lr=1e-3)
    assert [sample.logprobs for sample in draw(fleet, learner, Policy("again", learner.weights()))] == [s.logprobs for s in drawn]
    fleet.shutdown()
    learner.shutdown()


def test_an_update_in_bfloat16_reaches_the_engine(ray_cluster: None, other: Path) -> None:
    config = Config(model=ModelConfig(dtype="bfloat16"), rollout=replace(ROLLOUT, engines=1))
    fleet, learner = RolloutFleet(config, str(BASE)), LearnerGroup(config)
    learner.begin_phase(str(other), lr=1e-3)
    first = fleet.sample(REQUESTS, Policy("first", learner.weights()), SAMPLING)
    drawn = [sample for group in first for sample in group]
    learner.update(TrainingBatch(tuple(drawn[:8]), (1.0, -1.0) * 4))
    second = [sample for group in fleet.sample(REQUESTS, Policy("second", learner.weights()), SAMPLING) for sample in group]
    assert second[0].logprobs != drawn[0].logprobs
    sampled = torch.tensor([value for sample in second for value in sample.logprobs])
    learned = torch.tensor([value for values in learner.logprobs(second) for value in values])
    assert (sampled - learned).abs().mean() < 0.1
    fleet.shutdown()
    learner.shutdown()


def engines(*fates: str) -> list[Any]:
    """Actors in the place of rollout workers. In a transfer each meets its fate, or, where that is "", notes its calls."""

    class Engine:  # in here, so that Ray takes it along: its workers cannot import the tests
        def __init__(self, fate: str) -> None:
            self.fate = fate
            self.calls: list[tuple[Any, ...]] = []

        def weight_transfer(self, *calls: tuple[Any, ...]) -> None:
            if self.fate == "fails":
                raise ValueError("no such parameter")
            if self.fate == "dies":
                os._exit(1)
            if self.fate == "hangs":
                threading.Event().wait()
            self.calls += calls

        def told(self) -> list[Any]:
            return self.calls

    actors = [ray.remote(num_cpus=0)(Engine).remote(fate) for fate in fates]
    ray.get([actor.told.remote() for actor in actors])
    return actors


@pytest.mark.parametrize("hidden", [1024, 4096], ids=["0.6B", "8B"])
@pytest.mark.parametrize("sharded", [False, True])
def test_the_ipc_buffer_holds_the_embedding_of_qwen3(hidden: int, sharded: bool) -> None:
    """vLLM refuses a tensor larger than the buffer, which is otherwise two buckets' worth."""
    embedding: Any = torch.empty(151_936, hidden, dtype=torch.bfloat16, device="meta")
    if sharded:  # as ZeRO-3 leaves it
        whole, embedding = embedding, torch.empty(0, dtype=torch.bfloat16)
        embedding.ds_shape = whole.shape
    named = [("model.embed_tokens.weight", embedding), ("model.norm.weight", torch.empty(hidden, dtype=torch.bfloat16))]
    info: Any = ipc(0, 2, LearnerSource(lambda: named, lambda: [named], movable=False).metadata())
    assert info.packed_buffer_size_bytes == 151_936 * hidden * 2
    info = ipc(0, 2, LearnerSource(lambda: named[1:], lambda: [named], movable=False).metadata())
    assert info.packed_buffer_size_bytes == PACKED_BYTES


def test_engines_get_ranks_of_their_own(ray_cluster: None) -> None:
    three = engines("", "", "")
    client = EngineClient(three, ranks_each=2, timeout=60)
    client.init_weight_transfer_engine({"rank_offset": 1, "world_size": 7})
    client.start_weight_update()
    client.update_weights({"names": []})
    client.finish_weight_update()
    for place, calls in enumerate(ray.get([engine.told.remote() for engine in three])):
        assert calls == [
            ("init_weight_transfer_engine", {"rank_offset": 1 + 2 * place, "world_size": 7}),
            ("start_weight_update",),
            ("update_weights", {"names": []}),
            ("finish_weight_update",),
        ]


def test_an_engine_that_dies_or_hangs_in_a_transfer_is_dead_after_it_and_no_error(ray_cluster: None) -> None:
    dies, lives, hangs = engines("dies", "", "hangs")
    client = EngineClient([dies, lives, hangs], ranks_each=1, timeout=10)
    client.start_weight_update()
    client.finish_weight_update()
    assert ray.get(lives.told.remote()) == [("start_weight_update",), ("finish_weight_update",)]
    for dead in dies, hangs:
        with pytest.raises(RayActorError):
            ray.get(dead.told.remote(), timeout=60)


def test_an_engine_that_fails_in_a_transfer_is_an_error(ray_cluster: None) -> None:
    with pytest.raises(ValueError, match="no such parameter"):
        EngineClient(engines("", "fails"), ranks_each=1, timeout=60).update_at_once()
