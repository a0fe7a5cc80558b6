"""Group Relative Policy Optimization: from rewards to a loss, in pure torch.

Source: DeepSeekMath (arXiv 2402.03300) for the group baseline, the clipped ratio and the KL estimate; DAPO (arXiv 2503.14476)
for the token mean and the asymmetric clip; Dr. GRPO (arXiv 2503.20783) for the fixed length and for leaving out the division by
the standard deviation. Tokens are flat: a tensor [T] holds the response tokens of several sequences concatenated, and
`sequence` [T] gives each token's sequence.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from conf.schema import GrpoConfig
from pipeline.types import Sample, TrainingBatch

# Ratios of learner to rollout probabilities outside this band are reported as mismatched.
RATIO_BAND = (0.9, 1.1)
# Where `bounded_exp` departs from exp: e^20 is 5e8, larger than any meaningful ratio, and in float32 its square, taken by the
# gradient norm, does not overflow.
LARGEST_LOG_RATIO = 20.0
SAME_REWARD = 1e-9


def group_advantages(rewards: Tensor, *, scale: str = "group", baseline: str = "group", eps: float = 1e-6) -> Tensor:
    """How much better each response is than its peers: (r - mean) / (std + eps).

    `baseline` names the peers whose mean is subtracted: the row of `rewards`, or the whole batch.
    `scale` names the rewards whose standard deviation (Bessel-corrected) divides: "group" is those same peers, "batch" all;
    "none" does not divide. A batch-wide baseline makes the batch one group, so that equal rewards in a row divide by no zero.

    Args:
        rewards: [P, G], G responses to each of P prompts.

    Returns:
        [P, G] in the dtype of `rewards`.
    """
    peers = rewards if baseline == "group" else rewards.reshape(1, -1)
    advantages = peers - peers.mean(dim=1, keepdim=True)
    if scale == "group":
        advantages = advantages / (peers.std(dim=1, keepdim=True) + eps)
    elif scale == "batch":
        advantages = advantages / (rewards.std() + eps)
    return advantages.reshape(rewards.shape)


def training_batch(groups: Sequence[Sequence[Sample]], rewards: Sequence[Sequence[float]], config: GrpoConfig) -> TrainingBatch:
    """The samples of one update with their advantages; groups without a gradient are left out and counted.

    These are the groups whose rewards are all equal. Under a batch-wide baseline such a group still differs from the batch's
    mean, so all groups are kept unless all rewards of the batch are equal.

    Args:
        groups: P groups of G samples.
        rewards: one reward per sample, in the same shape.

    Raises:
        ValueError: the two do not have the same shape, or groups differ in size.
    """
    shapes = {len(group) for group in groups} | {len(group) for group in rewards}
    if len(groups) != len(rewards) or len(shapes) > 1:
        raise ValueError(
            f"{len(groups)} groups of samples, {len(rewards)} of rewards, of sizes {sorted(shapes)}; valid: one shape"
        )
    if not groups:
        return TrainingBatch(samples=(), advantages=())
    table = torch.tensor(rewards, dtype=torch.float64)
    # Equal rewards may differ in their last bit: 1 - 2 |3/10 - 1/2| and 1 - 2 |7/10 - 1/2| do.
    even = torch.isclose(table, table[:, :1] if config.baseline == "group" else table[0, 0], rtol=0, atol=SAME_REWARD).all(dim=1)
    kept = (~even if config.baseline == "group" else ~even.all().expand_as(even)).tolist()
    advantages = group_advantages(table, scale=config.advantage_scale, baseline=config.baseline).tolist()
    return TrainingBatch(
        samples=tuple(sample for keep, group in zip(kept, groups, strict=True) if keep for sample in group),
        advantages=tuple(value for keep, row in zip(kept, advantages, strict=True) if keep for value in row),
        dropped_groups=kept.count(False),
    )


def token_weights(lengths: Sequence[int], aggregation: str, max_tokens: int) -> list[float]:
    """The weight of each sequence's tokens in the batch's loss, the weighted sum over all tokens.

    Computed over the whole batch, before it is split into micro-batches and ranks, so that no split changes the loss:
    "token_mean" 1 / (tokens of the batch), "sequence_mean" 1 / (sequences * own length),
    "fixed_length" 1 / (sequences * max_tokens).

    Args:
        lengths: response tokens of every sequence of the batch.
        max_tokens: longest response that could have been sampled.
    """
    if aggregation == "token_mean":
        return [1 / sum(lengths)] * len(lengths)
    return [1 / (len(lengths) * (max_tokens if aggregation == "fixed_length" else length)) for length in lengths]


def importance_weights(old_logprobs: Tensor, rollout_logprobs: Tensor, sequence: Tensor, kind: str, cap: float) -> Tensor:
    """Correction for the numerical mismatch of rollout workers and learner: learner over rollout probability.

    "token_tis" truncates each token's ratio at `cap`. "sequence_mask" multiplies a whole sequence by the ratio of its
    probabilities and drops it where that exceeds `cap`; it still counts in the denominator. "none" is 1.

    Args:
        old_logprobs, rollout_logprobs: [T]. sequence: [T], integers from 0.

    Returns:
        [T].
    """
    log_ratio = old_logprobs - rollout_logprobs
    if kind == "token_tis":
        return log_ratio.exp().clamp(max=cap)
    if kind == "sequence_mask":
        totals = log_ratio.new_zeros(int(sequence.max()) + 1 if len(sequence) else 0).index_add(0, sequence, log_ratio)
        ratio = totals.exp()
        return torch.where(ratio > cap, 0.0, ratio)[sequence]
    return torch.ones_like(log_ratio)


def bounded_exp(log_ratio: Tensor) -> Tensor:
    """exp, continued linearly by its tangent beyond `LARGEST_LOG_RATIO`, so that it does not overflow.

    The slope there is e^20 rather than 0, so that a response far too likely under the policy is still made less likely. Below,
    value and gradient are those of exp to the last bit.

    >>> bounded_exp(torch.tensor([0.0, 1000.0])).isfinite().tolist()
    [True, True]
    """
    beyond = (log_ratio - LARGEST_LOG_RATIO).clamp(min=0)
    return log_ratio.clamp(max=LARGEST_LOG_RATIO).exp() * (1 + beyond)


def kl_estimate(logprobs: Tensor, reference_logprobs: Tensor, kind: str) -> Tensor:
    """Per-token estimates of KL(policy || reference) at tokens that the policy drew, with d = reference - policy [T].

    "k1" = -d is unbiased but of either sign, and as a penalty its mean gradient is zero; "k2" = d^2 / 2 is biased but has the
    KL's gradient on policy; "k3" = exp(d) - d - 1 is unbiased and never negative, the estimate of DeepSeekMath and TRL. Its
    exponential is `bounded_exp`.
    Source: J. Schulman, "Approximating KL divergence" (2020).

    >>> kl_estimate(torch.tensor([-1.0]), torch.tensor([-1.5]), "k2").item()
    0.125
    """
    delta = reference_logprobs - logprobs
    if kind == "k1":
        return -delta
    if kind == "k2":
        return delta.square() / 2
    return bounded_exp(delta) - delta - 1


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    rollout_logprobs: Tensor,
    reference_logprobs: Tensor | None,
    advantages: Tensor,
    weights: Tensor,
    sequence: Tensor,
    config: GrpoConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """GRPO loss of some of a batch's tokens: sum over t of w_t (-c_t min(r_t A_t, clip(r_t) A_t) + beta kl_t).

    r_t = exp(logprobs - old_logprobs) is the clipped ratio, of the policy to the learner's own policy at the batch's start; at
    the first update of a batch the two are equal, and r_t is 1 with the gradient of the log-probability. The mismatch between
    rollout workers and learner enters through c_t alone, see `importance_weights`. kl_t is `kl_estimate`. Exponentials are
    `bounded_exp`, so that no log-ratio overflows loss or gradient.

    Args:
        logprobs: [T], with gradient; the others [T] too, without. `reference_logprobs` is None where `config.kl` is 0.
        weights: [T], from `token_weights` of the whole batch: losses of parts of a batch add up to the loss of the batch.
        sequence: [T], integers from 0; all tokens of a sequence are in the same call.

    Returns:
        The loss, and metrics as sums over tokens, which add up over micro-batches and ranks, except "mismatch_max".
        The metric "kl" is k3 whatever the loss uses.
    """
    ratio = bounded_exp(logprobs - old_logprobs)
    clipped_ratio = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    objective = torch.minimum(ratio * advantages, clipped_ratio * advantages)
    importance = importance_weights(old_logprobs, rollout_logprobs, sequence, config.importance, config.importance_cap)
    per_token = -importance * objective
    kl = torch.zeros_like(logprobs)
    if reference_logprobs is not None:
        per_token = per_token + config.kl * kl_estimate(logprobs, reference_logprobs, config.kl_estimator)
        kl = kl_estimate(logprobs.detach(), reference_logprobs, "k3")
    loss = (weights * per_token).sum()

    with torch.no_grad():
        mismatch = old_logprobs - rollout_logprobs
        mismatch_ratio = mismatch.exp()
        capped = mismatch.clamp(max=LARGEST_LOG_RATIO)  # infinite if the rollout worker's probability was rounded to 0
        low, high = RATIO_BAND
        sums = {
            "loss": loss.detach(),
            "tokens": torch.tensor(float(len(logprobs)), device=logprobs.device),
            "kl": kl.sum(),
            "clip_fraction": (clipped_ratio * advantages < ratio * advantages).sum(),
            "importance_mean": importance.sum(),
            "mismatch_kl": (capped.exp() - capped - 1).sum(),  # k3 of KL(rollout || learner): samples are the rollout's
            "mismatch_mean": mismatch.abs().sum(),
            "ratio_outside": ((mismatch_ratio < low) | (mismatch_ratio > high)).sum(),
            "mismatch_max": mismatch.abs().max() if len(mismatch) else mismatch.new_zeros(()),
        }
    return loss, sums
