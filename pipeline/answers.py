"""Answers of the frozen Solver to questions: what the vote is taken over, in the Challenger's reward and in the curriculum."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import ray

from pipeline.algorithm.seeds import seeded_requests
from pipeline.domain.prompts import extract_boxed
from pipeline.run import Run
from pipeline.types import Sample, Vote

T = TypeVar("T")


def boxed(sample: Sample) -> str | None:
    """The answer in the box; None where the response has none or was cut off."""
    return None if sample.truncated else extract_boxed(sample.text)


def draw_answers(
    run: Run, questions: Sequence[str], count: int, policy, *path: int | str, greedy: bool = False
) -> list[list[str | None]]:
    """Asks the Solver `policy` each question `count` times.

    Args:
        path: what the answers are for, e.g. (round, phase, step): the seeds derive from it and the question's index.

    Returns:
        For each question its `count` boxed answers (see `boxed`).
    """
    prompts = [run.codec.solver(question) for question in questions]
    answers = dict(_draw(run, prompts, count, policy, greedy, *path, "answer"))
    return [answers[index] for index in range(len(questions))]


def draw_votes(
    run: Run, questions: Sequence[str], count: int, policy, *path: int | str
) -> tuple[list[list[str | None]], list[Vote]]:
    """The same, with the vote on each question, which is taken while others are still being answered."""
    prompts = [run.codec.solver(question) for question in questions]
    answers: dict[int, list[str | None]] = {}
    votes = AsTheyCome(run.reward.vote)
    for index, boxes in _draw(run, prompts, count, policy, False, *path, "answer"):
        answers[index] = boxes
        votes.add(index, boxes)
    with run.clock.part("scoring"):
        return [answers[index] for index in range(len(questions))], votes.results()


def draw_verdicts(run: Run, questions: Sequence[str], policy, *path: int | str) -> list[list[str | None]]:
    """Asks the Solver whether each question is well-posed, as often as it is asked for an answer.

    Returns:
        For each question its boxed verdicts, see `pipeline.algorithm.rewards.invalid_share`; none where no scorer wants them.
    """
    if "validity" not in run.config.reward.scorers:
        return [[] for _ in questions]
    prompts = [run.codec.validity(question) for question in questions]
    verdicts = dict(_draw(run, prompts, run.config.reward.samples, policy, False, *path, "verdict"))
    return [verdicts[index] for index in range(len(questions))]


def _draw(
    run: Run, prompts: Sequence[tuple[int, ...]], count: int, policy, greedy: bool, *path: int | str
) -> Iterator[tuple[int, list[str | None]]]:
    """(index of the prompt, its boxed answers) as they are finished."""
    sampling = replace(run.config.sampling, temperature=0.0) if greedy else run.config.sampling
    requests = seeded_requests(run.config.seed, prompts, count, *path)
    for index, samples in run.stream("solver", requests, policy, sampling):
        yield index, [boxed(sample) for sample in samples]


class AsTheyCome:
    """Hands items to a method of an actor while more are coming: what has come during one call goes into the next.

    The method takes lists, one for each argument of an item, and returns a list, one result for each item.
    """

    def __init__(self, method: Any) -> None:
        self._method = method
        self._waiting: dict[Any, tuple[Any, ...]] = {}
        self._calls: list[tuple[list[Any], ray.ObjectRef]] = []

    def add(self, place: Any, *item: Any) -> None:
        """`place` says where among the results that of this item belongs."""
        self._waiting[place] = item
        if not self._calls or ray.wait([self._calls[-1][1]], timeout=0)[0]:
            self._send()

    def _send(self) -> None:
        if self._waiting:
            self._calls.append((list(self._waiting), self._method.remote(*map(list, zip(*self._waiting.values(), strict=True)))))
            self._waiting = {}

    def results(self) -> list[Any]:
        """One for each item, in the order of their places."""
        self._send()
        found: dict[Any, Any] = {}
        for places, call in self._calls:
            found |= zip(places, ray.get(call), strict=True)
        return [found[place] for place in sorted(found)]


def in_place(questions: Sequence[str | None], drawn: Sequence[T], absent: T) -> list[T]:
    """What was found for the well-formed questions, with `absent` in the place of each malformed one."""
    rest = iter(drawn)
    return [absent if question is None else next(rest) for question in questions]
