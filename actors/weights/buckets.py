"""Policy weights in transfer, in memory, from a learner or a checkpoint on disk to the rollout workers.

Buckets lie in Ray's object store as dicts of numpy arrays, which every process of a node maps without a copy. Checksums are
computed from the sender's memory before anything is copied. `host.py` sends buckets to engines, `vllm_load.py` receives them.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from safetensors import safe_open

from pipeline.types import Checksums

PackedWeights = dict[str, np.ndarray]
Named = tuple[str, torch.Tensor]

# Elements of a bucket, which a learner gathers and a receiver loads at a time.
BUCKET_ELEMENTS = 1 << 26
WORD = 8  # bytes per summand of a checksum
ALIGNMENT = 64  # bytes; a cache line
CHECKSUM_STRIDE = 16  # a checksum covers one in this many rows of a matrix, other rows at the next transfer


@dataclass(frozen=True, slots=True)
class Published:
    """A policy in Ray's object store: references to its buckets (`PackedWeights`), and the checksums of all of its tensors."""

    buckets: tuple[ray.ObjectRef[Any], ...]
    checksums: Checksums


def checksum(tensor: torch.Tensor, offset: int | None = None) -> int:
    """The sum of a tensor's bits, taken as 64-bit words, modulo 2^64: a change of any one word changes it.

    It does not depend on the order of the words. So the checksums of tensors that an engine fuses, or shards over its ranks, add
    up, as long as each part is a whole number of words.

    With an `offset` in [0, CHECKSUM_STRIDE) only one in `CHECKSUM_STRIDE` rows of a matrix is added up, from row `offset` on. An
    update changes many words of every row, in bfloat16 too, so a matrix that did not arrive shows in any of them. See
    `strided_sums_add_up`.
    """
    flat = (tensor if offset is None or tensor.dim() != 2 else tensor[offset::CHECKSUM_STRIDE]).detach()
    if flat.dim() == 2 and flat.shape[1] * flat.element_size() % WORD == 0 and flat.stride(1) == 1:
        return int(flat.view(torch.int64).sum()) % (1 << 64)
    flat = flat.reshape(-1)
    if surplus := flat.numel() * flat.element_size() % WORD:
        flat = torch.nn.functional.pad(flat, (0, (WORD - surplus) // flat.element_size()))
    return int(flat.view(torch.int64).sum()) % (1 << 64)


def strided_sums_add_up(parameters: Iterable[torch.Tensor], vocabulary: int, ranks: int) -> bool:
    """Whether strided checksums add up as full ones do, in an engine with this many ranks.

    They do if it fuses and shards matrices at multiples of `CHECKSUM_STRIDE` rows. An embedding, recognised by its `vocabulary`
    rows, is never fused; vLLM pads it with zeros to a multiple of 64 rows before sharding.
    """
    shapes = [getattr(parameter, "ds_shape", parameter.shape) for parameter in parameters]
    rows = [shape[0] for shape in shapes if len(shape) == 2 and shape[0] != vocabulary]
    return all(count % (CHECKSUM_STRIDE * ranks) == 0 for count in [*rows, 64])


def checksums(named: Iterable[Named], offset: int | None) -> dict[str, int]:
    """The `checksum` of each tensor."""
    return {name: checksum(tensor, offset) for name, tensor in named}


def publish(buckets: Iterable[Sequence[Named]], offset: int | None = None) -> Published:
    """Puts buckets of tensors into Ray's object store one by one: each may be freed once the next is requested.

    `offset` says which rows the checksums cover; None is all.
    """
    references: list[ray.ObjectRef[Any]] = []
    sums: dict[str, int] = {}
    staging = Staging()
    for bucket in buckets:
        references.append(ray.put(pack(staging.on_host(bucket))))  # copies, so that the staging memory is free again
        sums |= checksums(bucket, offset)
    return Published(tuple(references), Checksums(offset, sums))


def in_buckets(named: Iterable[Named]) -> Iterator[list[Named]]:
    """Tensors in lists of at least `BUCKET_ELEMENTS`, except the last. Tensors sharded by ZeRO-3 count in full."""
    bucket: list[Named] = []
    size = 0
    for name, tensor in named:
        bucket.append((name, tensor))
        size += getattr(tensor, "ds_numel", tensor.numel())
        if size >= BUCKET_ELEMENTS:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


class Staging:
    """Page-locked host memory for a bucket of a GPU's tensors, which reach it several times faster than pageable memory."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def on_host(self, named: Sequence[Named]) -> list[Named]:
        """The tensors in host memory, those of a GPU until the next call; those that are there already, themselves."""
        if not any(tensor.is_cuda for _, tensor in named):
            return list(named)
        copies = self._views(named)
        for (_, copy), (_, tensor) in zip(copies, named, strict=True):
            copy.copy_(tensor.detach(), non_blocking=True)
        torch.cuda.synchronize()
        return copies

    def _views(self, named: Sequence[Named]) -> list[Named]:
        """Tensors of the same names, types and shapes, one after another in the memory, which grows if it has to."""
        sizes = [tensor.numel() * tensor.element_size() for _, tensor in named]
        ends = list(accumulate(size + -size % ALIGNMENT for size in sizes))
        if ends[-1] > self._memory.numel():
            self._memory = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        return [
            (name, self._memory[start : start + size].view(tensor.dtype).view(tensor.shape))
            for (name, tensor), start, size in zip(named, [0, *ends], sizes, strict=False)
        ]


def pack(named: Iterable[Named]) -> PackedWeights:
    """Tensors in host memory as numpy arrays, which Ray maps without a copy. Tensors in host memory are shared, not copied.

    numpy has no bfloat16: such tensors are stored as uint16 and restored by `unpack` (no parameter is uint16).
    """
    packed = {}
    for name, tensor in named:
        host = tensor.detach().cpu().contiguous()
        packed[name] = (host.view(torch.uint16) if host.dtype == torch.bfloat16 else host).numpy()
    return packed


def unpack(packed: PackedWeights) -> Iterator[Named]:
    """Tensors over the arrays' own memory, which the object store keeps read-only: copy before writing."""
    for name, array in packed.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(array)
        yield name, tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


def read_checkpoint(path: str, dtype: torch.dtype) -> Iterator[Named]:
    """The weights of a HF-format folder, one file or sharded, cast to `dtype`.

    A head tied to the embedding is left out if the files hold both, as transformers does and vLLM requires.

    Raises:
        FileNotFoundError: the folder holds no safetensors weights.
    """
    folder = Path(path)
    index = folder / "model.safetensors.index.json"
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
    tied = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings")
    for file in files:
        with safe_open(folder / file, framework="pt") as shard:
            for name in shard.keys():  # noqa: SIM118  (not a dict: it has no iterator)
                if not (tied and name == "lm_head.weight"):
                    yield name, shard.get_tensor(name).to(dtype)
