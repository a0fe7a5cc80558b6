"""Where a round's wall time is said to go."""

import pytest

from pipeline.observe import clock
from pipeline.observe.clock import Clock


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose time goes by when a test says so."""
    time = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: sum(time))
    return time


def test_parts_nest_and_the_rest_is_waiting(passed: list[float]) -> None:
    made = Clock()
    passed.append(1)
    with made.part("sampling"):
        passed.append(2)
        with made.part("transfer"):
            passed.append(4)
        passed.append(8)
    passed.append(16)
    assert made.take() == {"waiting": 17, "sampling": 10, "transfer": 4}
    passed.append(32)
    assert made.take() == {"waiting": 32}


def test_only_the_wait_for_items_is_charged(passed: list[float]) -> None:
    def items():
        for item in range(3):
            passed.append(1)
            yield item
        passed.append(1)

    made = Clock()
    for _ in made.during("sampling", items()):
        passed.append(10)
    assert made.take() == {"waiting": 30, "sampling": 4}
