"""What the charts of a report are built from: histograms in rows, and curves over the steps of a run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from markupsafe import Markup

from pipeline.observe.report.data import Round
from pipeline.observe.report.svg import WIDTH, Panel, ticks
from pipeline.types import Role

Item = TypeVar("Item")
MOST_ROWS = 8  # of a histogram by step; longer phases show steps that are evenly spread


@dataclass(frozen=True)
class Figure:
    title: str
    svg: Markup
    note: str = ""


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def round_ticks(numbers: Sequence[int]) -> list[tuple[float, str]]:
    step = -(-len(numbers) // 8) or 1
    return [(number, "base" if number == 0 else str(number)) for number in numbers if number % step == 0]


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


def histograms(
    rows: Sequence[tuple[str, Sequence[float]]],
    bins: Sequence[float],
    *,
    describe: str,
    label: str,
    at: Sequence[tuple[float, str]],
    colour: str,
    marked: tuple[float, float] | None = None,
    centre: float | None = None,
) -> Markup:
    """One histogram a row, all on one scale, with the mean of each as a number and a mark. `bins` are the bins' edges."""
    row, top = 37, 8
    height = top + row * len(rows) + 46
    panel = Panel((bins[0], bins[-1]), (0, 1), describe=describe, height=height, left=74, right=44, top=top)
    floor = top + row * len(rows)
    if marked:
        panel.add(
            '<rect class="marked" x="{}" y="{}" width="{}" height="{}"/>',
            f"{panel.px(marked[0]):.1f}", top - 4, f"{panel.px(marked[1]) - panel.px(marked[0]):.1f}", floor - top + 4,
        )  # fmt: skip
    if centre is not None:
        panel.add('<path class="axis dash" d="M{} {}V{}"/>', f"{panel.px(centre):.1f}", top - 4, floor)
    counts = [histogram(values, bins) for _, values in rows]
    peak = max([max(row_counts) / max(1, len(values)) for (_, values), row_counts in zip(rows, counts, strict=True)]) or 1.0
    for index, ((name, values), row_counts) in enumerate(zip(rows, counts, strict=True)):
        base = top + row * (index + 1)
        opacity = 0.45 + 0.55 * (index + 1) / len(rows)
        panel.text(68, base - 3, name, anchor="end")
        for left, right, count in zip(bins, bins[1:], row_counts, strict=False):
            if count:
                size = (row - 7) * count / len(values) / peak
                hint = f"{name}: {count} of {len(values)} questions, {left:.2g} to {right:.2g}"
                panel.box(panel.px(left) + 0.6, base - size, panel.px(right) - panel.px(left) - 1.2, size, colour, hint, opacity)
        panel.add('<path class="grid" d="M74 {}H{}"/>', base, WIDTH - 44)
        if len(values):
            middle = fmean(values)
            panel.add('<path class="mean" d="M{} {}l4 6h-8z"/>', f"{panel.px(middle):.1f}", base + 0.5)
            panel.text(WIDTH - 4, base - 3, f"{middle:.2f}", "value", "end")
    panel.text(WIDTH - 4, height - 22, "mean", anchor="end")
    panel.x_axis(label, at)
    return panel.svg()


def histogram(values: Sequence[float], bins: Sequence[float]) -> list[int]:
    """How many values lie in each bin; its right edge belongs to the next one, the last to the last."""
    width = (bins[-1] - bins[0]) / (len(bins) - 1)
    places = Counter(min(len(bins) - 2, int((value - bins[0]) / width)) for value in values)
    return [places[index] for index in range(len(bins) - 1)]


Points = list[tuple[float, float]]
Series = tuple[str, list[Points]]  # colour, and pieces of a line: one for each phase


def over_steps(
    title: str,
    rounds: Sequence[Round],
    roles: Sequence[Role],
    series: Sequence[Series],
    *,
    describe: str,
    shares: bool = False,
    band: Sequence[tuple[Points, Points, str]] = (),
    note: str = "",
) -> Figure | None:
    """Curves over all steps that `roles` made, in the order in which they were made; see `places` for x."""
    values = [y for _, pieces in series for piece in pieces for _, y in piece]
    if not values:
        return None
    values += [y for low, high, _ in band for _, y in (*low, *high)]
    lengths = [sum(len(round_.metrics[role]) for role in roles) for round_ in rounds]
    end = sum(lengths)
    low, high = (0.0, 1.0) if shares else (min(0.0, *values), max(0.0, *values))
    if high == low:
        high = low + 1.0
    room = 0 if shares else 0.06 * (high - low)
    panel = Panel((0.5, end + 0.5), (low - (room if low < 0 else 0), high + room), describe=describe, left=46)
    at = 0
    starts = []
    for index, length in enumerate(lengths):
        if length and index % 2:
            panel.add(
                '<rect class="stripe" x="{}" y="{}" width="{}" height="{}"/>', f"{panel.px(at + 0.5):.1f}", panel.top,
                f"{panel.px(at + length) - panel.px(at):.1f}", panel.height - panel.top - panel.bottom,
            )  # fmt: skip
        if length:
            starts.append((at + (length + 1) / 2, str(rounds[index].number)))
        at += length
    scale = ticks(low, high, 4)
    panel.y_axis([(value, percent(value) if shares else f"{value:g}") for value in scale])
    panel.x_axis("round", spread(starts, 10))
    for low_curve, high_curve, colour in band:
        panel.band(low_curve, high_curve, colour)
    for colour, pieces in series:
        for piece in pieces:
            panel.line(piece, colour, dots=end <= 40)
    return Figure(title, panel.svg(), note)


def places(rounds: Sequence[Round], roles: Sequence[Role]) -> dict[Role, list[list[int]]]:
    """For each role and round, the place of each of its steps among all that `roles` made; a round's roles come in that order."""
    found: dict[Role, list[list[int]]] = {role: [] for role in roles}
    at = 0
    for round_ in rounds:
        for role in roles:
            found[role].append([at + index + 1 for index in range(len(round_.metrics[role]))])
            at += len(round_.metrics[role])
    return found


def from_to(names: Iterable[str], series: Sequence[Series]) -> str:
    """The first and the last value of each curve, in words."""
    named = zip(names, series, strict=True)
    return "; ".join(f"{name} from {pieces[0][0][1]:.3g} to {pieces[-1][-1][1]:.3g}" for name, (_, pieces) in named if pieces)
