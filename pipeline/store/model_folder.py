"""Whether a model folder can be trained and sampled from, told in seconds: from its JSON files and the heads of its weight files.

No weight is read and no library that takes seconds to import is needed, so that every run can check its model before it starts.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from conf.errors import ConfigError
from conf.files import read_text
from pipeline.algorithm.model_shape import size

INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")  # that transformers can read
CPU_HEADS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)  # head_dim of vLLM 0.32's attention on CPU
FLOATS = ("F16", "BF16", "F32", "F64")  # as safetensors names them
PADDED = 1.1  # a vocabulary so many times the tokenizer's is not merely padded


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What is read of a folder; `vocabulary` holds the tokenizer's tokens by text, empty if only transformers can read it."""

    path: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    vocabulary: Mapping[str, int]


class ModelError(ValueError):
    """A model folder cannot be used: what is wrong with it, and what would be valid."""


def check_model_folder(path: Path, shown: str, device: str) -> list[str]:
    """Warnings about the model in a folder.

    Args:
        shown: how the user named it, for example "model.path=assets/tiny-base".

    Raises:
        ConfigError: the policy cannot be loaded, trained or sampled from.
    """
    try:
        model = ModelFolder(
            path,
            read_json(path / "config.json"),
            read_json(path / "generation_config.json", {}),
            read_json(path / "tokenizer_config.json", {}),
            read_vocabulary(path),
        )
        check_architecture(model.config, device)
        warnings = list(check_tokenizer(model))
        check_weights(model)
    except ModelError as fault:
        place = "" if path.name in shown else f"{path}: "  # where a hub id was downloaded to
        raise ConfigError(f"{shown}: {place}{fault}.") from fault
    return [f"{shown}: {warning}" for warning in warnings]


def read_json(path: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON object; `default` if there is no such file."""
    if default is not None and not path.exists():
        return default
    try:
        tree = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"its {path.name} cannot be read: {error}; valid: the model's own {path.name}") from error
    if not isinstance(tree, dict):
        raise ModelError(f"its {path.name} holds {str(tree)[:40]!r}; valid: a JSON object")
    return tree


def check_architecture(config: Mapping[str, Any], device: str) -> None:
    """From config.json: a causal language model in code that transformers has, with full attention and unquantised weights."""
    kind, names = config.get("model_type"), config.get("architectures")
    if not isinstance(kind, str) or not isinstance(names, list) or not names:
        raise ModelError("its config.json names no model_type or no architectures; valid: that of a causal language model")
    if config.get("is_encoder_decoder") or not any(str(name).endswith("ForCausalLM") for name in names):
        raise ModelError(f"{names[0]} is not a causal language model; valid: one such as Qwen3ForCausalLM or LlamaForCausalLM")
    if not (source := native(kind)):
        code = "needs code from the model's folder (auto_map)" if config.get("auto_map") else "is unknown to transformers"
        raise ModelError(f"model_type={kind} {code}, which is not run; valid: a model that the installed transformers has")
    if not any(re.search(rf"^class {re.escape(str(name))}\b", source, re.MULTILINE) for name in names):
        raise ModelError(f"transformers has no {names[0]} for model_type={kind}; valid: the model's own config.json")
    if wrong := [name for name in ("rope_scaling", "rope_parameters") if not isinstance(config.get(name) or {}, dict)]:
        raise ModelError(f"its config.json has {wrong[0]}={config[wrong[0]]!r:.40}; valid: a JSON object, or null")
    if config.get("quantization_config"):
        raise ModelError("its weights are quantised (quantization_config); valid: weights in float32 or bfloat16, to be trained")
    # vLLM applies these to the logits, the learner's head does not.
    if scales := [
        name for name in ("logits_scaling", "logit_scale", "final_logit_softcapping") if config.get(name) not in (None, 1)
    ]:
        raise ModelError(
            f"it changes its logits ({scales[0]}={config[scales[0]]}), which the learner does not; valid: none, or 1"
        )
    try:
        hidden, heads = size(config, "hidden_size"), size(config, "num_attention_heads")
        head_dim = size(config, "head_dim", max(1, hidden // heads))
        for name in ("num_hidden_layers", "vocab_size"):
            size(config, name)
        groups = size(config, "num_key_value_heads", heads)
        size(config, "max_position_embeddings", 1)
    except ValueError as error:
        raise ModelError(f"its config.json has {error}") from error
    if heads % groups:
        raise ModelError(f"num_key_value_heads={groups} does not divide num_attention_heads={heads}; valid: a divisor of it")
    if device == "cpu" and head_dim not in CPU_HEADS:
        raise ModelError(f"head_dim={head_dim} is not supported on CPU; valid: {', '.join(map(str, CPU_HEADS))}")
    slides = config.get("use_sliding_window", not kind.startswith("qwen")) and config.get("sliding_window")
    if slides or "sliding_attention" in str(config.get("layer_types")):
        raise ModelError("it has attention within a sliding window, which the learner does not support; valid: full attention")


def native(kind: str) -> str:
    """The code that transformers has for a model_type, read without the seconds that an import takes; empty if it has none."""
    spec = find_spec("transformers")
    folder = kind.replace("-", "_").removesuffix("_text")
    if spec is None or spec.origin is None or not folder.isidentifier():
        return ""
    files = (Path(spec.origin).parent / "models" / folder).glob("modeling_*.py")
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def read_vocabulary(path: Path) -> dict[str, int]:
    """The tokens of a tokenizer.json or vocab.json, added ones included, with their ids."""
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"it has no tokenizer; valid: a folder with the model's {TOKENIZERS[0]}")
    settings, added = (read_json(path / name, {}) for name in ("tokenizer_config.json", "added_tokens.json"))
    whole = (path / "tokenizer.json").is_file()
    tree = read_json(path / ("tokenizer.json" if whole else "vocab.json"), {})
    try:
        words = tree["model"]["vocab"] if whole else tree
        listed = words if isinstance(words, dict) else {token: number for number, (token, _) in enumerate(words)}
        named = {token["content"]: token["id"] for token in (tree.get("added_tokens") or []) if whole}
        decoded = {token["content"]: int(number) for number, token in settings.get("added_tokens_decoder", {}).items()}
        tokens = {**listed, **named, **decoded, **added} if listed else {}
        if not all(type(number) is int and number >= 0 for number in tokens.values()):
            raise ValueError("an id is no number")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError("its tokenizer's files hold no vocabulary; valid: the model's own tokenizer.json") from error
    return tokens


def check_tokenizer(model: ModelFolder) -> Iterator[str]:
    """The tokenizer's tokens have to be the model's, and one of them has to end a response. Yields warnings."""
    rows = model.config["vocab_size"]
    needed = max(model.vocabulary.values(), default=-1) + 1
    if needed > rows:
        raise ModelError(f"its tokenizer has {needed} tokens, the model's vocab_size is {rows}; valid: the model's own tokenizer")
    if needed and rows > PADDED * needed:
        yield f"its tokenizer has {needed} tokens, the model's vocab_size is {rows}: is it the model's own?"
    named = model.tokenizer.get("eos_token") or read_json(model.path / "special_tokens_map.json", {}).get("eos_token")
    text = named.get("content") if isinstance(named, dict) else named
    if text and model.vocabulary and text not in model.vocabulary:
        raise ModelError(f"its tokenizer_config.json ends text by {text!r}, which is no token; valid: one of the tokenizer's")
    given = (model.generation or model.config).get("eos_token_id")  # the model's own where there is no generation_config.json
    ids = given if isinstance(given, list) else [] if given is None else [given]
    if wrong := [each for each in ids if type(each) is not int or not 0 <= each < rows]:
        raise ModelError(f"eos_token_id={wrong[0]}: no token of {rows}; valid: the id of the token that ends a response")
    if not ids and not text:
        raise ModelError("it has no token that ends a response; valid: eos_token_id in its generation_config.json")
    if not (model.tokenizer.get("chat_template") or any(model.path.glob("chat_template.*"))):
        yield "its tokenizer has no chat template: prompts are plain text"


def check_weights(model: ModelFolder) -> None:
    """The weight files are all there, whole by their heads, and of the shape that config.json gives."""
    names = weight_files(model.path)
    shapes: dict[str, list[int]] = {}
    for name in names:
        shapes |= tensor_shapes(model.path / name)
    if listed := set(read_json(model.path / INDEX, {}).get("weight_map", {})) - shapes.keys():
        raise ModelError(f"{INDEX} lists {min(listed)}, which no file has; valid: all files of the model")
    if "model.embed_tokens.weight" not in shapes:
        example = min(shapes, default="none")
        raise ModelError(f"its weights ({example}, ...) have no model.embed_tokens.weight; valid: a model like Llama or Qwen3")
    wanted = wanted_shapes(model.config)
    for name, shape in shapes.items():
        suffix = ".".join(name.split(".")[-2:])
        if (right := wanted.get(suffix)) and list(right.values()) != shape:
            raise ModelError(
                f"{name} is {by(shape)}, its config.json says {by(right)} = {by(right.values())}; "
                "valid: the config.json of these weights"
            )
    # Those of attention and its norms; a mixture of experts may have layers with and without experts.
    parts = Counter(
        ".".join(name.split(".")[3:]) for name in shapes if re.match(r"model\.layers\.\d+\.(self_attn|\w+norm)", name)
    )
    layers = {name.split(".")[2] for name in shapes if name.startswith("model.layers.")}
    if (short := next((part for part, count in parts.items() if count < len(layers)), None)) is not None:
        raise ModelError(f"{parts[short]} of its {len(layers)} layers have a {short}; valid: all tensors of the model")
    if len(layers) != model.config["num_hidden_layers"]:
        raise ModelError(
            f"its weights have {len(layers)} layers, its config.json says num_hidden_layers={model.config['num_hidden_layers']}; "
            "valid: all files of the model, and their config.json"
        )
    if model.config.get("tie_word_embeddings") is False and "lm_head.weight" not in shapes:
        raise ModelError("its weights have no lm_head.weight, and tie_word_embeddings is false; valid: all files of the model")


def wanted_shapes(config: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """The shapes that config.json gives to matrices, by the end of their names, each as its sizes by what they are."""
    hidden, heads = {"hidden_size": config["hidden_size"]}, size(config, "num_attention_heads")
    head_dim = size(config, "head_dim", config["hidden_size"] // heads)
    rows = {"vocab_size": config["vocab_size"]}
    keys = {"num_key_value_heads * head_dim": size(config, "num_key_value_heads", heads) * head_dim}
    wanted = {
        "embed_tokens.weight": rows | hidden,
        "lm_head.weight": rows | hidden,
        "q_proj.weight": {"num_attention_heads * head_dim": heads * head_dim} | hidden,
        "k_proj.weight": keys | hidden,
        "v_proj.weight": keys | hidden,
        "input_layernorm.weight": hidden,
        "norm.weight": hidden,
    }
    if "intermediate_size" in config and not any("experts" in name for name in config):
        wanted["gate_proj.weight"] = {"intermediate_size": config["intermediate_size"]} | hidden
    return wanted


def by(sizes: Iterable[object]) -> str:
    return " x ".join(map(str, sizes))


def check_adapters(path: Path, targets: Iterable[str]) -> None:
    """
    Raises:
        ConfigError: no layer of the model has the name of one of the `targets`.
    """
    matrices = {name for file in weight_files(path) for name, shape in tensor_shapes(path / file).items() if len(shape) == 2}
    layers = {name.split(".")[-2] for name in matrices if name.endswith(".weight")} - {"embed_tokens"}
    if missing := [name for name in targets if name not in layers]:
        raise ConfigError(f"lora.targets: the model has no layer {missing[0]}; valid: {', '.join(sorted(layers))}.")


def weight_files(path: Path) -> list[str]:
    """The names of the safetensors files, those of the index if there is one."""
    if (path / INDEX).exists():
        index = read_json(path / INDEX).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise ModelError(f"its {INDEX} has no weight_map; valid: the model's own {INDEX}")
        names = sorted(set(map(str, index.values())))
        if missing := [name for name in names if not (path / name).is_file()]:
            raise ModelError(f"{len(missing)} of {len(names)} weight files are missing, e.g. {missing[0]}; valid: all of them")
        return names
    if (path / "model.safetensors").is_file():
        return ["model.safetensors"]
    others = [each.name for each in sorted(path.iterdir()) if each.suffix in (".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")]
    found = f"only {others[0]}" if others else "no weights"
    raise ModelError(f"it has {found}; valid: model.safetensors, or {INDEX} with its files (`save_pretrained` of transformers)")


def tensor_shapes(file: Path) -> dict[str, list[int]]:
    """The shapes in a safetensors file by name. Its head lists them; a file that is shorter or longer is refused."""
    try:
        with safe_open(file, framework="np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118  (not a dict)
            if other := [name for name, tensor in slices.items() if tensor.get_dtype() not in FLOATS]:
                kind = slices[other[0]].get_dtype()
                raise ModelError(f"{other[0]} holds {kind} numbers; valid: weights in float32 or bfloat16, to be trained")
            return {name: list(tensor.get_shape()) for name, tensor in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file.name} ({file.stat().st_size:,} bytes) is damaged or incomplete: {error}; valid: the whole file"
        ) from error
