"""Held-out accuracy of a Solver: sampled (mean@k), greedy, and by the majority of the k samples."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.answers import draw_answers, draw_votes
from pipeline.domain.benchmarks import by_band, read_benchmark
from pipeline.observe.terminal import WAYS, PhaseProgress
from pipeline.store.manifest import Accuracies
from pipeline.store.tables import EvaluationRow, write_table
from pipeline.types import Policy

if TYPE_CHECKING:
    from pipeline.run import Run


def evaluate(run: "Run", round_: int) -> None:
    """Measures the Solver at the end of `round_` (0: the base model) on every benchmark and records the accuracies."""
    stage = run.state.round(round_).evaluation
    if stage.finished:
        return
    benchmarks = run.config.evaluation.benchmarks
    accuracies: Accuracies = {}
    with (
        run.tracker.phase(round_, "evaluation") as tracked,
        PhaseProgress(round=round_, name="evaluation", total=len(benchmarks)) as progress,
    ):
        solver = run.stored_policy("solver", round_)
        for number, (name, benchmark) in enumerate(benchmarks.items(), start=1):
            rows = evaluate_benchmark(run, solver, name, read_benchmark(name, benchmark.path), benchmark.samples)
            write_table(run.state.round_folder(round_) / "evaluation" / f"{name}.parquet", EvaluationRow, rows)
            accuracies |= accuracy_by_band(name, rows)
            progress.update(number)
        for record in (tracked, run.tracker.round(round_), run.tracker):
            record.log_step(as_metrics(accuracies), round_)
        usage = run.take_usage()
        tracked.log_step(usage.counts(), round_)
    stage.accuracies, stage.seconds, stage.counts, stage.finished = accuracies, usage.seconds, usage.counts(), True
    run.state.save()


def evaluate_benchmark(
    run: "Run", solver: Policy, name: str, problems: Sequence[Mapping[str, Any]], count: int
) -> list[EvaluationRow]:
    """A row for each problem. The seeds do not depend on the round: every Solver draws with the same ones."""
    questions, truths = [row["question"] for row in problems], [row["answer"] for row in problems]
    greedy = [answers[0] for answers in draw_answers(run, questions, 1, solver, "evaluation", name, "greedy", greedy=True)]
    drawn, votes = draw_votes(run, questions, count, solver, "evaluation", name) if count else ([[]] * len(questions), [])
    with run.clock.part("scoring"):
        answers = [answer for group in drawn for answer in group] + greedy + [vote.answer for vote in votes]
        labels = [truth for truth in truths for _ in range(count)] + truths + (truths if count else [])
        grades = run.reward.grade(answers, labels)
    sampled, rest = grades[: count * len(questions)], grades[count * len(questions) :]
    return [
        EvaluationRow(
            question=problem["question"],
            band=problem.get("band"),
            answer=problem["answer"],
            answers=tuple(drawn[index]),
            sampled=sum(sampled[index * count : (index + 1) * count]) / count if count else None,
            greedy=rest[index],
            majority=rest[len(questions) + index] if count else None,
        )
        for index, problem in enumerate(problems)
    ]


def accuracy_by_band(name: str, rows: Sequence[EvaluationRow]) -> Accuracies:
    """Mean accuracies over a benchmark and over each of its bands (`name_band`)."""
    return {
        group: {way: sum(values) / len(values) for way in WAYS if (values := accuracies_of(members, way))}
        for group, members in by_band(name, rows).items()
    }


def accuracies_of(rows: Sequence[EvaluationRow], way: str) -> list[float]:
    """Each problem's accuracy by one way of answering; empty where that was not measured."""
    return [value for row in rows if (value := getattr(row, way)) is not None]


def as_metrics(accuracies: Accuracies) -> dict[str, float]:
    """Accuracies under the names that they have in the tracking store.

    >>> as_metrics({"heldout": {"greedy": 0.5}})
    {'heldout_greedy': 0.5}
    """
    return {f"{name}_{way}": value for name, ways in accuracies.items() for way, value in ways.items()}
