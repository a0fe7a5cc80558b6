"""What a CPU can check of the GPU paths: environments, buffers, stop tokens, the memory of a transfer."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from actors.learner.environment import computes_on_cores, rank_environment, socket_interfaces, threads_told
from actors.learner.liger import check_liger
from actors.learner.rank import Learner
from actors.learner.threads import MOST_THREADS
from actors.machine import IN_JOB
from actors.rollout.text import end_of_sequence_ids, turn_end
from actors.rollout.worker import engine_environment
from actors.weights.buckets import Staging, checksum
from conf.errors import ConfigError
from conf.load import ROOT, load_config
from conf.schema import Config, LearnerConfig, ResourcesConfig

CUDA = ResourcesConfig(device="cuda", learner_gpus=1, rollout_gpus=1)
SPLIT = Config(resources=CUDA)
ON_CPU = Config()


@pytest.mark.parametrize(
    ("host", "node", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}),  # a private cluster
        ("127.0.0.1", "10.0.0.5", {"GLOO_SOCKET_IFNAME": "lo"}),  # ranks on one node of a cluster, engines perhaps not
        ("10.0.0.5", "10.0.0.5", {}),
    ],
)
def test_nccl_stays_on_loopback_in_a_private_cluster_alone(host: str, node: str, expected: dict[str, str]) -> None:
    assert socket_interfaces(host, node) == expected


def test_an_optimizer_step_on_the_host_takes_a_ranks_share_of_its_nodes_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("actors.learner.rank.cores", lambda: 32)
    offloading = Config(resources=CUDA, learner=LearnerConfig(ranks=4, zero_stage=3, offload="optimizer"))
    assert [computes_on_cores(each) for each in (offloading, SPLIT, ON_CPU)] == [True, False, True]
    rank, before = Learner(2, 4, "cuda"), torch.get_num_threads()
    try:
        rank.share_cores(["a", "b", "b", "b"])  # of a node's ranks alone, whatever cores other nodes have
        assert torch.get_num_threads() == 10
        Learner(0, 1, "cpu").share_cores(["a"])
        assert torch.get_num_threads() == MOST_THREADS
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_is_the_users_unless_ray_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}  # what ranks read is not unpickled
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (threads_told(), rank_environment(SPLIT)) == ("", {"OMP_NUM_THREADS": "1"} | data)
    assert rank_environment(ON_CPU)["DS_ACCELERATOR"] == "cpu"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (threads_told(), rank_environment(SPLIT)) == ("3", {"OMP_NUM_THREADS": "3"} | data)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_told() == "1"
    monkeypatch.setenv(IN_JOB, "{}")
    assert threads_told() == ""  # Ray's, for a job's command


def test_an_engine_on_a_gpu_samples_without_flashinfer() -> None:
    assert engine_environment(SPLIT)["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert "OMP_NUM_THREADS" not in engine_environment(SPLIT)


class NoGenerationConfig:
    """An engine whose model has no generation settings."""

    class ModelConfig:
        def try_get_generation_config(self) -> dict[str, Any]:
            return {}

    model_config = ModelConfig()


IM_END = "{{ m.role }}\n{{ m.content }}<|im_end|>\n"


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (IM_END, "<|im_end|>"),
        ("{{ m.role }}: {{ m.content }}\n<|im_end|>", "<|im_end|>"),
        ("{{ m.role }}: {{ m.content }}\n", None),
        ("{{ m.role }}: {{ m.content }}", None),
    ],
    ids=["im_end", "on a line of its own", "text", "nothing"],
)
def test_the_end_of_a_turn_ends_a_response(message: str, end: str | None) -> None:
    """Qwen3's base models end a text by one token and a turn of their chat template by another."""
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "assets" / "tiny-base")
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.chat_template = "{% for m in messages %}" + message + "{% endfor %}"
    ids = {tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", end) if token}
    assert turn_end(tokenizer) == (tokenizer.convert_tokens_to_ids(end) if end else None)
    assert end_of_sequence_ids(NoGenerationConfig(), tokenizer) == sorted(ids)
    tokenizer.chat_template = None
    assert turn_end(tokenizer) is None


def test_a_bucket_is_laid_out_in_staging_memory_without_overlap() -> None:
    shapes: list[tuple[tuple[int, ...], torch.dtype]] = [
        ((5, 3), torch.bfloat16),
        ((7,), torch.float32),
        ((), torch.float32),
        ((2, 2), torch.bfloat16),
    ]
    staging = Staging()
    for shrink in (False, True):  # the second bucket reuses the first one's memory
        named = [(f"p{place}", torch.randn(shape).to(dtype)) for place, (shape, dtype) in enumerate(shapes)]
        named = named[2:] if shrink else named
        copies = staging._views(named)
        for (_, copy), (_, tensor) in zip(copies, named, strict=True):
            copy.copy_(tensor)
        assert [(name, checksum(copy), copy.shape) for name, copy in copies] == [
            (name, checksum(tensor), tensor.shape) for name, tensor in named
        ]
        assert staging._memory.numel() == 4 * 64


def test_tensors_on_the_host_are_not_copied() -> None:
    named = [("a", torch.randn(3)), ("b", torch.randn(2))]
    assert all(host is tensor for (_, host), (_, tensor) in zip(Staging().on_host(named), named, strict=True))


@pytest.mark.parametrize(
    ("family", "installed", "expected"),
    [
        ("gemma3_text", True, r"used for llama, .*, and Qwen/Qwen3-4B-Base is gemma3_text; valid: false"),
        (None, True, "is None; valid: false"),
        ("qwen3", False, "liger-kernel is not installed here; valid: false, or `make setup EXTRA=gpu`"),
        ("qwen3", True, None),
    ],
)
def test_ligers_kernels_need_a_family_they_know_and_their_package(
    family: str | None, installed: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.learner.liger.find_spec", lambda name: name if installed else None)
    config = load_config("qwen3-4b", ["learner.liger=true", "evaluation.sets=[]"])
    with pytest.raises(ConfigError, match=expected) if expected else nullcontext():
        check_liger(config, {"model_type": family})
    check_liger(load_config(), {"model_type": family})  # which does not ask for them
