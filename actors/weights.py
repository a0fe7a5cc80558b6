"""Policy weights on their way from a learner (or a checkpoint on disk) to the rollout workers, in memory.

Weights travel as one object in Ray's object store: a dict of numpy arrays, which every process of a node maps without a
copy. This is the only module that touches vLLM's loading of weights; it was run with vLLM 0.32.0.
"""

import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from safetensors import safe_open

PackedWeights = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Policy:
    """Named weights: `version` as made by `pipeline.types.policy_version`, `weights` a reference to `PackedWeights`."""

    version: str
    weights: ray.ObjectRef


def pack(named: Iterable[tuple[str, torch.Tensor]]) -> PackedWeights:
    """Copies tensors to host memory as numpy arrays, the form that Ray maps without a copy.

    numpy has no bfloat16: such tensors travel as their bits in uint16 and come back as bfloat16 (no parameter is uint16).
    """
    packed = {}
    for name, tensor in named:
        host = tensor.detach().to("cpu", copy=True).contiguous()
        packed[name] = (host.view(torch.uint16) if host.dtype == torch.bfloat16 else host).numpy()
    return packed


def unpack(packed: PackedWeights) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors over the arrays' own memory, which the object store keeps read-only: copy before writing."""
    for name, array in packed.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(array)
        yield name, tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


def read_checkpoint(path: str, dtype: torch.dtype) -> PackedWeights:
    """The weights of a HF-format folder, one file or sharded, cast to `dtype`.

    Raises:
        FileNotFoundError: the folder holds no safetensors weights.
    """
    folder = Path(path)
    index = folder / "model.safetensors.index.json"
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for file in files:
            with safe_open(folder / file, framework="pt") as shard:
                for name in shard.keys():  # noqa: SIM118  (not a dict: it has no iterator)
                    yield name, shard.get_tensor(name).to(dtype)

    return pack(tensors())


def keep_cpu_weights_loadable() -> None:
    """Call before an engine loads its model on CPU.

    vLLM packs linear layers for oneDNN at load and empties the parameters, so that later loads fail, or, for a tied
    lm_head, silently change nothing. Without the packing a load is a plain copy; sampling is as fast.
    """
    import vllm._custom_ops

    vllm._custom_ops._supports_onednn = False


def load_into_engine(llm: Any, packed: PackedWeights) -> None:
    """Loads weights into a running in-process `vllm.LLM` and drops what it cached under the old ones.

    Raises:
        RuntimeError: a parameter of the engine got no weight, or the cache could not be dropped.
    """

    def load(worker: Any) -> set[str]:
        return worker.get_model().load_weights(unpack(packed))

    (loaded,) = llm.collective_rpc(load)
    (expected,) = llm.collective_rpc(lambda worker: {name for name, _ in worker.get_model().named_parameters()})
    if missing := expected - loaded:
        raise RuntimeError(f"weights for {len(missing)} of {len(expected)} parameters did not arrive, e.g. {sorted(missing)[:3]}")
    # Keys and values computed under the old weights would be reused for shared prompt prefixes.
    if not llm.reset_prefix_cache():
        raise RuntimeError("vLLM kept its prefix cache, which holds keys and values of the old weights")
