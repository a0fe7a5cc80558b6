"""Held-out accuracy of a Solver: sampled (mean@k), greedy, and by the majority of the k samples."""

from typing import Any

import ray

from pipeline.answers import draw_answers, draw_votes
from pipeline.domain.benchmarks import by_band, read_benchmark
from pipeline.observe.terminal import WAYS, PhaseProgress
from pipeline.run import Run
from pipeline.store.manifest import EVALUATION, write_table

Accuracies = dict[str, dict[str, float]]


def evaluate(run: Run, round_: int) -> None:
    """Measures the Solver at the end of `round_` (0: the base model) on every benchmark and records the accuracies."""
    if run.state.stage(round_, "evaluation").get("done"):
        return
    benchmarks = run.config.evaluation.benchmarks
    accuracies: Accuracies = {}
    with (
        run.tracker.phase(round_, "evaluation") as tracked,
        PhaseProgress(round=round_, name="evaluation", total=len(benchmarks)) as progress,
    ):
        solver = run.finished_policy("solver", round_)
        for number, (name, benchmark) in enumerate(benchmarks.items(), start=1):
            rows = evaluate_benchmark(run, solver, name, read_benchmark(name, benchmark.path), benchmark.samples)
            write_table(run.state.round_folder(round_) / "evaluation" / f"{name}.parquet", rows, EVALUATION)
            accuracies |= accuracy_by_band(name, rows)
            progress.update(number)
        for record in (tracked, run.tracker.round(round_), run.tracker):
            record.log_step(as_metrics(accuracies), round_)
    run.state.record(round_, "evaluation", done=True, accuracies=accuracies, seconds=run.clock.take())


def evaluate_benchmark(run: Run, solver: Any, name: str, problems: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Rows of `state.EVALUATION`. The seeds do not depend on the round: every Solver draws with the same ones."""
    questions, truths = [row["question"] for row in problems], [row["answer"] for row in problems]
    greedy = [answers[0] for answers in draw_answers(run, questions, 1, solver, "evaluation", name, "greedy", greedy=True)]
    drawn, votes = draw_votes(run, questions, count, solver, "evaluation", name) if count else ([[]] * len(questions), [])
    with run.clock.part("scoring"):
        answers = [answer for group in drawn for answer in group] + greedy + [vote.answer for vote in votes]
        labels = [truth for truth in truths for _ in range(count)] + truths + (truths if count else [])
        grades = ray.get(run.reward.grade.remote(answers, labels))
    sampled, rest = grades[: count * len(questions)], grades[count * len(questions) :]
    return [
        {
            "question": problem["question"],
            "band": problem.get("band"),
            "answer": problem["answer"],
            "answers": drawn[index],
            "sampled": sum(sampled[index * count : (index + 1) * count]) / count if count else None,
            "greedy": rest[index],
            "majority": rest[len(questions) + index] if count else None,
        }
        for index, problem in enumerate(problems)
    ]


def accuracy_by_band(name: str, rows: list[dict[str, Any]]) -> Accuracies:
    """Mean accuracies over a benchmark and over each of its bands (`name_band`)."""
    return {
        group: {way: sum(row[way] for row in members) / len(members) for way in WAYS if members[0][way] is not None}
        for group, members in by_band(name, rows).items()
    }


def as_metrics(accuracies: Accuracies) -> dict[str, float]:
    """Accuracies under the names that they have in the tracking store.

    >>> as_metrics({"heldout": {"greedy": 0.5}})
    {'heldout_greedy': 0.5}
    """
    return {f"{name}_{way}": value for name, ways in accuracies.items() for way, value in ways.items()}
