"""Qwen3's shapes, and what a GPU would need to compute for them."""

from collections.abc import Sequence

import torch

PEAK_FLOPS = 989e12  # bfloat16 without sparsity, of one H100 or H200
QWEN3_ALL = {"vocab_size": 151_936, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True}
QWEN3 = {
    "Qwen3-0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "Qwen3-4B": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
}


def update_flops(parameters: int, attention_width: int, lengths: Sequence[int]) -> int:
    """Floating-point operations of one update on sequences of these lengths, without recomputation.

    2 a parameter and token in each of: reference forward, policy forward; 4 in the backward. Causal attention likewise, of which
    `attention_width` is layers x heads x head dimension.

    >>> update_flops(10, 3, [2, 1])
    360
    """
    return 4 * (2 * parameters * sum(lengths) + 2 * attention_width * sum(length**2 for length in lengths))


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device
