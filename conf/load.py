"""Builds a checked `Config` from a profile and overrides, or raises an error that says what would be valid."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from conf.checks import refuse_contradictions
from conf.errors import ConfigError
from conf.schema import Config
from conf.secrets import holds_credentials
from conf.settings import convert, fault, find_setting, flatten, is_text, settings, shown, valid

ROOT = Path(__file__).resolve().parent.parent


def profiles() -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / "profiles").glob("*.yaml"))


def load_config(profile: str = "tiny", overrides: Sequence[str] = ()) -> Config:
    """The profile conf/profiles/<profile>.yaml (or a path to a YAML file) with `key=value` overrides on top and its preset below.

    Raises:
        ConfigError: an unknown profile or setting, a value of the wrong type or out of range, or a missing path.
    """
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else ROOT / "conf" / "profiles" / f"{profile}.yaml"
    if not path.is_file():
        raise ConfigError(f"PROFILE={profile}: no such profile. Valid: {', '.join(profiles())}, or a path to a .yaml file.")
    written = read_yaml(path) + [leaf for override in overrides for leaf in split(override)]
    preset = preset_path(dict(written).get("preset", Config.preset))
    if preset.is_file():  # otherwise `check` lists the valid ones
        written = read_yaml(preset) + written
    config = Config()
    for name, value in written:
        put(config, name, value)
    check(config)
    return config


def _has_host(uri: str) -> bool:
    """Whether an address can be taken apart: not so `http://[` and `http://host:port`."""
    try:
        return bool(urlsplit(uri).hostname or uri.startswith("sqlite:")) and urlsplit(uri).port != 0
    except ValueError:
        return False


def preset_path(name: str) -> Path:
    return ROOT / "conf" / "presets" / f"{name}.yaml"


class TextLoader(yaml.SafeLoader):
    """Reads every scalar as text, since the setting determines its type: the name 1.10 is not a number."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012  (YAML merge keys)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if not key.tag.endswith(":merge")]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(problem=f"{key} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        text = super().construct_scalar(node)
        if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
            raise yaml.constructor.ConstructorError(
                problem="a text has a NUL or half a surrogate pair", problem_mark=node.start_mark
            )
        return text


def read_yaml(path: Path) -> list[tuple[str, Any]]:
    """The file's settings as (dotted name, value), preceded by those of the file in conf/presets named by its key `base`.

    Raises:
        ConfigError: the file cannot be read, or contains something that is not a setting.
    """
    try:
        tree = yaml.load(path.read_text(encoding="utf-8-sig"), TextLoader) or {}
        leaves = list(flatten(tree)) if isinstance(tree, dict) else []  # has no end where an alias is inside what it names
    except Exception as error:  # a tag such as !!int raises whatever its conversion does
        raise ConfigError(f"{path}: cannot be read as YAML: {type(error).__name__}: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds {tree!r:.60}; valid: settings by name, such as `seed: 1`.")
    base = tree.get("base")
    if base is not None and not preset_path(base).is_file():
        raise ConfigError(f"base={base} ({path}): no such file; valid: the name of a file in conf/presets.")
    below = read_yaml(preset_path(base)) if base is not None else []
    return below + [(name, typed(name, value, str(path))) for name, value in leaves if name != "base"]


def split(override: str) -> Iterator[tuple[str, Any]]:
    """`a.b=value` -> ("a.b", value). Values of settings that are not text are parsed as YAML, for lists and mappings.

    Raises:
        ConfigError: there is no `=`, or the value is not valid for the setting.
    """
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"{override!r}: an override is written setting=value, for example challenger.steps=2.")
    field = find_setting(shown(name))
    leaves: list[tuple[str, Any]] = [(shown(name), text)]
    if field is None or not is_text(field) or text.startswith(("'", '"')):
        try:
            leaves = list(flatten({name: yaml.load(text, TextLoader) if text else text}))
        except Exception as error:  # as above
            raise ConfigError(f"{name}={text:.200}: the value is not valid YAML: {type(error).__name__}: {error}") from error
    for leaf, part in leaves:
        yield leaf, typed(leaf, part, "override")


def list_override(name: str, values: Sequence[str]) -> str:
    """The override that `split` reads as these values, whatever characters they have: JSON is YAML.

    >>> list_override("evaluation.sets", ["math500", "my set, new.jsonl"])
    'evaluation.sets=["math500", "my set, new.jsonl"]'
    """
    return f"{name}={json.dumps(list(values), ensure_ascii=False)}"


def typed(name: str, value: Any, source: str) -> Any:
    """The value of a setting, converted from text or a list of texts.

    Raises:
        ConfigError: there is no such setting, or the value has the wrong type.
    """
    field = find_setting(name)
    if field is None:
        close = difflib.get_close_matches(name, [shown(other) for other, _ in settings()], n=3, cutoff=0.5)
        hint = f" Close: {', '.join(close)}." if close else ""
        raise ConfigError(f"{name}={value} ({source}): no such setting.{hint}")
    try:
        return convert(value, field.type)
    except ValueError as error:
        raise ConfigError(f"{name}={value} ({source}): {valid(field)}.") from error


def put(config: Config, name: str, value: Any) -> None:
    """Sets one setting."""
    section, _, leaf = name.rpartition(".")
    owner: Any = getattr(config, section, config)
    setattr(owner, "lambda_" if leaf == "lambda" else leaf, value)


def check(config: Config) -> None:
    """Checks bounds, paths, and relations between settings, before anything is started.

    Raises:
        ConfigError: names the first invalid setting.
    """
    for name, value in flatten(asdict(config)):
        if holds_credentials(str(value)):
            raise ConfigError(
                f"{name}: holds a password or a token, and settings are kept with the run and in MLflow; valid: an address "
                "without it, and in the environment MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or HF_TOKEN."
            )
        field = find_setting(name)
        if field is not None and name != "name" and (said := fault(value, field)) is not None:
            raise ConfigError(f"{name}={value}: {said}.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", config.name):
        raise ConfigError(
            f"name={config.name}: names a folder; valid: letters, digits, '.', '_', '-', first a letter or digit, at most 200."
        )
    if not re.fullmatch(r"sqlite:///[^?#]*[^?#/]|https?://[^/\s]+\S*", config.tracking_uri) or not _has_host(config.tracking_uri):
        raise ConfigError(f"tracking_uri={config.tracking_uri}: valid: sqlite:///PATH, or an MLflow server's http(s) address.")
    if not resolve(config.prompts).is_file():
        raise ConfigError(
            f"prompts={config.prompts}: no such file (looked at {resolve(config.prompts)}); valid: one such as {Config.prompts}."
        )
    refuse_contradictions(config)


def resolve(path: str) -> Path:
    """The path as given, or relative to the repository if it does not exist."""
    return Path(path) if Path(path).exists() else ROOT / path
