"""Weights by vLLM's own API, from the learner straight to the engines, without the driver: all of it but the GPU transport."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray import cloudpickle
from safetensors.torch import load_file, save_file

from actors.cluster import ROOT
from actors.fleet import RolloutFleet
from actors.learner import Learner
from actors.learner_group import LearnerGroup
from actors.rollout import RolloutWorker, engine_environment
from conf.schema import Config, SamplingConfig
from pipeline.errors import LearnerError, MismatchError
from pipeline.types import Policy, Request, TrainingBatch

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the actors below cannot import a test module

BASE = ROOT / "assets" / "tiny-base"
SAMPLING = SamplingConfig(max_tokens=8)
REQUESTS = [Request(tuple(10 + place + i for i in range(6)), seeds=(place, 100 + place)) for place in range(12)]


class LoopbackLearner(Learner):
    def send(self, engines: Any) -> dict[str, int]:
        from tests.loopback_transfer import register

        register()
        return super().send(engines)


class LoopbackWorker(RolloutWorker):
    def __init__(self, config: Config, model_path: str) -> None:
        from tests.loopback_transfer import register

        register()
        super().__init__(config, model_path)

    def ranks(self) -> tuple[int, int]:
        """(first rank, ranks in all) that this engine was told in the world it shares with the learner."""
        return self.llm.collective_rpc(lambda worker: worker.get_model().loopback_ranks)[0]


@pytest.fixture
def config() -> Config:
    config = Config()
    config.rollout.transfer = "loopback"
    config.rollout.engines, config.rollout.chunk, config.rollout.kv_cache_mb = 2, 4, 32
    config.learner.ranks, config.learner.zero_stage = 2, 3
    return config


@pytest.fixture
def learner(ray_cluster: None, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LearnerGroup]:
    """Two ranks under ZeRO-3 with weights that are not the base's."""
    shutil.copytree(BASE, tmp_path / "other")
    torch.manual_seed(0)
    weights = {name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in load_file(BASE / "model.safetensors").items()}
    save_file(weights, tmp_path / "other" / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr("actors.learner_group.Learner", LoopbackLearner)
    group = LearnerGroup(config)
    group.begin_phase(str(tmp_path / "other"), lr=1e-3)
    yield group
    group.shutdown()


@pytest.fixture
def fleet(ray_cluster: None, config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[RolloutFleet]:
    worker = ray.remote(num_cpus=0, runtime_env={"env_vars": engine_environment(config)})(LoopbackWorker)
    monkeypatch.setattr("actors.fleet.rollout_actor", lambda config: worker)
    fleet = RolloutFleet(config, str(BASE))
    fleet.wait_ready()
    yield fleet
    fleet.shutdown()


class Tampered:
    """Says of a parameter that it should be another than was sent."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    def send(self, engines: Any) -> dict[str, int]:
        return self.weights.send(engines) | {"model.norm.weight": 0}


def test_engines_take_on_the_learners_present_weights(fleet: RolloutFleet, learner: LearnerGroup) -> None:
    weights = learner.weights()
    policy = Policy("first", weights)
    drawn = fleet.sample(REQUESTS, policy, SAMPLING)
    samples = [sample for group in drawn for sample in group]
    for sample, logprobs in zip(samples, learner.logprobs(samples), strict=True):
        assert sample.version == "first"
        assert torch.allclose(torch.tensor(sample.logprobs), torch.tensor(logprobs), atol=1e-4)
    assert sorted(ray.get([worker.ranks.remote() for worker in fleet._workers])) == [(1, 3), (2, 3)]

    # One that takes a dead one's place gets the same, from the learner again.
    ray.kill(fleet._workers[0])
    assert fleet.sample(REQUESTS, policy, SAMPLING) == drawn
    assert fleet.take_counts()["replaced"] == 1

    with pytest.raises(MismatchError, match=r"model\.norm\.weight"):
        fleet.load(Policy("second", Tampered(weights)))

    learner.update(TrainingBatch(tuple(samples[:8]), (1.0, -1.0) * 4))
    with pytest.raises(LearnerError, match="no longer"):
        fleet.load(Policy("third", weights))
    fleet.load(Policy("third", learner.weights()))
    (again,) = fleet.sample(REQUESTS[:1], Policy("third", learner.weights()), SAMPLING)
    assert again[0].version == "third"
    assert again[0].logprobs != drawn[0][0].logprobs
