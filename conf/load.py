"""From a profile and the user's overrides to a checked `Config`, or an error that says what would have been valid."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.schema import BenchmarkConfig, Config

ROOT = Path(__file__).resolve().parent.parent


class ConfigError(ValueError):
    """A setting that cannot be used: the message names the setting, its value and what would be valid."""


def profiles() -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / "profiles").glob("*.yaml"))


def load_config(profile: str = "tiny", overrides: Sequence[str] = ()) -> Config:
    """The profile conf/profiles/<profile>.yaml (or a path to a YAML file) with `key=value` overrides on top and its preset below.

    Raises:
        ConfigError: an unknown profile or setting, a value of the wrong type or out of range, or a path that leads nowhere.
    """
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else ROOT / "conf" / "profiles" / f"{profile}.yaml"
    if not path.is_file():
        raise ConfigError(f"PROFILE={profile}: no such profile. Valid: {', '.join(profiles())}, or a path to a .yaml file.")
    written = [(*leaf, str(path)) for leaf in read_yaml(path)]
    written += [(*split(override), "override") for override in overrides]
    merged = OmegaConf.structured(Config)
    for key, value, source in written:
        if key == "preset":
            set_value(merged, key, value, source)
    preset = ROOT / "conf" / "presets" / f"{merged.preset}.yaml"
    if preset.is_file():  # `check` names the valid ones
        written = [(*leaf, str(preset)) for leaf in read_yaml(preset)] + written
    for key, value, source in written:
        set_value(merged, key, value, source)
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    check(config)
    return config


def read_yaml(path: Path) -> list[tuple[str, Any]]:
    """The file's leaves as (dotted name, value)."""
    try:
        return list(flatten(OmegaConf.load(path)))
    except Exception as error:  # PyYAML and OmegaConf raise unrelated types for a file that cannot be read
        raise ConfigError(f"{path}: not a YAML file that can be read: {error}") from error


def split(override: str) -> tuple[str, Any]:
    """`a.b=value` -> ("a.b", value), the value read as YAML.

    Raises:
        ConfigError: there is no `=`.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r}: an override is written setting=value, for example challenger.steps=2.")
    try:
        return key, OmegaConf.from_dotlist([f"value={text}"])["value"]
    except Exception as error:
        raise ConfigError(f"{key}={text}: the value is not valid YAML: {error}") from error


def flatten(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, DictConfig):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def set_value(config: DictConfig, key: str, value: Any, source: str) -> None:
    """Sets one leaf. `lambda` is a Python keyword, so the schema calls that field `lambda_`."""
    known = dict(settings())
    name = ".".join("lambda_" if part == "lambda" else part for part in key.split("."))
    benchmark, _, leaf = name.rpartition(".")
    in_benchmark = benchmark.startswith("evaluation.benchmarks.") and leaf in {field.name for field in fields(BenchmarkConfig)}
    if name not in known and not in_benchmark:
        close = difflib.get_close_matches(key, [shown(other) for other in known], n=3, cutoff=0.5)
        hint = f" Close: {', '.join(close)}." if close else ""
        raise ConfigError(f"{key}={value} ({source}): no such setting.{hint}")
    try:
        if in_benchmark and OmegaConf.select(config, benchmark) is None:
            OmegaConf.update(config, benchmark, BenchmarkConfig())
        OmegaConf.update(config, name, value)
    except OmegaConfBaseException as error:
        field = known.get(name)
        raise ConfigError(f"{key}={value} ({source}): {valid(field) if field else str(error).splitlines()[0]}") from error


def settings(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Every leaf setting as (dotted name, dataclass field)."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from settings(hint, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        elif get_origin(hint) is not dict:
            yield f"{prefix}{field.name}", field


def shown(name: str) -> str:
    """The name a user writes."""
    return name.replace("lambda_", "lambda")


def type_name(field: Field) -> str:
    if get_origin(field.type) is list:
        return "a list such as [a,b]"
    names = [argument.__name__ for argument in get_args(field.type) or (field.type,) if argument is not type(None)]
    return " or ".join(names + (["null"] if type(None) in get_args(field.type) else []))


def valid(field: Field) -> str:
    """What values a setting takes, in words."""
    low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
    if choices:
        return f"valid: {' | '.join(map(str, choices))}"
    bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    return f"valid: {type_name(field)}{' ' if bounds else ''}{' and '.join(bounds)}"


def check(config: Config) -> None:
    """Bounds, relations between settings, and paths, before anything is started.

    Raises:
        ConfigError: naming the first setting that cannot be used.
    """
    for name, field in settings():
        value = OmegaConf.select(OmegaConf.structured(config), name)
        low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
        outside = value is not None and ((low is not None and value < low) or (high is not None and value > high))
        if outside or (choices and value not in choices):
            raise ConfigError(f"{shown(name)}={value}: {valid(field)}.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        raise ConfigError(f"name={config.name}: names a folder; valid: letters, digits, '.', '_' and '-', not first a sign.")
    if not config.tracking_uri.startswith(("sqlite:///", "http://", "https://")):
        raise ConfigError(f"tracking_uri={config.tracking_uri}: valid: sqlite:///PATH, or an MLflow server's http(s) address.")
    for role in ("challenger", "solver"):
        phase = getattr(config, role)
        if phase.batch % phase.group:
            raise ConfigError(
                f"{role}.batch={phase.batch}: must be a multiple of {role}.group={phase.group}, the responses to one prompt; "
                f"for example {max(1, phase.batch // phase.group) * phase.group}."
            )
    if config.sampling.max_tokens >= config.model.max_length:
        raise ConfigError(
            f"sampling.max_tokens={config.sampling.max_tokens}: leaves no room for a prompt in model.max_length="
            f"{config.model.max_length}; valid: less than that."
        )
    if config.rollout.ahead and config.grpo.importance == "none":
        raise ConfigError(
            "rollout.ahead=1: batches are one update stale, which has to be corrected; valid with grpo.importance=token_tis or "
            "sequence_mask, else 0."
        )
    if config.rollout.tensor_parallel > 1 and config.resources.device == "cpu":
        raise ConfigError(
            f"rollout.tensor_parallel={config.rollout.tensor_parallel}: an engine is split over GPUs; valid with "
            "resources.device=cpu: 1, and rollout.engines for more processes."
        )
    check_transfer(config)
    if config.learner.offload != "none" and config.learner.zero_stage == 0:
        raise ConfigError(
            f"learner.offload={config.learner.offload}: needs a sharded optimizer; valid: learner.zero_stage 1, 2 or 3."
        )
    if config.lora.rank and not config.lora.targets:
        raise ConfigError(
            "lora.targets=[]: nothing would be trained; valid: names of linear layers, for example [q_proj,v_proj]."
        )
    if config.resources.device == "cuda" and not config.resources.learner_gpus:
        raise ConfigError("resources.learner_gpus=0: a learner on cuda needs a GPU; valid: 1, or a fraction to share one.")
    if config.resources.device == "cuda" and not config.resources.rollout_gpus:
        raise ConfigError("resources.rollout_gpus=0: an engine on cuda needs a GPU; valid: 1, or a fraction to share one.")
    for name, path in [("prompts", config.prompts)] + [
        (f"evaluation.benchmarks.{key}.path", benchmark.path) for key, benchmark in config.evaluation.benchmarks.items()
    ]:
        if not resolve(path).is_file():
            raise ConfigError(f"{name}={path}: no such file (looked at {resolve(path)}).")


def check_transfer(config: Config) -> None:
    """Raises ConfigError where weights cannot go the way of `rollout.transfer`."""
    way, shared = config.rollout.transfer, config.resources.learner_gpus + config.resources.rollout_gpus <= 1
    if way == "host":
        return
    if (config.resources.device == "cpu") != (way == "shared"):
        valid_here = "host or shared" if config.resources.device == "cpu" else "host, nccl or ipc"
        raise ConfigError(f"rollout.transfer={way}: valid with resources.device={config.resources.device}: {valid_here}.")
    if config.rollout.ahead:
        raise ConfigError(f"rollout.transfer={way}: keeps no weights but the newest; valid with rollout.ahead=1: host.")
    if way == "nccl" and shared:
        raise ConfigError(
            "rollout.transfer=nccl: NCCL refuses two processes on one GPU; valid where resources.learner_gpus and "
            "resources.rollout_gpus share one: ipc or host."
        )
    if way == "ipc" and not (shared and config.learner.ranks == config.rollout.engines * config.rollout.tensor_parallel):
        raise ConfigError(
            "rollout.transfer=ipc: every learner rank shares its GPU with an engine; valid with as many ranks as engines "
            "(times rollout.tensor_parallel) and learner_gpus + rollout_gpus at most 1; otherwise nccl or host."
        )


def resolve(path: str) -> Path:
    """A path as the user wrote it, or relative to the repository when it is not there."""
    return Path(path) if Path(path).exists() else ROOT / path


def help_text() -> str:
    """Every setting with its default, valid values and meaning, one a line."""
    lines = []
    default = OmegaConf.structured(Config)
    for name, field in settings():
        lines.append(f"  {shown(name)}={OmegaConf.select(default, name)}")
        lines.append(f"      {field.metadata['help']}; {valid(field)}")
    return "\n".join(lines)
