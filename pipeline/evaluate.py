"""The evaluation of a round: its Solver on every held-out set, whose right answers nothing is trained on."""

from typing import TYPE_CHECKING

from pipeline.domain.sets import find_sets
from pipeline.measure import forget_parts, measure
from pipeline.observe.terminal import AnswerProgress
from pipeline.results import Asked, RoundResults
from pipeline.store.benchmarks import read_problems
from pipeline.store.manifest import Accuracies

if TYPE_CHECKING:
    from pipeline.run import Run


def evaluate(run: "Run", round_: int) -> None:
    """Measures the Solver at the end of `round_` (0: the base model) on every set and records the accuracies."""
    stage = run.state.round(round_).evaluation
    settings, results = run.config.evaluation, RoundResults(run.state, round_, run.config.evaluation)
    with run.tracker.phase(round_, "evaluation") as tracked:
        solver = run.stored_policy("solver", round_)
        for definition in find_sets(settings.sets, "evaluation.sets"):
            asked = Asked(definition, read_problems(definition, settings.folder))
            if results.known(asked):  # measured before an interruption
                continue
            path = results.path(asked)
            with AnswerProgress(f"round {round_} {definition.name}") as progress:
                accuracies, measured = measure(run, solver, definition, asked.problems, path, progress)
            usage = run.take_usage()
            measured.undecided = round(usage.sandbox.get("undecided", 0.0))
            stage.seconds = added(stage.seconds, usage.seconds)
            stage.counts = added(stage.counts, usage.counts())
            results.record(asked, accuracies, measured)
            forget_parts(path)
        for record in (tracked, run.tracker.round(round_), run.tracker):
            record.log_step(as_metrics(stage.accuracies), round_)
        tracked.log_step(stage.counts, round_)
    stage.finished = True
    run.state.save()


def added(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """
    >>> added({"sampling": 1.0}, {"sampling": 2.0, "scoring": 3.0})
    {'sampling': 3.0, 'scoring': 3.0}
    """
    return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in {**first, **second}}


def as_metrics(accuracies: Accuracies) -> dict[str, float]:
    """Accuracies under the names that they have in the tracking store.

    >>> as_metrics({"heldout": {"greedy": 0.5}})
    {'heldout_greedy': 0.5}
    """
    return {f"{name}_{way}": value for name, ways in accuracies.items() for way, value in ways.items()}
