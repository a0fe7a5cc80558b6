"""What a plan of single changes says about the limit: each change less the reference, at the same seeds."""

from collections.abc import Sequence
from statistics import mean

from jobs.plans import Plan, Results
from pipeline.observe import markdown

LAST, FIRST = 6, 2  # rounds
SAMPLED, GREEDY = "heldout sampled", "heldout greedy"


def slope(rounds: Sequence[int], values: Sequence[float]) -> float:
    """Least-squares slope, per round.

    >>> slope([2, 3, 4], [0.5, 0.6, 0.7])
    0.1
    """
    centre = mean(rounds)
    rise = sum((each - centre) * value for each, value in zip(rounds, values, strict=True))
    return round(rise / sum((each - centre) ** 2 for each in rounds), 12)


def outcomes(results: Results, variant: str, seed: int) -> tuple[float, float, float] | None:
    """Of a run: sampled and greedy accuracy after the last round, and the slope of sampled accuracy; None if it is unfinished."""
    rounds = range(FIRST, LAST + 1)
    found = [results.get(variant, {}).get(each, {}).get(seed) for each in rounds]
    values = [each for each in found if each is not None]
    if len(values) < len(found):
        return None
    return values[-1][SAMPLED], values[-1][GREEDY], slope(rounds, [each[SAMPLED] for each in values])


def gains(results: Results, plan: Plan, variant: str) -> list[tuple[float, float, float]]:
    """The outcomes of a variant less those of the reference, by seed."""
    seeds = sorted(results.get(variant, {}).get(LAST, {}))
    pairs = [(outcomes(results, variant, seed), outcomes(results, plan.reference.name, seed)) for seed in seeds]
    return [tuple(a - b for a, b in zip(own, other, strict=True)) for own, other in pairs if own and other]  # type: ignore[misc]


def summary(results: Results, plan: Plan) -> str:
    """A Markdown section: the effect of each change after round 6, and a sentence that names the limit."""
    from jobs.table_results import interval

    rows, beyond = [], []
    for variant in plan.variants:
        of_seeds = gains(results, plan, variant.name) if variant != plan.reference else []
        if not of_seeds:
            continue
        intervals = [interval(column) for column in zip(*of_seeds, strict=True)]
        rows.append([variant.label, len(of_seeds), *(f"{100 * centre:+.1f} ± {100 * half:.1f}" for centre, half in intervals)])
        centre, half = intervals[0]
        if abs(centre) > half:  # never with one seed, whose interval is unknown
            beyond.append((centre, variant.label))
    missing = sum(outcomes(results, variant.name, seed) is None for variant, seed in plan.jobs())
    head = ["change", "seeds", "sampled, round 6", "greedy, round 6", "sampled, slope per round"]
    parts = ["## The limit", said(beyond, len(rows)), f"Points of accuracy above {plan.reference.label}, paired by seed."]
    if missing:
        parts.append(f"{missing} of {len(plan.jobs())} runs are missing.")
    return "\n\n".join([*parts, markdown.table(head, rows)])


def said(beyond: Sequence[tuple[float, str]], compared: int) -> str:
    """The sentence about changes beyond their intervals: (gain, label).

    >>> said([(0.02, "batch of 320")], 20)[:76]
    'What raises sampled accuracy after round 6 most: batch of 320 (+2.0 points).'
    """
    if not compared:
        return "Nothing can be said yet: no change has a run of six rounds beside one of the reference."
    if not beyond:
        return f"None of {compared} changes has an effect on sampled accuracy after round 6 beyond its 95 % interval."
    (low, lowest), (high, highest) = min(beyond), max(beyond)
    sentences = [f"What raises sampled accuracy after round 6 most: {highest} ({100 * high:+.1f} points)."] if high > 0 else []
    sentences += [f"What lowers it most: {lowest} ({100 * low:+.1f} points)."] if low < 0 else []
    chance = f"By chance alone {compared / 20:.1f} of {compared} changes would be beyond their intervals."
    return " ".join([*sentences, chance])
