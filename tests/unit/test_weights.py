"""Checksums of weights: what they notice, and that vLLM's layouts do not change them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from actors.weights.buckets import CHECKSUM_STRIDE, checksum, pack, read_checkpoint, strided_sums_add_up, unpack
from actors.weights.host import stored_weights
from actors.weights.vllm_load import disagreements
from pipeline.errors import DamagedError

FUSED = {"qkv": ["q", "k", "v"]}
ROWS = {"a.q.weight": 64, "a.k.weight": 32, "a.v.weight": 32}
SENT = {name: torch.randn(rows, 4) for name, rows in ROWS.items()} | {"norm": torch.randn(6)}


def sums(tensors: dict[str, torch.Tensor], offset: int | None = None) -> dict[str, int]:
    return {name: checksum(tensor, offset) for name, tensor in tensors.items()}


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


@pytest.mark.parametrize("offset", [None, 0, 5])
def test_fused_and_split_layouts_agree(offset: int | None) -> None:
    whole, sent = engine(), sums(SENT, offset)
    assert disagreements([sums(whole, offset)], sent, FUSED) == []
    # Two ranks: the fused matrix by rows, the norm whole on both.
    ranks = [sums({"a.qkv.weight": half, "norm": whole["norm"]}, offset) for half in whole["a.qkv.weight"].chunk(2)]
    assert disagreements(ranks, sent, FUSED) == []


@pytest.mark.parametrize("shape", [(48, 6), (48, 5)])
def test_each_word_of_a_matrix_is_in_the_checksum_at_one_offset(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape)
    before = [checksum(matrix, offset) for offset in range(CHECKSUM_STRIDE)]
    for row in range(shape[0]):
        changed = matrix.clone()
        changed[row, -1] += 1
        noticed = [offset for offset in range(CHECKSUM_STRIDE) if checksum(changed, offset) != before[offset]]
        assert noticed == [row % CHECKSUM_STRIDE]


def test_a_matrix_that_did_not_arrive_shows_at_every_offset() -> None:
    stale = engine() | {"a.qkv.weight": engine()["a.qkv.weight"] * 1.001}
    for offset in range(CHECKSUM_STRIDE):
        assert disagreements([sums(stale, offset)], sums(SENT, offset), FUSED) == ["a.qkv.weight"]


def test_strides_are_for_layouts_whose_parts_have_rows_at_all_offsets() -> None:
    parameters = [torch.empty(96, 4), torch.empty(734, 4), torch.empty(7)]
    assert strided_sums_add_up(parameters, 734, 1)
    assert strided_sums_add_up(parameters, 734, 2)
    assert not strided_sums_add_up(parameters, 734, 4)  # 24 rows a rank
    assert not strided_sums_add_up(parameters, 500, 1)  # not the embedding, so perhaps fused with another
    assert not strided_sums_add_up([torch.empty(256, 4)], 734, 8)  # an embedding would be cut at multiples of 8


@pytest.mark.parametrize("name", ["a.qkv.weight", "norm"])
def test_what_differs_is_named(name: str) -> None:
    held = engine()
    held[name].view(-1)[1] += 1
    assert disagreements([sums(held)], sums(SENT), FUSED) == [name]


def test_stored_weights_are_not_read_before_engines_need_them() -> None:
    weights = stored_weights("nowhere", torch.float32, timeout=1)
    with pytest.raises(DamagedError, match="nowhere is missing"):
        weights.send([])


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


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_that_a_checkpoint_holds_too_is_left_out(tmp_path: Path, tied: bool) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}))
    embedding = torch.randn(5, 3)
    save_file({"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.clone()}, tmp_path / "model.safetensors")
    read = dict(read_checkpoint(str(tmp_path), torch.bfloat16))
    assert set(read) == {"model.embed_tokens.weight"} | (set() if tied else {"lm_head.weight"})
    assert torch.equal(read["model.embed_tokens.weight"], embedding.bfloat16())
