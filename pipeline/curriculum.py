"""The curriculum: the trained Challenger's questions on which the Solver is uncertain, labelled by its majority vote."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.algorithm.rewards import rejected
from pipeline.algorithm.seeds import derive_seed
from pipeline.answers import answer_questions
from pipeline.domain.oracle import load_oracle
from pipeline.errors import EmptyCurriculumError
from pipeline.examples import ChallengerPrompts
from pipeline.observe.terminal import PhaseProgress
from pipeline.store.tables import CurriculumRow, read_table, write_table
from pipeline.types import AnsweredQuestion, Policy

if TYPE_CHECKING:
    from pipeline.run import Run

MAX_LOGGED = 50  # kept questions in MLflow's table


def write_curriculum(run: "Run", round_: int) -> None:
    """Samples N questions from the Challenger and keeps those with |p_hat - 1/2| <= delta.

    Raises:
        EmptyCurriculumError: none was kept.
    """
    stage = run.state.round(round_).curriculum
    if stage.finished:
        return
    total, size = run.config.curriculum.questions, run.config.curriculum.part
    folder = run.state.round_folder(round_)
    files = [folder / "curriculum" / f"part-{part:04d}.parquet" for part in range(-(-total // size))]
    done = sum(file.exists() for file in files)
    with (
        run.tracker.phase(round_, "curriculum") as tracked,
        run.watched_by(PhaseProgress(f"round {round_} curriculum", total=len(files), done=done)) as progress,
    ):
        policies = run.stored_policy("challenger", round_), run.labelling_policy(round_)
        rows: list[CurriculumRow] = []
        for part, file in enumerate(files):
            if not file.exists():
                write_table(file, CurriculumRow, write_part(run, round_, part, min(size, total - part * size), *policies))
            written = read_table(file, CurriculumRow)
            votes = [item.vote.share for item in answered(written)]
            progress.update(part + 1, p_hat=sum(votes) / max(1, len(votes)))
            rows += written
        path = folder / "curriculum.parquet"
        write_table(path, CurriculumRow, rows)
        kept = [row.answered for row in rows if row.kept]
        counts = funnel(rows)
        accuracy = label_accuracy(run, kept)
        usage = run.take_usage()
        labels = {} if accuracy is None else {"label_accuracy": accuracy}
        tracked.log_step({**counts, **labels, **usage.counts()}, round_)
        tracked.log_histogram([item.vote.share for item in answered(rows)], round_)
        shown = [{"question": item.question, "majority": item.vote.answer, "p_hat": item.vote.share} for item in kept]
        tracked.log_table(shown[:MAX_LOGGED], "kept_questions")
        tracked.log_file(path)
    if not kept:
        raise EmptyCurriculumError(
            f"round {round_}: none of {len(rows)} questions has a p-hat within {run.config.curriculum.delta} of 1/2 "
            f"({counts['well_formed']} were well-formed, {counts['answered']} got an answer); see {path}. "
            "A run with a larger curriculum.questions or curriculum.delta (under another NAME) keeps more."
        )
    stage.written, stage.well_formed = counts["written"], counts["well_formed"]
    stage.answered, stage.kept = counts["answered"], counts["kept"]
    stage.label_accuracy, stage.seconds, stage.counts, stage.finished = accuracy, usage.seconds, usage.counts(), True
    run.state.save()


def write_part(run: "Run", round_: int, part: int, size: int, challenger: Policy, solver: Policy) -> list[CurriculumRow]:
    """The questions of one part, answered and labelled by `solver`."""
    seeds = [derive_seed(run.config.seed, round_, "curriculum", part, index) for index in range(size)]
    prompts = ChallengerPrompts(run, round_, run.state.round_folder(round_ - 1)).draw(size, "curriculum", part)
    requests = [prompt.request([seed]) for prompt, seed in zip(prompts, seeds, strict=True)]
    drawn = dict(run.stream("challenger", requests, challenger, run.config.sampling))
    written = [sample for index in range(size) for sample in drawn[index]]
    delta = run.config.curriculum.delta
    return [
        CurriculumRow(item, keeps(item, delta)) for item in answer_questions(run, written, solver, round_, "curriculum", part)
    ]


def keeps(item: AnsweredQuestion, delta: float) -> bool:
    """The filter: |p_hat - 1/2| <= delta, with an answer, and not called ill-posed by most verdicts.

    The tolerance is for shares such as 0.3 that have no exact binary fraction.

    >>> from pipeline.types import Vote
    >>> [keeps(AnsweredQuestion("x?", (), Vote("1", count, 10)), 0.2) for count in (2, 3, 7, 8)]
    [False, True, True, False]
    """
    return item.vote.answer is not None and abs(item.vote.share - 0.5) <= delta + 1e-9 and not rejected(item.invalid)


def answered(rows: Sequence[CurriculumRow]) -> list[AnsweredQuestion]:
    """The well-formed questions of a curriculum."""
    return [row.answered for row in rows if row.answered.question is not None]


def funnel(rows: Sequence[CurriculumRow]) -> dict[str, int]:
    """How many questions were written, well-formed, answered and kept."""
    return {
        "written": len(rows),
        "well_formed": len(answered(rows)),
        "answered": sum(row.answered.vote.answer is not None for row in rows),
        "kept": sum(row.kept for row in rows),
    }


def true_answers(oracle_module: str | None, questions: Sequence[str]) -> list[str | None] | None:
    """Right answers from the domain's oracle, for reports only; None without an oracle."""
    oracle = load_oracle(oracle_module)
    return None if oracle is None else [oracle.true_answer(question) for question in questions]


def label_accuracy(run: "Run", kept: Sequence[AnsweredQuestion]) -> float | None:
    """Share of right pseudo-labels; a question without a right answer counts as wrong. None without an oracle."""
    truths = true_answers(run.config.evaluation.oracle, [item.question or "" for item in kept])
    if truths is None or not kept:
        return None
    labelled = [(item.vote.answer, truth) for item, truth in zip(kept, truths, strict=True) if truth is not None]
    labels, answers = [label for label, _ in labelled], [truth for _, truth in labelled]
    return sum(run.reward.grade(labels, answers)) / len(kept)
