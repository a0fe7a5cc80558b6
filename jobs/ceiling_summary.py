"""What a plan of single changes says about the limit: each change less the reference, at the same seeds."""

from collections.abc import Sequence

from jobs.plans import Measures, Plan, Results
from pipeline.observe import markdown

SCREENED = 3  # rounds after which changes are compared
MEASURES = {
    "sampled": "heldout sampled",
    "hard": "heldout_hard sampled",
    "greedy": "heldout greedy",
    "majority": "heldout majority",
}


def gains(results: Results, plan: Plan, variant: str) -> list[list[float]]:
    """By seed the `MEASURES` of a variant after round `SCREENED` less those of the reference."""
    own, other = (results.get(name, {}).get(SCREENED, {}) for name in (variant, plan.reference.name))
    return [less(own[seed], other[seed]) for seed in sorted(own.keys() & other.keys())]


def less(own: Measures, other: Measures) -> list[float]:
    return [own[name] - other[name] for name in MEASURES.values()]


def summary(results: Results, plan: Plan) -> str:
    """A Markdown section: the effect of each change after round `SCREENED`, and a sentence that names the limit."""
    from jobs.table_results import interval

    rows, beyond, compared = [], [], 0
    for variant in plan.variants:
        of_seeds = gains(results, plan, variant.name) if variant != plan.reference else []
        if not of_seeds:
            continue
        intervals = [interval(column) for column in zip(*of_seeds, strict=True)]
        rows.append([variant.label, len(of_seeds), *(points(*each) for each in intervals)])
        centre, half = intervals[0]
        compared += half == half  # with one seed the interval is unknown
        if abs(centre) > half:
            beyond.append((centre, variant.label))
    missing = sum(seed not in results.get(variant.name, {}).get(variant.rounds, {}) for variant, seed in plan.jobs())
    parts = ["## The limit", said(beyond, compared)]
    parts.append(f"Points of accuracy after round {SCREENED} above {plan.reference.label}, paired by seed.")
    if missing:
        parts.append(f"{missing} of {len(plan.jobs())} runs are missing.")
    return "\n\n".join([*parts, markdown.table(["change", "seeds", *MEASURES], rows)])


def points(centre: float, half: float) -> str:
    """
    >>> points(0.031, 0.004), points(-0.01, float("nan"))
    ('+3.1 ± 0.4', '-1.0')
    """
    return f"{100 * centre:+.1f}" + (f" ± {100 * half:.1f}" if half == half else "")


def said(beyond: Sequence[tuple[float, str]], compared: int) -> str:
    """The sentence about changes beyond their intervals: (gain, label).

    >>> said([(0.02, "batch of 320")], 20)[:76]
    'What raises sampled accuracy after round 3 most: batch of 320 (+2.0 points).'
    """
    if not compared:
        return f"Nothing can be said yet: no change has two runs of {SCREENED} rounds beside those of the reference."
    if not beyond:
        return (
            f"None of {compared} changes with two seeds or more has an effect on sampled accuracy after round {SCREENED} "
            "beyond its 95 % interval."
        )
    (low, lowest), (high, highest) = min(beyond), max(beyond)
    raises = f"What raises sampled accuracy after round {SCREENED} most: {highest} ({100 * high:+.1f} points)."
    sentences = [raises] if high > 0 else []
    sentences += [f"What lowers it most: {lowest} ({100 * low:+.1f} points)."] if low < 0 else []
    chance = f"By chance alone {compared / 20:.1f} of {compared} changes would be beyond their intervals."
    return " ".join([*sentences, chance])
