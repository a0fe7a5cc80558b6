"""The charts of a report, one function each: from the data of `data.py` to panels of `svg.py`."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, quantiles

from pipeline.algorithm.stop_rule import JUDGED_FROM, TRUSTED, picked_round, trust
from pipeline.observe.report.data import Round
from pipeline.observe.report.figures import Curve, Figure, Piece, Points, bars, histograms, name_ends, over_steps, percent, spread
from pipeline.observe.report.intervals import wilson
from pipeline.observe.report.svg import Panel, ticks
from pipeline.observe.terminal import duration
from pipeline.types import ROLES, WAYS, Role

WAY_COLOURS = {"sampled": "1", "greedy": "2", "majority": "3"}
ROLE_COLOURS: dict[Role, str] = {"challenger": "2", "solver": "1"}
QUARTERS = [(value, f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)]


def accuracy(name: str, rounds: Sequence[Round]) -> Figure:
    """Accuracy of a benchmark or band by round, in all ways of answering, with 95 % intervals."""
    points = [(round_.number, round_.accuracy[name]) for round_ in rounds if name in round_.accuracy]
    numbers = [number for number, _ in points]
    by_way = {way: [(number, measured[way]) for number, measured in points if way in measured] for way in WAYS}
    ways = [way for way in WAYS if by_way[way]]  # a round may have been measured in fewer ways than another
    low = max(0.0, min(measured.low for way in ways for _, measured in by_way[way]) - 0.04)
    means = "; ".join(f"{way} " + ", ".join(percent(measured.mean) for _, measured in by_way[way]) for way in ways)
    panel = Panel((numbers[0] - 0.3, numbers[-1] + 0.3), (low, 1.02), f"Accuracy on {name} by round: {means}.", right=46)
    panel.y_axis([(value, percent(value)) for value in ticks(low, 1.0, 4)])
    step = -(-len(numbers) // 8)
    panel.x_axis("round", [(number, str(number) if number else "base") for number in numbers if number % step == 0])
    for way, colour in ((way, WAY_COLOURS[way]) for way in ways):
        shift = 6 * (ways.index(way) - (len(ways) - 1) / 2) / (panel.px(1) - panel.px(0))  # pixels, in rounds
        for number, measured in by_way[way]:
            interval = (number + shift, measured.low), (number + shift, measured.high)
            panel.path(f"whisker stroke-{colour}", interval)
        panel.line([(number + shift, measured.mean) for number, measured in by_way[way]], colour)
    last = {way: by_way[way][-1][1].mean for way in ways}
    name_ends(panel, {WAY_COLOURS[way]: (mean, f"{100 * mean:.1f}") for way, mean in last.items()})
    return Figure(name, panel.svg())


def p_hats(round_: Round, samples: int, kept: tuple[float, float]) -> Figure:
    """Distribution of the Solver's agreement over the questions of each Challenger step and of the curriculum, `kept` marked."""
    rows = [(f"step {step.number}", step.p_hats) for step in spread(round_.steps)]
    if round_.curriculum:
        rows.append(("curriculum", [row.answered.vote.share for row in round_.curriculum if row.answered.question is not None]))
    votes = min(samples, 20)  # one bin per possible share
    bins = [(index - 0.5) / votes for index in range(votes + 2)]
    means = ", ".join(f"{name} {fmean(values):.2f}" for name, values in rows if values)
    return Figure(
        f"Round {round_.number}",
        histograms(
            rows, bins, describe=f"Histograms of p-hat in round {round_.number}; means: {means}.", at=QUARTERS,
            label="p̂, share of the Solver's answers that agree", colour="2", marked=kept,
        ),
    )  # fmt: skip


def difficulties(rounds: Sequence[Round]) -> Figure | None:
    """Difficulty of the questions written for each round's curriculum, preceded by those of the first step."""
    first = [("first step", round_.steps[0].difficulties) for round_ in rounds if round_.number == 1 and round_.steps]
    written = [
        (f"round {round_.number}", [row.difficulty for row in round_.curriculum if row.difficulty is not None])
        for round_ in rounds if round_.curriculum
    ]  # fmt: skip
    rows = [row for row in [*first, *spread(written)] if row[1]]
    if not rows:
        return None
    top = sorted(value for _, values in rows for value in values)
    most = top[int(0.995 * (len(top) - 1))] + 1  # so that a single long chain does not compress the axis
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
    """A metric of the roles' steps; None if no step has it."""

    def curve(role: Role) -> Curve:
        return Curve(role, ROLE_COLOURS[role], role, lambda round_: [step.get(key) for step in round_.metrics[role]])

    return over_steps(title, rounds, [curve(role) for role in roles], shares=shares)


def challenger_parts(title: str, rounds: Sequence[Round], parts: Mapping[str, str], note: str = "") -> Figure | None:
    """Means over the Challenger's steps of parts of its reward, `parts` by name and colour."""

    def curve(part: str, colour: str) -> Curve:
        return Curve(part, colour, "challenger", lambda round_: [step.parts.get(part) for step in round_.steps])

    return over_steps(title, rounds, [curve(*entry) for entry in parts.items()], note=note)


def difficulty_by_step(rounds: Sequence[Round]) -> Figure | None:
    """Mean difficulty of the Challenger's questions at each step, with the middle half of them."""

    def curve(name: str, of: Callable[[list[int]], float]) -> Curve:
        def values(round_: Round) -> list[float | None]:
            return [of(step.difficulties) if len(step.difficulties) > 1 else None for step in round_.steps]

        return Curve(name, "4", "challenger", values)

    edges = curve("quarter", lambda values: quantiles(values)[0]), curve("three quarters", lambda values: quantiles(values)[2])
    title, note = "Difficulty at each Challenger step", "mean, and the middle half of the questions"
    return over_steps(title, rounds, [curve("mean", fmean)], edges=edges, note=note)


def funnel(round_: Round) -> Figure:
    """How many of the written questions passed each gate."""
    counts = round_.funnel
    gates = {"written": counts.written, "well-formed": counts.well_formed, "answered": counts.answered, "kept": counts.kept}
    total = max(1, counts.written)
    numbers = ", ".join(f"{count} {name}" for name, count in gates.items())
    rows = [
        (name, [Piece(count, "2" if name == "kept" else "6", f"{count} {name}")], f"{count:,}  {percent(count / total)}")
        for name, count in gates.items()
    ]
    panel = bars(rows, total, f"Curriculum of round {round_.number}: {numbers}.", left=82, right=78)
    return Figure(f"Round {round_.number}", panel.svg())


def trusts(rounds: Sequence[Round]) -> Figure | None:
    """By round what the stop rule sees: how far the previous Solver and the verdicts support the labels; no label is used."""
    known = {each.number: trust([(row.answered, row.agreement) for row in each.curriculum]) for each in rounds}
    measured = [(number, value) for number, value in known.items() if value is not None]
    if not measured:
        return None
    best = picked_round([known[each.number] for each in rounds if each.finished])
    rows = [(f"round {number}", [Piece(value, "2", percent(value), percent(value))], "") for number, value in measured]
    described = ", ".join(f"round {number} {percent(value)}" for number, value in measured)
    panel = bars(rows, 1.0, f"Support of the labels: {described}.", left=82, right=78)
    note = f"from round {JUDGED_FROM} on, below {percent(TRUSTED)} another round will not help"
    return Figure("Support of the labels", panel.svg(), f"{note}; best: round {best}" if best else note)


def labels(rounds: Sequence[Round]) -> Figure | None:
    """Shares of the kept questions whose pseudo-label is right or wrong, or that have no right answer."""
    rows, descriptions, intervals = [], [], []
    for round_ in rounds:
        kept = [row for row in round_.curriculum if row.kept]
        if not kept:
            continue
        right, none = sum(row.right is True for row in kept), sum(row.truth is None for row in kept)
        counts = {"right": right, "wrong": len(kept) - right - none, "without a right answer": none}
        pieces = [
            Piece(count / len(kept), colour, f"{count} of {len(kept)} {name}", percent(count / len(kept)))
            for colour, (name, count) in zip("326", counts.items(), strict=True)
        ]
        rows.append((f"round {round_.number}", pieces, ""))
        descriptions.append(
            f"round {round_.number}: " + ", ".join(f"{p.inside} {name}" for p, name in zip(pieces, counts, strict=True))
        )
        intervals.append(wilson(right, len(kept)))
    if not rows:
        return None
    panel = bars(rows, 1, f"Kept questions. {'; '.join(descriptions)}.", right=20, bottom=30)
    for index, (low, high) in enumerate(intervals):
        panel.add('<path class="interval" d="M{} {}H{}"/>', panel.px(low), 35.5 + 34 * index, panel.px(high))
    panel.x_axis("", [(value, percent(value)) for value, _ in QUARTERS])
    return Figure("Pseudo-labels of the kept questions", panel.svg())


def label_accuracy_by_vote(rounds: Sequence[Round], samples: int) -> Figure | None:
    """How often a majority of each size is right, over all well-posed questions of the curriculum."""
    lines: dict[str, tuple[int, Points]] = {}
    for index, round_ in enumerate(spread([round_ for round_ in rounds if round_.curriculum], 4), start=1):
        votes: dict[int, list[bool]] = defaultdict(list)
        for row in round_.curriculum:
            if row.right is not None:
                votes[row.answered.vote.count].append(row.right)
        if points := [(count / samples, fmean(right)) for count, right in sorted(votes.items()) if len(right) >= 5]:
            lines[str(index)] = round_.number, points
    if not lines:
        return None
    panel = Panel((0, 1), (0, 1), "Share of right majorities by p-hat, a line for each round.", right=38, top=20, height=220)
    panel.y_axis([(value, percent(value)) for value, _ in QUARTERS])
    panel.x_axis("p̂, share of the answers in the majority", QUARTERS)
    panel.path("axis dash", [(0, 0), (1, 1)])
    for colour, (_, points) in lines.items():
        panel.line(points, colour)
    name_ends(panel, {colour: (points[-1][1], f"r. {number}") for colour, (number, points) in lines.items()})
    return Figure("Right majorities by p̂", panel.svg(), "well-posed questions; a line for each round")


def time_parts(rounds: Sequence[Round]) -> dict[str, tuple[str, float]]:
    """The parts of the work with their colours and their shares of all time, the longest first."""
    spent: Counter[str] = Counter()
    for round_ in rounds:
        spent.update(round_.seconds)
    return {
        part: (str(min(place, 8)), seconds / max(1e-9, spent.total()))  # eight colours in style.css
        for place, (part, seconds) in enumerate(spent.most_common(), start=1)
    }


def times(rounds: Sequence[Round]) -> Figure | None:
    """Wall-clock time of each round by part."""
    shown = spread([round_ for round_ in rounds if sum(round_.seconds.values())], 12)
    if not shown:
        return None
    rows, parts = [], time_parts(rounds)
    for round_ in shown:
        spent = [(round_.seconds.get(part, 0.0), colour, part) for part, (colour, _) in parts.items()]
        pieces = [Piece(seconds, colour, f"{part}: {duration(seconds)}") for seconds, colour, part in spent]
        rows.append((f"round {round_.number}", pieces, duration(sum(round_.seconds.values()))))
    longest = max(sum(round_.seconds.values()) for round_ in shown)
    totals = "; ".join(f"{name} {whole}" for name, _, whole in rows)
    return Figure("Time by part", bars(rows, longest, f"Time by part. {totals}.").svg())
