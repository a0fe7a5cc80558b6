"""The data of a report, read from a run's files: no Ray, no model. Of an unfinished run it reads what exists."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.domain.graders.find import find_grader
from pipeline.domain.graders.protocol import Grader
from pipeline.domain.oracle import Oracle, load_oracle
from pipeline.errors import DamagedError
from pipeline.observe.report.intervals import bootstrap, wilson
from pipeline.observe.terminal import say
from pipeline.store.manifest import CurriculumStage, Manifest, MeasuredSet, read_manifest
from pipeline.store.progress import manifest_time
from pipeline.store.scores import ScoreRow, alike, scores_by_band
from pipeline.store.tables import CurriculumRow, Row, read_table
from pipeline.types import ROLES, AnsweredQuestion, Role, ScoredQuestion


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers with its 95 % interval, and the score of each question behind it."""

    mean: float
    low: float
    high: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Step:
    """A Challenger step: its questions' p-hats, difficulties if known, and the mean parts of their rewards."""

    number: int
    p_hats: list[float]
    difficulties: list[int]
    clusters: list[list[ScoredQuestion]]  # the largest first
    parts: dict[str, float]  # each scorer's contribution, and "reward", their sum: means over the well-formed questions


@dataclass(frozen=True)
class JudgedQuestion:
    """A question of a curriculum, judged by the oracle.

    `truth` is the right answer and `right` whether the majority equals it; both None if unknown.
    """

    answered: AnsweredQuestion
    kept: bool
    truth: str | None
    right: bool | None
    difficulty: int | None
    agreement: float | None  # share of the previous Solver's answers that equal the label


@dataclass(frozen=True)
class Round:
    """The data of a round; lists and dicts are empty for stages that have not run."""

    number: int
    finished: bool
    metrics: dict[Role, list[dict[str, float]]]  # by role, one entry a step
    steps: list[Step]
    funnel: CurriculumStage
    curriculum: list[JudgedQuestion]
    accuracy: dict[str, dict[str, Accuracy]]  # by set or band, and way
    sets: dict[str, MeasuredSet]
    seconds: dict[str, float]


@dataclass(frozen=True)
class RunData:
    name: str
    config: dict[str, Any]
    rounds: list[Round]
    written: float  # time of the manifest, seconds since 1970
    has_oracle: bool
    grader: Grader | None  # None where the file of the user's own is gone: then nothing is known to be right


NO_ORACLE = Oracle(lambda question: None, lambda question: None)


def read_run(folder: Path) -> RunData:
    """Reads all rounds of a run.

    Raises:
        ConfigError: its manifest is damaged, or its oracle cannot be loaded.
    """
    manifest = read_manifest(folder)
    loaded = load_oracle(manifest.config["evaluation"]["oracle"])
    grader = grader_of(manifest)
    oracle = loaded or NO_ORACLE
    return RunData(
        name=folder.name,
        config=manifest.config,
        rounds=[read_round(folder, manifest, oracle, grader, number) for number in manifest.begun()],
        written=manifest_time(folder),
        has_oracle=loaded is not None,
        grader=grader,
    )


def grader_of(manifest: Manifest) -> Grader | None:
    """The grader by which the run's votes and rewards went; None, and a line, where it is the user's own and gone."""
    try:
        return find_grader(manifest.config["reward"]["grader"])
    except ValueError as error:
        say(f"the report does not say which answers are right: reward.grader={error}")
        return None


def read_round(folder: Path, manifest: Manifest, oracle: Oracle, grader: Grader | None, number: int) -> Round:
    place, stages = folder / f"round-{number}", manifest.round(number)
    metrics: dict[Role, list[dict[str, float]]] = {role: stages.phase(role).metrics for role in ROLES}
    tables = [place / "challenger" / f"questions-{step:04d}.parquet" for step in range(1, len(metrics["challenger"]) + 1)]
    written = readable(place / "curriculum.parquet", CurriculumRow) if stages.curriculum.finished else []
    return Round(
        number=number,
        finished=stages.evaluation.finished,
        metrics=metrics,
        steps=[read_step(step, readable(path, ScoredQuestion), oracle) for step, path in enumerate(tables, start=1)],
        funnel=stages.curriculum,
        curriculum=[judge(row, oracle, grader) for row in written],
        sets=stages.evaluation.sets,
        accuracy=read_accuracy(stages.evaluation.sets, place / "evaluation"),
        seconds=manifest.spent(number),
    )


def readable(path: Path, record: type[Row]) -> list[Row]:
    """The rows of a table; none, and a line, where it is damaged: a report must not end a run that needs the table no more."""
    try:
        return read_table(path, record)
    except DamagedError as error:
        say(f"the report leaves out a table: {error}")
        return []


def read_step(number: int, questions: list[ScoredQuestion], oracle: Oracle) -> Step:
    """A step from its table of questions."""
    clusters: dict[int, list[ScoredQuestion]] = defaultdict(list)
    usable = [question for question in questions if question.answered.question is not None]
    for question in usable:
        clusters[question.cluster].append(question)
    names = usable[0].parts if usable else ()
    return Step(
        number=number,
        p_hats=[question.answered.vote.share for question in usable],
        difficulties=[effort for each in usable if (effort := oracle.difficulty(each.answered.question or "")) is not None],
        clusters=sorted(clusters.values(), key=len, reverse=True),
        parts={name: mean(question.parts[name] for question in usable) for name in names}
        | {"reward": mean(question.reward for question in usable)},
    )


def judge(row: CurriculumRow, oracle: Oracle, grader: Grader | None) -> JudgedQuestion:
    """A question of the curriculum, judged by the oracle."""
    question, majority = row.answered.question, row.answered.vote.answer
    if question is None:
        return JudgedQuestion(row.answered, row.kept, None, None, None, None)
    truth = oracle.true_answer(question)
    right = same(majority, truth, grader)
    return JudgedQuestion(row.answered, row.kept, truth, right, oracle.difficulty(question), row.agreement)


def same(answer: str | None, truth: str | None, grader: Grader | None) -> bool | None:
    """Whether two answers are equivalent; None if only math-verify could decide, or one of them or the grader is not known."""
    if not answer or not truth or grader is None:
        return None
    verdict = grader.equivalent(grader.canonical(answer), grader.canonical(truth))
    return verdict if isinstance(verdict, bool) else None


def votes(row: JudgedQuestion, grader: Grader | None) -> list[tuple[str | None, int, bool | None]]:
    """(answer, count, whether it is the true one) for each distinct answer to a question, most votes first; None: no answer."""
    majority, counts = row.answered.vote.answer, Counter(row.answered.answers)
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0] is None, entry[0] != majority, entry[0] or ""))
    return [(answer, count, same(answer, row.truth, grader)) for answer, count in ranked]


def read_accuracy(names: Iterable[str], folder: Path) -> dict[str, dict[str, Accuracy]]:
    """Accuracies of the sets of a folder, by set or band and way; none of a set whose table is damaged."""
    measured = [item for name in names for item in set_accuracy(name, readable(folder / f"{name}.parquet", ScoreRow)).items()]
    return {group: ways for group, ways in measured if ways}


def set_accuracy(name: str, rows: Iterable[ScoreRow]) -> dict[str, dict[str, Accuracy]]:
    """Accuracies of a set and of its bands, by way."""
    scores = scores_by_band(name, rows)
    return {group: {way: accuracy(way, values) for way, values in ways.items()} for group, ways in scores.items()}


def accuracy(way: str, scores: list[float]) -> Accuracy:
    """Wilson's interval if each question is right or wrong, the bootstrap for means over samples."""
    bounds = bootstrap(scores) if way == "sampled" else wilson(sum(scores), len(scores))
    return Accuracy(fmean(scores), *bounds, tuple(scores))


def gain(name: str, way: str, before: Round, after: Round) -> tuple[float, float, float] | None:
    """The difference of two rounds' accuracies on a set or band, with the bootstrap interval of the differences by question.

    None where it is one round, one of them was not measured so, or they were asked other questions or with other settings.
    """
    first, last = (each.accuracy.get(name, {}).get(way) for each in (before, after))
    if before is after or first is None or last is None:
        return None
    if len(first.scores) != len(last.scores) or not alike(name, before.sets, after.sets):
        return None
    differences = [b - a for a, b in zip(first.scores, last.scores, strict=True)]
    return (last.mean - first.mean, *bootstrap(differences))


def mean(values: Iterable[float]) -> float:
    """The mean, 0 without values: a step without a well-formed question has no reward."""
    listed = list(values)
    return fmean(listed) if listed else 0.0


def narrowed(config: Mapping[str, Any]) -> bool:
    """Whether not all of these questions are kept, by the settings of a run."""
    rules = config["curriculum"]
    return rules["confident"] < 1 or rules["agreement"] > 0
