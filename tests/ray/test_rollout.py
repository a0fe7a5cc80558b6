"""The rollout fleet on the tiny base: real Ray, real vLLM, weights that change under it, workers that die."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM

from actors.cluster import ROOT
from actors.fleet import RolloutFleet
from actors.weights import Policy, pack
from conf.schema import Config, RolloutConfig, SamplingConfig
from pipeline.types import Request, Sample

BASE = str(ROOT / "assets" / "tiny-base")
SAMPLING = SamplingConfig(max_tokens=24)


@pytest.fixture(scope="module")
def fleet(ray_cluster: None) -> Iterator[RolloutFleet]:
    # Chunks of 16: 40 requests make several.
    made = RolloutFleet(Config(rollout=RolloutConfig(chunk=16, kv_cache_mb=64)), BASE)
    made.wait_ready()
    yield made
    made.shutdown()


def shaken(strength: float) -> torch.nn.Module:
    """The base with every parameter moved by noise, so that stale weights cannot pass for new ones."""
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(strength * torch.randn_like(parameter))
    return model


def policy(model: torch.nn.Module, version: str) -> Policy:
    return Policy(version, ray.put(pack(model.state_dict().items())))


def requests(count: int, prompt_length: int = 12) -> list[Request]:
    return [Request(tuple(10 + (index % 3 + place) % 80 for place in range(prompt_length)), seed=index) for index in range(count)]


def learner_logprobs(model: torch.nn.Module, sample: Sample) -> torch.Tensor:
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    with torch.no_grad():
        logprobs = model(ids).logits.log_softmax(dim=-1)
    start = len(sample.prompt_ids)
    return logprobs[0, start - 1 : -1].gather(-1, ids[0, start:, None])[:, 0]


def test_samples_are_versioned_and_seeded(fleet: RolloutFleet) -> None:
    base = policy(shaken(0), "base")
    samples = fleet.sample(requests(40), base, SAMPLING)
    assert {sample.version for sample in samples} == {"base"}
    assert [sample.seed for sample in samples] == list(range(40))
    assert all(len(sample.token_ids) == len(sample.logprobs) for sample in samples)
    assert all(sample.truncated == (sample.finish_reason == "length") for sample in samples)
    assert any(sample.truncated for sample in samples)
    # There are three prompts: more than three different responses come from the seeds.
    assert len({sample.token_ids for sample in samples}) > 3
    # The same draws whatever the order and the company of the requests.
    backwards = fleet.sample(requests(40)[::-1], base, SAMPLING)
    assert [sample.token_ids for sample in backwards[::-1]] == [sample.token_ids for sample in samples]


# A prompt of 200 tokens fills a block of the prefix cache, which must not survive a change of weights.
@pytest.mark.parametrize("prompt_length", [12, 200])
def test_engine_follows_the_weights(fleet: RolloutFleet, prompt_length: int) -> None:
    for strength in (0.0, 0.02):
        model = shaken(strength)
        samples = fleet.sample(requests(6, prompt_length), policy(model, f"shaken-{strength}-{prompt_length}"), SAMPLING)
        for sample in samples:
            torch.testing.assert_close(torch.tensor(sample.logprobs), learner_logprobs(model, sample), atol=1e-4, rtol=0)


def test_greedy_takes_the_likeliest_token(fleet: RolloutFleet) -> None:
    base = policy(shaken(0), "base-again")
    same_prompt = [Request(requests(1)[0].prompt_ids, seed) for seed in range(4)]
    samples = fleet.sample(same_prompt, base, SamplingConfig(temperature=0.0, max_tokens=8))
    assert len({sample.token_ids for sample in samples}) == 1


def test_a_worker_that_dies_is_replaced_and_draws_the_same(fleet: RolloutFleet) -> None:
    model = policy(shaken(0.01), "before-the-death")
    undisturbed = fleet.sample(requests(40), model, SAMPLING)
    (worker,) = [process for process in psutil.process_iter(["cmdline"]) if is_rollout_worker(process)]
    os.kill(worker.pid, signal.SIGKILL)
    again = fleet.sample(requests(40), model, SAMPLING)
    assert fleet.replaced == 1
    assert again == undisturbed


def is_rollout_worker(process: psutil.Process) -> bool:
    """Whether it is an actor of this test's own cluster."""
    ours = str(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent)
    try:
        command = " ".join(process.cmdline())
        return command.startswith("ray::RolloutWorker") and process.environ().get("RAY_AUTH_TOKEN_PATH", "").startswith(ours)
    except psutil.Error:
        return False


def test_ray_listens_on_loopback_alone(ray_cluster: None) -> None:
    ours = str(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent)
    listening = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_AUTH_TOKEN_PATH", "").startswith(ours):
                listening |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
