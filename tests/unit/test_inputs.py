"""What is checked before a run starts: lengths that do not fit, GPUs that are not there, files that a cluster has to find."""

import shlex
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from actors.reward.sandbox import AnswerSandbox
from conf.errors import ConfigError
from conf.load import ROOT, list_override, load_config, resolve
from jobs.round import parse, settings
from jobs.submit import entrypoint, prompts_on_cluster, relocations
from pipeline.domain.codec import PromptCodec
from pipeline.domain.graders.find import find_grader
from pipeline.domain.oracle import load_oracle
from pipeline.domain.prompt_file import OWN, load_prompts
from pipeline.domain.sets import find_sets
from pipeline.inputs import check_inputs
from pipeline.store.benchmarks import read_problems


@pytest.mark.parametrize("profile", ["tiny", "table"])
def test_every_prompt_of_the_tiny_profiles_leaves_room_for_a_response(profile: str) -> None:
    config = load_config(profile)
    codec = PromptCodec(config, load_prompts(resolve(config.prompts)), AutoTokenizer.from_pretrained(ROOT / config.model.path))
    codec.check()
    (heldout,) = find_sets(config.evaluation.sets)
    longest = max(len(codec.problem(heldout, problem)) for problem in read_problems(heldout))
    assert longest + config.sampling.max_tokens <= config.model.max_length
    assert not codec.fits("What is " + " + ".join(["7"] * config.model.max_length) + "?")


def test_a_challengers_prompt_that_fills_the_context_is_told() -> None:
    config = load_config(overrides=["prompts=conf/prompts/reasoning.yaml"])
    codec = PromptCodec(config, load_prompts(resolve(config.prompts)), AutoTokenizer.from_pretrained(ROOT / config.model.path))
    with pytest.raises(ConfigError, match="the Challenger's prompt takes"):
        codec.check()


def test_more_length_than_the_model_has_positions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.max_length=1024: assets/tiny-base has 512 positions; valid: at most that"):
        check_inputs(load_config(overrides=["model.max_length=1024"]))


def test_a_domain_of_ones_own_plugs_in() -> None:
    """The example: prompts, a grader, held-out problems and an oracle, none of which the loop knows of."""
    parts = [
        "prompts=examples/chemistry.yaml",
        "reward.grader=examples/chemistry.py:FormulaGrader",
        "evaluation.oracle=examples.chemistry",
    ]
    config = load_config("tiny", [*parts, "evaluation.sets=[examples/chemistry.jsonl]", "model.max_length=512"])
    inputs = check_inputs(config)
    assert "formula" in inputs.prompts.challenger.user
    (chemistry,) = find_sets(config.evaluation.sets)
    oracle, grader = load_oracle(config.evaluation.oracle), find_grader(config.reward.grader)
    assert oracle is not None
    problems = read_problems(chemistry)
    assert [oracle.true_answer(problem.question) for problem in problems] == [problem.answer for problem in problems]
    for problem in problems:
        response = grader.extract(f"It is \\boxed{{\\ce{{{problem.answer}}}}}.")
        assert response is not None
        assert grader.equivalent(grader.canonical(response), grader.canonical(problem.answer)) is True
    with AnswerSandbox(workers=1) as sandbox:
        assert sandbox.vote([r"\ce{Ca(OH)2}", "CaO2H2", "CaO"], grader).count == 2


def test_an_oracle_that_fails_on_a_question_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = """
def true_answer(question):
    return {"six?": "6"}[question]


def difficulty(question):
    return "hard"
"""
    (tmp_path / "breaking_oracle.py").write_text(functions)
    monkeypatch.syspath_prepend(tmp_path)
    oracle = load_oracle("breaking_oracle")
    assert oracle is not None
    with pytest.warns(UserWarning, match=r"evaluation\.oracle=breaking_oracle: true_answer raised KeyError: 'two\?'") as warned:
        assert [oracle.true_answer(question) for question in ("six?", "two?", "ten?")] == ["6", None, None]
    assert len(warned) == 1  # said once
    with pytest.warns(UserWarning, match="difficulty returned 'hard'; valid: int or None; question: six"):
        assert oracle.difficulty("six?") is None


def test_a_scorer_of_ones_own_has_a_path_that_a_job_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.py").touch()
    moved = relocations(load_config(overrides=["reward.scorers=[triangular,short.py:short]"]))
    assert f'reward.scorers=["triangular", "{tmp_path}/short.py:short"]' in list(moved)
    example = "reward.scorers=[triangular,examples/length_scorer.py:short]"
    assert not [each for each in relocations(load_config(overrides=[example])) if each.startswith("reward.scorers")]
    assert not [each for each in relocations(load_config()) if each.startswith("reward.")]
    Path("mine.py").touch()
    assert f"reward.grader={tmp_path}/mine.py:Mine" in list(relocations(load_config(overrides=["reward.grader=mine.py:Mine"])))


def test_lists_reach_a_job_whatever_their_files_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a,b", "a b", """it's "a\"""", "[a]", "{a: b}", "a: b", "a #b", "*a", "null", "\\x41", "ü", "\N{GRINNING FACE}"]
    sets = [f"{name}.jsonl" for name in names]
    for name in sets:
        Path(name).touch()
    told = [list_override("evaluation.sets", ["math500", *sets])]
    assert load_config(overrides=told).evaluation.sets == ["math500", *sets]
    command, config = entrypoint(parse(["--set", *told], "jobs.submit"))
    assert config.evaluation.sets == ["math500", *(str(tmp_path / name) for name in sets)]
    job = parse(shlex.split(command)[3:], "jobs.round")
    assert settings(job).evaluation.sets == config.evaluation.sets


@pytest.mark.parametrize(
    ("file", "path"), [("../data/q.txt", "{root}/conf/mine.yaml"), ("q.txt", "conf/mine.yaml"), (OWN, "conf/mine.yaml")]
)
def test_prompts_have_a_path_from_which_a_job_finds_their_examples(
    file: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.submit.ROOT", tmp_path)
    document = yaml.safe_load(resolve("conf/prompts/tiny.yaml").read_text())
    document["challenger"]["examples"] = {"file": file, "per_prompt": 1}
    for name, text in (("conf/mine.yaml", yaml.safe_dump(document)), ("conf/q.txt", "1 + 1?\n"), ("data/q.txt", "1 + 1?\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    config = load_config(overrides=[f"prompts={tmp_path}/conf/mine.yaml"])
    assert prompts_on_cluster(config) == path.format(root=tmp_path)
    (tmp_path / "conf" / "mine.yaml").write_text("challenger: {}")
    with pytest.raises(ConfigError, match=r"^prompts=.*: prompts file .* the file must"):
        entrypoint(parse(["--set", f"prompts={tmp_path}/conf/mine.yaml"], "jobs.submit"))


def test_a_grader_that_is_not_there_is_told_by_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"reward\.grader: chemistry: no such grader; valid: math, choice, exact, or"):
        check_inputs(load_config(overrides=["reward.grader=chemistry"]))
