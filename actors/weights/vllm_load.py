"""New weights for a running vLLM engine, and the proof that it holds them.

This is the only module that touches vLLM's loading of weights; it was run with vLLM 0.32.0.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from actors.weights.buckets import Named, PackedWeights, checksums, unpack
from pipeline.types import Checksums


def keep_cpu_weights_loadable() -> None:
    """Call before an engine loads its model on CPU.

    vLLM packs linear layers for oneDNN at load and empties the parameters, so that later loads fail, or, for a tied
    lm_head, silently change nothing. Without the packing a load is a plain copy; sampling is as fast.
    """
    import vllm._custom_ops

    vllm._custom_ops._supports_onednn = False


def load_into_engine(llm: Any, buckets: Iterable[PackedWeights]) -> None:
    """Loads weights into a running `vllm.LLM`, which is not to be used before `confirm`."""
    for bucket in buckets:
        llm.collective_rpc(_load, args=(bucket,))


def confirm(llm: Any, sent: Checksums) -> list[str]:
    """Drops what an engine cached under previous weights, and compares those it has with the checksums of what it was sent.

    Returns:
        The parameters of the engine that do not hold what was sent, as far as its checksums tell: none, in a sound transfer.

    Raises:
        RuntimeError: the cache could not be dropped.
    """
    # Keys and values computed under the old weights would be reused for shared prompt prefixes.
    if not llm.reset_prefix_cache():
        raise RuntimeError("vLLM kept its prefix cache, which holds keys and values of the old weights")
    held, fused = zip(*llm.collective_rpc(_checksums, args=(sent.offset,)), strict=True)
    return disagreements(held, sent.of, fused[0])


def _load(worker: Any, arrays: PackedWeights) -> None:
    load(worker.get_model(), list(unpack(arrays)))


def load(model: Any, named: Sequence[Named]) -> None:
    """Has a model of vLLM's take on weights by HF name, on a CPU on all cores: hardly anything else computes meanwhile.

    Threads of their own there, each with tensors to itself: torch's, of which a worker has one, would divide every tensor.
    """
    if next(model.parameters()).device.type != "cpu":
        model.load_weights(named)
        return
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(torch.no_grad()(model.load_weights), [named[first::threads] for first in range(threads)]))


def _checksums(worker: Any, offset: int | None) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Checksums of a worker's parameters, and which layers its model keeps fused from which."""
    model = worker.get_model()
    return checksums(model.named_parameters(), offset).of, model.packed_modules_mapping


def disagreements(held: Sequence[Mapping[str, int]], sent: Mapping[str, int], fused: Mapping[str, Sequence[str]]) -> list[str]:
    """Parameters of an engine whose checksums do not follow from those that were sent.

    Args:
        held: for each of the engine's ranks its checksums by vLLM's names. A parameter is either split over the ranks, and
            their checksums add up, or each of them holds it whole. (Tied embeddings are one parameter, under one name.)
        sent: checksums by HF's names.
        fused: names of fused layers with those of their parts.

    >>> disagreements([{"a.qkv.weight": 6}], {"a.q.weight": 1, "a.k.weight": 2, "a.v.weight": 4}, {"qkv": ["q", "k", "v"]})
    ['a.qkv.weight']
    """
    wrong = []
    for name in held[0]:
        names = parts(name, fused)
        arrived = all(part in sent for part in names)
        expected = sum(sent.get(part, 0) for part in names) % (1 << 64)
        ranks = [rank[name] for rank in held]
        if not arrived or (sum(ranks) % (1 << 64) != expected and any(rank != expected for rank in ranks)):
            wrong.append(name)
    return wrong


def parts(name: str, fused: Mapping[str, Sequence[str]]) -> list[str]:
    """HF's names of what one parameter of vLLM's is made from.

    >>> parts("layers.0.gate_up.weight", {"gate_up": ["gate", "up"]})
    ['layers.0.gate.weight', 'layers.0.up.weight']
    """
    segments = name.split(".")
    for place, segment in enumerate(segments):
        if segment in fused:
            return [".".join([*segments[:place], part, *segments[place + 1 :]]) for part in fused[segment]]
    return [name]
