"""Model folders that cannot be used: the tiny base with one thing broken, and what the message about it has to say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from conf.load import ROOT

Break = Callable[[Path], None]
BASE = ROOT / "assets" / "tiny-base"
WEIGHTS = "model.safetensors"
REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}hello"


def changed(file: str, **values: Any) -> Break:
    """Sets keys of a JSON file; None removes a key."""

    def apply(folder: Path) -> None:
        tree = json.loads((folder / file).read_text()) | values
        (folder / file).write_text(json.dumps({key: value for key, value in tree.items() if values.get(key, 0) is not None}))

    return apply


def removed(*files: str) -> Break:
    return lambda folder: [(folder / file).unlink() for file in files] and None


def written(file: str, content: str) -> Break:
    return lambda folder: (folder / file).write_text(content) and None


def truncated(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def without(*tensors: str) -> Break:
    def apply(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        save_file({name: value for name, value in weights.items() if not name.startswith(tensors)}, folder / WEIGHTS)

    return apply


def sharded(files: int, missing: int = 0) -> Break:
    """Weights in several files with an index, the first `missing` of which are not there."""

    def apply(folder: Path) -> None:
        weights, index = load_file(folder / WEIGHTS), {}
        for number in range(files):
            name = f"model-{number + 1:05d}-of-{files:05d}.safetensors"
            part = dict(list(weights.items())[number::files])
            index |= dict.fromkeys(part, name)
            if number >= missing:
                save_file(part, folder / name)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        (folder / WEIGHTS).unlink()

    return apply


def both(*breaks: Break) -> Break:
    return lambda folder: [each(folder) for each in breaks] and None


config = lambda **values: changed("config.json", **values)  # noqa: E731
NO_END = both(
    config(eos_token_id=None),
    changed("generation_config.json", eos_token_id=None),
    changed("tokenizer_config.json", eos_token=None),
)

# By name: how the folder is broken, and a pattern of the message.
BROKEN: dict[str, tuple[Break, str]] = {
    "no config.json": (removed("config.json"), "has no config.json"),
    "config.json is no JSON": (written("config.json", "{"), "config.json cannot be read"),
    "config.json is a list": (written("config.json", "[1]"), "valid: a JSON object"),
    "config.json without sizes": (config(hidden_size=None), "hidden_size=None: valid: a positive whole number"),
    "config.json without architectures": (config(architectures=None), "names no model_type or no architectures"),
    "no tokenizer": (removed("tokenizer.json", "tokenizer_config.json"), "it has no tokenizer"),
    "tokenizer.json is cut off": (written("tokenizer.json", '{"model": {'), "tokenizer.json cannot be read"),
    "tokenizer.json without a vocabulary": (written("tokenizer.json", '{"model": {}}'), "hold no vocabulary"),
    "a tokenizer of another model": (config(vocab_size=700), "tokenizer has 734 tokens, the model's vocab_size is 700"),
    "vocab_size unlike the weights": (
        config(vocab_size=736),
        "weight is 734 x 128, its config.json says vocab_size x hidden_size = 736 x 128",
    ),
    "BERT": (config(model_type="bert", architectures=["BertForMaskedLM"]), "BertForMaskedLM is not a causal language model"),
    "T5": (
        config(model_type="t5", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True),
        "T5ForConditionalGeneration is not a causal language model",
    ),
    "code of its own": (
        config(model_type="mine", architectures=["MineForCausalLM"], auto_map={"AutoModelForCausalLM": "mine.Mine"}),
        "needs code from the model's folder",
    ),
    "an unknown model_type": (config(model_type="mine", architectures=["MineForCausalLM"]), "model_type=mine is unknown"),
    "names of weights unlike Llama's": (without("model.embed_tokens"), "no model.embed_tokens.weight"),
    "no output layer": (without("lm_head"), "no lm_head.weight"),
    "a layer is missing": (without("model.layers.3."), "weights have 3 layers.*num_hidden_layers=4"),
    "sizes unlike the weights": (config(intermediate_size=400), "gate_proj.weight is 384 x 128.*400 x 128"),
    "head_dim 16 on CPU": (config(head_dim=16), "head_dim=16 is not supported on CPU; valid: 32, 64"),
    "a sliding window": (config(use_sliding_window=True, sliding_window=64), "within a sliding window"),
    "logits that are scaled": (config(logit_scale=0.0625), r"it changes its logits \(logit_scale=0.0625\)"),
    "quantised": (config(quantization_config={"quant_method": "fp8"}), "its weights are quantised"),
    "fewer positions": (config(max_position_embeddings=128), r"model\.max_length=256: .* has 128 positions"),
    "no token ends a response": (NO_END, "no token that ends a response"),
    "a token that no tokenizer has": (changed("tokenizer_config.json", eos_token="</s>"), "'</s>', which is no token"),
    "eos_token_id beyond the vocabulary": (changed("generation_config.json", eos_token_id=9999), "eos_token_id=9999"),
    "no weights": (removed(WEIGHTS), "it has no weights"),
    "weights of PyTorch alone": (both(removed(WEIGHTS), written("pytorch_model.bin", "x")), "it has only pytorch_model.bin"),
    "weights are cut off": (truncated, r"model.safetensors \([\d,]+ bytes\) is damaged or incomplete"),
    "weights are a pointer of git-lfs": (
        written(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
        "is damaged or incomplete",
    ),
    "a shard is missing": (sharded(3, missing=1), "1 of 3 weight files are missing, e.g. model-00001-of-00003.safetensors"),
}


def broken_model(folder: Path, how: Break) -> Path:
    """The tiny base in a new folder, broken."""
    path = folder / "broken"
    shutil.copytree(BASE, path)
    how(path)
    return path
