"""Wall-clock time of a run by part of the work."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Wall-clock seconds by part of the work. Parts may nest: the outer one excludes the inner one's time.

    Time in no part is "waiting": the driver's own work, and waits that are not measured.
    """

    def __init__(self, **spent: float) -> None:
        self._seconds: dict[str, float] = defaultdict(float, spent)
        self._parts = ["waiting"]
        self._mark = time.monotonic()

    def _charge(self) -> None:
        now = time.monotonic()
        self._seconds[self._parts[-1]] += now - self._mark
        self._mark = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._charge()
        self._parts.append(name)
        try:
            yield
        finally:
            self._charge()
            self._parts.pop()

    def during(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items; waiting for them is charged to the part `name`, processing them is not."""
        iterator = iter(items)
        while True:
            with self.part(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def take(self) -> dict[str, float]:
        """The seconds since the last call, by part; they sum to the elapsed time."""
        self._charge()
        taken = dict(self._seconds)
        self._seconds.clear()
        return taken
