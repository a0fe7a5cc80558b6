"""Every profile in conf/ loads, and those of the paper's models hold the paper's numbers (R-Zero, arXiv 2508.05004)."""

from dataclasses import asdict
from pathlib import Path

import pytest

from actors.bundles import gpus
from conf.load import ROOT, load_config, profiles, read_yaml, resolve
from conf.schema import Config
from conf.settings import flatten
from pipeline.domain.prompt_file import load_prompts
from pipeline.domain.prompts import extract_boxed, parse_question

PAPER = {
    "qwen3-4b": "Qwen/Qwen3-4B-Base",
    "qwen3-8b": "Qwen/Qwen3-8B-Base",
    "octothinker-3b": "OctoThinker/OctoThinker-3B-Hybrid-Base",
    "octothinker-8b": "OctoThinker/OctoThinker-8B-Hybrid-Base",
}


@pytest.mark.parametrize("name", profiles())
def test_profile_loads_with_its_prompts(name: str) -> None:
    config = load_config(name)
    assert config.profile == name  # the run's record says which profile it came from
    assert config.name == name
    load_prompts(resolve(config.prompts))


@pytest.mark.parametrize("name", PAPER)
def test_paper_profile_holds_the_papers_numbers(name: str) -> None:
    config = load_config(name)
    assert config.model.path == PAPER[name]
    challenger, solver = config.challenger, config.solver
    assert (challenger.steps, challenger.group, challenger.batch) == (5, 4, 128)
    assert (solver.steps, solver.group, solver.batch // solver.group) == (15, 5, 128)
    assert challenger.lr == solver.lr == 1e-6
    assert (config.learner.weight_decay, config.grpo.kl) == (1e-2, 1e-2)
    assert (config.reward.lambda_, config.reward.threshold, config.reward.samples) == (1.0, 0.5, 10)
    assert (config.curriculum.questions, config.curriculum.delta) == (8000, 0.25)
    sampling, grpo = config.sampling, config.grpo
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1.0, 0.99, 4096)
    assert (grpo.baseline, grpo.advantage_scale, grpo.importance) == ("group", "group", "none")
    assert (grpo.aggregation, grpo.kl_estimator, grpo.updates_per_batch) == ("sequence_mean", "k3", 1)
    assert grpo.clip_low == grpo.clip_high == 0.2


def leaves(config: Config) -> dict[str, object]:
    return dict(flatten(asdict(config)))


def test_modern_is_the_default() -> None:
    written = dict(read_yaml(ROOT / "conf" / "presets" / "modern.yaml"))
    default = leaves(Config())
    assert written == {name: default[name] for name in written}
    assert {name for name in default if name.startswith("grpo.")} <= written.keys()


def test_paper_preset_differs_in_the_algorithm_alone() -> None:
    modern, paper = leaves(load_config("tiny")), leaves(load_config("tiny", ["preset=paper"]))
    changed = {name: paper[name] for name in paper if paper[name] != modern[name]}
    assert changed == {
        "preset": "paper",
        "sampling.top_p": 0.99,
        "evaluation.top_p": 0.99,
        "solver.steps": 15,
        "grpo.clip_high": 0.2,
        "grpo.aggregation": "sequence_mean",
        "grpo.importance": "none",
    }


def test_profile_and_overrides_go_on_top_of_the_preset(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("grpo: {kl: 0.5}\npreset: paper\n")  # after what it lies below
    config = load_config(str(profile), ["sampling.top_p=0.9"])
    assert (config.grpo.kl, config.grpo.aggregation, config.sampling.top_p) == (0.5, "sequence_mean", 0.9)
    config = load_config("qwen3-4b", ["preset=modern"])
    assert (config.preset, config.grpo.aggregation, config.sampling.top_p) == ("modern", "token_mean", 1.0)


def test_a_profile_goes_on_top_of_its_base(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("base: eight-gpus\nmodel: {path: some/model}\nlearner: {ranks: 2}\nrollout: {engines: 2}\n")
    config = load_config(str(profile), ["solver.steps=3"])
    assert (config.model.path, config.learner.ranks, config.solver.steps) == ("some/model", 2, 3)
    same = ["model.path=some/model", "learner.ranks=2", "rollout.engines=2", "solver.steps=3", "name=tiny", "profile=tiny"]
    assert config == load_config("qwen3-4b", same)


@pytest.mark.parametrize("name", [name for name in sorted(profiles()) if load_config(name).resources.device == "cuda"])
def test_gpu_profile_reserves_no_more_than_it_says(name: str) -> None:
    config = load_config(name)
    assert gpus(config) == (1 if name == "one-gpu" else 8)
    assert config.colocated  # a rank and an engine on each GPU
    assert config.learner.ranks == config.rollout.engines == gpus(config)


def test_challenger_prompt_asks_for_what_the_format_check_accepts() -> None:
    prompts = load_prompts(ROOT / "conf" / "prompts" / "reasoning.yaml")
    wanted = prompts.challenger.user[prompts.challenger.user.index("<question>") :]
    assert parse_question(wanted) == "the full text of the problem"
    assert extract_boxed(wanted) is None  # it stands for an answer
    assert "\\boxed{}" in (prompts.solver.system or "")
