import importlib
import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from conf.schema import GrpoConfig
from pipeline.algorithm.grpo import group_advantages, importance_weights, kl_estimate, policy_loss, token_weights, training_batch
from pipeline.algorithm.rewards import uncertainty
from pipeline.types import Sample


def sample(name: str = "s") -> Sample:
    return Sample(prompt_ids=(1,), token_ids=(2, 3), logprobs=(-1.0, -2.0), text=name, finish_reason="stop", version="v", seed=0)


def trl_advantages(rewards: Tensor, scale: str) -> Tensor:
    """TRL's GRPOTrainer, `scale_rewards` group, batch or none, with our eps."""
    mean = rewards.mean(dim=1, keepdim=True)
    if scale == "none":
        return rewards - mean
    std = rewards.std(dim=1, keepdim=True) if scale == "group" else rewards.std()
    return (rewards - mean) / (std + 1e-6)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_equal_trl(scale: str) -> None:
    rewards = torch.rand(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(group_advantages(rewards, scale=scale), trl_advantages(rewards, scale), rtol=0, atol=1e-12)


def test_advantages_by_hand() -> None:
    # Mean 1/4; deviations -1/4 three times and 3/4; Bessel-corrected variance (3/16 + 9/16) / 3 = 1/4.
    got = group_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64), eps=0)
    torch.testing.assert_close(got, torch.tensor([[-0.5, -0.5, -0.5, 1.5]], dtype=torch.float64))


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_batch_baseline_takes_mean_and_spread_of_the_batch(scale: str) -> None:
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[0.5, 0.5], [-0.5, -0.5]], dtype=torch.float64) / math.sqrt(1 / 3)
    torch.testing.assert_close(group_advantages(rewards, scale=scale, baseline="batch", eps=0), expected)


def test_even_groups_are_dropped_and_counted() -> None:
    groups = [[sample("a"), sample("b")], [sample("c"), sample("d")], [sample("e"), sample("f")]]
    batch = training_batch(groups, [[0.1, 0.1], [0.0, 1.0], [0.7, 0.7]], GrpoConfig())
    assert [s.text for s in batch.samples] == ["c", "d"]
    assert batch.dropped_groups == 2
    assert batch.advantages == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)], abs=1e-5)


@pytest.mark.parametrize("baseline", ["group", "batch"])
@pytest.mark.parametrize("pair", [(0.3, 0.7), (0.2, 0.8), (0.4, 0.6)])
def test_rewards_that_differ_in_the_last_bit_are_even(pair: tuple[float, float], baseline: Any) -> None:
    rewards = list(map(uncertainty, pair))
    batch = training_batch([[sample(), sample()], [sample(), sample()]], [rewards, rewards], GrpoConfig(baseline=baseline))
    assert batch.dropped_groups == 2


def test_batch_baseline_keeps_even_groups_unless_the_batch_is_even() -> None:
    config = GrpoConfig(baseline="batch", advantage_scale="none")
    groups = [[sample(), sample()], [sample(), sample()]]
    batch = training_batch(groups, [[1.0, 1.0], [0.0, 0.5]], config)
    assert batch.dropped_groups == 0
    assert batch.advantages == pytest.approx([0.375, 0.375, -0.625, -0.125])
    assert training_batch(groups, [[0.3, 0.3], [0.3, 0.3]], config).dropped_groups == 2


def test_empty_and_misshapen_batches() -> None:
    assert training_batch([], [], GrpoConfig()).samples == ()
    with pytest.raises(ValueError, match="valid: one shape"):
        training_batch([[sample(), sample()]], [[1.0]], GrpoConfig())


@pytest.fixture(scope="module")
def trl_trainer() -> Any:
    """TRL's GRPOTrainer, imported as if vLLM were not there: its import takes long, and the loss does not need it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("trl.import_utils"), "is_vllm_available", lambda *_, **__: False)
        return importlib.import_module("trl.trainer.grpo_trainer").GRPOTrainer


TRL_LOSS = {"sequence_mean": "grpo", "token_mean": "bnpo", "fixed_length": "dr_grpo"}


def trl_loss(
    trainer: Any,
    logprobs: Tensor,
    old: Tensor,
    rollout: Tensor,
    reference: Tensor,
    advantages: Tensor,
    mask: Tensor,
    config: GrpoConfig,
    longest: int,
) -> Tensor:
    """TRL's own `_compute_loss` on padded [B, L] log-probabilities, with the ratio that it prepares when vLLM samples."""
    difference = (old - rollout) * mask
    correction = torch.ones(())
    if config.importance == "token_tis":
        correction = torch.clamp(torch.exp(difference), max=config.importance_cap)
    elif config.importance == "sequence_mask":
        ratio = torch.exp(difference.sum(-1, keepdim=True))
        correction = ratio.masked_fill(ratio > config.importance_cap, 0.0)
    stub = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs, torch.zeros_like(logprobs), None),
        accelerator=SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        model=SimpleNamespace(training=True),
        _metrics={"train": defaultdict(list)},
        loss_type=TRL_LOSS[config.aggregation],
        beta=config.kl,
        epsilon_low=config.clip_low,
        epsilon_high=config.clip_high,
        max_completion_length=longest,
        importance_sampling_level="token",
        use_vllm=config.importance != "none",
        vllm_importance_sampling_correction=True,
        current_gradient_accumulation_steps=1,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
    )
    ids = torch.zeros(mask.shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ids,
        "prompt_mask": mask,
        "completion_ids": ids,
        "completion_mask": mask.long(),
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "importance_sampling_ratio": correction,
    }
    return trainer._compute_loss(stub, None, inputs)


@pytest.mark.parametrize("aggregation", TRL_LOSS)
@pytest.mark.parametrize("importance", ["none", "token_tis", "sequence_mask"])
@pytest.mark.parametrize(("kl", "clip_high"), [(0.0, 0.28), (0.1, 0.2)])
def test_loss_and_gradient_equal_trl_whole_and_in_parts(
    trl_trainer: Any, aggregation: str, importance: str, kl: float, clip_high: float
) -> None:
    config = GrpoConfig(kl=kl, clip_high=clip_high, aggregation=aggregation, importance=importance, importance_cap=1.3)
    g = torch.Generator().manual_seed(1)
    lengths, longest = [3, 7, 1, 5], 9

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=g)

    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    base = -draw(*mask.shape).abs()
    padded = base.clone().requires_grad_()
    old, rollout, reference = (base + 0.3 * draw(*mask.shape) for _ in range(3))
    advantages = draw(len(lengths))
    expected = trl_loss(trl_trainer, padded, old, rollout, reference, advantages, mask, config, longest)
    expected.backward()

    flat = base.clone().requires_grad_()
    weights = torch.tensor(token_weights(lengths, aggregation, longest), dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    tokens = clipped = 0.0
    for part in ([0, 1], [2, 3]):  # two micro-batches of the one batch
        here = mask[part]
        place = torch.arange(len(part))[:, None].expand_as(here)[here]
        loss, sums = policy_loss(
            flat[part][here],
            old[part][here],
            rollout[part][here],
            reference[part][here] if kl else None,
            advantages[part][place],
            weights[part][place],
            place,
            config,
        )
        total = total + loss
        tokens += float(sums["tokens"])
        clipped += float(sums["clip_fraction"])
    total.backward()
    assert tokens == sum(lengths)
    assert 0 < clipped < tokens
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(flat.grad, padded.grad, rtol=0, atol=1e-12)


def test_loss_by_hand() -> None:
    """One sequence of two tokens, A = 1: the first at ratio 2 is clipped to 1.28, the second at ratio 1/2 is not."""
    logprobs = torch.tensor([math.log(0.5), math.log(0.25)], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([math.log(0.25), math.log(0.5)], dtype=torch.float64)
    rollout = old - torch.tensor([math.log(4.0), 0.0], dtype=torch.float64)  # ratios 4, capped to 2, and 1
    reference = logprobs.detach() + math.log(2.0)  # k3 = 2 - ln 2 - 1
    weights, place = torch.full((2,), 0.5, dtype=torch.float64), torch.zeros(2, dtype=torch.long)
    loss, sums = policy_loss(
        logprobs, old, rollout, reference, torch.ones(2, dtype=torch.float64), weights, place, GrpoConfig(kl=0.1)
    )
    k3 = 1 - math.log(2)
    assert loss.item() == pytest.approx(-(2 * 1.28 + 0.5) / 2 + 0.1 * k3, abs=1e-12)
    loss.backward()
    # Clipped: only the KL's gradient, 0.1 * (1 - exp(d)) = -0.1; the other adds -ratio.
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.5 * -0.1, 0.5 * (-0.5 - 0.1)], abs=1e-12)
    expected = {"tokens": 2, "kl": 2 * k3, "clip_fraction": 1, "importance_mean": 3, "ratio_outside": 1}
    assert {name: float(sums[name]) for name in expected} == pytest.approx(expected)
    assert float(sums["mismatch_max"]) == float(sums["mismatch_mean"]) == pytest.approx(math.log(4))
    assert float(sums["mismatch_kl"]) == pytest.approx(4 - math.log(4) - 1)


# At d = reference - policy = ln 2: k1 = -ln 2, k2 = (ln 2)^2 / 2, k3 = 2 - ln 2 - 1; at -ln 2: ln 2, the same, 1/2 + ln 2 - 1.
# Their derivatives by the policy's log-probability, of which d falls by 1 for 1: 1, -d and 1 - e^d.
LN2 = math.log(2)
BY_HAND = {
    "k1": ([-LN2, LN2], [1.0, 1.0]),
    "k2": ([LN2**2 / 2, LN2**2 / 2], [-LN2, LN2]),
    "k3": ([1 - LN2, LN2 - 0.5], [-1.0, 0.5]),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_kl_estimators_by_hand(kind: str) -> None:
    values, slopes = BY_HAND[kind]
    logprobs = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    reference = logprobs.detach() + torch.tensor([LN2, -LN2], dtype=torch.float64)
    estimate = kl_estimate(logprobs, reference, kind)
    assert estimate.tolist() == pytest.approx(values, abs=1e-12)
    nothing, weights = torch.zeros(2, dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    config = GrpoConfig(kl=0.1, kl_estimator=kind)
    loss, sums = policy_loss(
        logprobs, logprobs.detach(), logprobs.detach(), reference, nothing, weights, torch.zeros(2, dtype=torch.long), config
    )
    assert loss.item() == pytest.approx(0.05 * sum(values), abs=1e-12)
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.05 * slope for slope in slopes], abs=1e-12)
    assert sums["kl"].item() == pytest.approx(sum(BY_HAND["k3"][0]), abs=1e-12)  # the metric is one whatever the loss


@pytest.mark.parametrize("kind", BY_HAND)
def test_kl_estimators_over_the_whole_vocabulary(kind: str) -> None:
    """Expectations under the policy: k1 and k3 are the KL divergence, and k2's gradient is the divergence's."""
    logits, other = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    logits.requires_grad_()
    policy, reference = logits.log_softmax(-1), other.log_softmax(-1)
    divergence = (policy.exp() * (policy - reference)).sum()
    expected = torch.autograd.grad(divergence, logits, retain_graph=True)[0]
    estimates = kl_estimate(policy, reference, kind)
    if kind == "k2":
        penalty = (policy.exp().detach() * estimates).sum()
        torch.testing.assert_close(torch.autograd.grad(penalty, logits)[0], expected)
    else:
        torch.testing.assert_close((policy.exp() * estimates).sum(), divergence)


def test_on_policy_loss_has_the_policy_gradient() -> None:
    """With old = the policy itself nothing is clipped and d loss / d log-probability = -A w."""
    logprobs = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantages, weights = torch.tensor([1.0, -2.0, 3.0]), torch.full((3,), 1 / 3)
    same = logprobs.detach()
    loss, sums = policy_loss(logprobs, same, same, same, advantages, weights, torch.tensor([0, 0, 1]), GrpoConfig())
    loss.backward()
    torch.testing.assert_close(logprobs.grad, -advantages / 3)
    assert [float(sums[k]) for k in ("kl", "clip_fraction", "mismatch_max", "ratio_outside")] == [0, 0, 0, 0]


def test_sequence_mask_drops_whole_sequences() -> None:
    old, rollout = torch.zeros(4), -torch.tensor([0.4, 0.4, 0.1, 0.2])
    got = importance_weights(old, rollout, torch.tensor([0, 0, 1, 1]), "sequence_mask", cap=2.0)
    torch.testing.assert_close(got, torch.tensor([0.0, 0.0, math.exp(0.3), math.exp(0.3)]))


def test_no_tokens_no_loss() -> None:
    """The filler row of a rank with nothing to do."""
    empty = torch.zeros(0, requires_grad=True)
    for importance in ("none", "token_tis", "sequence_mask"):
        config = GrpoConfig(importance=importance)
        loss, sums = policy_loss(empty, empty, empty, empty, empty, empty, torch.zeros(0, dtype=torch.long), config)
        assert loss.item() == 0
        assert all(float(value) == 0 for value in sums.values())
