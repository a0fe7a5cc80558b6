"""Liger's Triton kernels for RMSNorm, RoPE and SwiGLU in the learner (`learner.liger`): fewer passes over GPU memory.

Its fused cross entropy is not used: `pipeline/algorithm/packing.py` has chunked logits of its own.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from conf.errors import ConfigError
from conf.schema import Config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Those of liger-kernel 0.8.5 in which all three are replaced, and that `PolicyModel` takes.
FAMILIES = ("llama", "ministral", "mistral", "phi3", "qwen2", "qwen3", "smollm3")


def check_liger(config: Config, model: Mapping[str, Any]) -> None:
    """
    Raises:
        ConfigError: `learner.liger` is set, and there are no kernels for the model whose config.json is given, or no package.
    """
    if not config.learner.liger:
        return
    if (family := model.get("model_type")) not in FAMILIES:
        raise ConfigError(
            f"learner.liger=true: Liger's kernels are used for {', '.join(FAMILIES)}, and {config.model.path} is {family}; "
            "valid: false."
        )
    if find_spec("liger_kernel") is None:
        raise ConfigError(
            "learner.liger=true: the package liger-kernel is not installed here; valid: false, or `make setup EXTRA=gpu`."
        )


def use_liger(model: "PreTrainedModel") -> None:
    """Replaces the three in this model; RoPE, which is a function, in all models of its family in this process."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    kernels = {"rms_norm": True, "rope": True, "swiglu": True}
    _apply_liger_kernel_to_instance(model, **kernels, cross_entropy=False, fused_linear_cross_entropy=False)
