"""The Challenger's and the Solver's rewards: equations 1 to 4 of R-Zero, arXiv 2508.05004, sections 3.2 to 3.4.

All functions are pure. Probabilities and rewards are plain numbers in [0, 1].
"""

from collections import Counter
from collections.abc import Sequence

from pipeline.bleu import cluster_labels


def uncertainty(p_hat: float) -> float:
    """r_unc = 1 - 2 |p_hat - 1/2|: 1 where the Solver agrees with itself half the time, 0 at never and always."""
    if not 0.0 <= p_hat <= 1.0:
        raise ValueError(f"p_hat is a share of answers, between 0 and 1, not {p_hat!r}")
    return 1.0 - 2.0 * abs(p_hat - 0.5)


def question_clusters(questions: Sequence[str | None], threshold: float = 0.5) -> list[int]:
    """Cluster label of each question of a batch; -1 for a malformed response (None), which takes no part."""
    labels = iter(cluster_labels([question for question in questions if question is not None], threshold).tolist())
    return [-1 if question is None else next(labels) for question in questions]


def rewards_from_clusters(clusters: Sequence[int], p_hats: Sequence[float], weight: float = 1.0) -> list[float]:
    """r = max(0, r_unc - r_rep) with r_rep(x) = weight |C(x)| / B, B the whole batch; 0 for a malformed response (-1)."""
    sizes = Counter(clusters)
    batch = len(clusters)
    return [
        0.0 if cluster < 0 else max(0.0, uncertainty(p_hat) - weight * sizes[cluster] / batch)
        for cluster, p_hat in zip(clusters, p_hats, strict=True)
    ]


def challenger_rewards(
    questions: Sequence[str | None], p_hats: Sequence[float], *, threshold: float = 0.5, weight: float = 1.0
) -> list[float]:
    """Reward of each question of a batch; None stands for a format failure, and its p_hat is not looked at."""
    if len(questions) != len(p_hats):
        raise ValueError(f"{len(questions)} questions but {len(p_hats)} values of p_hat")
    return rewards_from_clusters(question_clusters(questions, threshold), p_hats, weight)
