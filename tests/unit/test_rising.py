"""The factorial is balanced, its effects are recovered, and the stop rule picks a round without a label."""

from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.load import load_config, preset_path, read_yaml
from conf.settings import flatten
from jobs.outcomes import OUTCOMES, lost_points, main_effects, outcomes
from jobs.plans import Measures, Results, Variant
from jobs.rising import ABLATIONS, FACTORIAL, FACTORS, LARGER_PHASE, PRESET, RISING, RUNS, main
from jobs.rising_summary import curves_section, effects_section, stop_section
from pipeline.algorithm.stop_rule import picked_round, trust
from pipeline.inputs import check_inputs
from pipeline.store.tables import CurriculumRow, write_table
from pipeline.summary import stop_advice
from pipeline.types import AnsweredQuestion, Vote

SETTINGS = [tuple(bit == "1" for bit in run.name) for run in RUNS]
SEEDS = [run.seeds.start for run in RUNS]


def test_each_switch_is_on_in_half_of_the_runs_and_of_each_seeds() -> None:
    assert len(set(SETTINGS)) == 32
    for factor in range(len(FACTORS)):
        assert sum(settings[factor] for settings in SETTINGS) == 16
        for seed in range(4):
            assert [settings[factor] for settings, own in zip(SETTINGS, SEEDS, strict=True) if own == seed].count(True) == 4
    for pair in combinations(range(len(FACTORS)), 2):  # independent of one another
        assert sum(settings[pair[0]] and settings[pair[1]] for settings in SETTINGS) == 8


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_has_its_switches_alone(run: Any) -> None:
    config = FACTORIAL.config(run, run.seeds.start)
    check_inputs(config)
    used = [
        (config.reward.scorers, config.curriculum.keep) == (["zone", "repetition"], [4, 7]), config.curriculum.confident < 1,
        config.curriculum.agreement > 0, config.solver.verdicts > 0, config.curriculum.replay > 0,
        config.grpo.reference == "base",
    ]  # fmt: skip
    assert "".join(str(int(each)) for each in used) == run.name
    assert config.solver.steps == 48
    assert run.labels == "votes"
    assert FACTORIAL.relabel is RISING.relabel is None


def made(effects: dict[int, float]) -> Results:
    """Runs of six rounds whose sampled accuracy after round 6 has these effects by factor, and 0.1 for each seed."""
    results: dict[str, dict[int, dict[int, Measures]]] = {}
    for settings, run, seed in zip(SETTINGS, RUNS, SEEDS, strict=True):
        last = 0.5 + 0.1 * seed + sum(effect for factor, effect in effects.items() if settings[factor])
        others = {"heldout greedy": 0.9, "heldout majority": 0.9, "labels right": 0.5}
        results[run.name] = {each: {seed: others | {"heldout sampled": last}} for each in range(1, 7)}
    return results


def test_the_effects_of_the_switches_are_recovered() -> None:
    results = made({0: 0.03, 4: -0.02})
    values = [(outcomes(results, run.name, seed) or {})["sampled, round 6"] for run, seed in zip(RUNS, SEEDS, strict=True)]
    effects = main_effects(SETTINGS, SEEDS, values)
    assert effects is not None
    assert [centre for centre, _ in effects] == pytest.approx([0.03, 0, 0, 0, -0.02, 0], abs=1e-9)
    values[0] += 0.04  # a single run: its share of each effect, and an interval that contains it
    effects = main_effects(SETTINGS, SEEDS, values)
    assert effects is not None
    assert all(abs(centre - true) <= half for (centre, half), true in zip(effects, (0.03, 0, 0, 0, -0.02, 0), strict=True))
    assert "| zone | +3.0 ± 0.0 |" in effects_section(results, RUNS, FACTORS)


def test_the_runs_have_their_own_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--factorial", "--seeds", "3"]) == 2
    assert "each of the 32 runs has its own seed" in capsys.readouterr().err


def test_too_few_runs_have_no_effects() -> None:
    assert main_effects(SETTINGS[:9], SEEDS[:9], [0.5] * 9) is None
    few = {name: rounds for place, (name, rounds) in enumerate(made({}).items()) if place < 5}
    assert "5 of 32 runs" in effects_section(few, RUNS, FACTORS)
    assert "Too few runs" in effects_section(few, RUNS, FACTORS)
    assert "Too few runs" in effects_section({}, RUNS, FACTORS)
    assert len(OUTCOMES) == 5


def question(agreement: float | None, invalid: float = 0.0) -> tuple[AnsweredQuestion, float | None]:
    return AnsweredQuestion("x?", (), Vote("1", 4, 8), invalid), agreement


def test_trust_is_of_the_labels_that_the_previous_solver_was_asked_about() -> None:
    assert trust([question(0.5), question(1.0, 0.5), question(None)]) == 0.5
    assert trust([question(None)]) is None
    assert trust([]) is None


@pytest.mark.parametrize(
    ("trusts", "best"),
    [([None], 1), ([None, 0.9, 0.8], 3), ([None, 0.9, 0.39, 0.9], 2), ([None, 0.1, 0.4], 3), ([0.1, 0.1], 2)],
)
def test_the_best_round_is_the_last_before_labels_are_not_trusted(trusts: list[float | None], best: int) -> None:
    assert picked_round(trusts, 0.4) == best


def test_the_command_says_what_each_threshold_loses() -> None:
    sampled, trusts = (0.8, 0.85, 0.84, 0.82, 0.8, 0.79), (None, 0.7, 0.5, 0.3, 0.2, 0.1)
    rounds = {
        number: {0: {"heldout sampled": value} | ({} if known is None else {"trust": known})}
        for number, (value, known) in enumerate(zip(sampled, trusts, strict=True), start=1)
    }
    results = {"rising": rounds, "larger": {number: {0: {"heldout sampled": 0.8}} for number in range(1, 7)}}  # no signals
    (lost,) = lost_points(results, 0.4)
    assert lost == pytest.approx({"rule": 0.01, "last": 0.06, "round 2": 0.0})
    assert "| 0.30, the setting | 1 | 3.0 | 6.0 | 0.0 |" in stop_section(results)
    assert "| 0.60 | 1 | 0.0 | 6.0 | 0.0 |" in stop_section(results)
    assert "No run has its signals yet" in stop_section({"larger": results["larger"]})


def test_curves_are_means_over_the_runs_of_all_rounds() -> None:
    others = {"heldout greedy": 0.9, "heldout majority": 0.8, "labels right": 0.5}
    rounds = {
        each: {seed: others | {"heldout sampled": 0.7 + 0.02 * each + 0.1 * seed} for seed in (0, 1)} for each in range(1, 7)
    }
    for each in range(1, 5):
        rounds[each][2] = others | {"heldout sampled": 0.0}  # not finished
    page = curves_section({"rising": rounds, "larger": {1: rounds[1]}}, [PRESET, LARGER_PHASE])
    assert "| preset rising | 2 | 77.0 | 79.0 | 81.0 | 83.0 | 85.0 | 87.0 | 90.0 | 80.0 | 50.0 | 6.0 ± 0.0 |" in page
    assert "larger" not in page
    assert "No run is finished yet" in curves_section({"larger": {1: rounds[1]}}, [LARGER_PHASE])


@pytest.mark.parametrize(("agreement", "says"), [(0, False), (1, True)])
def test_a_run_says_when_another_round_will_not_help(tmp_path: Path, agreement: int, says: bool) -> None:
    config = load_config("tiny", [f"curriculum.agreement={agreement}"])
    for number, share in ((1, None), (2, 0.75), (3, 0.25)):
        item, _ = question(share)
        write_table(tmp_path / str(number) / "curriculum.parquet", CurriculumRow, [CurriculumRow(item, True, share)])
    run: Any = SimpleNamespace(config=config, state=SimpleNamespace(round_folder=lambda number: tmp_path / str(number)))
    assert stop_advice(run, 1) is None
    assert stop_advice(run, 2) is None
    advice = stop_advice(run, 3)
    assert (advice is not None) == says
    if advice is not None:
        assert "the previous Solver and the verdicts support 25% of the labels of round 3" in advice
        assert "The best round is 2" in advice


def test_the_plan_runs_the_preset_as_it_is_written() -> None:
    config = RISING.config(PRESET, 0)
    used = dict(flatten(asdict(config)))
    assert {name: used[name] for name, _ in read_yaml(preset_path("rising"))} == dict(read_yaml(preset_path("rising")))
    assert (config.solver.members, config.curriculum.keep, config.challenger.start) == (4, [4, 7], "base")
    assert config.curriculum.agreement == 1  # the stop rule has its signal
    assert (PRESET.rounds, list(PRESET.seeds)) == (6, [0, 1, 2, 3, 4]) == (LARGER_PHASE.rounds, list(LARGER_PHASE.seeds))
    assert RISING.name == "rising"
    assert PRESET.name == "rising"  # {"rising": {round: {seed: ...}}} in docs/results/rising.json


CHANGED: dict[str, dict[str, Any]] = {
    "untrained-challenger": {"challenger.steps": 0},
    "no-repetition-penalty": {"reward.scorers": ["triangular"]},
    "no-filter": {"curriculum.keep": [], "curriculum.delta": 0.5, "curriculum.agreement": 0},
    "one-model": {"policies": "shared", "challenger.start": "previous"},  # one model has no Challenger to begin anew
    "official-reward": {"reward.scorers": ["official"]},
}


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda variant: variant.name)
def test_an_ablation_is_the_preset_but_for_its_own_part(ablation: Variant) -> None:
    preset, config = (dict(flatten(asdict(RISING.config(variant, 0)))) for variant in (PRESET, ablation))
    changed = {name: value for name, value in config.items() if value != preset[name]}
    assert changed == CHANGED[ablation.name] | {"name": f"{ablation.name}-0"}
    check_inputs(RISING.config(ablation, 0))
