"""The charts of a report, one function each: from what `data.py` read to panels of `svg.py`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from markupsafe import Markup

from pipeline.display import duration
from pipeline.report.data import WAYS, Accuracy, Round
from pipeline.report.intervals import wilson
from pipeline.report.svg import WIDTH, Panel, ticks

WAY_COLOURS = {"sampled": "1", "greedy": "2", "majority": "3"}
ROLE_COLOURS = {"challenger": "2", "solver": "1"}
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


def spread(items: Sequence, most: int = MOST_ROWS) -> list:
    """At most `most` items, evenly spread, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def accuracy(name: str, rounds: Sequence[Round]) -> Figure:
    """Accuracy of a benchmark or band by round, in all ways of answering, with 95 % intervals."""
    points = [(round_.number, round_.accuracy[name]) for round_ in rounds if name in round_.accuracy]
    ways = [way for way in WAYS if way in points[0][1]]
    shown = [value for _, measured in points for way in ways for value in (measured[way].low, measured[way].high)]
    low = max(0.0, min(shown) - 0.04)
    numbers = [number for number, _ in points]
    told = "; ".join(f"{way} " + ", ".join(percent(measured[way].mean) for _, measured in points) for way in ways)
    panel = Panel((numbers[0] - 0.3, numbers[-1] + 0.3), (low, 1.02), describe=f"Accuracy on {name} by round: {told}.", right=46)
    panel.y_axis([(value, percent(value)) for value in ticks(low, 1.0, 4)])
    panel.x_axis("round", round_ticks(numbers))
    for way in ways:
        shift = 6 * (ways.index(way) - (len(ways) - 1) / 2)
        for number, measured in points:
            panel.whisker(number, measured[way].low, measured[way].high, WAY_COLOURS[way], shift)
        width = (panel.px(1) - panel.px(0)) or 1
        panel.line([(number + shift / width, measured[way].mean) for number, measured in points], WAY_COLOURS[way])
    ends = {way: points[-1][1][way].mean for way in ways}
    for way, place in apart({way: panel.py(value) for way, value in ends.items()}, 13).items():
        panel.text(WIDTH - 42, place + 4, f"{100 * ends[way]:.1f}", f"value ink-{WAY_COLOURS[way]}", "start")
    return Figure(name.replace("_", ", "), panel.svg())


def apart(places: Mapping[str, float], gap: float) -> dict[str, float]:
    """Moves labels that would overlap away from each other, keeping their order."""
    moved: dict[str, float] = {}
    last = float("-inf")
    for key, place in sorted(places.items(), key=lambda entry: entry[1]):
        last = moved[key] = max(place, last + gap)
    shift = sum(moved.values()) / max(1, len(moved)) - sum(places.values()) / max(1, len(places))
    return {key: place - shift for key, place in moved.items()}


def histograms(
    rows: Sequence[tuple[str, Sequence[float]]], bins: Sequence[float], *, describe: str, label: str, at: Sequence[tuple[float, str]],
    colour: str, marked: tuple[float, float] | None = None, centre: float | None = None,
) -> Markup:  # fmt: skip
    """One histogram a row, all on one scale, with the mean of each as a number and a mark. `bins` are the bins' edges."""
    row, top = 37, 8
    height = top + row * len(rows) + 36
    panel = Panel((bins[0], bins[-1]), (0, 1), describe=describe, height=height, left=66, right=44, top=top)
    floor = top + row * len(rows)
    if marked:
        panel.add(
            '<rect class="marked" x="{}" y="{}" width="{}" height="{}"/>',
            f"{panel.px(marked[0]):.1f}", top - 4, f"{panel.px(marked[1]) - panel.px(marked[0]):.1f}", floor - top + 4,
        )  # fmt: skip
    if centre is not None:
        panel.add('<path class="axis dash" d="M{} {}V{}"/>', f"{panel.px(centre):.1f}", top - 4, floor)
    counts = [histogram(values, bins) for _, values in rows]
    peak = max((count / max(1, len(values)) for (_, values), row_counts in zip(rows, counts, strict=True) for count in row_counts),
               default=1.0) or 1.0  # fmt: skip
    for index, ((name, values), row_counts) in enumerate(zip(rows, counts, strict=True)):
        base = top + row * (index + 1)
        opacity = 0.45 + 0.55 * (index + 1) / len(rows)
        panel.text(60, base - 3, name, anchor="end")
        for left, right, count in zip(bins, bins[1:], row_counts, strict=False):
            if count:
                size = (row - 7) * count / len(values) / peak
                hint = f"{name}: {count} of {len(values)} questions, {left:.2g} to {right:.2g}"
                panel.box(panel.px(left) + 0.6, base - size, panel.px(right) - panel.px(left) - 1.2, size, colour, hint, opacity)
        panel.add('<path class="grid" d="M66 {}H{}"/>', base, WIDTH - 44)
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


def p_hats(round_: Round, samples: int, delta: float) -> Figure:
    """How the Solver's agreement is spread over the questions of each Challenger step, and over the curriculum."""
    rows = [(f"step {step.number}", step.p_hats) for step in spread(round_.steps)]
    if round_.curriculum:
        rows.append(("curriculum", [row["p_hat"] for row in round_.curriculum if row["question"] is not None]))
    votes = min(samples, 20)  # one bin for each share that the vote can take
    bins = [(index - 0.5) / votes for index in range(votes + 2)]
    means = ", ".join(f"{name} {fmean(values):.2f}" for name, values in rows if values)
    return Figure(
        f"Round {round_.number}",
        histograms(
            rows, bins, describe=f"Histograms of p-hat in round {round_.number}; means: {means}.",
            label="p̂, share of the Solver's answers that agree", at=[(value, f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)],
            colour="2", marked=(0.5 - delta, 0.5 + delta), centre=0.5,
        ),
    )  # fmt: skip


def difficulties(rounds: Sequence[Round]) -> Figure | None:
    """The difficulty of the questions that each round's curriculum is chosen from; the first row is the untrained Challenger's."""
    first = [("first step", round_.steps[0].difficulties) for round_ in rounds if round_.number == 1 and round_.steps]
    written = [
        (f"round {round_.number}", [row["difficulty"] for row in round_.curriculum if row["difficulty"] is not None])
        for round_ in rounds if round_.curriculum
    ]  # fmt: skip
    rows = [row for row in [*first, *spread(written)] if row[1]]
    if not rows:
        return None
    top = sorted(value for _, values in rows for value in values)
    most = top[int(0.995 * (len(top) - 1))] + 1  # a single long chain must not squeeze the rest
    width = -(-most // 16)
    bins = [width * index - 0.5 for index in range(1 if width == 1 else 0, most // width + 2)]
    inside = [(name, [min(value, bins[-1] - 0.1) for value in values]) for name, values in rows]
    means = ", ".join(f"{name} {fmean(values):.1f}" for name, values in rows)
    return Figure(
        "What the Challenger writes",
        histograms(
            inside, bins, describe=f"Difficulty of the questions by round; means: {means}.", label="difficulty, steps of work",
            at=[(value, f"{value:g}") for value in ticks(bins[0], bins[-1], 6)], colour="4",
        ),
    )  # fmt: skip


Series = tuple[str, list[list[tuple[float, float]]]]  # colour, and pieces of a line: one for each phase


def over_steps(title: str, rounds: Sequence[Round], series: Sequence[Series], *, describe: str, shares: bool = False,
               band: Sequence[tuple[list, list, str]] = (), note: str = "") -> Figure | None:  # fmt: skip
    """Curves over all steps of the run, in the order in which they were made; see `places` for x."""
    values = [y for _, pieces in series for piece in pieces for _, y in piece]
    if not values:
        return None
    values += [y for low, high, _ in band for _, y in (*low, *high)]
    end = sum(len(steps) for round_ in rounds for steps in round_.metrics.values())
    low, high = (0.0, 1.0) if shares else (min(0.0, *values), max(*values, 1e-9))
    room = 0 if shares else 0.06 * (high - low)
    panel = Panel((0.5, end + 0.5), (low - (room if low < 0 else 0), high + room), describe=describe, left=46)
    at = 0
    starts = []
    for index, round_ in enumerate(rounds):
        length = sum(len(steps) for steps in round_.metrics.values())
        if length and index % 2:
            panel.add(
                '<rect class="stripe" x="{}" y="{}" width="{}" height="{}"/>', f"{panel.px(at + 0.5):.1f}", panel.top,
                f"{panel.px(at + length) - panel.px(at):.1f}", panel.height - panel.top - panel.bottom,
            )  # fmt: skip
        if length:
            starts.append((at + (length + 1) / 2, str(round_.number)))
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


def places(rounds: Sequence[Round], role: str) -> list[list[int]]:
    """For each round, the place of each of the role's steps among all steps of the run; a Challenger's come before the Solver's."""
    found, at = [], 0
    for round_ in rounds:
        before = 0 if role == "challenger" else len(round_.metrics["challenger"])
        found.append([at + before + index + 1 for index in range(len(round_.metrics[role]))])
        at += sum(len(steps) for steps in round_.metrics.values())
    return found


def metric(key: str, title: str, rounds: Sequence[Round], *, shares: bool = False, note: str = "") -> Figure | None:
    """A metric of both roles, where steps have it."""
    series = []
    for role, colour in ROLE_COLOURS.items():
        pieces = [
            [(x, step[key]) for x, step in zip(xs, round_.metrics[role], strict=True) if key in step]
            for xs, round_ in zip(places(rounds, role), rounds, strict=True)
        ]
        series.append((colour, [piece for piece in pieces if piece]))
    told = "; ".join(
        f"{role} from {pieces[0][0][1]:.3g} to {pieces[-1][-1][1]:.3g}"
        for role, (_, pieces) in zip(ROLE_COLOURS, series, strict=True)
        if pieces
    )
    return over_steps(title, rounds, series, describe=f"{title}: {told}.", shares=shares, note=note)


def challenger_parts(title: str, rounds: Sequence[Round], parts: Mapping[str, str], note: str = "") -> Figure | None:
    """Means over the Challenger's steps of parts of its reward, `parts` by name and colour."""
    xs = places(rounds, "challenger")
    series = [
        (colour, [[(x, step.parts[part]) for x, step in zip(at, round_.steps, strict=True)]
                  for at, round_ in zip(xs, rounds, strict=True) if round_.steps])
        for part, colour in parts.items()
    ]  # fmt: skip
    told = "; ".join(
        f"{part} from {pieces[0][0][1]:.3g} to {pieces[-1][-1][1]:.3g}"
        for part, (_, pieces) in zip(parts, series, strict=True)
        if pieces
    )
    return over_steps(title, rounds, series, describe=f"{title}: {told}.", note=note)


def difficulty_by_step(rounds: Sequence[Round]) -> Figure | None:
    """Mean difficulty of the Challenger's questions at each step, with the middle half of them."""
    xs = places(rounds, "challenger")
    line, bands = [], []
    for at, round_ in zip(xs, rounds, strict=True):
        found = [(x, step.difficulties) for x, step in zip(at, round_.steps, strict=True) if len(step.difficulties) > 1]
        if found:
            quarters = [(x, quantiles(values, n=4)) for x, values in found]
            line.append([(x, fmean(values)) for x, values in found])
            bands.append(([(x, q[0]) for x, q in quarters], [(x, q[2]) for x, q in quarters], "4"))
    told = f"from {line[0][0][1]:.2g} to {line[-1][-1][1]:.2g}" if line else ""
    return over_steps(
        "Difficulty at each Challenger step", rounds, [("4", line)], describe=f"Mean difficulty of the questions {told}.", band=bands,
        note="mean, and the middle half of the questions",
    )  # fmt: skip


def funnel(round_: Round) -> Figure:
    """How many of the questions written came through each gate."""
    gates = [(name.replace("_", "-"), round_.funnel[name]) for name in ("written", "well_formed", "answered", "kept")]
    total = max(1, gates[0][1])
    told = ", ".join(f"{count} {name}" for name, count in gates)
    panel = Panel((0, total), (0, 1), describe=f"Curriculum of round {round_.number}: {told}.", height=112, left=82, right=78, bottom=4)
    for index, (name, count) in enumerate(gates):
        y = 8 + 26 * index
        panel.text(76, y + 14, name, anchor="end")
        panel.box(82, y, panel.px(count) - 82, 18, "2" if name == "kept" else "6", f"{count} {name}", 1 if name == "kept" else 0.55)
        panel.text(WIDTH - 4, y + 14, f"{count:,}  {percent(count / total)}", "value", "end")
    return Figure(f"Round {round_.number}", panel.svg())


def labels(rounds: Sequence[Round]) -> Figure | None:
    """Of the kept questions, how many pseudo-labels are right, how many wrong, and how many questions have no right answer."""
    shown = [round_ for round_ in rounds if any(row["kept"] for row in round_.curriculum)]
    if not shown:
        return None
    panel_height = 34 + 40 * len(shown)
    parts = []
    for round_ in shown:
        kept = [row for row in round_.curriculum if row["kept"]]
        right = sum(row["right"] is True for row in kept)
        none = sum(row["truth"] is None for row in kept)
        parts.append((round_.number, len(kept), right, none, len(kept) - right - none))
    told = "; ".join(f"round {n}: {percent(right / total)} right, {percent(wrong / total)} wrong, {percent(none / total)} without a "
                     "right answer" for n, total, right, none, wrong in parts)  # fmt: skip
    panel = Panel((0, 1), (0, 1), describe=f"Kept questions. {told}.", height=panel_height, left=60, right=14, bottom=30)
    for index, (number, total, right, none, wrong) in enumerate(parts):
        y, at = 8 + 40 * index, 0.0
        low, high = wilson(right, total)
        panel.text(54, y + 17, f"round {number}", anchor="end")
        for count, colour, name in ((right, "3", "right"), (wrong, "2", "wrong"), (none, "6", "without a right answer")):
            share = count / total
            panel.box(panel.px(at), y, panel.px(at + share) - panel.px(at) - 1, 26, colour, f"{count} of {total} {name}")
            if share > 0.09:
                panel.text(panel.px(at + share / 2), y + 17, percent(share), "on-fill")
            at += share
        panel.add('<path class="interval" d="M{} {}H{}"/>', f"{panel.px(low):.1f}", y + 29.5, f"{panel.px(high):.1f}")
    panel.x_axis("", [(value, percent(value)) for value in (0, 0.25, 0.5, 0.75, 1)])
    return Figure("Pseudo-labels of the kept questions", panel.svg())


def label_accuracy_by_vote(rounds: Sequence[Round], samples: int) -> Figure | None:
    """How often a majority of each size is right, over all well-posed questions of the curriculum: what a vote is worth."""
    lines: list[tuple[str, list[list[tuple[float, float]]]]] = []
    shown = [round_ for round_ in rounds if any(row["right"] is not None for row in round_.curriculum)]
    for index, round_ in enumerate(spread(shown, 4)):
        votes: dict[int, list[bool]] = {}
        for row in round_.curriculum:
            if row["right"] is not None:
                votes.setdefault(row["count"], []).append(row["right"])
        points = [(count / samples, fmean(found)) for count, found in sorted(votes.items()) if len(found) >= 5]
        lines.append((str(index + 1), [points] if points else []))
    if not any(pieces for _, pieces in lines):
        return None
    panel = Panel((0, 1), (0, 1), describe="Share of right majorities by p-hat; the diagonal would be a vote that is as right as it is sure.")
    panel.y_axis([(value, percent(value)) for value in (0, 0.25, 0.5, 0.75, 1)])
    panel.x_axis("p̂, share of the answers in the majority", [(value, f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)])
    panel.add('<path class="axis dash" d="M{} {}L{} {}"/>', panel.px(0), panel.py(0), panel.px(1), panel.py(1))
    for (colour, pieces), round_ in zip(lines, spread(shown, 4), strict=True):
        for piece in pieces:
            panel.line(piece, colour)
            panel.text(panel.px(piece[-1][0]) + (8 if piece[-1][0] < 1 else 6), panel.py(piece[-1][1]) + 4, str(round_.number),
                       f"value ink-{colour}")  # fmt: skip
    return Figure("Right majorities by p̂", panel.svg(), "well-posed questions; a line for each round, its number at the end")


def times(rounds: Sequence[Round]) -> Figure | None:
    """Where the wall-clock time of each round went."""
    shown = spread([round_ for round_ in rounds if round_.seconds and round_.number], 12)
    if not shown:
        return None
    parts = sorted({part for round_ in shown for part in round_.seconds}, key=lambda part: -sum(r.seconds.get(part, 0) for r in shown))
    longest = max(sum(round_.seconds.values()) for round_ in shown)
    told = "; ".join(f"round {r.number} {duration(sum(r.seconds.values()))}" for r in shown)
    height = 16 + 34 * len(shown) + 18 * -(-len(parts) // 2)
    panel = Panel((0, longest), (0, 1), describe=f"Time by part. {told}.", height=height, left=60, right=58, bottom=4)
    for index, round_ in enumerate(shown):
        y, at = 8 + 34 * index, 0.0
        panel.text(54, y + 16, f"round {round_.number}", anchor="end")
        for colour, part in enumerate(parts, start=1):
            spent = round_.seconds.get(part, 0.0)
            panel.box(panel.px(at), y, panel.px(at + spent) - panel.px(at), 24, str(min(colour, 6)), f"{part}: {duration(spent)}")
            at += spent
        panel.text(WIDTH - 4, y + 16, duration(at), "value", "end")
    for index, part in enumerate(parts):
        x, y = 60 + 140 * (index % 2), 20 + 34 * len(shown) + 18 * (index // 2)
        share = sum(r.seconds.get(part, 0) for r in shown) / max(1e-9, sum(sum(r.seconds.values()) for r in shown))
        panel.box(x, y - 8, 10, 10, str(min(index + 1, 6)), part)
        panel.text(x + 15, y + 1, f"{part} {percent(share)}", anchor="start")
    return Figure("Time by part", panel.svg())


def gain(before: Accuracy, after: Accuracy, interval: Callable[[Sequence[float]], tuple[float, float]]) -> tuple[float, float, float]:
    """The difference of two accuracies on the same questions, with the interval of the paired differences."""
    differences = [b - a for a, b in zip(before.scores, after.scores, strict=True)]
    low, high = interval(differences)
    return after.mean - before.mean, low, high
