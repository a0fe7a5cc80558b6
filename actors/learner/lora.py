"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft: W + (alpha / rank) B A, of which A and B are trained.

Weights leave the learner merged, under the names of the HF checkpoint: to rollout workers, to the exported policy and so to the
next phase, whose reference is the merged policy. Only the learner's checkpoints hold the adapter separately.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from conf.schema import LoraConfig

ADAPTER = "default"


def add_adapter(policy: nn.Module, config: LoraConfig) -> None:
    """Adds a new adapter, a no-op as B = 0, to the linear layers named in `config.targets`; freezes all other parameters.

    Raises:
        ValueError: the model lacks a layer of one of these names.
    """
    import peft

    layers = {name.rpartition(".")[2] for name, module in policy.named_modules() if isinstance(module, nn.Linear)}
    if missing := set(config.targets) - layers:
        raise ValueError(f"lora.targets={sorted(missing)}: the model has no such layers; valid: {', '.join(sorted(layers))}")
    settings = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(config.targets))
    peft.inject_adapter_in_model(settings, policy, ADAPTER)


def adapted_layers(policy: nn.Module) -> dict[str, Any]:
    """The layers with an adapter (peft's `LoraLayer`) by the name of the adapted HF parameter; none without LoRA."""
    layers = {}
    for name, module in policy.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "lora_A"):
            layers[f"{name}.weight"] = module
    return layers


def adapter_parameters(policy: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in policy.named_parameters() if ".lora_" in name]


def base_parameters(policy: nn.Module) -> list[tuple[str, Any]]:
    """The parameters of the HF checkpoint, under its names."""
    return [(name.replace(".base_layer.", "."), p) for name, p in policy.named_parameters() if ".lora_" not in name]


def merged(named: Iterable[tuple[str, Tensor]], layers: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Base parameters; those of layers with an adapter with it added, in fp32."""
    for name, tensor in named:
        layer = layers.get(name)
        if layer is None:
            yield name, tensor
        else:
            a, b = (part[ADAPTER].weight.detach().float() for part in (layer.lora_A, layer.lora_B))
            yield name, tensor.detach().float() + layer.scaling[ADAPTER] * (b @ a)


@contextmanager
def adapter_off(policy: nn.Module) -> Iterator[None]:
    """Disables the adapter: the policy as it was at the start of the phase."""
    layers = adapted_layers(policy).values()
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
