"""The curriculum: the trained Challenger's questions on which the Solver is uncertain, labelled by its majority vote."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from conf.schema import CurriculumConfig
from pipeline.algorithm.seeds import derive_seed
from pipeline.algorithm.selection import keeps, surest
from pipeline.answers import Paths, answer_parts, draw_agreement, well_formed
from pipeline.domain.oracle import load_oracle
from pipeline.errors import NoSignalError
from pipeline.examples import ChallengerPrompts
from pipeline.interruption import leave_if_requested
from pipeline.observe.terminal import PhaseProgress, say
from pipeline.store.tables import CurriculumRow, read_table, remove_damaged, write_table
from pipeline.types import AnsweredQuestion, Request

if TYPE_CHECKING:
    from pipeline.run import Run

MAX_LOGGED = 50  # kept questions in MLflow's table


Relabel = Callable[[list[CurriculumRow]], list[CurriculumRow]]


def as_labelled(rows: list[CurriculumRow]) -> list[CurriculumRow]:
    """The labels are the votes. Nothing sets `Run.relabel` to anything else but the experiment `jobs/ceiling.py`."""
    return rows


@dataclass(frozen=True, slots=True)
class Part:
    """Questions that are saved together: written, answered (where the check of agreement follows), and labelled."""

    number: int
    size: int
    folder: Path

    def file(self, name: str) -> Path:
        return self.folder / f"{name}-{self.number:04d}.parquet"

    @property
    def written(self) -> Path:
        return self.file("written")

    @property
    def answered(self) -> Path:
        return self.file("answered")

    @property
    def labelled(self) -> Path:
        return self.file("part")

    @property
    def files(self) -> tuple[Path, Path, Path]:
        return self.written, self.answered, self.labelled


def write_curriculum(run: "Run", round_: int) -> None:
    """Samples N questions from the Challenger and keeps those on which the Solver is uncertain, see `algorithm.selection`.

    Raises:
        NoSignalError: none was kept.
    """
    stage = run.state.round(round_).curriculum
    total, size = run.config.curriculum.questions, run.config.curriculum.part
    folder = run.state.round_folder(round_)
    parts = [Part(number, min(size, total - number * size), folder / "curriculum") for number in range(-(-total // size))]
    for damage in remove_damaged([file for part in parts for file in part.files], CurriculumRow):
        say(f"{damage}; it is written again, with the same seeds")
    done = sum(part.labelled.exists() for part in parts)
    with (
        run.tracker.phase(round_, "curriculum") as tracked,
        run.watched_by(PhaseProgress(f"round {round_} curriculum", total=len(parts), done=done)) as progress,
    ):
        write_questions(run, round_, [part for part in parts if not any(file.exists() for file in part.files)])
        for part, rows in label_questions(run, round_, [part for part in parts if not part.labelled.exists()]):
            write_table(part.labelled, CurriculumRow, run.relabel(rows))
            done += 1
            votes = [item.vote.share for item in answered(rows)]
            progress.update(done, p_hat=sum(votes) / max(1, len(votes)))
            leave_if_requested()
        rows = [row for part in parts for row in read_table(part.labelled, CurriculumRow)]
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
        raise NoSignalError(
            f"round {round_}: none of {len(rows)} questions {filter_of(run)} "
            f"({counts['well_formed']} were well-formed, {counts['answered']} got an answer); see {path}. "
            "A run with larger curriculum.questions or a wider filter (under another NAME) keeps more."
        )
    stage.written, stage.well_formed = counts["written"], counts["well_formed"]
    stage.answered, stage.kept = counts["answered"], counts["kept"]
    stage.label_accuracy, stage.seconds, stage.counts, stage.finished = accuracy, usage.seconds, usage.counts(), True
    for part in parts:  # the labelled ones hold all that is in them
        part.written.unlink(missing_ok=True)
        part.answered.unlink(missing_ok=True)
    run.state.save()


def write_questions(run: "Run", round_: int, parts: Sequence[Part]) -> None:
    """Draws the questions of all `parts` in one call, and saves a part when its last one has arrived."""
    if not parts:
        return
    policy = run.stored_policy("challenger", round_)
    prompts = ChallengerPrompts(run, round_, run.state.round_folder(round_ - 1))
    places: list[tuple[Part, int]] = []
    requests: list[Request] = []
    for part in parts:
        for index, prompt in enumerate(prompts.draw(part.size, "curriculum", part.number)):
            places.append((part, index))
            requests.append(prompt.request([derive_seed(run.config.seed, round_, "curriculum", part.number, index)]))
    written: dict[Part, dict[int, str | None]] = {part: {} for part in parts}
    for place, (sample,) in run.stream("challenger", requests, policy, run.config.sampling, for_learning=False):
        part, index = places[place]
        written[part][index] = well_formed(run, sample)
        if len(written[part]) == part.size:
            questions = [question for _, question in sorted(written.pop(part).items())]
            write_table(part.written, CurriculumRow, [CurriculumRow(AnsweredQuestion(each), False) for each in questions])
            leave_if_requested()


def label_questions(run: "Run", round_: int, parts: Sequence[Part]) -> Iterator[tuple[Part, list[CurriculumRow]]]:
    """The written questions of all `parts` with their labels, parts as they are finished, drawn in one call for each policy.

    A question is kept by the filter, then the gate of `curriculum.confident`, then the agreement of the previous round's Solver.
    """
    settings = run.config.curriculum
    gated, agreement = settings.confident < 1, bool(settings.agreement) and round_ > 1
    by_path: dict[Paths, Part] = {(round_, "curriculum", part.number): part for part in parts}
    todo = {path: part for path, part in by_path.items() if not (agreement and part.answered.exists())}
    questions = {path: [row.answered.question for row in read_table(part.written, CurriculumRow)] for path, part in todo.items()}
    verdicts = draws_verdicts(run)
    if questions:
        for path, items in answer_parts(run, questions, run.labelling_policy(round_), verdicts, gated):
            part, rows = by_path[path], selected(items, settings)
            if not agreement:
                yield part, rows
            else:
                write_table(part.answered, CurriculumRow, rows)
                leave_if_requested()
    if agreement:
        yield from with_agreement(run, round_, by_path)


def selected(items: Sequence[AnsweredQuestion], settings: CurriculumConfig) -> list[CurriculumRow]:
    """The items, and which pass the filter and the gate."""
    kept = [place for place, item in enumerate(items) if keeps(item, settings)]
    if settings.confident < 1:
        kept = list(compress(kept, surest([items[place] for place in kept], settings.confident)))
    chosen = set(kept)
    return [CurriculumRow(item, place in chosen) for place, item in enumerate(items)]


def with_agreement(run: "Run", round_: int, parts: Mapping[Paths, Part]) -> Iterator[tuple[Part, list[CurriculumRow]]]:
    """The answered parts, with the share of answers of the previous round's labelling policy that equal the label."""
    rows = {path: read_table(part.answered, CurriculumRow) for path, part in parts.items()}
    asked = {
        path: [(row.answered.question or "", row.answered.vote.answer or "") for row in each if row.kept]
        for path, each in rows.items()
    }
    for path, shares in draw_agreement(run, asked, run.labelling_policy(round_ - 1)):
        share = iter(shares)
        agreed = [replace(row, agreement=next(share)) if row.kept else row for row in rows.pop(path)]
        yield parts[path], [replace(row, kept=row.kept and agrees(run, row.agreement)) for row in agreed]


def agrees(run: "Run", share: float | None) -> bool:
    return share is not None and round(share * run.config.reward.samples) >= run.config.curriculum.agreement


def draws_verdicts(run: "Run") -> bool:
    """Whether the Solver says of each question whether it is well-posed: the gate asks, or a scorer needs it."""
    return run.config.curriculum.confident < 1 or "verdicts" in run.needs


def filter_of(run: "Run") -> str:
    """What a question that is kept passes, in words."""
    settings = run.config.curriculum
    band = "has {} to {} votes".format(*settings.keep) if settings.keep else f"has a p-hat within {settings.delta} of 1/2"
    agreement = f" and {settings.agreement} answers of the previous Solver for its label" if settings.agreement else ""
    verdicts = " and is not called ill-posed by most verdicts" if draws_verdicts(run) else ""
    return band + verdicts + agreement


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
