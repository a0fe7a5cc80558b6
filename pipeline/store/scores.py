"""What the figures of a held-out set are computed from: each problem's accuracy, by set or band and by way of answering."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.store.manifest import MeasuredSet
from pipeline.types import WAYS


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """Some columns of a table of `EvaluationRow`s; those left out hold the texts, which are most of the file."""

    band: str | None
    sampled: float | None
    greedy: float
    majority: float | None
    truncated: int
    unboxed: int
    skipped: bool


def scores_by_band(name: str, rows: Iterable[ScoreRow]) -> dict[str, dict[str, list[float]]]:
    """The problems' accuracies, by the set and each of its bands (`name_band`) and by way; ways not measured are missing."""
    return {
        group: {way: values for way in WAYS if (values := [value for row in members if (value := getattr(row, way)) is not None])}
        for group, members in by_band(name, rows).items()
    }


def by_band(name: str, rows: Iterable[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """The rows of a benchmark under its name, which comes first, and those of each of its bands under `name_band`.

    A band called "transfer" is reported on its own and left out of the benchmark, unless there is nothing else in it.
    """
    listed = list(rows)
    groups: dict[str, list[ScoreRow]] = {name: [row for row in listed if row.band != "transfer"] or listed}
    for row in listed:
        if row.band:
            groups.setdefault(f"{name}_{row.band}", []).append(row)
    return groups


def alike(name: str, before: Mapping[str, MeasuredSet], after: Mapping[str, MeasuredSet]) -> bool:
    """Whether a set or band was measured on the same problems and in the same way in two rounds."""
    of = owner(name, after)
    return of is None or (of in before and before[of].alike(after[of]))


def owner(name: str, sets: Iterable[str]) -> str | None:
    """The set that accuracies of this name are of: itself, or the set whose band it is; None where it is not among `sets`.

    >>> owner("heldout_hard", ["heldout"]), owner("math_500", ["math", "math_500"])
    ('heldout', 'math_500')
    """
    return max((each for each in sets if name == each or name.startswith(f"{each}_")), key=len, default=None)
