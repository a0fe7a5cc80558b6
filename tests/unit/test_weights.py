"""Checksums of weights: what they notice, and that vLLM's layouts do not change them."""

import pytest
import torch

from actors.engine_weights import disagreements
from actors.weights import checksum, pack, unpack

FUSED = {"qkv": ["q", "k", "v"]}
SENT = {"a.q.weight": torch.randn(8, 4), "a.k.weight": torch.randn(4, 4), "a.v.weight": torch.randn(4, 4), "norm": torch.randn(6)}


def sums(tensors: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: checksum(tensor) for name, tensor in tensors.items()}


def engine() -> dict[str, torch.Tensor]:
    fused = torch.cat([SENT["a.q.weight"], SENT["a.k.weight"], SENT["a.v.weight"]])
    return {"a.qkv.weight": fused, "norm": SENT["norm"].clone()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 3, 8, 1001])
def test_a_checksum_notices_every_bit(dtype: torch.dtype, count: int) -> None:
    tensor = torch.randn(count).to(dtype)
    words = tensor.view(torch.int32 if dtype == torch.float32 else torch.int16)
    before = checksum(tensor)
    for bit in (0, 7, 8 * tensor.element_size() - 2):
        words[-1] ^= 1 << bit
        assert checksum(tensor) != before
        words[-1] ^= 1 << bit
    assert checksum(tensor) == before


def test_fused_and_split_layouts_agree() -> None:
    whole = engine()
    assert disagreements([sums(whole)], sums(SENT), FUSED) == []
    # Two ranks: the fused matrix by rows, the norm whole on both.
    ranks = [sums({"a.qkv.weight": half, "norm": whole["norm"]}) for half in whole["a.qkv.weight"].chunk(2)]
    assert disagreements(ranks, sums(SENT), FUSED) == []


@pytest.mark.parametrize("name", ["a.qkv.weight", "norm"])
def test_what_differs_is_named(name: str) -> None:
    held = engine()
    held[name].view(-1)[1] += 1
    assert disagreements([sums(held)], sums(SENT), FUSED) == [name]


def test_what_did_not_arrive_is_named() -> None:
    sent = sums(SENT)
    held = engine() | {"norm": torch.zeros(6)}
    del sent["norm"]
    assert disagreements([sums(held)], sent, FUSED) == ["norm"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packing_keeps_every_bit(dtype: torch.dtype) -> None:
    tensor = torch.randn(5, 3).to(dtype)
    ((name, back),) = unpack(pack([("x", tensor)]))
    assert name == "x"
    assert back.dtype == dtype
    assert torch.equal(back, tensor)
