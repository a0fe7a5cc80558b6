"""Which weights a phase starts from, and who answers the curriculum."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.run import Run


def make_run(policies: str) -> Run:
    unused: Any = None
    config: Any = SimpleNamespace(policies=policies)
    return Run(config, unused, unused, unused, unused, unused, unused, unused, unused)


@pytest.mark.parametrize(
    ("policies", "challenger", "solver"),
    [
        ("separate", ("challenger", 2), ("solver", 2)),
        # One model: the Challenger's phase takes the Solver further, and the Solver's phase the result.
        ("shared", ("solver", 2), ("challenger", 3)),
    ],
)
def test_a_phase_starts_from_the_roles_own_last_weights_or_from_the_one_models(
    policies: str, challenger: tuple[str, int], solver: tuple[str, int]
) -> None:
    run = make_run(policies)
    assert run.start_of("challenger", 3) == challenger
    assert run.start_of("solver", 3) == solver
