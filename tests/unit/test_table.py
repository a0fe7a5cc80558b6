"""The comparison of variants: every one can be run, and what is written of them is what they came to."""

import math

import pytest

from jobs.table import OPTIONS, VARIANTS, Variant, config_of, jobs
from jobs.table_results import ACCURACIES, CURRICULUM, LABELS, interval, table
from pipeline.inputs import check_inputs


@pytest.mark.parametrize("variant", [*VARIANTS, *OPTIONS], ids=lambda variant: variant.name)
def test_every_variant_differs_from_r_zero_in_its_own_settings_alone(variant: Variant) -> None:
    plain, config = config_of(VARIANTS[0], 3), config_of(variant, 3)
    check_inputs(config)
    assert variant.name in LABELS
    assert config.seed == 3
    assert config.name == f"{variant.name}-3"
    assert (config.solver, config.evaluation, config.model) == (plain.solver, plain.evaluation, plain.model)
    assert (config == plain) == (variant == VARIANTS[0])


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
    lines = table(found, ACCURACIES).splitlines()[2:]
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| base", "2", "50.0 ± 0.0"],
        ["| R-Zero, round 1", "2", "50.0 ± 0.0"],
        ["| no filter, round 1", "1", "50.0"],
    ]
    assert len(table(found, CURRICULUM).splitlines()) == 2 + 2  # the base has no curriculum


def test_seeds_come_one_after_another() -> None:
    assert [seed for _, seed in jobs(VARIANTS, range(2))] == [0] * len(VARIANTS) + [1] * len(VARIANTS)
