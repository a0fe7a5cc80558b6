"""Which of a curriculum's questions the Solver trains on; pure.

Source: |p_hat - 1/2| <= delta is R-Zero's filter (arXiv 2508.05004, section 3.4). The other rules are settings of `curriculum`,
off by default.
"""

import math
from collections.abc import Sequence

from conf.schema import CurriculumConfig
from pipeline.algorithm.rewards import rejected
from pipeline.types import AnsweredQuestion


def keeps(item: AnsweredQuestion, settings: CurriculumConfig) -> bool:
    """The filter: |p_hat - 1/2| <= delta, or as many votes as `keep` says, an answer, and not called ill-posed by most verdicts.

    The tolerance is for shares such as 0.3 that have no exact binary fraction.

    >>> from pipeline.types import Vote
    >>> [keeps(AnsweredQuestion("x?", (), Vote("1", count, 10)), CurriculumConfig(delta=0.2)) for count in (2, 3, 7, 8)]
    [False, True, True, False]
    """
    if item.vote.answer is None or rejected(item.invalid):
        return False
    if settings.keep:
        fewest, most = settings.keep
        return fewest <= item.vote.count <= most
    return abs(item.vote.share - 0.5) <= settings.delta + 1e-9


def surest(items: Sequence[AnsweredQuestion], share: float) -> list[bool]:
    """Which of the items are in the surest `share` of them, rounded up: by rank of confidence plus rank of (- invalid share).

    Equal values share their mean rank; items of equal rank are taken in their order.

    >>> from pipeline.types import Vote
    >>> surest([AnsweredQuestion("x?", confidence=value) for value in (-3.0, -1.0, -2.0)], 0.5)
    [False, True, True]
    """
    sure = [-math.inf if item.confidence is None else item.confidence for item in items]
    ranks = [sum(pair) for pair in zip(mean_ranks(sure), mean_ranks([-item.invalid for item in items]), strict=True)]
    best = set(sorted(range(len(items)), key=lambda place: -ranks[place])[: math.ceil(share * len(items))])
    return [place in best for place in range(len(items))]


def mean_ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value from 0, the smallest; equal values have their mean rank.

    >>> mean_ranks([5.0, 1.0, 5.0])
    [1.5, 0.0, 1.5]
    """
    return [sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2 for value in values]
