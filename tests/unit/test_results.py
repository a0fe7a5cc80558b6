"""Figures of policies: what they are known by, where they are kept, and what an interruption leaves."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from actors.cluster import ROOT
from conf.errors import ConfigError
from conf.load import load_config
from conf.schema import Config, EvaluationConfig
from jobs.evaluate import measuring_inputs, results_of, sound, with_room
from pipeline.domain.problems import Problem, checksum
from pipeline.domain.sets import BenchmarkSet, find_sets
from pipeline.errors import DamagedError
from pipeline.inputs import check_inputs
from pipeline.measure import accuracy_by_band, parts_of
from pipeline.observe.report.data import Accuracy, read_run
from pipeline.observe.report.page import render
from pipeline.observe.scores import Scores, published_scores, read_scores, summary
from pipeline.policies import Target
from pipeline.results import Asked, FolderResults, RoundResults, held
from pipeline.store.benchmarks import read_problems
from pipeline.store.manifest import MeasuredSet, read_manifest, write_manifest
from pipeline.store.scores import ScoreRow
from pipeline.store.state import RunState
from tests.made_runs import made_config, write_run

SET = BenchmarkSet("quiz", path="quiz.jsonl")
PROBLEMS = [Problem(f"{k} + 1?", str(k + 1), str(k)) for k in range(3)]
QUIZ = Asked(SET, PROBLEMS)
MEASURED = MeasuredSet(3, 0, None, "math", "math", responses=3, protocol=SET.protocol)
BASE = Target("tiny-base", str(ROOT / "assets" / "tiny-base"))


def recorded(folder: Path, config: Config) -> FolderResults:
    results = FolderResults(folder, BASE, config)
    results.path(QUIZ).touch()
    results.record(QUIZ, {}, MEASURED)
    return results


def test_a_policy_is_measured_where_the_file_of_a_scorer_is_gone() -> None:
    config = load_config("tiny", ["reward.scorers=[gone.py:score]"])
    with pytest.raises(ConfigError, match=r"gone\.py"):
        check_inputs(config)
    assert measuring_inputs(config).base_path == check_inputs(load_config()).base_path
    assert config.reward.scorers == ["gone.py:score"]


def test_figures_are_known_to_who_would_measure_the_same(tmp_path: Path) -> None:
    config = load_config()
    recorded(tmp_path, config)
    assert FolderResults(tmp_path, BASE, load_config()).known(QUIZ) == MEASURED


@pytest.mark.parametrize(
    "change",
    [
        "evaluation.samples=2", "evaluation.limit=2", "evaluation.temperature=0.5", "seed=1", "sampling.max_tokens=50",
        "model.max_length=300", "prompts=conf/prompts/reasoning.yaml",
    ],
)  # fmt: skip
def test_figures_under_other_settings_are_measured_beside_them(tmp_path: Path, change: str) -> None:
    first = recorded(tmp_path, load_config())
    other = recorded(tmp_path, load_config(overrides=[change]))
    assert other.path(QUIZ) != first.path(QUIZ)
    assert first.known(QUIZ) == other.known(QUIZ) == MEASURED  # neither took the other's place


@pytest.mark.parametrize(
    "definition", [replace(SET, grader="exact"), replace(SET, system="Be brief."), replace(SET, max_tokens=9)]
)
def test_a_set_that_is_asked_or_graded_otherwise_is_another(tmp_path: Path, definition: BenchmarkSet) -> None:
    results = recorded(tmp_path, load_config())
    assert results.known(Asked(definition, PROBLEMS)) is None
    assert results.known(Asked(SET, PROBLEMS[:2])) is None


def test_a_table_that_is_gone_is_measured_again_and_a_damaged_record_is_told(tmp_path: Path) -> None:
    results = recorded(tmp_path, load_config())
    results.path(QUIZ).unlink()
    assert results.known(QUIZ) is None
    for text in ("{", "[1]", '{"x": '):
        (tmp_path / "sets.json").write_text(text)
        with pytest.raises(ConfigError, match=r"sets\.json: damaged"):
            results.known(QUIZ)


def test_a_damaged_table_is_removed_and_measured_again(tmp_path: Path) -> None:
    results = recorded(tmp_path, load_config())
    table = write_run(made_config(tmp_path), 1) / "round-1" / "evaluation" / "heldout.parquet"
    content = table.read_bytes()
    results.path(QUIZ).write_bytes(content)
    assert sound(results, QUIZ)
    for damaged in (content[:-10], b"", bytes(byte ^ (place % 50 == 20) for place, byte in enumerate(content))):
        results.path(QUIZ).write_bytes(damaged)
        with pytest.raises(DamagedError, match="`make evaluate` measures the set again"):
            read_scores("p", {"quiz": (MEASURED, results.path(QUIZ))})
        assert not sound(results, QUIZ)
        assert results.known(QUIZ) is None
        assert not results.path(QUIZ).exists()


def test_two_evaluations_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with (
        held(tmp_path / "a"),
        pytest.raises(ConfigError, match=rf"another evaluation writes to .* \(process {os.getpid()} on host .+, evaluate\)"),
        held(tmp_path / "a"),
    ):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"), held(tmp_path / "file" / "a"):
        pass


def test_a_runs_set_keeps_its_problems(tmp_path: Path) -> None:
    config = Config(runs_dir=str(tmp_path), name="a")
    with RunState(config) as state:
        results = RoundResults(state, 1, config.evaluation)
        assert results.known(QUIZ) is None
        path = results.path(QUIZ)
        path.parent.mkdir(parents=True)
        path.touch()
        results.record(QUIZ, {"quiz": {"greedy": 0.5}}, replace(MEASURED, checksum=checksum(PROBLEMS)))
        assert results.known(QUIZ) is not None
        with pytest.raises(ConfigError, match="measured on other problems of that name in round 1"):
            results.known(Asked(SET, PROBLEMS[:2]))


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ({}, True), ({"samples": 8}, False), ({"samples": None}, False), ({"limit": 2}, False), ({"temperature": 0.5}, False),
        ({"top_p": 0.9}, False),
    ],
)  # fmt: skip
def test_a_round_is_measured_anew_under_settings_other_than_its_own(tmp_path: Path, asked: dict, known: bool) -> None:
    config = Config(runs_dir=str(tmp_path), name="a")
    measured = replace(MEASURED, samples=4, checksum=checksum(PROBLEMS))
    with RunState(config) as state:
        results = RoundResults(state, 1, EvaluationConfig(**{"samples": 4, **asked}))
        results.path(QUIZ).parent.mkdir(parents=True)
        results.path(QUIZ).touch()
        results.record(QUIZ, {}, replace(measured, temperature=1.0, top_p=1.0))
        assert (results.known(QUIZ) is not None) == known
    assert read_manifest(tmp_path / "a").round(1).evaluation.sets["quiz"] == measured


def test_greedy_answers_are_the_same_at_any_temperature() -> None:
    assert replace(MEASURED, temperature=1.0).alike(replace(MEASURED, temperature=0.5))
    assert not replace(MEASURED, temperature=1.0, samples=1).alike(replace(MEASURED, temperature=0.5, samples=1))


def test_figures_go_into_the_run_if_they_are_measured_as_its_own(tmp_path: Path) -> None:
    with RunState(Config(runs_dir=str(tmp_path / "runs"), name="a")):
        pass
    target = Target("a-1", BASE.path, tmp_path / "runs" / "a", 1)
    for told, kept in (
        ("evaluation.sets=[gsm8k]", RoundResults),
        ("evaluation.limit=2", FolderResults),
        ("model.max_length=300", FolderResults),  # as `with_room` has it for a set with longer answers
    ):
        config = load_config(str(tmp_path / "runs" / "a" / "config.yaml"), [told])
        with RunState(Config(runs_dir=str(tmp_path / "runs"), name="a")) as state:
            assert isinstance(results_of(target, state, tmp_path, config), kept)
            state.save()


def test_a_context_has_room_for_the_longest_answer_that_a_set_names() -> None:
    config = load_config("tiny", ["model.max_length=256"])
    inputs = measuring_inputs(config)
    lengths = [with_room(config, inputs, replace(SET, max_tokens=each)).model.max_length for each in (None, 8, 9000)]
    assert lengths == [256, 512, 512]  # the base has 512 positions
    assert config.model.max_length == 256


def test_a_set_whose_definition_was_edited_is_measured_anew_in_its_round(tmp_path: Path) -> None:
    with RunState(Config(runs_dir=str(tmp_path), name="a")) as state:
        results = RoundResults(state, 1, EvaluationConfig())
        results.path(QUIZ).parent.mkdir(parents=True)
        results.path(QUIZ).touch()
        bands = {"quiz": {"greedy": 0.5}, "quiz_hard": {"greedy": 0.1}, "quiz_2": {"greedy": 0.3}}
        results.record(QUIZ, bands, replace(MEASURED, checksum=checksum(PROBLEMS)))
        state.round(1).evaluation.sets["quiz_2"] = MEASURED
        for changed in ({"grader": "exact"}, {"system": "Be brief."}, {"max_tokens": 9}, {"prompt": "boxed"}):
            assert results.known(Asked(replace(SET, **changed), PROBLEMS)) is None
        assert results.known(QUIZ) is not None
        results.record(QUIZ, {"quiz": {"greedy": 0.6}}, replace(MEASURED, checksum=checksum(PROBLEMS)))
        # Without the band that it had before, and with another set's figures.
        assert state.round(1).evaluation.accuracies == {"quiz": {"greedy": 0.6}, "quiz_2": {"greedy": 0.3}}


def test_parts_of_something_else_are_not_joined(tmp_path: Path) -> None:
    table = tmp_path / "quiz.parquet"
    part = parts_of(table, "one policy") / "part-0000.parquet"
    part.touch()
    assert parts_of(table, "one policy") == part.parent
    assert part.exists()
    parts_of(table, "another policy")
    assert not part.exists()


def test_a_sets_own_figures_come_first_and_transfer_alone_is_the_set() -> None:
    def row(band: str | None, greedy: float) -> ScoreRow:
        return ScoreRow(band, None, greedy, None, 0, 0, False)

    assert list(accuracy_by_band("x", [row("transfer", 1.0), row("easy", 0.0)])) == ["x", "x_transfer", "x_easy"]
    assert accuracy_by_band("x", [row("transfer", 1.0)]) == {"x": {"greedy": 1.0}, "x_transfer": {"greedy": 1.0}}


def test_a_set_and_a_band_cannot_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"question": "1?", "answer": 1}\n{"question": "2?", "answer": 2, "band": "hard"}\n')
    (tmp_path / "x_hard.jsonl").write_text('{"question": "1?", "answer": 1}\n')
    (banded,) = find_sets([str(tmp_path / "x.jsonl")])
    assert [problem.band for problem in read_problems(banded)] == [None, "hard"]  # a column of some rows
    both = f"[{tmp_path}/x.jsonl,{tmp_path}/x_hard.jsonl]"
    with pytest.raises(ConfigError, match="x_hard is a set or a band of x and of x_hard"):
        check_inputs(load_config(overrides=[f"evaluation.sets={both}"]))


def test_scorers_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("def mine(batch, rewards):\n    return rewards\n")
    with pytest.raises(ConfigError, match=r"a\.py:mine has the name of another scorer"):
        check_inputs(load_config(overrides=[f"reward.scorers=[triangular,{tmp_path}/a.py:mine,{tmp_path}/b.py:mine]"]))


@pytest.mark.parametrize("change", ["sets", "ways", "count"])
def test_rounds_that_were_measured_differently_are_reported(tmp_path: Path, change: str) -> None:
    folder = write_run(made_config(tmp_path), 2)
    manifest = read_manifest(folder)
    table = folder / "round-2" / "evaluation" / "heldout.parquet"
    from pipeline.store.tables import EvaluationRow, read_table, write_table

    rows = read_table(table, EvaluationRow)
    if change == "sets":
        manifest.round(2).evaluation.sets["other"] = manifest.round(2).evaluation.sets.pop("heldout")
        table.rename(table.with_name("other.parquet"))
    if change == "ways":
        for number in (0, 1):
            write_table(folder / f"round-{number}" / "evaluation" / "heldout.parquet", EvaluationRow,
                        [replace(row, sampled=None, majority=None) for row in rows])  # fmt: skip
    if change == "count":
        write_table(table, EvaluationRow, rows[:2])
    write_manifest(folder, manifest)
    assert "2 rounds finished" in render(read_run(folder))


def scores_of(values: dict[str, float]) -> Scores:
    sets = {name: replace(MEASURED) for name in values}
    accuracies = {name: {"greedy": Accuracy(value, value, value, (value,))} for name, value in values.items()}
    return Scores("p", accuracies, sets)


def test_means_of_the_papers_table() -> None:
    math = dict(
        zip(
            ["math500", "gsm8k", "amc23", "minerva_math", "olympiadbench", "aime24", "aime25"],
            [0.7, 0, 0, 0, 0, 0, 0],
            strict=True,
        )
    )
    general = {"supergpqa": 0.3, "mmlu_pro": 0.2, "bbeh": 0.4}
    whole = summary(scores_of(math | general))
    assert whole["math_avg"] == pytest.approx(0.1)
    assert whole["overall"] == pytest.approx((0.1 + 0.3 + 0.2 + 0.4) / 4)
    assert summary(scores_of(math))["overall"] is None
    del math["aime25"]
    assert summary(scores_of(math | general))["math_avg"] is None
    assert summary(scores_of({"mine": 0.5}))["sets"]["mine"]["accuracy"] == 0.5


def test_the_papers_scores_are_found_by_base_model() -> None:
    assert published_scores("/models/Qwen3-8B-Base")["round 3"] == {"math_avg": 54.69, "overall": 38.73}
    assert published_scores("some/other") == {}
