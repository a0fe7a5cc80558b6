"""The end of a round: its summary in the terminal, in MLflow and in the report."""

from pathlib import Path

from pipeline.algorithm.stop_rule import TRUSTED, picked_round, trust
from pipeline.curriculum import true_answers
from pipeline.errors import DamagedError
from pipeline.evaluate import as_metrics
from pipeline.observe.cards import read_policy_card
from pipeline.observe.journal import Record
from pipeline.observe.markdown import table
from pipeline.observe.report.page import REPORT, write_report
from pipeline.observe.terminal import Example, RoundSummary, round_summary, say
from pipeline.run import Run
from pipeline.store.manifest import Accuracies, write_atomically
from pipeline.store.scores import alike
from pipeline.store.tables import agreements, kept_questions
from pipeline.types import ROLES

EXAMPLES = 5


def close_round(run: Run, round_: int, tracked: Record) -> None:
    """Prints the round's table, logs its metrics, gives the policies their cards, writes the report, and closes the round."""
    summary = summarise(run, round_)
    tracked.log_step({f"seconds_{part}": spent for part, spent in summary.seconds.items()}, round_)
    curriculum = {"kept_share": summary.questions_kept / max(1, summary.questions_written)}
    if summary.label_accuracy is not None:
        curriculum["label_accuracy"] = summary.label_accuracy
    for record in (tracked, run.tracker):
        record.log_step(curriculum, round_)
    measured = as_metrics(accuracies(run, round_))
    by = next(iter(measured), "")
    tracked.register_solver(round_, run.policy_path("solver", round_), measured | curriculum, by)
    run.tracker.describe(description(run, round_))
    for role in ROLES:
        card = read_policy_card(run.state.folder, run.state.manifest, role, round_)
        write_atomically(Path(run.policy_path(role, round_)) / "README.md", card)
    round_summary(summary)
    try:
        stop = stop_advice(run, round_)
    except DamagedError as damage:  # of an earlier round's table that nothing else reads
        stop = f"whether another round helps is unknown: {damage}"
    if stop is not None:
        say(stop)
    try:
        run.tracker.log_file(write_report(run.state.folder))
    except Exception:  # a failing report must not undo the round; one that is interrupted is written by the next start
        close(run, round_)
        raise
    close(run, round_)


def close(run: Run, round_: int) -> None:
    run.state.round(round_).closed = True
    run.state.save()


def stop_advice(run: Run, round_: int) -> str | None:
    """Why another round will not help, if the stop rule says so: from votes, verdicts and the agreement between rounds alone."""
    if not run.config.curriculum.agreement:
        return None  # nothing to tell it by
    trusts = [trust(agreements(run.state.round_folder(number))) for number in range(1, round_ + 1)]
    best = picked_round(trusts)
    if best == round_:
        return None
    support, needed = (f"{100 * value:.0f}%" for value in (trusts[best] or 0, TRUSTED))
    labels = f"the previous Solver and the verdicts support {support} of the labels of round {best + 1}, less than {needed}"
    return f"another round will not help: {labels}. The best round is {best}, by the labels alone."


def description(run: Run, last: int) -> str:
    """The run as a Markdown table, for its page in MLflow."""
    names = list(accuracies(run, last))
    way = next((way for ways in accuracies(run, last).values() for way in ways), "")
    rows = []
    for number in range(last + 1):
        cells = [accuracies(run, number).get(name, {}).get(way) for name in names]
        cells.append(run.state.round(number).curriculum.label_accuracy)
        rows.append([f"round {number}" if number else "base", *("" if cell is None else f"{100 * cell:.1f}" for cell in cells)])
    caption = (
        f"Accuracy ({way or 'no benchmark'}) and share of right pseudo-labels, in percent; more in the artifact `report.html`."
    )
    return f"{caption}\n\n{table(['', *names, 'right labels'], rows)}"


def summarise(run: Run, round_: int) -> RoundSummary:
    """The contents of the summary table, read from the round's files."""
    funnel = run.state.round(round_).curriculum
    steps = run.state.round(round_).challenger.metrics
    p_hats = [step["p_hat_mean"] for step in steps if "p_hat_mean" in step]
    folder = run.state.round_folder(round_)
    measured = [run.state.manifest.round(number).evaluation.sets for number in (round_ - 1, round_)]
    return RoundSummary(
        round=round_,
        before={name: ways for name, ways in accuracies(run, round_ - 1).items() if alike(name, *measured)},
        after=accuracies(run, round_),
        questions_written=funnel.written,
        questions_wellformed=funnel.well_formed,
        questions_answered=funnel.answered,
        questions_kept=funnel.kept,
        label_accuracy=funnel.label_accuracy,
        p_hat_first=p_hats[0] if p_hats else None,
        p_hat_last=p_hats[-1] if p_hats else None,
        examples=examples(run, round_),
        seconds=run.state.manifest.spent(round_),
        paths={
            "curriculum": str(folder / "curriculum.parquet"),
            "Challenger": run.policy_path("challenger", round_),
            "Solver": run.policy_path("solver", round_),
            "manifest": str(run.state.path),
            "report": str(run.state.folder / REPORT),
        },
    )


def accuracies(run: Run, round_: int) -> Accuracies:
    return run.state.manifest.round(round_).evaluation.accuracies


def examples(run: Run, round_: int) -> list[Example]:
    """Five kept questions, evenly spread over the curriculum, with their vote and, if an oracle knows it, the right answer."""
    kept = kept_questions(run.state.round_folder(round_))
    picked = [kept[index * len(kept) // EXAMPLES] for index in range(min(EXAMPLES, len(kept)))]
    questions = [item.question or "" for item in picked]
    truths = true_answers(run.config.evaluation.oracle, questions) or [None] * len(picked)
    return [
        Example(question, item.vote.share, item.vote.answer or "", truth)
        for question, item, truth in zip(questions, picked, truths, strict=True)
    ]
