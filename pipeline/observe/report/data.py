"""What a report shows, read from the files of a run: no Ray, no model. An unfinished run gives what there is of it."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.algorithm.rewards import uncertainty
from pipeline.domain.benchmarks import by_band
from pipeline.domain.graders.math.grader import MathGrader
from pipeline.domain.oracle import Oracle, load_oracle
from pipeline.observe.report.intervals import bootstrap, wilson
from pipeline.observe.terminal import WAYS
from pipeline.store.manifest import read_table
from pipeline.store.runs import read_manifest, round_numbers, round_seconds, stage_of


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers with its 95 % interval, and the score of each question behind it."""

    mean: float
    low: float
    high: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Step:
    """A Challenger step: its questions' p-hats, difficulties where they are known, and the mean parts of their rewards."""

    number: int
    p_hats: list[float]
    difficulties: list[int]
    clusters: list[list[dict[str, Any]]]  # rows of state.QUESTIONS by cluster, the largest cluster first
    parts: dict[str, float]  # uncertainty, repetition, reward: means over the well-formed questions


@dataclass(frozen=True)
class Round:
    """Everything known of a round. Empty lists and dicts stand for what has not happened yet."""

    number: int
    finished: bool
    metrics: dict[str, list[dict[str, float]]]  # by role, one entry a step
    steps: list[Step]
    funnel: dict[str, Any]
    curriculum: list[dict[str, Any]]  # rows of state.CURRICULUM with `truth`, `right` and `difficulty`
    accuracy: dict[str, dict[str, Accuracy]]  # by benchmark or band, and way
    seconds: dict[str, float]


@dataclass(frozen=True)
class RunData:
    name: str
    config: dict[str, Any]
    rounds: list[Round]
    written: float  # time of the manifest, seconds since 1970
    has_oracle: bool


NO_ORACLE = Oracle(lambda question: None, lambda question: None)


def read_run(folder: Path) -> RunData:
    """Reads all rounds of a run.

    Raises:
        ConfigError: its oracle is not to be had any more.
    """
    manifest = read_manifest(folder)
    known = load_oracle(manifest["config"]["evaluation"]["oracle"])
    oracle = known or NO_ORACLE
    return RunData(
        name=manifest["name"],
        config=manifest["config"],
        rounds=[read_round(folder, manifest, oracle, number) for number in round_numbers(manifest)],
        written=(folder / "manifest.json").stat().st_mtime,
        has_oracle=known is not None,
    )


def read_round(folder: Path, manifest: dict[str, Any], oracle: Oracle, number: int) -> Round:
    place = folder / f"round-{number}"
    metrics = {role: stage_of(manifest, number, role).get("metrics", []) for role in ("challenger", "solver")}
    weight = manifest["config"]["reward"]["lambda_"]
    tables = [place / "challenger" / f"questions-{step:04d}.parquet" for step in range(1, len(metrics["challenger"]) + 1)]
    funnel = stage_of(manifest, number, "curriculum")
    evaluated = stage_of(manifest, number, "evaluation").get("done")
    return Round(
        number=number,
        finished=bool(evaluated),
        metrics=metrics,
        steps=[read_step(step, read_table(path), weight, oracle) for step, path in enumerate(tables, start=1)],
        funnel=funnel,
        curriculum=[judge(row, oracle) for row in read_table(place / "curriculum.parquet")] if funnel.get("done") else [],
        accuracy=read_accuracy(manifest["config"]["evaluation"]["benchmarks"], place / "evaluation") if evaluated else {},
        seconds=round_seconds(manifest, number),
    )


def read_step(number: int, rows: list[dict[str, Any]], weight: float, oracle: Oracle) -> Step:
    """A step from its table of questions; `weight` is that of the repetition penalty."""
    clusters: dict[int, list[dict[str, Any]]] = defaultdict(list)
    usable = [row for row in rows if row["question"] is not None]
    for row in usable:
        clusters[row["cluster"]].append(row)
    repetition = [weight * len(clusters[row["cluster"]]) / len(rows) for row in usable]
    return Step(
        number=number,
        p_hats=[row["p_hat"] for row in usable],
        difficulties=known(oracle.difficulty(row["question"]) for row in usable),
        clusters=sorted(clusters.values(), key=len, reverse=True),
        parts={
            "uncertainty": mean(uncertainty(row["p_hat"]) for row in usable),
            "repetition": mean(repetition),
            "reward": mean(row["reward"] for row in usable),
        },
    )


def judge(row: dict[str, Any], oracle: Oracle) -> dict[str, Any]:
    """A row of the curriculum with what the oracle says of it; `right` is None where that is not known."""
    if row["question"] is None:
        return row | {"truth": None, "right": None, "difficulty": None}
    truth = oracle.true_answer(row["question"])
    right = same(row["majority"], truth) if truth is not None and row["majority"] is not None else None
    return row | {"truth": truth, "right": right, "difficulty": oracle.difficulty(row["question"])}


def same(answer: str | None, truth: str | None) -> bool | None:
    """Whether two answers are equivalent; None where that is for math-verify to say."""
    if not answer or not truth:
        return None
    grader = MathGrader()
    verdict = grader.equivalent(grader.canonical(answer), grader.canonical(truth))
    return verdict if isinstance(verdict, bool) else None


def votes(row: dict[str, Any]) -> list[tuple[str | None, int, bool | None]]:
    """(answer, count, whether it is the true one) for each distinct answer to a question, most votes first; None: no answer."""
    counts = Counter(answer for answer in row["answers"])
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0] is None, entry[0] != row["majority"], entry[0] or ""))
    return [(answer, count, same(answer, row.get("truth"))) for answer, count in ranked]


def read_accuracy(benchmarks: Iterable[str], folder: Path) -> dict[str, dict[str, Accuracy]]:
    measured = {}
    for name in benchmarks:
        for group, rows in by_band(name, read_table(folder / f"{name}.parquet")).items():
            ways = [way for way in WAYS if rows[0][way] is not None]
            measured[group] = {way: accuracy(way, [row[way] for row in rows]) for way in ways}
    return measured


def accuracy(way: str, scores: list[float]) -> Accuracy:
    """Wilson's interval where each question is right or wrong, the bootstrap where it has a mean over samples."""
    bounds = bootstrap(scores) if way == "sampled" else wilson(sum(scores), len(scores))
    return Accuracy(fmean(scores), *bounds, tuple(scores))


def gain(before: Accuracy, after: Accuracy) -> tuple[float, float, float]:
    """The difference of two accuracies on the same questions, with the bootstrap interval of the paired differences."""
    differences = [b - a for a, b in zip(before.scores, after.scores, strict=True)]
    return (after.mean - before.mean, *bootstrap(differences))


def known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def mean(values: Iterable[float]) -> float:
    """The mean, 0 of nothing: a step without one well-formed question has earned nothing."""
    listed = list(values)
    return fmean(listed) if listed else 0.0
