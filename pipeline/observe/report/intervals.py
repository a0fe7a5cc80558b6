"""95 % confidence intervals over the questions of a benchmark: how far an accuracy could move with other questions.

They do not cover the variance between seeds of the run, which takes several runs.
"""

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959964  # the normal distribution's 97.5 % point
RESAMPLES = 2000


def wilson(successes: float, total: int) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, 1927), for questions that are right or wrong; accurate near 0 and 1, too.

    >>> [round(bound, 3) for bound in wilson(10, 10)]
    [0.722, 1.0]
    """
    if not total:
        return 0.0, 1.0
    share = successes / total
    centre = share + Z * Z / (2 * total)
    spread = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    return max(0.0, (centre - spread) / (1 + Z * Z / total)), min(1.0, (centre + spread) / (1 + Z * Z / total))


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """Percentile bootstrap of a mean over questions, for fractional scores and for differences.

    The resampling has a fixed seed: the same values give the same interval.

    >>> bootstrap([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    scores = np.asarray(values, dtype=float)
    picked = np.random.default_rng(0).integers(len(scores), size=(RESAMPLES, len(scores)))
    low, high = np.percentile(scores[picked].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
