"""Rounding that keeps the mean, for weights that leave the learner in bfloat16.

Neighbours in bfloat16 are further apart than what a phase at a usual learning rate moves most weights. Rounded to the nearest,
they would be what the phase began with, and each phase's progress, or an average a quarter of the way, lost.
"""

import torch
from torch import Tensor


def rounded(values: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Float32 `values` in `dtype`: in bfloat16 up or down with the odds that make their mean the value (stochastic rounding,
    arXiv 1502.02551, section 3); what bfloat16 can hold is kept.

    >>> rounded(torch.tensor([1.0, -2.5]), torch.bfloat16, torch.Generator()).tolist()
    [1.0, -2.5]
    """
    if dtype != torch.bfloat16:
        return values.to(dtype)
    # Bfloat16 is the upper half of a float32. A number from 0 to 2^16 - 1 added to the lower half carries with the right odds.
    noise = torch.randint(1 << 16, values.shape, generator=generator, dtype=torch.int32)
    return ((values.view(torch.int32) + noise) & -(1 << 16)).view(torch.float32).to(dtype)
