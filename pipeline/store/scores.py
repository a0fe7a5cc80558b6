"""What the figures of a held-out set are computed from: each problem's accuracy, by set or band and by way of answering."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.domain.bands import by_band
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
