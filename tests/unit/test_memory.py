"""The arithmetic of memory, disk and work against figures computed by hand, and against what was measured (docs/learner.md)."""

import re
from typing import Any

import pytest
import torch
import yaml

from actors.learner.deepspeed_engine import engine_config
from conf.load import ROOT, load_config, profiles
from pipeline.algorithm import memory, packing
from pipeline.algorithm.estimate import ALONE, RANK_FLOPS, START_S, round_minutes
from pipeline.algorithm.memory import (
    between_updates,
    checkpoint_bytes,
    disk_need,
    engine_memory,
    host_memory,
    rank_memory,
    store_bytes,
    trained_parameters,
)
from pipeline.algorithm.model_shape import ModelShape, model_shape
from pipeline.algorithm.workload import Responses, round_responses

SHAPES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "conf" / "models.yaml").read_text())
QWEN_4B = model_shape(SHAPES["Qwen/Qwen3-4B-Base"])
QWEN_8B = model_shape(SHAPES["Qwen/Qwen3-8B-Base"])
MEASURED = ModelShape(10, 768, 2304, 12, 6, 64, 8192, True)  # the model of jobs/bench/learner_memory.py
# The 8 GPUs of a profile, without taking turns.
SPLIT = (
    *("learner.ranks=4", "rollout.engines=4", "rollout.transfer=host", "rollout.gpu_memory_utilization=0.85"),
    *("resources.placement=split", "resources.learner_gpus=1", "resources.rollout_gpus=1"),
)
ROWS = re.findall(r"^\| (\d) \| (\w+) \| ([\d.]+) \| ?([\d.]*) ?\|$", (ROOT / "docs" / "learner.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in profiles() if load_config(name).resources.device == "cuda"])
def test_the_models_of_the_profiles_are_listed(name: str) -> None:
    config = load_config(name)
    assert config.model.max_length <= SHAPES[config.model.path]["max_position_embeddings"]


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_transformers(name: str) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

    config = (Qwen3Config if "Qwen3" in name else LlamaConfig)(**SHAPES[name])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert model_shape(SHAPES[name]).parameters == pytest.approx(model.num_parameters(), rel=1e-4)


@pytest.mark.parametrize(("stage", "offload", "device", "host"), ROWS)
def test_a_rank_holds_what_was_measured(stage: str, offload: str, device: str, host: str) -> None:
    config = load_config(overrides=["learner.ranks=2", f"learner.zero_stage={stage}", f"learner.offload={offload}"])
    size = 4 * MEASURED.parameters
    held, moved = between_updates(rank_memory(MEASURED, config), config)
    assert held / size == pytest.approx(float(device), abs=0.02)
    assert moved / size == pytest.approx(float(host or 0), abs=0.02)


def test_all_rows_of_the_table_are_compared() -> None:
    assert len(ROWS) == 8
    assert QWEN_4B.parameters == 4_022_458_880


def test_constants_are_those_of_the_learner() -> None:
    """They are repeated since their modules import torch and DeepSpeed, which take seconds."""
    assert (packing.CHUNK_LOGITS, packing.CHUNK_LOGITS_CUDA) == (memory.CHUNK_LOGITS, memory.CHUNK_LOGITS_CUDA)
    assert engine_config(load_config())["zero_optimization"]["reduce_bucket_size"] == memory.BUCKET


def test_a_rank_of_the_four_billion_profile_by_hand() -> None:
    rank = rank_memory(QWEN_4B, load_config("qwen3-4b", SPLIT))
    parameters = QWEN_4B.parameters
    assert rank.held["weights"] == rank.held["KL reference"] == 2 * parameters // 4
    assert rank.held["optimizer"] == pytest.approx(12 * parameters / 4, abs=8)  # master weights and two moments in fp32
    assert rank.passing["gradients"] == parameters
    assert rank.device == pytest.approx(34.4e9, rel=0.01)
    assert rank_memory(QWEN_8B, load_config("qwen3-8b", SPLIT)).device == pytest.approx(55.4e9, rel=0.01)


def test_less_memory_is_needed_with_adapters_and_without_a_reference() -> None:
    lora = load_config("qwen3-4b", ["lora.rank=16"])
    # of each layer: q and o 2560 + 4096, k and v 2560 + 1024, three of the MLP 2560 + 9728
    assert trained_parameters(QWEN_4B, lora) == 36 * 16 * (2 * 6656 + 2 * 3584 + 3 * 12288)
    assert rank_memory(QWEN_4B, lora).held["KL reference"] == 0
    assert rank_memory(QWEN_4B, load_config("qwen3-4b", ["grpo.kl=0"])).held["KL reference"] == 0


def test_checkpoints_and_disk() -> None:
    config = load_config("qwen3-4b")
    assert checkpoint_bytes(QWEN_4B, config) == 14 * QWEN_4B.parameters  # 56 GB
    policy, checkpoint = 2 * QWEN_4B.parameters, 14 * QWEN_4B.parameters
    need = disk_need(QWEN_4B, config)  # the Solver's 15 steps save after 5 and after 10
    assert (need.least, need.peak, need.kept) == (policy + 2 * checkpoint, 2 * policy + 2 * checkpoint, 2 * policy)
    often = disk_need(QWEN_4B, load_config("qwen3-4b", ["learner.checkpoint_every=1"]))
    assert often.peak == policy + 3 * checkpoint
    none = disk_need(QWEN_4B, load_config("qwen3-4b", ["learner.checkpoint_every=15"]))
    assert (none.least, none.peak) == (policy, 2 * policy)


def test_an_engine_on_a_gpu_and_on_a_cpu() -> None:
    engine = engine_memory(QWEN_4B, load_config("qwen3-4b", SPLIT), gpu=80 * 10**9)
    a_token = 2 * 36 * 8 * 128 * 2  # keys and values, layers, heads, head_dim, bytes
    assert engine.cache == int(80e9 * 0.85) - 2 * QWEN_4B.parameters - (2 << 30)
    assert engine.tokens == engine.cache // a_token
    split = engine_memory(QWEN_4B, load_config("qwen3-4b", [*SPLIT, "rollout.tensor_parallel=2"]), gpu=80 * 10**9)
    assert split.weights == engine.weights // 2
    assert engine_memory(MEASURED, load_config()).cache == 512 << 20
    assert engine_memory(QWEN_8B, load_config("qwen3-8b"), gpu=16 * 10**9).tokens == 0


def test_host_memory_and_store() -> None:
    one, two = (host_memory(MEASURED, load_config(overrides=[f"rollout.engines={engines}"])) for engines in (1, 2))
    assert two["engines"] == 2 * one["engines"] == 2 * ((1 << 30) + 4 * MEASURED.parameters + (512 << 20))
    ranks = host_memory(QWEN_4B, load_config("qwen3-4b", SPLIT))["learner"]
    assert ranks == 4 * (memory.LEARNER_PROCESS + 2 * QWEN_4B.parameters)  # each reads the whole model
    assert store_bytes(QWEN_4B, load_config("qwen3-4b")) == 6 * QWEN_4B.parameters


def test_sizes_that_are_not_there_are_told() -> None:
    sizes = SHAPES["Qwen/Qwen3-4B-Base"]
    with pytest.raises(ValueError, match="hidden_size=None: valid: a positive whole number"):
        model_shape({name: value for name, value in sizes.items() if name != "hidden_size"})
    with pytest.raises(ValueError, match="vocab_size='many'"):
        model_shape(sizes | {"vocab_size": "many"})
    with pytest.raises(ValueError, match="a mixture of experts"):
        model_shape(sizes | {"num_experts": 128})


def test_what_a_round_samples() -> None:
    stages = round_responses(load_config("qwen3-4b"), asks_validity=False, held_out=[(500, 0, 4096), (40, 32, 6144)])
    assert stages["Challenger"] == Responses(5 * 128, 5 * 128 * 10, 4096)
    assert stages["curriculum"] == Responses(8000, 80_000, 4096)
    assert stages["Solver"] == Responses(0, 15 * 640, 4096)
    assert stages["evaluation"].answers == 500 + 40 * 33
    assert stages["evaluation"].most_tokens == pytest.approx(500 * 4096 + 40 * 33 * 6144, abs=2000)
    assert round_responses(load_config("qwen3-4b"), asks_validity=True)["curriculum"].answers == 160_000
    asked = load_config("qwen3-4b", ["curriculum.confident=0.5", "curriculum.agreement=2", "solver.resample=1"])
    more = round_responses(asked, asks_validity=False)
    assert more["Challenger"] == stages["Challenger"]
    assert more["curriculum"].answers == 240_000
    assert more["Solver"].answers == 2 * stages["Solver"].answers
    assert Responses(10, 20, 100).tokens(5.0, 2.0) == 90


def test_a_kept_policy_sleeps_in_host_memory() -> None:
    both = ["rollout.fleets=per_role", "resources.learner_gpus=0.4", "resources.rollout_gpus=0.3"]
    taking_turns, at_once = (
        host_memory(QWEN_4B, load_config("qwen3-4b", [*both, f"resources.placement={placement}"]))["engines"]
        for placement in ("colocated", "split")
    )
    assert taking_turns - at_once == 8 * 2 * QWEN_4B.parameters


def test_a_round_s_minutes_by_hand() -> None:
    config, stages = load_config("qwen3-4b", SPLIT), round_responses(load_config("qwen3-4b"), asks_validity=False)
    minutes = round_minutes(QWEN_4B, config, stages, (1000.0, 1000.0), speed=10_000)
    weights, billions = 2 * QWEN_4B.parameters, QWEN_4B.parameters / 1e9
    tail, learned = (4096 - 1000) / ALONE, 640 * 1200 * 10 * billions * 1e9 / (4 * RANK_FLOPS)
    assert minutes["Solver"] * 60 == pytest.approx(9600 * 1000 / 40_000 + 15 * (tail + learned + weights / 3e9))
    assert minutes["curriculum"] * 60 == pytest.approx(88_000 * 1000 / 40_000 + 2 * (tail + weights / 3e9))
    # The Solver's 15 steps save twice.
    assert minutes["other"] * 60 == pytest.approx(START_S + (2 * 14 * QWEN_4B.parameters + 2 * weights) / 1e9)
    taking_turns = round_minutes(QWEN_4B, load_config("qwen3-4b"), stages, (1000.0, 1000.0), speed=10_000)
    assert taking_turns["Solver"] * 60 == pytest.approx(9600 * 1000 / 80_000 + 15 * (tail + learned / 2 + weights / 5e10))
    in_more_parts = round_minutes(
        QWEN_4B, load_config("qwen3-4b", ["curriculum.part=500"]), stages, (1000.0, 1000.0), speed=10_000
    )
    assert in_more_parts == taking_turns  # engines do not wait for a part's last answer
