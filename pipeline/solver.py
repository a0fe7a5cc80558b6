"""The Solver's task: agree with the majority vote of its previous weights on the curriculum's questions."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.algorithm.seeds import derive_seed, seeded_requests
from pipeline.algorithm.verdicts import constructed_verdicts
from pipeline.answers import answer_of
from pipeline.domain.graders.exact import ExactGrader
from pipeline.domain.graders.protocol import Grader
from pipeline.store.tables import CurriculumRow, kept_questions, read_table
from pipeline.types import EncodedPrompt, Policy, Role, Sample, ScoredGroups, in_groups

if TYPE_CHECKING:
    from pipeline.run import Run


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question and the answer that is rewarded; `p_hat` of its vote is None where the question asks for a verdict."""

    question: str
    label: str
    p_hat: float | None = None

    @property
    def asks_verdict(self) -> bool:
        return self.p_hat is None


@dataclass(frozen=True, slots=True)
class GradedGroup:
    """The responses to one prompt, their rewards, and how many have an answer."""

    samples: list[Sample]
    rewards: list[float]
    answered: int

    @property
    def has_gradient(self) -> bool:
        return len(set(self.rewards)) > 1


class SolverTask:
    """Rewards an answer that is equivalent to the pseudo-label with 1, any other with 0."""

    role: Role = "solver"

    def __init__(self, run: "Run", round_: int) -> None:
        self.run, self.round = run, round_
        folders = [run.state.round_folder(each) for each in range(max(1, round_ - run.config.curriculum.replay), round_ + 1)]
        kept = [item for folder in folders for item in kept_questions(folder)]
        self.exercises = [Exercise(item.question or "", item.vote.answer or "", item.vote.share) for item in kept]
        self.verdicts: list[Exercise] = []
        if run.config.solver.verdicts:
            written = [row.answered for row in read_table(folders[-1] / "curriculum.parquet", CurriculumRow)]
            seed = derive_seed(run.config.seed, round_, self.role, "verdicts")
            self.verdicts = [Exercise(*pair) for pair in constructed_verdicts(written, seed)]

    def prompts(self, step: int) -> list[EncodedPrompt]:
        return [self._prompt(exercise) for exercise in self._batch(step)]

    def _prompt(self, exercise: Exercise) -> EncodedPrompt:
        codec = self.run.codec
        return codec.validity(exercise.question) if exercise.asks_verdict else codec.solver(exercise.question)

    def _batch(self, step: int) -> list[Exercise]:
        """The exercises of a step, verdicts last."""
        settings, path = self.run.config.solver, (self.run.config.seed, self.round, self.role)
        size = settings.batch // settings.group
        verdicts = settings.verdict_prompts if self.verdicts else 0
        own, (_, of_member) = self._of_member(step), settings.member(step)
        asked = [own[place] for place in batch_places(of_member, size - verdicts, len(own), *path)]
        return asked + [self.verdicts[place] for place in batch_places(step, verdicts, len(self.verdicts), *path, "verdicts")]

    def _of_member(self, step: int) -> list[Exercise]:
        """The exercises of the member that is trained in a step: every `members`-th one; all, where there are fewer than that."""
        settings, own = self.run.config.solver, self.exercises
        return own[settings.member(step)[0] :: settings.members] if len(own) >= settings.members else own

    def score(self, step: int, arriving: Iterator[tuple[int, list[Sample]]], policy: Policy) -> ScoredGroups:
        batch = self._batch(step)
        graded = self._graded(batch, arriving)
        replaced = self._resample(step, policy, batch, graded) if self.run.config.solver.resample else {}
        responses = sum(len(each.samples) for each in graded)
        return ScoredGroups(
            groups=[each.samples for each in graded],
            rewards=[each.rewards for each in graded],
            metrics={"well_formed": sum(each.answered for each in graded) / responses} | replaced,
            p_hats=[exercise.p_hat for exercise in batch if exercise.p_hat is not None],
        )

    def _graded(self, batch: Sequence[Exercise], arriving: Iterator[tuple[int, list[Sample]]]) -> list[GradedGroup]:
        """The groups in the batch's order."""
        reward, size = self.run.reward, self.run.config.solver.group
        groups: dict[int, list[Sample]] = {}
        graders: dict[bool, Grader] = {False: reward.grader, True: ExactGrader()}
        grades = {verdict: reward.grading(grader) for verdict, grader in graders.items()}
        answered: Counter[int] = Counter()
        for index, group in arriving:
            groups[index], verdict = group, batch[index].asks_verdict
            for place, sample in enumerate(group):
                answer = answer_of(sample, graders[verdict])
                answered[index] += answer is not None
                grades[verdict].add((index, place), answer, batch[index].label)
        with self.run.clock.part("scoring"):
            rewards = in_groups(grades[False].results() + grades[True].results(), size)  # verdicts are last
        return [GradedGroup(groups[index], rewards[index], answered[index]) for index in range(len(batch))]

    def _resample(self, step: int, policy: Policy, batch: list[Exercise], graded: list[GradedGroup]) -> dict[str, float]:
        """Replaces groups with equal rewards by groups of other questions, in place (DAPO, arXiv 2503.14476, section 3.2).

        At most `solver.resample` times it draws as many groups as have equal rewards, of questions that the step has not asked,
        from seeds of their own. Groups that ask for a verdict stay: `solver.verdicts` is their share.
        """
        run, own, replaced = self.run, self._of_member(step), 0
        asked = {exercise.question for exercise in batch}
        for draw in range(1, run.config.solver.resample + 1):
            even = [place for place, each in enumerate(graded) if not each.has_gradient and not batch[place].asks_verdict]
            path = (self.round, self.role, step, "resample", draw)
            order = shuffled(len(own), derive_seed(run.config.seed, *path, "order"))
            fresh = [own[place] for place in order if own[place].question not in asked][: len(even)]
            if not fresh:
                break
            asked |= {exercise.question for exercise in fresh}
            requests = seeded_requests(run.config.seed, [self._prompt(each) for each in fresh], run.config.solver.group, *path)
            drawn = self._graded(fresh, run.stream(self.role, requests, policy, run.config.sampling))
            better = [(exercise, group) for exercise, group in zip(fresh, drawn, strict=True) if group.has_gradient]
            for place, (exercise, group) in zip(even, better, strict=False):
                batch[place], graded[place] = exercise, group
            replaced += len(better)
        return {"resampled_groups": float(replaced)}


def batch_places(step: int, size: int, count: int, run_seed: int, *path: int | str) -> list[int]:
    """Indices below `count` of the questions of a step (from 1): shuffled epochs, each question once in an epoch.

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
