"""The comparison of variants: every one can be run, and what is written of them is what they came to."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from conf.errors import ConfigError
from conf.load import ROOT
from conf.schema import Config
from jobs import plans
from jobs.lanes import claim, take_base_evaluation
from jobs.plans import Plan, Variant
from jobs.table import OPTIONS, TABLE, VARIANTS
from jobs.table_results import ACCURACIES, CURRICULUM, differences, interval, table
from pipeline.inputs import check_inputs
from pipeline.store.manifest import EvaluationStage, Manifest, Round, read_manifest, write_manifest
from pipeline.store.state import RunState


@pytest.mark.parametrize("variant", [*VARIANTS, *OPTIONS], ids=lambda variant: variant.name)
def test_every_variant_differs_from_r_zero_in_its_own_settings_alone(variant: Variant) -> None:
    plain, config = TABLE.config(VARIANTS[0], 3), TABLE.config(variant, 3)
    check_inputs(config)
    assert config.seed == 3
    assert config.name == f"{variant.name}-3"
    assert (config.solver, config.evaluation, config.model) == (plain.solver, plain.evaluation, plain.model)
    assert (config == plain) == (variant.name == VARIANTS[0].name)


LABELS = {"r-zero": "R-Zero", "no-filter": "no filter"}


def test_ray_is_not_imported_before_a_lane_prepares_its_environment() -> None:
    code = "import sys, jobs.ceiling, jobs.rising, jobs.table, jobs.table_results; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


def test_the_intervals_are_students() -> None:
    centre, half = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert centre == 3.0
    assert half == pytest.approx(2.776445 * math.sqrt(2.5) / math.sqrt(5))  # by the tables: t(0.975; 4), and the seeds' deviation
    assert math.isnan(interval([1.0])[1])


def test_the_table_has_a_line_for_each_round_and_one_for_the_base() -> None:
    accuracies = dict.fromkeys(ACCURACIES.values(), 0.5)
    of_round = accuracies | dict.fromkeys(CURRICULUM.values(), 0.25)
    found = {
        "r-zero": {0: {0: accuracies, 1: accuracies}, 1: {0: of_round, 1: of_round}},
        "no-filter": {0: {0: accuracies}, 1: {0: of_round}},
    }
    lines = table(found, ACCURACIES, LABELS).splitlines()[2:]
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| base", "2", "50.0 ± 0.0"],
        ["| R-Zero, round 1", "2", "50.0 ± 0.0"],
        ["| no filter, round 1", "1", "50.0"],
    ]
    assert len(table(found, CURRICULUM, LABELS).splitlines()) == 2 + 2  # the base has no curriculum


def test_gains_are_between_the_same_rounds_and_seeds() -> None:
    def of(*values: float) -> dict[int, dict[str, float]]:
        return {seed: dict.fromkeys(ACCURACIES.values(), value) for seed, value in enumerate(values)}

    found = {"r-zero": {0: of(0.1), 1: of(0.6, 0.8, 0.9), 2: of(0.9)}, "no-filter": {0: of(0.1), 1: of(0.5, 0.7)}}
    (line,) = differences(found, "r-zero", LABELS).splitlines()[2:]
    assert line.split(" | ")[:3] == ["| over no filter, round 1", "2", "10.0 ± 0.0"]


def test_seeds_come_one_after_another() -> None:
    assert [seed for _, seed in TABLE.jobs(2)] == [0] * len(VARIANTS) + [1] * len(VARIANTS)


def test_the_main_comparison_has_seven_seeds_and_the_others_five() -> None:
    seeds: dict[str, list[int]] = {}
    for variant, seed in TABLE.jobs():
        seeds.setdefault(variant.name, []).append(seed)
    assert seeds.pop("r-zero") == seeds.pop("untrained-challenger") == list(range(7))
    assert all(each == list(range(5)) for each in seeds.values())


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = TABLE.config(VARIANTS[1], 0)
    config.runs_dir = str(tmp_path)
    return config


def test_a_run_that_another_lane_is_at_is_left_to_it(config: Config) -> None:
    with RunState(config):
        assert claim(config) is None
    state = claim(config)
    assert state is not None
    with state:
        state.round(1).evaluation.finished = True
        state.save()
    config.solver.steps += 1
    with pytest.raises(ConfigError, match=r"solver\.steps"):
        claim(config)


def test_the_base_is_measured_once_for_all_variants_of_a_seed(config: Config, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with RunState(config) as state:
        take_base_evaluation(state, other)
        assert not state.round(0).evaluation.finished
        (other / "round-0" / "evaluation").mkdir(parents=True)
        (other / "round-0" / "evaluation" / "heldout.parquet").write_text("rows")
        measured = EvaluationStage(True, {"heldout": {"sampled": 0.5}})
        write_manifest(other, Manifest("other", {}, rounds={0: Round(evaluation=measured)}))
        take_base_evaluation(state, other)
        assert state.round(0).evaluation == measured
        assert (state.round_folder(0) / "evaluation" / "heldout.parquet").read_text() == "rows"


def test_a_manifest_is_read_again_only_where_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def reading(folder: Path) -> Manifest:
        read.append(folder.name)
        return read_manifest(folder)

    monkeypatch.setattr(plans, "ROOT", tmp_path)
    monkeypatch.setattr(plans, "read_manifest", reading)
    variant = Variant("a", "A", rounds=3, seeds=range(3))
    plan = Plan("made", "jobs.made", "make made", "Made", (variant,), variant, "made")
    manifests = {seed: Manifest(f"a-{seed}", {}, rounds={1: Round()}) for seed in (0, 1)}  # the third run has not begun

    def finish(seed: int, number: int) -> None:
        manifests[seed].rounds[number] = Round(evaluation=EvaluationStage(finished=True))
        write_manifest(plan.run_folder(variant, seed), manifests[seed])

    finish(0, 1)
    finish(1, 0)  # the base's, which is no round
    assert [plan.finished_rounds(plan.jobs()) for _ in range(3)] == [1, 1, 1]
    assert sorted(read) == ["a-0", "a-1"]
    finish(1, 1)
    assert [plan.finished_rounds(plan.jobs()) for _ in range(3)] == [2, 2, 2]
    assert sorted(read) == ["a-0", "a-1", "a-1"]
