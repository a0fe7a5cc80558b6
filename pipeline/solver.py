"""The Solver's task: agree with the majority vote of its previous weights on the curriculum's questions."""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.algorithm.seeds import derive_seed
from pipeline.answers import answer_of
from pipeline.store.tables import kept_questions
from pipeline.types import AnsweredQuestion, EncodedPrompt, Role, Sample, ScoredGroups, in_groups

if TYPE_CHECKING:
    from pipeline.run import Run


class SolverTask:
    """Rewards an answer that is equivalent to the pseudo-label with 1, any other with 0."""

    role: Role = "solver"

    def __init__(self, run: "Run", round_: int) -> None:
        self.run, self.round = run, round_
        rounds = range(max(1, round_ - run.config.curriculum.replay), round_ + 1)
        self.questions = [question for each in rounds for question in kept_questions(run.state.round_folder(each))]

    def prompts(self, step: int) -> list[EncodedPrompt]:
        return [self.run.codec.solver(item.question or "") for item in self._batch(step)]

    def _batch(self, step: int) -> list[AnsweredQuestion]:
        settings = self.run.config.solver
        size = settings.batch // settings.group
        places = batch_places(step, size, len(self.questions), self.run.config.seed, self.round, self.role)
        return [self.questions[place] for place in places]

    def score(self, step: int, arriving: Iterator[tuple[int, list[Sample]]]) -> ScoredGroups:
        batch, size = self._batch(step), self.run.config.solver.group
        groups: dict[int, list[Sample]] = {}
        grades, grader = self.run.reward.grading(), self.run.reward.grader
        answered = 0
        for index, group in arriving:
            groups[index] = group
            for place, sample in enumerate(group):
                answer = answer_of(sample, grader)
                answered += answer is not None
                grades.add((index, place), answer, batch[index].vote.answer)
        with self.run.clock.part("scoring"):
            rewards = grades.results()
        return ScoredGroups(
            groups=[groups[index] for index in range(len(batch))],
            rewards=in_groups(rewards, size),
            metrics={"well_formed": answered / len(rewards)},
            p_hats=[item.vote.share for item in batch],
        )


def batch_places(step: int, size: int, count: int, run_seed: int, *path: int | str) -> list[int]:
    """Indices below `count` of the questions that a step (from 1) trains on: shuffled epochs, each question once per epoch.

    >>> sorted(batch_places(1, 3, 4, 0) + batch_places(2, 3, 4, 0)[:1])
    [0, 1, 2, 3]
    """
    places = range((step - 1) * size, step * size)
    orders = {epoch: shuffled(count, derive_seed(run_seed, *path, "order", epoch)) for epoch in {at // count for at in places}}
    return [orders[at // count][at % count] for at in places]


def shuffled(count: int, seed: int) -> list[int]:
    """The numbers below `count` in random order."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order
