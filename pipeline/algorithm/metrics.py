"""The metrics of a GRPO step; both roles share the names."""

import math
from collections.abc import Mapping

from pipeline.types import ScoredGroups


def step_metrics(
    scored: ScoredGroups,
    update: Mapping[str, float],
    seconds: Mapping[str, float],
    rollout: Mapping[str, float],
    sandbox: Mapping[str, float],
) -> dict[str, float]:
    """The metrics of one step; unmeasured and non-finite values are left out.

    Args:
        update: of the learner, see `LearnerGroup.update`.
        seconds: wall-clock seconds of the step by part.
        rollout: counts of the fleets over the step, see `RolloutFleet.take_counts`.
        sandbox: counts of the sandbox over the step, see `AnswerSandbox.take_counts`.
    """
    samples = [sample for group in scored.groups for sample in group]
    rewards = [reward for group in scored.rewards for reward in group]
    lengths = [len(sample.token_ids) for sample in samples]
    center = mean(rewards)
    metrics = {
        "reward_mean": center,
        "reward_std": math.sqrt(mean([(reward - center) ** 2 for reward in rewards])),
        "p_hat_mean": mean(scored.p_hats),
        "response_length": mean(lengths),
        "truncated": mean([sample.truncated for sample in samples]),
        "sampled_tokens": rollout.get("tokens", 0.0),
        "rollout_tokens_per_s": ratio(rollout, "tokens", "sampling_seconds"),
        "prefix_cache_hit_rate": ratio(rollout, "cached_tokens", "prompt_tokens"),
        "swap_seconds": ratio(rollout, "swap_seconds", "swaps"),
        "engines_replaced": rollout.get("replaced", 0.0),
        **scored.metrics,
        **sandbox,
        **{name: value for name, value in update.items() if name != "seconds"},
        **{f"seconds_{part}": spent for part, spent in seconds.items()},
    }
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def mean(values: list[float] | list[int] | list[bool]) -> float:
    """The mean; NaN (not measured) without values."""
    return sum(values) / len(values) if values else math.nan


def ratio(counts: Mapping[str, float], part: str, whole: str) -> float:
    """One count over another, NaN where the other is missing or 0.

    >>> ratio({"swaps": 4.0, "swap_seconds": 2.0}, "swap_seconds", "swaps")
    0.5
    """
    return counts.get(part, 0.0) / (counts.get(whole) or math.nan)
