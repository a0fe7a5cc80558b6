"""The driver's client of the reward actor: blocking calls, and streams that are judged while samples still arrive."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from actors.failures import reason
from actors.reward.actor import RAY_OPTIONS, RewardActor
from conf.schema import RewardConfig
from pipeline.domain.graders.find import find_grader
from pipeline.domain.graders.protocol import Grader
from pipeline.errors import RewardError
from pipeline.types import Vote

Result = TypeVar("Result")
Place = int | tuple[int, ...]


def fetched(call: ray.ObjectRef[Any]) -> Any:
    """The result of a call of the reward actor.

    Raises:
        RewardError: the actor died more often than Ray restarts it, or a grader failed in it.
    """
    try:
        return ray.get(call)
    except RayActorError as error:
        most = RAY_OPTIONS["max_restarts"]
        raise RewardError(f"the reward actor died, and Ray restarts it at most {most} times: {reason(error)}") from error
    except RayTaskError as error:
        raise RewardError(f"the reward actor failed to compare answers: {reason(error)}") from error


class Overlapped(Generic[Result]):
    """Passes items to a method of an actor as they arrive: those that arrive during one call go into the next.

    The method takes lists, one for each argument of an item, then `more`, and returns a list, one result for each item.
    """

    def __init__(self, method: Any, *more: Any) -> None:
        self._method, self._more = method, more
        self._waiting: dict[Place, tuple[Any, ...]] = {}
        self._calls: list[tuple[list[Place], ray.ObjectRef[Any]]] = []
        self._fetched: dict[ray.ObjectRef[Any], list[Result]] = {}  # progress asks again and again

    def add(self, place: Place, *item: Any) -> None:
        """`place` orders the item's result among the others."""
        self._waiting[place] = item
        if not self._calls or ray.wait([self._calls[-1][1]], timeout=0)[0]:
            self._send()

    def _send(self) -> None:
        if self._waiting:
            columns = map(list, zip(*self._waiting.values(), strict=True))
            self._calls.append((list(self._waiting), self._method.remote(*columns, *self._more)))
            self._waiting = {}

    def finished(self) -> list[Result]:
        """The results so far, in no particular order."""
        waiting = [call for _, call in self._calls if call not in self._fetched]
        for call in ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []:
            self._fetched[call] = fetched(call)
        return [result for results in self._fetched.values() for result in results]

    def results(self) -> list[Result]:
        """One for each item, in the order of their places."""
        self._send()
        by_place: dict[Place, Result] = {}
        for places, call in self._calls:
            by_place |= zip(places, self._fetched.get(call) or fetched(call), strict=True)
        return [by_place[place] for place in sorted(by_place)]


class RewardClient:
    """A reward actor, started on construction."""

    def __init__(self, config: RewardConfig) -> None:
        self.grader = find_grader(config.grader)  # sent by value: a user's file may be missing on the actor's node
        self._actor: Any = ray.remote(RewardActor).options(num_cpus=1, **RAY_OPTIONS).remote(config)

    def voting(self, grader: Grader | None = None) -> Overlapped[Vote]:
        """Votes: add (place, answers to one question). `grader`, here and below: None for the setting `reward.grader`."""
        return Overlapped(self._actor.vote, grader or self.grader)

    def grading(self, grader: Grader | None = None) -> Overlapped[float]:
        """Grades: add (place, answer or None, label); see `RewardActor.grade`."""
        return Overlapped(self._actor.grade, grader or self.grader)

    def grade(self, answers: Sequence[str | None], labels: Sequence[str], grader: Grader | None = None) -> list[float]:
        """See `RewardActor.grade`."""
        grades: list[float] = fetched(self._actor.grade.remote(answers, labels, grader or self.grader))
        return grades

    def take_counts(self) -> dict[str, float]:
        """See `AnswerSandbox.take_counts`."""
        counts: dict[str, float] = fetched(self._actor.take_counts.remote())
        return counts
