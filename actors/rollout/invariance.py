"""Makes what an engine draws on a CPU independent, to the last bit, of what else it draws at the same time.

So engines may share a call's requests as they have room, and a run has the same results with any number of engines and after any
interruption. Tested with vLLM 0.32.0 and torch 2.13.0's MKL in fp32, see `tests/ray/test_rollout.py`.
"""

from typing import Any

from actors.machine import EXACT_PRODUCTS

ENVIRONMENT = {
    **EXACT_PRODUCTS,
    "VLLM_CPU_ATTN_SPLIT_KV": "0",  # else a sequence's attention is summed in parts, which depend on the other sequences
}
LEAST_ROWS = 4  # with fewer, MKL sums a row's products in another order


def pad_small_batches() -> None:
    """Linear layers compute at least `LEAST_ROWS` rows; call before an engine loads its model."""
    import torch
    import vllm.model_executor.layers.utils as layers

    original = layers.cpu_unquantized_gemm

    def padded(layer: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        rows = len(x)
        if rows >= LEAST_ROWS or x.ndim != 2:
            return original(layer, x, weight, bias)
        return original(layer, torch.nn.functional.pad(x, (0, 0, 0, LEAST_ROWS - rows)), weight, bias)[:rows]

    layers.cpu_unquantized_gemm = padded
