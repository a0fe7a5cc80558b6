"""What a run of six rounds came to, and the main effects of a factorial design on it."""

from collections.abc import Sequence
from statistics import mean

import numpy as np
from scipy.stats import t as student

from jobs.plans import Results
from pipeline.algorithm.stop_rule import picked_round

FIRST, LAST = 2, 6  # rounds
SAMPLED = "sampled, round 6"
OUTCOMES = (SAMPLED, "slope per round", "greedy, 6 less 2", "majority, 6 less 2", "labels right, round 6")


def slope(rounds: Sequence[int], values: Sequence[float]) -> float:
    """Least-squares slope, per round.

    >>> slope([2, 3, 4], [0.5, 0.75, 1.0])
    0.25
    """
    centre = mean(rounds)
    rise = sum((each - centre) * value for each, value in zip(rounds, values, strict=True))
    return rise / sum((each - centre) ** 2 for each in rounds)


def outcomes(results: Results, variant: str, seed: int) -> dict[str, float] | None:
    """The `OUTCOMES` of a run, shares from 0 to 1; the slope is of sampled accuracy over rounds 2 to 6. None if unfinished."""
    rounds = range(FIRST, LAST + 1)
    found = [results.get(variant, {}).get(each, {}).get(seed) for each in rounds]
    values = [each for each in found if each is not None]
    if len(values) < len(found):
        return None
    first, last = values[0], values[-1]
    return {
        SAMPLED: last["heldout sampled"],
        "slope per round": slope(rounds, [each["heldout sampled"] for each in values]),
        **{f"{way}, 6 less 2": last[f"heldout {way}"] - first[f"heldout {way}"] for way in ("greedy", "majority")},
        "labels right, round 6": last["labels right"],
    }


def main_effects(
    settings: Sequence[Sequence[bool]], blocks: Sequence[int], values: Sequence[float]
) -> list[tuple[float, float]] | None:
    """Of each factor: the mean with it less the mean without, and half its 95 % interval.

    By least squares with a constant for each block; the error is what factors and blocks leave (interactions included). None
    where there are too few runs for that.

    Args:
        settings: by run, whether each factor is on.
        blocks: by run, its block, here the seed.
        values: by run.
    """
    codes = np.array(settings, dtype=float).reshape(len(values), -1) - 0.5
    dummies = np.array([[float(block == each) for each in sorted(set(blocks))] for block in blocks]).reshape(len(values), -1)
    design = np.hstack([codes, dummies])
    free = len(values) - design.shape[1]
    if free < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    effects, *_ = np.linalg.lstsq(design, np.array(values), rcond=None)
    variance = float(np.sum((np.array(values) - design @ effects) ** 2)) / free
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    half = float(student.ppf(0.975, free)) * errors
    return [(float(effects[place]), float(half[place])) for place in range(codes.shape[1])]


def lost_points(results: Results, trusted: float) -> list[dict[str, float]]:
    """For each run of six rounds what the stop rule loses at this threshold; see `algorithm.stop_rule`.

    "rule", "last" and "round 2" are the sampled accuracy of the best round less that of the one picked.
    """
    lost = []
    for rounds in results.values():
        for seed in rounds.get(LAST, {}):
            measured = [rounds.get(each, {}).get(seed, {}) for each in range(1, LAST + 1)]
            if not all("heldout sampled" in each for each in measured) or not any("trust" in each for each in measured):
                continue
            sampled = [each["heldout sampled"] for each in measured]
            picked = picked_round([each.get("trust") for each in measured], trusted)
            picks = {"rule": picked, "last": LAST, "round 2": 2}
            lost.append({name: max(sampled) - sampled[number - 1] for name, number in picks.items()})
    return lost
