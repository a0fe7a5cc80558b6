"""The curriculum: questions of the trained Challenger that the Solver is unsure of, labelled by the Solver's majority."""

from typing import Any

import ray

from pipeline.algorithm.rewards import invalid_share, rejected
from pipeline.algorithm.seeds import derive_seed
from pipeline.answers import draw_verdicts, draw_votes, in_place
from pipeline.challenger import well_formed
from pipeline.domain.oracle import load_oracle
from pipeline.errors import EmptyCurriculumError
from pipeline.observe.terminal import PhaseProgress
from pipeline.run import Run
from pipeline.store.manifest import CURRICULUM, read_table, write_table
from pipeline.types import NO_VOTE, Request


def write_curriculum(run: Run, round_: int) -> None:
    """Lets the Challenger write N questions and keeps those with |p_hat - 1/2| <= delta.

    Raises:
        EmptyCurriculumError: none was kept.
    """
    if run.state.stage(round_, "curriculum").get("done"):
        return
    total = run.config.curriculum.questions
    size = run.config.curriculum.part
    parts = -(-total // size)
    folder = run.state.round_folder(round_) / "curriculum"
    files = [folder / f"part-{part:04d}.parquet" for part in range(parts)]
    done = sum(file.exists() for file in files)
    with (
        run.tracker.phase(round_, "curriculum") as tracked,
        PhaseProgress(round=round_, name="curriculum", total=parts, done=done) as progress,
    ):
        policies = run.finished_policy("challenger", round_), run.answering(round_)
        for part, file in enumerate(files):
            if not file.exists():
                write_table(file, write_part(run, round_, part, min(size, total - part * size), *policies), CURRICULUM)
            votes = [row["p_hat"] for row in read_table(file) if row["question"] is not None]
            progress.update(part + 1, p_hat=sum(votes) / max(1, len(votes)))
        rows = [row for file in files for row in read_table(file)]
        path = folder.with_suffix(".parquet")
        write_table(path, rows, CURRICULUM)
        kept = [row for row in rows if row["kept"]]
        funnel: dict[str, Any] = {
            "written": len(rows),
            "well_formed": sum(row["question"] is not None for row in rows),
            "answered": sum(row["majority"] is not None for row in rows),
            "kept": len(kept),
            "label_accuracy": label_accuracy(run, kept),
        }
        tracked.log_step({name: value for name, value in funnel.items() if value is not None}, round_)
        tracked.log_histogram([row["p_hat"] for row in rows if row["question"] is not None], round_)
        tracked.log_table([{key: row[key] for key in ("question", "majority", "p_hat")} for row in kept[:50]], "kept_questions")
        tracked.log_file(path)
    if not kept:
        raise EmptyCurriculumError(
            f"round {round_}: none of {len(rows)} questions has a p-hat within {run.config.curriculum.delta} of 1/2 "
            f"({funnel['well_formed']} were well-formed, {funnel['answered']} got an answer); see {path}. "
            "A larger curriculum.questions or curriculum.delta keeps more."
        )
    run.state.record(round_, "curriculum", done=True, seconds=run.clock.take(), **funnel)


def write_part(run: Run, round_: int, part: int, size: int, challenger: Any, solver: Any) -> list[dict[str, Any]]:
    """Rows of `state.CURRICULUM` for the questions of one part."""
    seeds = [derive_seed(run.config.seed, round_, "curriculum", part, index) for index in range(size)]
    requests = [Request(run.codec.challenger, (seed,)) for seed in seeds]
    drawn_questions = dict(run.stream("challenger", requests, challenger, run.config.sampling))
    questions = [well_formed(run, *drawn_questions[index]) for index in range(size)]
    usable = [question for question in questions if question is not None]
    drawn, voted = draw_votes(run, usable, run.config.reward.samples, solver, round_, "curriculum", part)
    answers, votes = in_place(questions, drawn, []), in_place(questions, voted, NO_VOTE)
    verdicts = in_place(questions, draw_verdicts(run, usable, solver, round_, "curriculum", part), [])
    rows = []
    for question, boxed, vote, invalid in zip(questions, answers, votes, map(invalid_share, verdicts), strict=True):
        row = {"question": question, "answers": boxed, "majority": vote.answer, "count": vote.count, "total": vote.total}
        kept = vote.answer is not None and keeps(vote.share, run.config.curriculum.delta) and not rejected(invalid)
        rows.append(row | {"p_hat": vote.share, "invalid": invalid, "kept": kept})
    return rows


def keeps(p_hat: float, delta: float) -> bool:
    """The filter; the slack is for shares such as 0.3 that binary fractions miss.

    >>> keeps(0.3, 0.2), keeps(0.7, 0.25), keeps(0.8, 0.25)
    (True, True, False)
    """
    return abs(p_hat - 0.5) <= delta + 1e-9


def kept_questions(run: Run, round_: int) -> list[dict[str, Any]]:
    """The questions that the Solver trains on, in the order in which they were written."""
    rows = read_table(run.state.round_folder(round_) / "curriculum.parquet")
    return [row for row in rows if row["kept"]]


def true_answers(run: Run, questions: list[str]) -> list[str | None] | None:
    """Right answers from the domain's oracle, for reports alone; None where there is no oracle."""
    oracle = load_oracle(run.config.evaluation.oracle)
    return None if oracle is None else [oracle.true_answer(question) for question in questions]


def label_accuracy(run: Run, kept: list[dict[str, Any]]) -> float | None:
    """Share of the pseudo-labels that are right; a question that has no right answer counts as wrong. None without an oracle."""
    truths = true_answers(run, [row["question"] for row in kept])
    if truths is None or not kept:
        return None
    known = [(row["majority"], truth) for row, truth in zip(kept, truths, strict=True) if truth is not None]
    labels, answers = [label for label, _ in known], [truth for _, truth in known]
    return sum(ray.get(run.reward.grade.remote(labels, answers))) / len(kept)
