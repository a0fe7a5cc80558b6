"""Weights on their way: every layout and precision arrives as it was sent, and a gather takes little memory."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from actors.cluster import ROOT
from actors.learner.group import LearnerGroup
from actors.learner.rank import Learner
from actors.rollout.worker import RolloutWorker, engine_environment
from actors.weights.buckets import Published, publish
from actors.weights.vllm_load import confirm, load_into_engine
from conf.schema import Config, ModelConfig, RolloutConfig, SamplingConfig
from pipeline.types import Request, Sample

SIZES = {
    "vocab_size": 734,  # the tiny base's, whose tokenizer is used
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "eos_token_id": 2,
}
# Architecture, precision, tied embeddings; and how far vLLM's log-probabilities may be from those of transformers.
CASES = [
    (Qwen3ForCausalLM, Qwen3Config, torch.float32, True, 1e-4),
    (Qwen3ForCausalLM, Qwen3Config, torch.bfloat16, False, 0.1),
    (LlamaForCausalLM, LlamaConfig, torch.float32, False, 1e-4),
    (LlamaForCausalLM, LlamaConfig, torch.bfloat16, True, 0.1),
]
PROMPT = list(range(10, 30))
REQUESTS = [Request(tuple(10 + place for place in range(12)), seeds=(0, 1, 2)), Request((50, 60, 70), seeds=(3,))]


def random_model(case: tuple[Any, ...], seed: int) -> torch.nn.Module:
    """Weights large enough for the distribution over tokens to be far from even."""
    architecture, settings, dtype, tied, _ = case
    torch.manual_seed(seed)
    model = architecture(settings(**SIZES, tie_word_embeddings=tied))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.to(dtype)


def written(model: torch.nn.Module, folder: Path) -> str:
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "assets" / "tiny-base" / file, folder)
    return str(folder)


@pytest.fixture(scope="module")
def engines(ray_cluster: None) -> Iterator[Any]:
    """One process in which engines are made one after another, for importing vLLM takes longest."""

    class Engines:
        def transfer(self, config: Config, path: str, weights: Published) -> tuple[list[str], list[Sample]]:
            """Starts an engine on `path`, gives it `weights`, and draws from it."""
            worker = RolloutWorker(config, path)
            load_into_engine(worker.llm, map(ray.get, weights.buckets))
            wrong = confirm(worker.llm, weights.checksums)

            async def drawn() -> list[Sample]:
                arriving = worker.sample(REQUESTS, SamplingConfig(max_tokens=8), worker.version)
                return [sample async for some in arriving for each in some.drawn for sample in each.samples]

            return wrong, asyncio.run(drawn())

        def from_cache(self, config: Config, path: str, weights: Published) -> list[int]:
            """Tokens of one prompt of 200 that are in the prefix cache: at first, asked again, and after a transfer."""
            from vllm import SamplingParams, TokensPrompt

            llm = RolloutWorker(config, path).llm

            def found() -> int:
                (output,) = llm.generate([TokensPrompt(prompt_token_ids=list(range(10, 210)))], SamplingParams(max_tokens=1))
                return output.num_cached_tokens

            found_before = [found(), found()]
            load_into_engine(llm, map(ray.get, weights.buckets))
            confirm(llm, weights.checksums)
            return [*found_before, found()]

        def split(self, path: str, weights: Published, part: str) -> tuple[list[str], dict[int, float], list[str]]:
            """What an engine of two ranks has wrong after a transfer, the likeliest tokens after `PROMPT` with their
            log-probabilities, and what it has wrong if the checksum of `part` is."""
            from vllm import LLM, SamplingParams, TokensPrompt

            llm = LLM(
                model=path, dtype="float32", max_model_len=128, enforce_eager=True, kv_cache_memory_bytes=32 << 20,
                max_num_seqs=16, enable_chunked_prefill=False, logprobs_mode="processed_logprobs", tensor_parallel_size=2,
                distributed_executor_backend="mp", worker_extension_cls="tests.cpu_worker.CpuWorker",
            )  # fmt: skip
            load_into_engine(llm, map(ray.get, weights.buckets))
            wrong = confirm(llm, weights.checksums)
            greedy = SamplingParams(temperature=0, max_tokens=1, logprobs=5)
            (output,) = llm.generate([TokensPrompt(prompt_token_ids=PROMPT)], greedy)
            (likeliest,) = output.outputs[0].logprobs
            weights.checksums.of[part] += 1
            return wrong, {token: each.logprob for token, each in likeliest.items()}, confirm(llm, weights.checksums)

    actor = ray.remote(num_cpus=0, runtime_env={"env_vars": engine_environment(Config())})(Engines).remote()
    yield actor
    ray.kill(actor)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].__name__}-{case[2]}-{'tied' if case[3] else 'untied'}")
def test_vllm_and_transformers_agree_after_a_transfer(engines: Any, tmp_path: Path, case: tuple[Any, ...]) -> None:
    dtype = str(case[2]).removeprefix("torch.")
    config = Config(model=ModelConfig(dtype=dtype, max_length=128), rollout=RolloutConfig(kv_cache_mb=32, max_num_seqs=16))
    before, after = random_model(case, 0), random_model(case, 1)
    weights = publish([list(after.named_parameters())], offset=3 if case[3] else None)
    wrong, samples = ray.get(engines.transfer.remote(config, written(before, tmp_path / "before"), weights))
    assert wrong == []
    assert len(samples) == 4
    for sample in samples:
        sampled = torch.tensor(sample.logprobs)
        assert (sampled - logprobs(after, sample)).abs().max() < case[4]
        assert (sampled - logprobs(before, sample)).abs().max() > 10 * case[4]  # the test can tell the two models apart


def test_a_transfer_empties_the_prefix_cache(engines: Any, tmp_path: Path) -> None:
    config = Config(model=ModelConfig(max_length=256), rollout=RolloutConfig(kv_cache_mb=32, max_num_seqs=16))
    model = random_model(CASES[0], 0)
    weights = publish([list(model.named_parameters())])
    found = ray.get(engines.from_cache.remote(config, written(model, tmp_path / "model"), weights))
    assert found == [0, 192, 0]  # whole blocks of 32


def test_an_engine_split_over_ranks_takes_on_weights(engines: Any, tmp_path: Path) -> None:
    before, after = random_model(CASES[2], 0), random_model(CASES[2], 1)
    weights = publish([list(after.named_parameters())], offset=3)
    part = "model.layers.1.self_attn.k_proj.weight"
    wrong, likeliest, then = ray.get(engines.split.remote(written(before, tmp_path / "before"), weights, part))
    assert wrong == []
    with torch.no_grad():
        expected = after(torch.tensor([PROMPT])).logits[0, -1].log_softmax(dim=-1)
    assert likeliest == pytest.approx({token: float(expected[token]) for token in likeliest}, abs=1e-4)
    assert then == ["model.layers.1.self_attn.qkv_proj.weight"]


def logprobs(model: torch.nn.Module, sample: Sample) -> torch.Tensor:
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    with torch.no_grad():
        found = model(ids).logits.float().log_softmax(dim=-1)
    start = len(sample.prompt_ids)
    return found[0, start - 1 : -1].gather(-1, ids[0, start:, None])[:, 0]


def test_a_gather_holds_one_bucket_at_a_time(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Learner):
        def gathered(self, bucket: int) -> tuple[int, int, int]:
            """Most elements that were whole at any moment of a walk over the buckets, all there are, and the buckets."""
            import actors.weights.buckets

            actors.weights.buckets.BUCKET_ELEMENTS = bucket
            sharded = [p for p in self.engine.module.parameters() if not p.ds_persist]
            whole = [sum(p.numel() for p in sharded) for _ in self._buckets()]
            return max(whole), sum(p.ds_numel for p in sharded), len(whole)

    monkeypatch.setattr("actors.learner.group.Learner", Counting)
    config = Config()
    config.learner.ranks, config.learner.zero_stage = 2, 3
    group = LearnerGroup(config)
    group.begin_phase(str(ROOT / "assets" / "tiny-base"), lr=1e-3)
    bucket = 200_000
    largest = max(p.numel() for p in AutoModelForCausalLM.from_pretrained(ROOT / "assets" / "tiny-base").parameters())
    for most, total, buckets in group._call("gathered", bucket):
        assert most < bucket + largest <= 2 * bucket
        assert total > 2 * bucket
        assert buckets > 2
    group.shutdown()
