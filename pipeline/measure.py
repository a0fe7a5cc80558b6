"""One held-out set under one policy: sampled (mean@k), greedy, and by the majority of the k samples.

A set is answered, graded and written in parts, so that a long one needs no more memory than a short one, and an interruption
costs one part. Seeds derive from the run's seed, the set and the problem's place among those asked: the same for every policy.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from conf.schema import SamplingConfig
from pipeline.algorithm.seeds import derive_seed, seeded_requests
from pipeline.answers import answer_of
from pipeline.domain.graders.find import find_grader
from pipeline.domain.problems import Problem, checksum
from pipeline.domain.sets import BenchmarkSet
from pipeline.interruption import leave_if_requested
from pipeline.observe.terminal import say
from pipeline.store.manifest import Accuracies, MeasuredSet, write_atomically
from pipeline.store.scores import ScoreRow, scores_by_band
from pipeline.store.state import remove
from pipeline.store.tables import EvaluationRow, join_tables, read_table, remove_damaged, write_table
from pipeline.types import EncodedPrompt, Policy, Sample, in_groups

if TYPE_CHECKING:
    from pipeline.inference import Inference

PART = 1000  # problems that are answered, graded and written at a time


class Watch(Protocol):
    """Is told how far a set is."""

    def begin(self, total: int, done: int) -> None:
        """`total` answers will be drawn, of which an interrupted call has drawn `done`."""

    def arrived(self, answers: int, tokens: int, grades: Callable[[], Mapping[str, Sequence[float]]]) -> None:
        """So many more answers were drawn, of so many tokens; `grades` gives those that are known, by way of answering."""


def measure(
    inference: "Inference", policy: Policy, definition: BenchmarkSet, problems: Sequence[Problem], path: Path, watch: Watch
) -> tuple[Accuracies, MeasuredSet]:
    """Writes the set's table to `path`, a row for each problem; returns its accuracies and how it was measured.

    Parts that an interrupted call left beside `path` are kept, if it measured the same. `forget_parts` removes them once the
    result is recorded.
    """
    config, settings = inference.config, inference.config.evaluation
    count = definition.drawn(settings.samples)
    chosen = choose(problems, settings.limit, config.seed, definition.name)
    drawn = (settings.temperature, settings.top_p, config.seed, config.sampling.max_tokens, config.model.max_length)
    parts = parts_of(path, repr((policy.version, definition, count, drawn, checksum(chosen))))
    files = [parts / f"part-{part:04d}.parquet" for part in range(-(-len(chosen) // PART))]
    for damage in remove_damaged(files, EvaluationRow):
        say(f"{damage}; it is measured again, with the same seeds")
    done = sum(len(chosen[part * PART : (part + 1) * PART]) for part, file in enumerate(files) if file.exists())
    watch.begin(len(chosen) * (1 + count), done * (1 + count))
    for part, file in enumerate(files):
        if not file.exists():
            members = chosen[part * PART : (part + 1) * PART]
            write_table(file, EvaluationRow, measure_part(inference, policy, definition, count, members, part * PART, watch))
            leave_if_requested()
    join_tables(files, path, EvaluationRow)
    accuracies, measured = figures(path, definition, count, settings.limit)
    measured.checksum, measured.protocol = checksum(problems), definition.protocol
    measured.temperature, measured.top_p = settings.temperature, settings.top_p
    return accuracies, measured


def parts_of(path: Path, what: str) -> Path:
    """The folder of a table's parts, without parts of anything else than `what` is measured."""
    folder = path.with_suffix("")
    note = folder / "measured.txt"
    if not note.exists() or note.read_text() != what:
        remove(folder)
        write_atomically(note, what)
    return folder


def forget_parts(path: Path) -> None:
    """Removes the parts of a table that is complete and recorded."""
    remove(path.with_suffix(""))


@dataclass(slots=True)
class Answered:
    """A problem with its responses, the greedy one before the k sampled ones; none where its prompt left no room."""

    problem: Problem
    samples: list[Sample] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    grades: list[float] = field(default_factory=list)
    majority: float = 0.0

    def row(self, count: int) -> EvaluationRow:
        problem, truncated = self.problem, sum(sample.truncated for sample in self.samples)
        return EvaluationRow(
            id=problem.id,
            question=problem.question,
            subject=problem.subject,
            band=problem.band,
            answer=problem.answer,
            responses=tuple(sample.text for sample in self.samples[1:]),
            answers=tuple(self.answers[1:]),
            greedy_response=self.samples[0].text if self.samples else "",
            greedy_answer=self.answers[0] if self.samples else None,
            sampled=sum(self.grades[1:]) / count if count else None,
            greedy=self.grades[0] if self.samples else 0.0,
            majority=self.majority if count else None,
            truncated=truncated,
            unboxed=self.answers.count(None) - truncated,
            skipped=not self.samples,
        )


def measure_part(
    inference: "Inference",
    policy: Policy,
    definition: BenchmarkSet,
    count: int,
    problems: Sequence[Problem],
    first: int,
    watch: Watch,
) -> list[EvaluationRow]:
    """The rows of the problems from number `first` on."""
    config, grader = inference.config, find_grader(definition.grader)
    prompts = [inference.codec.problem(definition, problem) for problem in problems]
    # An answer may end where the context does, but has as much room as one in training.
    needed = min(definition.max_tokens or config.sampling.max_tokens, config.sampling.max_tokens)
    fitting = [place for place, prompt in enumerate(prompts) if len(prompt) + needed <= config.model.max_length]
    answered = [Answered(problem) for problem in problems]
    greedy, sampled = inference.reward.grading(grader), inference.reward.grading(grader)
    votes = inference.reward.voting(grader)

    def grades() -> dict[str, list[float]]:
        return {"greedy": greedy.finished(), "sampled": sampled.finished()}

    watch.arrived((len(problems) - len(fitting)) * (1 + count), 0, grades)  # skipped
    for place, samples in draw(inference, policy, definition, count, prompts, first, fitting):
        item = answered[place]
        read = [answer_of(sample, grader, item.problem.options) for sample in samples]
        way = sampled if item.samples else greedy  # the greedy one comes first
        for number, answer in enumerate(read):
            way.add((place, number), answer, item.problem.answer)
        if item.samples:
            votes.add(place, read)
        item.samples += samples
        item.answers += read
        watch.arrived(len(samples), sum(len(sample.token_ids) for sample in samples), grades)
    with inference.clock.part("scoring"):
        groups = in_groups(sampled.results(), count) if count else [[] for _ in fitting]
        for place, first_grade, others in zip(fitting, greedy.results(), groups, strict=True):
            answered[place].grades = [first_grade, *others]
        labels = [vote.answer for vote in votes.results()]
        truths = [problems[place].answer for place in fitting][: len(labels)]
        for place, grade in zip(fitting, inference.reward.grade(labels, truths, grader), strict=False):
            answered[place].majority = grade
    return [item.row(count) for item in answered]


def draw(
    inference: "Inference",
    policy: Policy,
    definition: BenchmarkSet,
    count: int,
    prompts: Sequence[EncodedPrompt],
    first: int,
    fitting: Sequence[int] | None = None,
) -> Iterator[tuple[int, list[Sample]]]:
    """(place of the prompt, its samples) as they arrive: greedy ones of all prompts, then `count` sampled ones of each.

    Prompts are numbered from `first` within their set; `fitting` are the places of those that are asked, None for all.
    """
    config = inference.config
    chosen = range(len(prompts)) if fitting is None else fitting
    longest = definition.max_tokens or config.sampling.max_tokens
    sampled = SamplingConfig(config.evaluation.temperature, config.evaluation.top_p, longest)
    passes = [(1, SamplingConfig(0.0, 1.0, longest), ("greedy", "answer")), (count, sampled, ("answer",))]
    for draws, sampling, path in passes[: 2 if count else 1]:
        requests = seeded_requests(config.seed, prompts, draws, "evaluation", definition.name, *path, first=first)
        asked = [requests[place] for place in chosen]
        for index, samples in inference.stream("solver", asked, policy, sampling, for_learning=False):
            yield chosen[index], samples


def choose(problems: Sequence[Problem], limit: int | None, seed: int, name: str) -> list[Problem]:
    """All problems, or `limit` of them, drawn by seed, in their order."""
    if limit is None or limit >= len(problems):
        return list(problems)
    places = random.Random(derive_seed(seed, "evaluation", name, "limit")).sample(range(len(problems)), limit)
    return [problems[place] for place in sorted(places)]


def figures(path: Path, definition: BenchmarkSet, count: int, limit: int | None) -> tuple[Accuracies, MeasuredSet]:
    """Accuracies and counts of a table that `measure` wrote."""
    rows = read_table(path, ScoreRow)
    skipped = sum(row.skipped for row in rows)
    measured = MeasuredSet(
        problems=len(rows),
        samples=count,
        limit=limit,
        group=definition.group,
        grader=definition.grader,
        responses=(len(rows) - skipped) * (1 + count),
        unboxed=sum(row.unboxed for row in rows),
        truncated=sum(row.truncated for row in rows),
        skipped=skipped,
    )
    return accuracy_by_band(definition.name, rows), measured


def accuracy_by_band(name: str, rows: Sequence[ScoreRow]) -> Accuracies:
    """Mean accuracies over a set and over each of its bands (`name_band`)."""
    return {
        group: {way: sum(values) / len(values) for way, values in ways.items()}
        for group, ways in scores_by_band(name, rows).items()
    }
