"""The curriculum: the trained Challenger's questions on which the Solver is uncertain, labelled by its majority vote."""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import TYPE_CHECKING

from conf.schema import CurriculumConfig
from pipeline.algorithm.seeds import derive_seed
from pipeline.algorithm.selection import keeps, surest
from pipeline.answers import answer_questions, draw_agreement
from pipeline.domain.oracle import load_oracle
from pipeline.errors import EmptyCurriculumError
from pipeline.examples import ChallengerPrompts
from pipeline.interruption import leave_if_requested
from pipeline.observe.terminal import PhaseProgress, say
from pipeline.store.tables import CurriculumRow, read_table, remove_damaged, write_table
from pipeline.types import AnsweredQuestion, Policy

if TYPE_CHECKING:
    from pipeline.run import Run

MAX_LOGGED = 50  # kept questions in MLflow's table


Relabel = Callable[[list[CurriculumRow]], list[CurriculumRow]]


def as_labelled(rows: list[CurriculumRow]) -> list[CurriculumRow]:
    """The labels are the votes. Nothing sets `Run.relabel` to anything else but the experiment `jobs/ceiling.py`."""
    return rows


def write_curriculum(run: "Run", round_: int) -> None:
    """Samples N questions from the Challenger and keeps those on which the Solver is uncertain, see `algorithm.selection`.

    Raises:
        EmptyCurriculumError: none was kept.
    """
    stage = run.state.round(round_).curriculum
    total, size = run.config.curriculum.questions, run.config.curriculum.part
    folder = run.state.round_folder(round_)
    files = [folder / "curriculum" / f"part-{part:04d}.parquet" for part in range(-(-total // size))]
    for damage in remove_damaged(files, CurriculumRow):
        say(f"{damage}; it is written again, with the same seeds")
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
            leave_if_requested()
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
            f"round {round_}: none of {len(rows)} questions {filter_of(run.config.curriculum)} "
            f"({counts['well_formed']} were well-formed, {counts['answered']} got an answer); see {path}. "
            "A run with larger curriculum.questions or a wider filter (under another NAME) keeps more."
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
    gated = run.config.curriculum.confident < 1
    items = answer_questions(
        run, written, solver, round_, "curriculum", part, verdicts=gated or "verdicts" in run.needs, confidences=gated
    )
    return run.relabel(selected(run, round_, part, items))


def selected(run: "Run", round_: int, part: int, items: Sequence[AnsweredQuestion]) -> list[CurriculumRow]:
    """The items, and which are kept: by the filter, then the gate, then the agreement of the previous round's Solver."""
    settings = run.config.curriculum
    kept = [place for place, item in enumerate(items) if keeps(item, settings)]
    if settings.confident < 1:
        kept = list(compress(kept, surest([items[place] for place in kept], settings.confident)))
    agreed: dict[int, float] = {}
    if settings.agreement and round_ > 1:
        agreed = dict(zip(kept, previous_agreement(run, round_, part, [items[place] for place in kept]), strict=True))
        kept = [place for place in kept if round(agreed[place] * run.config.reward.samples) >= settings.agreement]
    chosen = set(kept)
    return [CurriculumRow(item, place in chosen, agreed.get(place)) for place, item in enumerate(items)]


def previous_agreement(run: "Run", round_: int, part: int, items: Sequence[AnsweredQuestion]) -> list[float]:
    """For each item the share of answers of the previous round's labelling policy that equal its label."""
    questions, labels = [item.question or "" for item in items], [item.vote.answer or "" for item in items]
    return draw_agreement(run, questions, labels, run.labelling_policy(round_ - 1), round_, "curriculum", part)


def filter_of(settings: CurriculumConfig) -> str:
    """What a question that is kept passes, in words."""
    band = "has {} to {} votes".format(*settings.keep) if settings.keep else f"has a p-hat within {settings.delta} of 1/2"
    agreement = f" and {settings.agreement} answers of the previous Solver for its label" if settings.agreement else ""
    return band + agreement


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
