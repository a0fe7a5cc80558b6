"""The driver's client of the reward actor: blocking calls, and streams that are judged while samples still arrive."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from actors.reward.supervisor import Call, RewardSupervisor
from conf.schema import RewardConfig
from pipeline.domain.graders.find import find_grader
from pipeline.domain.graders.protocol import Grader
from pipeline.types import Vote

Result = TypeVar("Result")
Place = int | tuple[int, ...]


class Overlapped(Generic[Result]):
    """Passes items to a method of the reward actor as they arrive: those that arrive during one call go into the next.

    The method takes lists, one for each argument of an item, then `more`, and returns a list, one result for each item.
    """

    def __init__(self, actor: RewardSupervisor, method: str, *more: Any) -> None:
        self._actor, self._method, self._more = actor, method, more
        self._waiting: dict[Place, tuple[Any, ...]] = {}
        self._calls: list[tuple[list[Place], Call]] = []
        self._fetched: dict[Call, list[Result]] = {}  # progress asks again and again

    def add(self, place: Place, *item: Any) -> None:
        """`place` orders the item's result among the others."""
        self._waiting[place] = item
        if not self._calls or self._actor.is_finished(self._calls[-1][1]):
            self._send()

    def _send(self) -> None:
        if self._waiting:
            columns = map(list, zip(*self._waiting.values(), strict=True))
            self._calls.append((list(self._waiting), self._actor.send(self._method, *columns, *self._more)))
            self._waiting = {}

    def finished(self) -> list[Result]:
        """The results so far, in no particular order."""
        for _, call in self._calls:
            if call not in self._fetched and self._actor.is_finished(call):
                self._fetched[call] = self._actor.result(call)
        return [result for results in self._fetched.values() for result in results]

    def results(self) -> list[Result]:
        """One for each item, in the order of their places."""
        self._send()
        by_place: dict[Place, Result] = {}
        for places, call in self._calls:
            if call not in self._fetched:
                self._fetched[call] = self._actor.result(call)
            by_place |= zip(places, self._fetched[call], strict=True)
        return [by_place[place] for place in sorted(by_place)]


class RewardClient:
    """A reward actor, started on construction. Every call raises what `RewardSupervisor.result` raises."""

    def __init__(self, config: RewardConfig) -> None:
        self.grader = find_grader(config.grader)  # sent by value: a user's file may be missing on the actor's node
        self._actor = RewardSupervisor(config)

    def voting(self, grader: Grader | None = None) -> Overlapped[Vote]:
        """Votes: add (place, answers to one question). `grader`, here and below: None for the setting `reward.grader`."""
        return Overlapped(self._actor, "vote", grader or self.grader)

    def grading(self, grader: Grader | None = None) -> Overlapped[float]:
        """Grades: add (place, answer or None, label); see `RewardActor.grade`."""
        return Overlapped(self._actor, "grade", grader or self.grader)

    def grade(self, answers: Sequence[str | None], labels: Sequence[str], grader: Grader | None = None) -> list[float]:
        """See `RewardActor.grade`."""
        grades: list[float] = self._actor.result(self._actor.send("grade", answers, labels, grader or self.grader))
        return grades

    def take_counts(self) -> dict[str, float]:
        """See `AnswerSandbox.take_counts`."""
        counts: dict[str, float] = self._actor.result(self._actor.send("take_counts"))
        return counts
