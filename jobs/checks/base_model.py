"""The base model of a run as far as it is known without a download: a folder, or the config.json of a hub id."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conf.errors import ConfigError
from conf.load import ROOT
from conf.schema import Config
from jobs.checks.finding import Finding
from pipeline.inputs import Inputs, Parts, check_lengths, check_sets, local_model, model_inputs
from pipeline.store.model_folder import read_json

SHAPES = ROOT / "conf" / "models.yaml"
HUB_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What is known of the base: its config.json, None if unavailable, and its inputs, None unless it is on this machine."""

    config: Mapping[str, Any] | None
    inputs: Inputs | None
    finding: Finding


def find_base(config: Config, parts: Parts) -> BaseModel:
    """The base model of the settings, checked as `make round` checks it where it is a folder.

    Raises:
        ConfigError: the folder holds no model that can be used, or not with these settings.
    """
    path = config.model.path
    if (folder := local_model(path)) is not None:
        inputs = usable_inputs(config, parts, folder)
        if inputs.warnings:
            return BaseModel(inputs.model, inputs, Finding("warning", "base model", "; ".join(inputs.warnings)))
        return BaseModel(inputs.model, inputs, Finding("ok", "base model", f"{path}: configuration, tokenizer and weight files"))
    known, where = hub_config(path)
    if known is None:
        found = f"{path}: not in the hub's cache, and the hub does not give its config.json ({where})"
        return BaseModel(None, None, Finding("warning", "base model", found, "its config.json", "model.path=FOLDER, or HF_HOME"))
    check_lengths(config, known)
    found = f"{path}, a hub id: sizes from {where}; its files are checked once they are downloaded, when a run starts"
    return BaseModel(known, None, Finding("ok", "base model", found))


def usable_inputs(config: Config, parts: Parts, folder: str) -> Inputs:
    """The inputs of a run whose prompts the model's tokenizer and chat template accept.

    Raises:
        ConfigError: they do not, or the model cannot be used.
    """
    from pipeline.inference import prompt_codec

    inputs = model_inputs(config, parts, folder)
    prompt_codec(config, inputs)
    return inputs


def hub_config(path: str) -> tuple[Mapping[str, Any] | None, str]:
    """(config.json of a hub id, where it is from): the hub's cache, conf/models.yaml, or the hub; (None, why not)."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache
    from huggingface_hub.utils import build_hf_headers, get_session

    try:
        if isinstance(cached := try_to_load_from_cache(path, "config.json"), str):
            return read_json(Path(cached)), "the hub's cache"
        if (listed := yaml.safe_load(SHAPES.read_text()).get(path)) is not None:
            return listed, str(SHAPES.relative_to(ROOT))
        # One request: the client's own download tries for half a minute.
        url, headers = hf_hub_url(path, "config.json"), build_hf_headers()
        reply = get_session().get(url, headers=headers, timeout=HUB_TIMEOUT_S, follow_redirects=True)
        reply.raise_for_status()
        return dict(reply.json()), "the hub"
    except Exception as error:  # the hub client raises many unrelated types
        return None, (str(error).splitlines() or [type(error).__name__])[0]


def sets_finding(config: Config) -> Finding:
    """Whether the held-out sets can be read."""
    try:
        check_sets(config)
    except ConfigError as error:
        return Finding("fault", "held-out sets", str(error), "sets that can be read", "make benchmarks, or evaluation.sets=[]")
    return Finding("ok", "held-out sets", ", ".join(config.evaluation.sets) or "none: nothing is measured")
