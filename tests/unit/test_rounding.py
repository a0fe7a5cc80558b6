"""Averages of weights in bfloat16 are right in the mean."""

import pytest
import torch

from pipeline.algorithm.rounding import rounded

COUNT = 100_000


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_average_between_neighbours_is_where_it_should_be_in_the_mean(share: float, sign: float) -> None:
    start = torch.full((COUNT,), sign * 1.0)
    end = torch.full((COUNT,), sign * (1.0 + 2**-7))
    assert (end.bfloat16().float() == end).all()
    mixed = rounded(torch.lerp(end, start, share), torch.bfloat16, torch.Generator().manual_seed(0)).float()
    assert ((mixed == start) | (mixed == end)).all()
    assert float((mixed == start).float().mean()) == pytest.approx(share, abs=0.005)  # three standard errors
    assert (rounded(end, torch.bfloat16, torch.Generator()) == end.bfloat16()).all()


def test_the_same_seed_rounds_the_same_and_float32_is_kept() -> None:
    values = torch.randn(1000)
    once, again = (rounded(values, torch.bfloat16, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(rounded(values, torch.float32, torch.Generator()), values)


def test_what_is_no_number_stays_so() -> None:
    values = torch.tensor([float("inf"), float("-inf"), float("nan"), 0.0, -0.0])
    result = rounded(values, torch.bfloat16, torch.Generator().manual_seed(0))
    assert torch.equal(result[:2], values[:2].bfloat16())
    assert result[2].isnan()
    assert not result[3:].any()
