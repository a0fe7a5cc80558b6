"""The shape of a causal language model, from its config.json alone, and what follows from it: parameters and the KV cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder with grouped-query attention and a gated MLP, as Llama, Mistral, Qwen2 and Qwen3 are."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int
    tied: bool

    @property
    def parameters(self) -> int:
        """Number of parameters without biases and the norms of queries and keys, which are less than 0.1 % of a model."""
        queries, pairs = self.heads * self.head_dim, 2 * self.key_value_heads * self.head_dim
        attention = self.hidden * (queries + pairs) + queries * self.hidden
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * layer + self.hidden

    def cache_bytes(self, width: int) -> int:
        """Bytes of the KV cache for one token, where a number takes `width` bytes."""
        return 2 * self.layers * self.key_value_heads * self.head_dim * width


def model_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape of the model whose config.json is given.

    Raises:
        ValueError: a size is missing or no positive number, or the model is a mixture of experts.
    """
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        if config.get(name):
            raise ValueError(f"{name}={config[name]}: a mixture of experts")
    heads, hidden = size(config, "num_attention_heads"), size(config, "hidden_size")
    return ModelShape(
        layers=size(config, "num_hidden_layers"),
        hidden=hidden,
        intermediate=size(config, "intermediate_size"),
        heads=heads,
        key_value_heads=size(config, "num_key_value_heads", heads),
        head_dim=size(config, "head_dim", hidden // heads),
        vocabulary=size(config, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", False)),  # without it most architectures are not, and none is larger
    )


def size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A size of a config.json; `default` where it is missing or null.

    Raises:
        ValueError: it is no positive whole number.
    """
    value = config.get(name)
    value = default if value is None else value
    if type(value) is not int or value < 1:
        raise ValueError(f"{name}={value!r}: valid: a positive whole number")
    return value
