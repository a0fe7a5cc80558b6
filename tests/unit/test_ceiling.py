"""The experiment with right labels: its plan, what the oracle does to the rows, and what it says of the results."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import jobs.table_results
from conf.errors import ConfigError
from conf.settings import flatten, help_text
from jobs.ceiling import PLAN, REFERENCE, RELABEL, WARNING, by_oracle, posed
from jobs.ceiling_summary import SCREENED, summary
from jobs.outcomes import OUTCOMES, outcomes
from jobs.plans import Measures, Plan, Results, Variant
from jobs.table_results import ACCURACIES, CURRICULUM, collect, recorded, write_records, write_results
from pipeline.domain.tiny.read import difficulty, is_held_out, true_answer
from pipeline.inputs import check_inputs
from pipeline.store.state import RunState
from pipeline.store.tables import CurriculumRow
from pipeline.types import AnsweredQuestion, Vote

SUM = "What is 2 + 3?"


def row(label: str, question: str | None = SUM, kept: bool = True) -> CurriculumRow:
    return CurriculumRow(AnsweredQuestion(question, (label,), Vote(label, 5, 10)), kept)


@pytest.mark.parametrize("variant", PLAN.variants, ids=lambda variant: variant.name)
def test_a_change_is_one_thing(variant: Variant) -> None:
    plain, config = PLAN.config(REFERENCE, 1), PLAN.config(variant, 1)
    check_inputs(config)
    named = {override.partition("=")[0] for override in variant.overrides} - {"curriculum.part", "grpo.updates_per_batch"}
    assert len(named) + (variant.labels != REFERENCE.labels) <= 1
    assert (config.challenger, config.evaluation, config.reward) == (plain.challenger, plain.evaluation, plain.reward)
    changed = {name for name, value in flatten(asdict(config)) if value != dict(flatten(asdict(plain)))[name]} - {"name"}
    assert changed == {override.partition("=")[0] for override in variant.overrides}
    assert variant.rounds >= SCREENED
    assert variant.seeds == REFERENCE.seeds
    assert variant.labels in RELABEL


def test_the_names_are_distinct_and_begin_with_the_reference() -> None:
    names = [variant.name for variant in PLAN.variants]
    assert len(set(names)) == len(names)
    jobs = PLAN.jobs()
    assert jobs[0] == (REFERENCE, 0)
    seeds = [seed for _, seed in jobs]
    assert seeds == sorted(seeds)


def test_what_the_oracle_does_to_the_rows() -> None:
    rows = [row("5"), row("6"), row("7", "What is it?"), row("6", kept=False), row("5", None, kept=False)]
    assert RELABEL["votes"](rows) == rows
    assert [each.kept for each in by_oracle(rows, "well-posed")] == [True, True, False, False, False]
    assert [each.kept for each in by_oracle(rows, "right")] == [True, False, False, False, False]
    corrected = by_oracle(rows, "corrected")
    assert [each.kept for each in corrected] == [True, True, False, False, False]
    assert [each.answered.vote for each in corrected] == [Vote(answer, 5, 10) for answer in ("5", "5", "7", "6", "5")]


def test_questions_of_the_domains_own_in_place_of_the_rows() -> None:
    made = posed([row("5", f"What is 2 + {number}?", kept=number > 1) for number in range(40)] + [row("5", None, kept=False)])
    assert len(made) == 40
    assert len({each.answered.question for each in made}) > 35
    assert all(each.kept for each in made)
    assert not any(is_held_out(each.answered.question or "") for each in made)
    assert [each.answered.vote.answer for each in made] == [true_answer(each.answered.question or "") for each in made]
    efforts = {difficulty(each.answered.question or "") for each in made}
    assert min(filter(None, efforts)) <= 3
    assert max(filter(None, efforts)) >= 8


def test_no_setting_reaches_the_oracles_labels_and_no_other_command_resumes_such_a_run(tmp_path: Path) -> None:
    assert "relabel" not in help_text()
    config = PLAN.config(REFERENCE, 0)
    config.runs_dir = str(tmp_path)
    prints = {"prompts": "x"}
    with RunState(config) as state:
        state.refuse_other_files(prints | {"labels": "corrected"})
    with RunState(config) as state:
        state.refuse_other_files(prints | {"labels": "corrected"})
        for other in (prints, prints | {"labels": "votes"}):
            with pytest.raises(ConfigError, match="labels"):
                state.refuse_other_files(other)


def run_of(last: float, greedy: float = 0.9) -> dict[int, Measures]:
    """Six rounds that rise by a point each to `last`."""
    others = {"heldout greedy": greedy, "heldout_hard sampled": 0.6, "heldout majority": 0.9, "labels right": 1.0}
    return {each: {"heldout sampled": last - 0.01 * (6 - each)} | others for each in range(7)}


def results_of(**runs: list[dict[int, Measures]]) -> Results:
    return {
        name.replace("_", "-"): {each: {seed: run[each] for seed, run in enumerate(of_seeds) if each in run} for each in range(7)}
        for name, of_seeds in runs.items()
    }


def test_the_summary_names_the_limit() -> None:
    same, better = [run_of(0.85), run_of(0.86)], [run_of(0.88, 0.93), run_of(0.8901, 0.93)]
    found = results_of(corrected=same, batch_320=better, linear=[run_of(0.8), run_of(0.9)], steps_16=[run_of(0.80), run_of(0.81)])
    made = dict(zip(OUTCOMES, (0.86, pytest.approx(0.01), 0.0, 0.0, 1.0), strict=True))
    assert outcomes(found, "corrected", 1) == made
    text = summary(found, PLAN)
    assert "raises sampled accuracy after round 3 most: batch of 320 (+3.0 points). What lowers it most: 16 steps (-5.0" in text
    assert "| batch of 320 | 2 | +3.0 ± 0.1 | +0.0 ± 0.0 | +3.0 ± 0.0 | +0.0 ± 0.0 |" in text
    assert "learning rate falling to 0" in text  # no effect beyond its interval, and in the table all the same
    assert f"{2 * len(PLAN.variants) - 8} of {2 * len(PLAN.variants)} runs are missing" in text


def test_the_summary_says_nothing_before_there_is_something_to_say() -> None:
    assert "Nothing can be said yet" in summary({}, PLAN)
    unfinished = [{each: values for each, values in run_of(0.9).items() if each < SCREENED}]
    assert "Nothing can be said yet" in summary(results_of(corrected=[run_of(0.8)], linear=unfinished), PLAN)
    one_seed = results_of(corrected=[run_of(0.8)], linear=[run_of(0.9)])  # which has no interval
    assert "Nothing can be said yet" in summary(one_seed, PLAN)
    two = results_of(corrected=[run_of(0.8), run_of(0.8)], linear=[run_of(0.7), run_of(0.9)])
    assert "None of 1 changes with two seeds or more has an effect" in summary(two, PLAN)


def test_results_are_appended_and_recorded_runs_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.table_results, "RESULTS", tmp_path)
    variant = Variant("corrected", "x", 6)
    plan = Plan("made", "jobs.made", "make made", "Made", (variant,), variant, "a folder that does not exist", appends=True)
    assert not recorded(plan, (variant, 0))
    found = results_of(corrected=[run_of(0.8), {each: values for each, values in run_of(0.9).items() if each < 6}])
    (tmp_path / "made.json").write_text(json.dumps(found))
    assert collect(plan, plan.jobs()) == {name: dict(rounds) for name, rounds in found.items()}
    assert [seed for seed in range(3) if recorded(plan, (variant, seed))] == [0]
    write_records(plan, collect(plan, plan.jobs()))
    assert json.loads((tmp_path / "made.json").read_text()) == json.loads(json.dumps(found))


def test_the_page_is_written_from_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.table_results, "RESULTS", tmp_path)
    plan = replace(PLAN, folder="a folder that does not exist")
    write_results(plan, plan.jobs())
    assert not list(tmp_path.iterdir())  # nothing is finished
    curve = {name: 0.5 for name in (*ACCURACIES.values(), *CURRICULUM.values())}
    runs = [{each: curve | values for each, values in run_of(last).items()} for last in (0.85, 0.86)]
    found = results_of(corrected=runs, linear=runs)
    (tmp_path / "ceiling.json").write_text(json.dumps(found))
    write_results(plan, plan.jobs())
    assert {path.name for path in tmp_path.iterdir()} == {"ceiling.json", "ceiling.md", "ceiling.png"}
    page = (tmp_path / "ceiling.md").read_text()
    assert WARNING in page
    assert "None of 1 changes with two seeds or more has an effect" in page
    assert "| larger phase, labels corrected, round 6 | 2 |" in page
    assert json.loads((tmp_path / "ceiling.json").read_text()) == json.loads(json.dumps(found))
