"""The charts of a report, one function each: from what `data.py` read to panels of `svg.py`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, quantiles

from pipeline.observe.report.data import Round
from pipeline.observe.report.figures import (
    Figure,
    Points,
    Series,
    apart,
    from_to,
    histograms,
    over_steps,
    percent,
    places,
    round_ticks,
    spread,
)
from pipeline.observe.report.intervals import wilson
from pipeline.observe.report.svg import WIDTH, Panel, ticks
from pipeline.observe.terminal import WAYS, duration
from pipeline.types import ROLES, Role

WAY_COLOURS = {"sampled": "1", "greedy": "2", "majority": "3"}
PALETTE = 8  # colours in style.css
ROLE_COLOURS: dict[Role, str] = {"challenger": "2", "solver": "1"}


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
    return Figure(name, panel.svg())


def p_hats(round_: Round, samples: int, delta: float) -> Figure:
    """How the Solver's agreement is spread over the questions of each Challenger step, and over the curriculum."""
    rows = [(f"step {step.number}", step.p_hats) for step in spread(round_.steps)]
    if round_.curriculum:
        rows.append(("curriculum", [row.answered.vote.share for row in round_.curriculum if row.answered.question is not None]))
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
    """The difficulty of the questions that each round's curriculum is chosen from, after those of the first step."""
    first = [("first step", round_.steps[0].difficulties) for round_ in rounds if round_.number == 1 and round_.steps]
    written = [
        (f"round {round_.number}", [row.difficulty for row in round_.curriculum if row.difficulty is not None])
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


def metric(
    key: str, title: str, rounds: Sequence[Round], *, roles: Sequence[Role] = ROLES, shares: bool = False
) -> Figure | None:
    """A metric of the roles' steps, where they have it."""
    series: list[Series] = []
    for role, xs_by_round in places(rounds, roles).items():
        pieces: list[Points] = [
            [(x, step[key]) for x, step in zip(xs, round_.metrics[role], strict=True) if key in step]
            for xs, round_ in zip(xs_by_round, rounds, strict=True)
        ]
        series.append((ROLE_COLOURS[role], [piece for piece in pieces if piece]))
    return over_steps(title, rounds, roles, series, describe=f"{title}: {from_to(roles, series)}.", shares=shares)


def challenger_parts(title: str, rounds: Sequence[Round], parts: Mapping[str, str], note: str = "") -> Figure | None:
    """Means over the Challenger's steps of parts of its reward, `parts` by name and colour."""
    xs = places(rounds, ["challenger"])["challenger"]
    series: list[Series] = [
        (colour, [[(x, step.parts[part]) for x, step in zip(at, round_.steps, strict=True) if part in step.parts]
                  for at, round_ in zip(xs, rounds, strict=True) if round_.steps])
        for part, colour in parts.items()
    ]  # fmt: skip
    return over_steps(title, rounds, ["challenger"], series, describe=f"{title}: {from_to(parts, series)}.", note=note)


def difficulty_by_step(rounds: Sequence[Round]) -> Figure | None:
    """Mean difficulty of the Challenger's questions at each step, with the middle half of them."""
    xs = places(rounds, ["challenger"])["challenger"]
    line: list[Points] = []
    bands: list[tuple[Points, Points, str]] = []
    for at, round_ in zip(xs, rounds, strict=True):
        found = [(x, step.difficulties) for x, step in zip(at, round_.steps, strict=True) if len(step.difficulties) > 1]
        if found:
            quarters = [(x, quantiles(values, n=4)) for x, values in found]
            line.append([(x, fmean(values)) for x, values in found])
            bands.append(([(x, q[0]) for x, q in quarters], [(x, q[2]) for x, q in quarters], "4"))
    return over_steps(
        "Difficulty at each Challenger step", rounds, ["challenger"], [("4", line)], band=bands,
        describe=f"Mean difficulty of the questions: {from_to(['mean'], [('4', line)])}.",
        note="mean, and the middle half of the questions",
    )  # fmt: skip


def funnel(round_: Round) -> Figure:
    """How many of the questions written came through each gate."""
    gates = [(name.replace("_", "-"), getattr(round_.funnel, name)) for name in ("written", "well_formed", "answered", "kept")]
    total = max(1, gates[0][1])
    told = ", ".join(f"{count} {name}" for name, count in gates)
    panel = Panel(
        (0, total), (0, 1), describe=f"Curriculum of round {round_.number}: {told}.", height=112, left=82, right=78, bottom=4
    )
    for index, (name, count) in enumerate(gates):
        y = 8 + 26 * index
        panel.text(76, y + 14, name, anchor="end")
        panel.box(
            82, y, panel.px(count) - 82, 18, "2" if name == "kept" else "6", f"{count} {name}", 1 if name == "kept" else 0.55
        )
        panel.text(WIDTH - 4, y + 14, f"{count:,}  {percent(count / total)}", "value", "end")
    return Figure(f"Round {round_.number}", panel.svg())


def labels(rounds: Sequence[Round]) -> Figure | None:
    """Of the kept questions, how many pseudo-labels are right, how many wrong, and how many questions have no right answer."""
    shown = [round_ for round_ in rounds if any(row.kept for row in round_.curriculum)]
    if not shown:
        return None
    panel_height = 34 + 40 * len(shown)
    parts = []
    for round_ in shown:
        kept = [row for row in round_.curriculum if row.kept]
        right = sum(row.right is True for row in kept)
        none = sum(row.truth is None for row in kept)
        parts.append((round_.number, len(kept), right, none, len(kept) - right - none))
    told = "; ".join(
        f"round {n}: {percent(right / total)} right, {percent(wrong / total)} wrong, {percent(none / total)} without an answer"
        for n, total, right, none, wrong in parts
    )
    panel = Panel((0, 1), (0, 1), describe=f"Kept questions. {told}.", height=panel_height, left=60, right=20, bottom=30)
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
    lines: dict[str, Points] = {}
    names: dict[str, int] = {}
    for index, round_ in enumerate(spread([round_ for round_ in rounds if round_.curriculum], 4), start=1):
        votes: dict[int, list[bool]] = {}
        for row in round_.curriculum:
            if row.right is not None:
                votes.setdefault(row.answered.vote.count, []).append(row.right)
        points = [(count / samples, fmean(found)) for count, found in sorted(votes.items()) if len(found) >= 5]
        if points:
            lines[str(index)], names[str(index)] = points, round_.number
    if not lines:
        return None
    panel = Panel(
        (0, 1), (0, 1), right=38, top=20, height=220, describe="Share of right majorities by p-hat, a line for each round."
    )
    panel.y_axis([(value, percent(value)) for value in (0, 0.25, 0.5, 0.75, 1)])
    panel.x_axis("p̂, share of the answers in the majority", [(value, f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)])
    panel.add('<path class="axis dash" d="M{} {}L{} {}"/>', panel.px(0), panel.py(0), panel.px(1), panel.py(1))
    for colour, points in lines.items():
        panel.line(points, colour)
    ends = {colour: panel.py(points[-1][1]) for colour, points in lines.items()}
    for colour, place in apart(ends, 13).items():
        panel.text(WIDTH - 34, place + 4, f"r. {names[colour]}", f"value ink-{colour}", "start")
    return Figure("Right majorities by p̂", panel.svg(), "well-posed questions; a line for each round")


def times(rounds: Sequence[Round]) -> Figure | None:
    """Where the wall-clock time of each round went."""
    shown = spread([round_ for round_ in rounds if round_.seconds and round_.number], 12)
    if not shown:
        return None
    spent_on: Counter[str] = Counter()
    for round_ in shown:
        spent_on.update(round_.seconds)
    parts = [part for part, _ in spent_on.most_common()]
    longest = max(sum(round_.seconds.values()) for round_ in shown)
    told = "; ".join(f"round {r.number} {duration(sum(r.seconds.values()))}" for r in shown)
    height = 16 + 34 * len(shown) + 18 * -(-len(parts) // 2)
    panel = Panel((0, longest), (0, 1), describe=f"Time by part. {told}.", height=height, left=60, right=58, bottom=4)
    for index, round_ in enumerate(shown):
        y, at = 8 + 34 * index, 0.0
        panel.text(54, y + 16, f"round {round_.number}", anchor="end")
        for colour, part in enumerate(parts, start=1):
            spent = round_.seconds.get(part, 0.0)
            panel.box(
                panel.px(at), y, panel.px(at + spent) - panel.px(at), 24, str(min(colour, PALETTE)), f"{part}: {duration(spent)}"
            )
            at += spent
        panel.text(WIDTH - 4, y + 16, duration(at), "value", "end")
    for index, part in enumerate(parts):
        x, y = 60 + 140 * (index % 2), 20 + 34 * len(shown) + 18 * (index // 2)
        share = spent_on[part] / max(1e-9, spent_on.total())
        panel.box(x, y - 8, 10, 10, str(min(index + 1, PALETTE)), part)
        panel.text(x + 15, y + 1, f"{part} {percent(share)}", anchor="start")
    return Figure("Time by part", panel.svg())
