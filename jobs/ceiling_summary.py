"""What a plan of single changes says about the limit: each change less the reference, at the same seeds."""

from collections.abc import Sequence

from jobs.outcomes import LAST, OUTCOMES, outcomes
from jobs.plans import Plan, Results
from pipeline.observe import markdown


def gains(results: Results, plan: Plan, variant: str) -> list[list[float]]:
    """By seed the `OUTCOMES` of a variant less those of the reference."""
    seeds = sorted(results.get(variant, {}).get(LAST, {}))
    pairs = [(outcomes(results, variant, seed), outcomes(results, plan.reference.name, seed)) for seed in seeds]
    return [[own[name] - other[name] for name in OUTCOMES] for own, other in pairs if own and other]


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
    head = ["change", "seeds", *OUTCOMES]
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
