"""A run's external inputs, checked before anything is started."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.learner.liger import check_liger
from conf.errors import ConfigError
from conf.load import resolve
from conf.plugin import code_file
from conf.schema import Config, RewardConfig
from pipeline.algorithm.rewards import REPLACING, Scorer, find_scorer, scorer_name
from pipeline.domain.graders.find import find_grader
from pipeline.domain.oracle import load_oracle
from pipeline.domain.prompt_file import load_prompts
from pipeline.domain.prompts import Prompts
from pipeline.domain.sets import find_sets
from pipeline.store.benchmarks import read_problems, refuse_missing
from pipeline.store.model_folder import check_adapters, check_model_folder


def find_model(path: str, setting: str = "model.path") -> str:
    """A local folder, or the local snapshot of a hub id, downloaded if necessary.

    Raises:
        ConfigError: the path is neither.
    """
    if (folder := local_model(path, setting)) is not None:
        return folder
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"])
    except Exception as error:  # the hub client raises many unrelated types, all with one meaning for the user
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{setting}={path}: not a local folder, and unavailable on the model hub ({reason}).") from error


def local_model(path: str, setting: str = "model.path") -> str | None:
    """A local folder; None for a hub id.

    Raises:
        ConfigError: the path is neither.
    """
    folder = resolve(path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{setting}={path}: {folder} has no config.json; valid: a model folder in HF format, or a hub id.")
        return str(folder.absolute())
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise ConfigError(
            f"{setting}={path}: no such folder; valid: a model folder in HF format, or a hub id such as Qwen/Qwen3-4B-Base."
        )
    return None


@dataclass(frozen=True)
class Inputs:
    """The base model's folder, the roles' prompts, and the scorers of the Challenger's reward."""

    base_path: str
    prompts: Prompts
    scorers: list[Scorer]
    positions: int | None  # max_position_embeddings, if the model's configuration has it
    model: Mapping[str, Any]  # the base model's config.json
    warnings: list[str]  # about the base model
    code: dict[str, str]  # hashes of the user's scorers and grader, see `code_hashes`

    def fingerprints(self) -> dict[str, str]:
        """By setting, a hash of the input that results depend on; see `fingerprint`."""
        return {"model.path": fingerprint(Path(self.base_path)), "prompts": hashed(repr(self.prompts).encode())}


END_BYTES = 1 << 20


def fingerprint(folder: Path) -> str:
    """A hash of a model folder: its weight files' names, sizes and ends, its configuration and its tokenizer."""
    parts = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".safetensors", ".json", ".txt", ".model", ".jinja"):
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                ends = []
                for start in (0, max(0, size - END_BYTES)):
                    file.seek(start)
                    ends.append(file.read(END_BYTES))
            parts.append(f"{path.name} {size} {hashed(b''.join(ends))}")
    return hashed("\n".join(parts).encode())


def code_hashes(reward: RewardConfig) -> dict[str, str]:
    """By setting and name, a hash of each file of the user's code that it names."""
    named = [*(("reward.scorers", name) for name in reward.scorers), ("reward.grader", reward.grader)]
    return {f"{setting}: {name}": hashed(code_file(name).read_bytes()) for setting, name in named if ":" in name}


def hashed(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def check_sets(config: Config) -> None:
    """
    Raises:
        ConfigError: held-out sets are missing, one cannot be read, or has the name of another set's band.
    """
    names: dict[str, str] = {}
    definitions = find_sets(config.evaluation.sets, "evaluation.sets")
    refuse_missing(definitions, config.evaluation.folder)
    for definition in definitions:
        problems = read_problems(definition, config.evaluation.folder)
        for name in [definition.name, *{f"{definition.name}_{problem.band}" for problem in problems if problem.band}]:
            if name in names:
                raise ConfigError(
                    f"evaluation.sets: {name} is a set or a band of {names[name]} and of {definition.name}; valid: other names."
                )
            names[name] = definition.name


def check_tracking(uri: str) -> None:
    """Raises ConfigError if an SQLite store cannot be created; whether a server responds is found out during the run."""
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///")).absolute()
    if path.is_dir():
        raise ConfigError(f"tracking_uri={uri}: {path} is a folder; valid: a file, for example {path}/mlflow.db.")
    folder = next(parent for parent in path.parents if parent.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()  # nothing less says whether it can be written
    except OSError as error:
        raise ConfigError(
            f"tracking_uri={uri}: {folder} cannot be written: {error.strerror}; valid: a folder that can be written."
        ) from error


@dataclass(frozen=True, slots=True)
class Parts:
    """The roles' prompts and the scorers of the Challenger's reward."""

    prompts: Prompts
    scorers: list[Scorer]


def read_prompts(config: Config) -> Prompts:
    """
    Raises:
        ConfigError: the file, or one that it names, is missing or invalid.
    """
    try:
        return load_prompts(resolve(config.prompts))
    except ValueError as error:
        raise ConfigError(f"prompts={config.prompts}: {error}") from error


def check_parts(config: Config) -> Parts:
    """Reads the oracle, the prompts, the scorers and the grader.

    Raises:
        ConfigError: one of them is missing or invalid.
    """
    load_oracle(config.evaluation.oracle)
    prompts = read_prompts(config)
    try:
        scorers = [find_scorer(name) for name in config.reward.scorers]
    except ValueError as error:
        raise ConfigError(f"reward.scorers: {error}.") from error
    if late := [text for text, scorer in zip(config.reward.scorers[1:], scorers[1:], strict=True) if scorer in REPLACING]:
        raise ConfigError(f"reward.scorers: {late[0]} replaces what the scorers before it gave; valid: {late[0]} as the first.")
    names = {scorer_name(scorer): text for text, scorer in zip(config.reward.scorers, scorers, strict=True)}
    if clash := [text for text, scorer in zip(config.reward.scorers, scorers, strict=True) if names[scorer_name(scorer)] != text]:
        raise ConfigError(f"reward.scorers: {clash[0]} has the name of another scorer; valid: functions of different names.")
    try:
        find_grader(config.reward.grader)
    except ValueError as error:
        raise ConfigError(f"reward.grader: {error}.") from error
    return Parts(prompts, scorers)


def check_lengths(config: Config, model: Mapping[str, Any]) -> int | None:
    """The positions of the model whose config.json is given, None if it does not say.

    Raises:
        ConfigError: model.max_length is more than that, or an engine cannot be split as `rollout.tensor_parallel` says.
    """
    heads, positions = model.get("num_key_value_heads"), model.get("max_position_embeddings")
    rope = model.get("rope_scaling") or model.get("rope_parameters") or {}
    scaled = rope.get("rope_type", rope.get("type", "default")) != "default" if isinstance(rope, dict) else True
    if positions and not scaled and config.model.max_length > positions:
        raise ConfigError(
            f"model.max_length={config.model.max_length}: {config.model.path} has {positions} positions; valid: at most that."
        )
    if heads and heads % config.rollout.tensor_parallel:
        raise ConfigError(
            f"rollout.tensor_parallel={config.rollout.tensor_parallel}: does not divide the {heads} key-value heads of "
            f"{config.model.path}; valid: a divisor of {heads}."
        )
    return positions


def check_inputs(config: Config) -> Inputs:
    """Finds and checks the base model, the prompts, the scorers, the grader, the benchmarks and the oracle.

    Raises:
        ConfigError: one of them is missing or invalid.
    """
    check_tracking(config.tracking_uri)
    check_sets(config)
    return model_inputs(config, check_parts(config), find_model(config.model.path))


def model_inputs(config: Config, parts: Parts, base_path: str) -> Inputs:
    """The inputs of a run with the base model in a folder.

    Raises:
        ConfigError: the model cannot be used, or not with these settings.
    """
    warnings = check_model_folder(Path(base_path), f"model.path={config.model.path}", config.resources.device)
    if config.lora.rank:
        check_adapters(Path(base_path), config.lora.targets)
    model = json.loads((Path(base_path) / "config.json").read_text(encoding="utf-8"))
    check_liger(config, model)
    return Inputs(
        base_path, parts.prompts, parts.scorers, check_lengths(config, model), model, warnings, code_hashes(config.reward)
    )
