"""The Solver's task: agree with its own earlier majority on the curriculum's questions."""

import random
from collections.abc import Iterator

import ray

from pipeline.algorithm.seeds import derive_seed
from pipeline.answers import AsTheyCome, boxed
from pipeline.curriculum import kept_questions
from pipeline.phase import Scores
from pipeline.run import Run
from pipeline.types import Role, Sample


class SolverTask:
    """Rewards an answer that is equivalent to the pseudo-label with 1, any other with 0."""

    role: Role = "solver"

    def __init__(self, run: Run, round_: int) -> None:
        self.run, self.round = run, round_
        rounds = range(max(1, round_ - run.config.curriculum.replay), round_ + 1)
        self.questions = [question for each in rounds for question in kept_questions(run, each)]

    def prompts(self, step: int) -> list[tuple[int, ...]]:
        return [self.run.codec.solver(row["question"]) for row in self._batch(step)]

    def _batch(self, step: int) -> list[dict]:
        """The step's questions: the curriculum in shuffled passes, each question once before any comes again."""
        settings = self.run.config.solver
        size = settings.batch // settings.group
        places = range((step - 1) * size, step * size)
        count = len(self.questions)
        orders = {epoch: self._order(epoch) for epoch in {place // count for place in places}}
        return [self.questions[orders[place // count][place % count]] for place in places]

    def _order(self, epoch: int) -> list[int]:
        """The shuffle of one pass."""
        order = list(range(len(self.questions)))
        random.Random(derive_seed(self.run.config.seed, self.round, self.role, "order", epoch)).shuffle(order)
        return order

    def score(self, step: int, arriving: Iterator[tuple[int, list[Sample]]]) -> Scores:
        batch, size = self._batch(step), self.run.config.solver.group
        groups: dict[int, list[Sample]] = {}
        grades = AsTheyCome(self.run.reward.grade)
        for index, group in arriving:
            groups[index] = group
            for place, sample in enumerate(group):
                grades.add((index, place), boxed(sample), batch[index]["majority"])
        with self.run.clock.part("scoring"):
            rewards: list[float] = grades.results()
            counts: dict[str, float] = ray.get(self.run.reward.stats.remote())
        answered = sum(boxed(sample) is not None for group in groups.values() for sample in group)
        return Scores(
            groups=[groups[index] for index in range(len(batch))],
            rewards=[rewards[start : start + size] for start in range(0, len(rewards), size)],
            metrics={"well_formed": answered / len(rewards)} | counts,
            p_hats=[row["p_hat"] for row in batch],
        )
