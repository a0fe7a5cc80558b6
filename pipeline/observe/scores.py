"""Accuracies of policies on held-out sets, with the means of the paper's table: as data, and in the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from conf.load import ROOT
from pipeline.domain.sets import catalogue
from pipeline.observe.report.data import Accuracy, set_accuracy
from pipeline.observe.terminal import console, printable, table_of
from pipeline.store.manifest import Accuracies, MeasuredSet
from pipeline.store.scores import ScoreRow
from pipeline.store.tables import read_table

PUBLISHED = ROOT / "conf" / "published.yaml"
DIFFERENCE = (
    "The paper's scores: one run each, with GPT-4o as a second judge of answers that did not match, which only raises a score. "
    "No model judges here."
)


@dataclass(frozen=True, slots=True)
class Scores:
    """A policy's accuracies by set and way of answering, and how each set was measured."""

    policy: str
    accuracies: Mapping[str, Mapping[str, Accuracy]]
    sets: Mapping[str, MeasuredSet]

    def means(self) -> Accuracies:
        return {name: {way: each.mean for way, each in ways.items()} for name, ways in self.accuracies.items()}

    def headline(self, name: str) -> Accuracy:
        """The accuracy reported for a set: mean@k if answers were sampled, else greedy."""
        ways = self.accuracies[name]
        return ways.get("sampled") or ways["greedy"]

    def mean_of(self, names: Sequence[str]) -> float | None:
        """The plain mean of sets' headlines; None if one of them was not measured."""
        return fmean(self.headline(name).mean for name in names) if all(name in self.sets for name in names) else None

    @property
    def math_avg(self) -> float | None:
        """MATH AVG: the mean of the paper's seven math sets."""
        return self.mean_of(paper_sets("math"))

    @property
    def overall(self) -> float | None:
        """OVERALL: the mean of MATH AVG, SuperGPQA, MMLU-Pro and BBEH."""
        general = paper_sets("general")
        if self.math_avg is None or self.mean_of(general) is None:
            return None
        return fmean([self.math_avg, *(self.headline(name).mean for name in general)])


def read_scores(policy: str, tables: Mapping[str, tuple[MeasuredSet, Path]]) -> Scores:
    """Figures from the tables of sets, by set with how it was measured.

    Raises:
        DamagedError: a table is missing or damaged.
    """
    read = [set_accuracy(name, read_table(path, ScoreRow)) for name, (_, path) in tables.items()]
    accuracies = {group: ways for each in read for group, ways in each.items()}
    return Scores(policy, accuracies, {name: measured for name, (measured, _) in tables.items()})


def paper_sets(group: str) -> tuple[str, ...]:
    return tuple(each.name for each in catalogue().values() if each.group == group)


def summary(scores: Scores) -> dict[str, Any]:
    """The scores as JSON: shares from 0 to 1 with 95 % intervals; MATH AVG and OVERALL are null if a set is missing."""
    return {
        "policy": scores.policy,
        "sets": {name: set_summary(scores, name) for name in scores.sets},
        "math_avg": scores.math_avg,
        "overall": scores.overall,
    }


def set_summary(scores: Scores, name: str) -> dict[str, Any]:
    """One set: `unboxed` and `truncated` are shares of the responses, `undecided` and `skipped` are counts."""
    measured, headline = scores.sets[name], scores.headline(name)
    return {
        "accuracy": headline.mean,
        "low": headline.low,
        "high": headline.high,
        "n": len(headline.scores),
        "samples": measured.samples,
        "limit": measured.limit,
        "unboxed": measured.unboxed / max(1, measured.responses),
        "truncated": measured.truncated / max(1, measured.responses),
        "undecided": measured.undecided,
        "skipped": measured.skipped,
        **{way: accuracy.mean for way, accuracy in scores.accuracies[name].items()},
        "bands": {
            band.removeprefix(f"{name}_"): {way: accuracy.mean for way, accuracy in ways.items()}
            for band, ways in scores.accuracies.items()
            if band.startswith(f"{name}_") and band not in scores.sets
        },
    }


def show_scores(scores: Scores) -> None:
    """Prints a policy's table: accuracy with its interval, and failures, by set."""
    table = table_of("set", "problems", "as", "right, %", "95 % interval", "no box", "cut off")
    for name, measured in scores.sets.items():
        headline, drawn = scores.headline(name), max(1, measured.responses)
        table.add_row(
            printable(name, 20),
            f"{len(headline.scores):,}",
            f"mean@{measured.samples}" if measured.samples else "greedy",
            f"{100 * headline.mean:.2f}",
            f"{100 * headline.low:.1f} to {100 * headline.high:.1f}",
            f"{measured.unboxed / drawn:.1%}",
            f"{measured.truncated / drawn:.1%}",
        )
    for name, value in (("MATH AVG", scores.math_avg), ("OVERALL", scores.overall)):
        if value is not None:
            table.add_row(name, "", "", f"{100 * value:.2f}")
    console.print(f"{printable(scores.policy, 200)}", soft_wrap=True)
    console.print(table)
    for name, measured in scores.sets.items():
        if measured.skipped:
            console.print(f"{name}: {measured.skipped} prompts left no room for an answer and count as wrong", soft_wrap=True)
        if measured.undecided:
            console.print(f"{name}: {measured.undecided} comparisons could not be decided and count as different", soft_wrap=True)


def show_rounds(rounds: Sequence[tuple[str, Scores]], base: str) -> None:
    """Prints the paper's table: a column for each policy, in percent, with the paper's if it reports this base model."""
    published = published_scores(base)
    names = list(dict.fromkeys(name for _, scores in rounds for name in scores.sets))
    table = table_of("right, %", *(printable(label, 20) for label, _ in rounds), *(f"paper, {label}" for label in published))
    for name in names:
        cells = [scores.headline(name).mean if name in scores.sets else None for _, scores in rounds]
        table.add_row(printable(name, 20), *map(percent, cells), *(paper_cell(row, name) for row in published.values()))
    for name, means in (("MATH AVG", [s.math_avg for _, s in rounds]), ("OVERALL", [s.overall for _, s in rounds])):
        key = name.lower().replace(" ", "_")
        if published or any(mean is not None for mean in means):
            table.add_row(name, *map(percent, means), *(paper_cell(row, key) for row in published.values()))
    console.print(table)
    if published:
        console.print(DIFFERENCE, soft_wrap=True)


def paper_cell(row: Mapping[str, float], name: str) -> str:
    return f"{row[name]:.2f}" if name in row else ""


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def published_scores(base: str) -> dict[str, dict[str, float]]:
    """The paper's scores by policy (base, round 1, ...) if `base` is one of its base models; else empty.

    >>> published_scores("Qwen/Qwen3-4B-Base")["base"]["math_avg"], published_scores("assets/tiny-base")
    (42.58, {})
    """
    published: dict[str, dict[str, dict[str, float]]] = yaml.safe_load(PUBLISHED.read_text())
    rows = published.get(base) or next(
        (rows for name, rows in published.items() if Path(base).name == name.partition("/")[2]), {}
    )
    return {label if label == "base" else f"round {label}": row for label, row in rows.items()}
