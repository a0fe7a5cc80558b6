"""Which calls of vLLM put an engine to sleep and wake it, in which order; with the real vLLM in tests/ray/test_colocated.py."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.rollout.sleep import Sleep


def engine(drawing: bool = False) -> tuple[Sleep, list[str]]:
    calls: list[str] = []
    llm: Any = SimpleNamespace(
        llm_engine=SimpleNamespace(has_unfinished_requests=lambda: drawing),
        sleep=lambda level: calls.append(f"sleep {level}"),
        wake_up=lambda tags: calls.append(f"wake {' '.join(tags)}"),
    )
    return Sleep(llm), calls


def test_weights_wake_before_the_cache_and_each_once() -> None:
    sleep, calls = engine()
    sleep.begin(keep_weights=False)
    sleep.wake_weights()
    sleep.wake_weights()  # of each call of a transfer
    sleep.end()
    sleep.end()
    assert calls == ["sleep 2", "wake weights", "wake kv_cache"]


def test_kept_weights_wake_with_the_cache() -> None:
    sleep, calls = engine()
    sleep.begin(keep_weights=True)
    sleep.begin(keep_weights=True)  # asleep already: an engine whose role is not trained sleeps through a phase
    sleep.end()
    assert calls == ["sleep 1", "wake weights", "wake kv_cache"]


def test_an_engine_whose_transfer_was_broken_off_sleeps_again() -> None:
    sleep, calls = engine()
    sleep.begin(keep_weights=False)
    sleep.wake_weights()
    sleep.begin(keep_weights=False)
    sleep.end()
    assert calls == ["sleep 2", "wake weights", "sleep 2", "wake weights", "wake kv_cache"]


def test_an_engine_that_is_awake_has_nothing_to_wake() -> None:
    sleep, calls = engine()
    sleep.wake_weights()
    sleep.end()
    assert calls == []


def test_an_engine_that_draws_does_not_sleep() -> None:
    sleep, calls = engine(drawing=True)
    with pytest.raises(RuntimeError, match="cannot sleep while it draws"):
        sleep.begin(keep_weights=False)
    assert calls == []
