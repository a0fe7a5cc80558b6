"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft: W + (alpha / rank) B A, of which A and B are trained.

Whoever takes weights from the learner gets them merged, under the names of the HF checkpoint: rollout workers, the exported
policy, and so the next phase, whose reference is the merged policy. Only the learner's checkpoints hold the adapter by itself.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from conf.schema import LoraConfig

ADAPTER = "default"


def add_adapter(policy: nn.Module, config: LoraConfig) -> None:
    """Puts a fresh adapter, which changes nothing yet (B = 0), on the linear layers named in `config.targets`; freezes the rest.

    Raises:
        ValueError: the model has no layer of one of these names.
    """
    import peft

    layers = {name.rpartition(".")[2] for name, module in policy.named_modules() if isinstance(module, nn.Linear)}
    if missing := set(config.targets) - layers:
        raise ValueError(f"lora.targets={sorted(missing)}: the model has no such layers; valid: {', '.join(sorted(layers))}")
    settings = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(config.targets))
    peft.inject_adapter_in_model(settings, policy, ADAPTER)


def adapted_layers(policy: nn.Module) -> dict[str, Any]:
    """The layers with an adapter (peft's `LoraLayer`) by the name of the HF parameter adapted; none where LoRA is off."""
    found = {}
    for name, module in policy.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "lora_A"):
            found[f"{name}.weight"] = module
    return found


def adapter_parameters(policy: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in policy.named_parameters() if ".lora_" in name]


def base_parameters(policy: nn.Module) -> list[tuple[str, Any]]:
    """The parameters that the HF checkpoint knows, by its names."""
    return [(name.replace(".base_layer.", "."), p) for name, p in policy.named_parameters() if ".lora_" not in name]


def merged(named: Iterable[tuple[str, Tensor]], layers: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Base parameters with their layers' adapters added, in fp32 before they are rounded to the parameter's own precision."""
    for name, tensor in named:
        layer = layers.get(name)
        if layer is None:
            yield name, tensor
        else:
            a, b = (part[ADAPTER].weight.detach().float() for part in (layer.lora_A, layer.lora_B))
            yield name, (tensor.detach().float() + layer.scaling[ADAPTER] * (b @ a)).to(tensor.dtype)


@contextmanager
def adapter_off(policy: nn.Module) -> Iterator[None]:
    """The policy as it was before it had an adapter."""
    layers = adapted_layers(policy).values()
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
