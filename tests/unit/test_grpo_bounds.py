"""The loss and its gradient at any log-ratio: the plain formulas as far as they reach, finite and of the right sign beyond."""

import math

import pytest
import torch

from conf.schema import GrpoConfig
from pipeline.algorithm.grpo import bounded_exp, policy_loss


def loss_and_slope(
    log_ratio: float, advantage: float, dtype: torch.dtype, kl: float = 0.0, delta: float = 0.0
) -> tuple[float, float]:
    """Loss of one token, and its derivative by the policy's log-probability. `delta` is reference - policy."""
    logprobs = torch.tensor([-1.0], dtype=dtype, requires_grad=True)
    old, reference = logprobs.detach() - log_ratio, logprobs.detach() + delta
    one, place = torch.ones(1, dtype=dtype), torch.zeros(1, dtype=torch.long)
    loss, _ = policy_loss(logprobs, old, old, reference, advantage * one, one, place, GrpoConfig(kl=kl))
    loss.backward()
    assert logprobs.grad is not None
    return loss.item(), logprobs.grad.item()


@pytest.mark.parametrize("advantage", [-2.0, 0.0, 0.5])
@pytest.mark.parametrize("log_ratio", [-100.0, -30.0, -1.0, -0.2, 0.0, 0.2, 1.0, 10.0, 19.5])
def test_the_clipped_loss_is_the_plain_formula(log_ratio: float, advantage: float) -> None:
    ratio = math.exp(log_ratio)
    clipped = min(max(ratio, 0.8), 1.28)
    binds = clipped * advantage < ratio * advantage
    expected = (-min(ratio * advantage, clipped * advantage), 0.0 if binds else -ratio * advantage)
    assert loss_and_slope(log_ratio, advantage, torch.float64) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_ratio", [21.0, 89.0, 100.0, 710.0, 1e4])
def test_a_ratio_beyond_all_bounds_leaves_loss_and_gradient_finite(log_ratio: float, dtype: torch.dtype) -> None:
    assert loss_and_slope(log_ratio, 1.0, dtype) == pytest.approx((-1.28, 0.0))  # the clip binds
    assert loss_and_slope(log_ratio, 0.0, dtype) == (0.0, 0.0)
    loss, slope = loss_and_slope(log_ratio, -1.0, dtype)  # it does not: the token is to become less likely
    tangent = math.exp(20) * (1 + log_ratio - 20)
    assert (loss, slope) == pytest.approx((tangent, math.exp(20)), rel=1e-5)


@pytest.mark.parametrize("delta", [-100.0, -5.0, 0.0, 5.0, 19.5])
def test_k3_is_the_plain_formula(delta: float) -> None:
    expected = (math.exp(delta) - delta - 1, 1 - math.exp(delta))
    assert loss_and_slope(0.0, 0.0, torch.float64, kl=1.0, delta=delta) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("delta", [21.0, 100.0, 1e4])
def test_k3_does_not_overflow_and_still_pulls_to_the_reference(delta: float, dtype: torch.dtype) -> None:
    loss, slope = loss_and_slope(0.0, 0.0, dtype, kl=1.0, delta=delta)
    assert 0 < loss < math.inf
    assert slope == pytest.approx(1 - math.exp(20), rel=1e-5)  # more likely, as the reference has it


def test_ordinary_ratios_are_those_of_exp_to_the_last_bit() -> None:
    drawn = 6 * torch.randn(10_000, generator=torch.Generator().manual_seed(2))
    ours, plain = drawn.clone().requires_grad_(), drawn.clone().requires_grad_()
    kept = drawn <= 20
    assert torch.equal(bounded_exp(ours)[kept], plain.exp()[kept])
    bounded_exp(ours).sum().backward()
    plain.exp().sum().backward()
    assert ours.grad is not None
    assert plain.grad is not None
    assert torch.equal(ours.grad[kept], plain.grad[kept])


@pytest.mark.parametrize("importance", ["none", "token_tis", "sequence_mask"])
@pytest.mark.parametrize("rollout", [-math.inf, -1e30, -200.0])
def test_a_token_that_the_rollout_worker_calls_impossible_leaves_no_nan(rollout: float, importance: str) -> None:
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    old, place = logprobs.detach(), torch.zeros(2, dtype=torch.long)
    drawn = torch.tensor([rollout, -2.0])
    loss, sums = policy_loss(
        logprobs, old, drawn, old, torch.ones(2), torch.ones(2), place, GrpoConfig(kl=0.1, importance=importance)
    )
    loss.backward()
    assert logprobs.grad is not None
    assert torch.isfinite(logprobs.grad).all()
    assert math.isfinite(loss.item())
    assert sums["mismatch_kl"].item() == pytest.approx(math.exp(20) - 21, rel=1e-5)
    assert sums["mismatch_max"].item() == pytest.approx(-1 - rollout)  # told as it is
    assert not any(math.isnan(float(value)) for value in sums.values())
