"""Loads new weights into a running vLLM engine and verifies that it holds them.

The only module that uses vLLM's weight loading; tested with vLLM 0.32.0.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from actors.weights.buckets import Named, PackedWeights, checksums, unpack
from pipeline.types import Checksums


def keep_cpu_weights_loadable() -> None:
    """Linear layers keep their weights as loaded; call before an engine loads its model on CPU.

    At load vLLM packs them for the CPU's kernels (oneDNN's; SGLang's where there is AMX; zentorch's) and empties the parameters,
    so that later loads fail or, for a tied lm_head, silently have no effect. Without packing a load is a plain copy, and sampling
    is as fast.
    """
    import vllm.model_executor.layers.utils as layers

    original = layers.dispatch_cpu_unquantized_gemm

    def dispatch(layer: Any, remove_weight: bool) -> None:
        if layer.weight.ndim == 2:
            layer.cpu_linear = torch.nn.functional.linear
        else:  # a convolution's: its kernel accepts no other layout
            original(layer, remove_weight)

    layers.dispatch_cpu_unquantized_gemm = dispatch


def load_into_engine(llm: Any, buckets: Iterable[PackedWeights]) -> None:
    """Loads weights into a running `vllm.LLM`, which must not be used before `confirm`."""
    for bucket in buckets:
        llm.collective_rpc(_load, args=(bucket,))


def confirm(llm: Any, sent: Checksums) -> list[str]:
    """Drops the engine's prefix cache and compares its weights with the checksums of those that were sent.

    Returns:
        The engine's parameters whose checksums differ: none after a correct transfer.

    Raises:
        RuntimeError: the cache could not be dropped.
    """
    # Cached keys and values of the previous weights would be reused for shared prompt prefixes.
    if not llm.reset_prefix_cache():
        raise RuntimeError("vLLM did not drop its prefix cache, which holds keys and values of the previous weights")
    held, fused = zip(*llm.collective_rpc(_checksums, args=(sent.offset,)), strict=True)
    return disagreements(held, sent.of, fused[0])


def _load(worker: Any, arrays: PackedWeights) -> None:
    load(worker.get_model(), list(unpack(arrays)))


def load(model: Any, named: Sequence[Named]) -> None:
    """Loads weights by HF name into a vLLM model, on a CPU with one thread per core, as the cores are otherwise idle.

    Python threads, each with its own tensors: a worker has one torch thread, and more would split every tensor.
    """
    if next(model.parameters()).device.type != "cpu":
        model.load_weights(named)
        return
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(torch.no_grad()(model.load_weights), [named[first::threads] for first in range(threads)]))


def _checksums(worker: Any, offset: int | None) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Checksums of a worker's parameters, and the parts of its fused layers."""
    model = worker.get_model()
    return checksums(model.named_parameters(), offset), model.packed_modules_mapping


def disagreements(held: Sequence[Mapping[str, int]], sent: Mapping[str, int], fused: Mapping[str, Sequence[str]]) -> list[str]:
    """Parameters of an engine whose checksums do not match those that were sent.

    Args:
        held: checksums by vLLM's names for each rank of the engine. A parameter is either sharded, and its ranks' checksums add
            up, or replicated on all ranks. (Tied embeddings are one parameter, under one name.)
        sent: checksums by HF names.
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
    """HF names of the parts of one vLLM parameter.

    >>> parts("layers.0.gate_up.weight", {"gate_up": ["gate", "up"]})
    ['layers.0.gate.weight', 'layers.0.up.weight']
    """
    segments = name.split(".")
    for place, segment in enumerate(segments):
        if segment in fused:
            return [".".join([*segments[:place], part, *segments[place + 1 :]]) for part in fused[segment]]
    return [name]
