"""Every profile in conf/ loads, and those of the paper's models hold the paper's numbers (R-Zero, arXiv 2508.05004)."""

import pytest

from conf.load import ROOT, load_config, profiles, resolve
from pipeline.prompts import extract_boxed, load_prompts, parse_question

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
    assert grpo.clip_low == grpo.clip_high


@pytest.mark.parametrize("name", sorted(set(profiles()) - {"tiny"}))
def test_gpu_profile_reserves_no_more_than_it_says(name: str) -> None:
    config = load_config(name)
    gpus = config.learner.ranks * config.resources.learner_gpus + config.rollout.engines * config.resources.rollout_gpus
    assert gpus == (1 if name == "one-gpu" else 8)
    # Where learner and engine share a GPU, several of a kind could land on one together.
    assert config.resources.learner_gpus == 1 or config.learner.ranks == config.rollout.engines == 1


def test_challenger_prompt_asks_for_what_the_format_check_accepts() -> None:
    prompts = load_prompts(ROOT / "conf" / "prompts" / "reasoning.yaml")
    wanted = prompts.challenger.user[prompts.challenger.user.index("<question>") :]
    assert parse_question(wanted) == "the full text of the problem"
    assert extract_boxed(wanted) == "its final answer"
    assert "\\boxed{}" in (prompts.solver.system or "")
