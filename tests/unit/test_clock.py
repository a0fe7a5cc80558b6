"""Where a round's wall time is said to go."""

import pytest

from pipeline import run
from pipeline.run import Clock


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose time goes by when a test says so."""
    time = [0.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: sum(time))
    return time


def test_parts_nest_and_the_rest_is_waiting(passed: list[float]) -> None:
    clock = Clock()
    passed.append(1)
    with clock.part("sampling"):
        passed.append(2)
        with clock.part("transfer"):
            passed.append(4)
        passed.append(8)
    passed.append(16)
    assert clock.take() == {"waiting": 17, "sampling": 10, "transfer": 4}
    passed.append(32)
    assert clock.take() == {"waiting": 32}


def test_only_the_wait_for_items_is_charged(passed: list[float]) -> None:
    def items():
        for item in range(3):
            passed.append(1)
            yield item
        passed.append(1)

    clock = Clock()
    for _ in clock.during("sampling", items()):
        passed.append(10)
    assert clock.take() == {"waiting": 30, "sampling": 4}
