"""Building blocks of a report's charts: bars and histograms in rows, and curves over the steps of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np
from markupsafe import Markup

from pipeline.observe.report.data import Round
from pipeline.observe.report.svg import WIDTH, Panel, ticks
from pipeline.types import Role

Item = TypeVar("Item")
Points = list[tuple[float, float]]
MOST_ROWS = 8  # of a histogram by step; longer phases show evenly spread steps


@dataclass(frozen=True)
class Figure:
    title: str
    svg: Markup
    note: str = ""


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def spread(items: Sequence[Item], most: int = MOST_ROWS) -> list[Item]:
    """At most `most` items, evenly spread, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def apart(places: Mapping[str, float], gap: float) -> dict[str, float]:
    """Moves labels that would overlap away from each other, keeping their order; none goes above half a gap from the top."""
    moved: dict[str, float] = {}
    last = float("-inf")
    for key, place in sorted(places.items(), key=lambda entry: entry[1]):
        last = moved[key] = max(place, last + gap)
    shift = sum(moved.values()) / max(1, len(moved)) - sum(places.values()) / max(1, len(places))
    shift = min(shift, max(0.0, min(moved.values(), default=0.0) - gap / 2))
    return {key: place - shift for key, place in moved.items()}


def name_ends(panel: Panel, ends: Mapping[str, tuple[float, str]]) -> None:
    """Writes beside the right end of each line, given by colour as (y, text), a text of its colour."""
    for colour, place in apart({colour: panel.py(y) for colour, (y, _) in ends.items()}, 13).items():
        panel.text(WIDTH - panel.right + 4, place + 4, ends[colour][1], f"value ink-{colour}", "start")


class Piece(NamedTuple):
    """A part of a bar; `inside` is written on it where there is room."""

    amount: float
    colour: str
    hint: str
    inside: str = ""


Bar = tuple[str, Sequence[Piece], str]  # its name, its pieces side by side, and the text after it


def bars(rows: Sequence[Bar], whole: float, describe: str, *, left: int = 60, right: int = 58, bottom: int = 4) -> Panel:
    """A bar in each row; `whole` is the amount of the full width."""
    panel = Panel((0, whole), (0, 1), describe, height=8 + 34 * len(rows) + bottom, left=left, right=right, bottom=bottom)
    for index, (name, pieces, caption) in enumerate(rows):
        y, at = 8 + 34 * index, 0.0
        panel.text(left - 6, y + 16, name, anchor="end")
        for amount, colour, hint, inside in pieces:
            panel.box(panel.px(at), y, panel.px(at + amount) - panel.px(at) - 1, 24, colour, hint)
            if amount > 0.09 * whole:
                panel.text(panel.px(at + amount / 2), y + 16, inside, "on-fill")
            at += amount
        panel.text(WIDTH - 4, y + 16, caption, "value", "end")
    return panel


def histograms(
    rows: Sequence[tuple[str, Sequence[float]]],
    bins: Sequence[float],
    *,
    describe: str,
    label: str,
    at: Sequence[tuple[float, str]],
    colour: str,
    marked: tuple[float, float] | None = None,
) -> Markup:
    """One histogram a row, all on one scale, with the mean of each as a number and a mark. `bins` are the bins' edges.

    `marked` is a range that is shaded, with a dashed line at its centre.
    """
    row, top = 37, 8
    floor = top + row * len(rows)
    panel = Panel((bins[0], bins[-1]), (0, 1), describe, height=floor + 46, left=74, right=44, top=top)
    if marked:
        low, high = (panel.px(value) for value in marked)
        panel.add('<rect class="marked" x="{}" y="4" width="{}" height="{}"/>', low, high - low, floor - 4)
        panel.add('<path class="axis dash" d="M{} 4V{}"/>', (low + high) / 2, floor)
    counts = [histogram(values, bins) for _, values in rows]
    peak = max(max(heights) / max(1, len(values)) for (_, values), heights in zip(rows, counts, strict=True)) or 1.0
    for index, ((name, values), heights) in enumerate(zip(rows, counts, strict=True), start=1):
        base = top + row * index
        opacity = 0.45 + 0.55 * index / len(rows)
        panel.text(68, base - 3, name, anchor="end")
        for left, right, count in zip(bins, bins[1:], heights, strict=False):
            if count:
                size = (row - 7) * count / len(values) / peak
                hint = f"{name}: {count} of {len(values)} questions, {left:.2g} to {right:.2g}"
                panel.box(panel.px(left) + 0.6, base - size, panel.px(right) - panel.px(left) - 1.2, size, colour, hint, opacity)
        panel.add('<path class="grid" d="M74 {}H{}"/>', base, WIDTH - 44)
        if len(values):
            middle = fmean(values)
            panel.add('<path class="mean" d="M{} {}l4 6h-8z"/>', panel.px(middle), base + 0.5)
            panel.text(WIDTH - 4, base - 3, f"{middle:.2f}", "value", "end")
    panel.text(WIDTH - 4, floor + 24, "mean", anchor="end")
    panel.x_axis(label, at)
    return panel.svg()


def histogram(values: Sequence[float], bins: Sequence[float]) -> list[int]:
    """How many values lie in each bin; its right edge belongs to the next one, the last to the last."""
    return [int(count) for count in np.histogram(values, bins)[0]]


class Curve(NamedTuple):
    """A quantity of a role's steps: `values` has one entry per step of a round, None if missing."""

    name: str
    colour: str
    role: Role
    values: Callable[[Round], Sequence[float | None]]

    def pieces(self, rounds: Sequence[Round], roles: Sequence[Role]) -> list[Points]:
        """Its points in each round with any, over the steps of all `roles` in order."""
        by_round: list[Points] = []
        at = 0
        for round_ in rounds:
            for role in roles:
                if role == self.role:
                    values = enumerate(self.values(round_), start=at + 1)
                    by_round.append([(x, y) for x, y in values if y is not None])
                at += len(round_.metrics[role])
        return [piece for piece in by_round if piece]


def over_steps(
    title: str,
    rounds: Sequence[Round],
    curves: Sequence[Curve],
    *,
    edges: Sequence[Curve] = (),
    shares: bool = False,
    note: str = "",
) -> Figure | None:
    """Curves over all steps of their roles, with a stripe for every other round; `edges` are the two of a band."""
    roles = list(dict.fromkeys(curve.role for curve in curves))
    lines = [(curve, pieces) for curve in curves if (pieces := curve.pieces(rounds, roles))]
    if not lines:
        return None
    bands = list(zip(*(edge.pieces(rounds, roles) for edge in edges), strict=True))
    values = [y for _, pieces in [*lines, *(("", band) for band in bands)] for piece in pieces for _, y in piece]
    lengths = [sum(len(round_.metrics[role]) for role in roles) for round_ in rounds]
    end = sum(lengths)
    low, high = (0.0, 1.0) if shares else (min(0.0, *values), max(0.0, *values))
    if high == low:
        high = low + 1.0
    room = 0 if shares else 0.06 * (high - low)
    ranges = "; ".join(f"{curve.name} from {pieces[0][0][1]:.3g} to {pieces[-1][-1][1]:.3g}" for curve, pieces in lines)
    panel = Panel((0.5, end + 0.5), (low - (room if low < 0 else 0), high + room), f"{title}: {ranges}.", left=46)
    at, starts = 0, []
    for index, (round_, length) in enumerate(zip(rounds, lengths, strict=True)):
        if length and index % 2:
            left, right, height = panel.px(at + 0.5), panel.px(at + length + 0.5), panel.height - panel.top - panel.bottom
            panel.add('<rect class="stripe" x="{}" y="{}" width="{}" height="{}"/>', left, panel.top, right - left, height)
        if length:
            starts.append((at + (length + 1) / 2, str(round_.number)))
        at += length
    panel.y_axis([(value, percent(value) if shares else f"{value:g}") for value in ticks(low, high, 4)])
    panel.x_axis("round", spread(starts, 10))
    for below, above in bands:
        panel.band(below, above, edges[0].colour)
    for curve, pieces in lines:
        for piece in pieces:
            panel.line(piece, curve.colour, dots=end <= 40)
    return Figure(title, panel.svg(), note)
