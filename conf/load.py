"""Builds a checked `Config` from a profile and overrides, or raises an error that says what would be valid."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from conf.schema import Config
from conf.secrets import holds_credentials
from conf.settings import convert, fault, find_setting, flatten, is_text, settings, shown, valid

ROOT = Path(__file__).resolve().parent.parent


class ConfigError(ValueError):
    """An invalid setting: the message names the setting, its value and what would be valid."""


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
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds {tree!r:.60}; valid: settings by name, such as `seed: 1`.")
    base = tree.pop("base", None)
    if base is not None and not preset_path(base).is_file():
        raise ConfigError(f"base={base} ({path}): no such file; valid: the name of a file in conf/presets.")
    below = read_yaml(preset_path(base)) if base is not None else []
    return below + [(name, typed(name, value, str(path))) for name, value in flatten(tree)]


def split(override: str) -> Iterator[tuple[str, Any]]:
    """`a.b=value` -> ("a.b", value). Values of settings that are not text are parsed as YAML, for lists and mappings.

    Raises:
        ConfigError: there is no `=`, or the value is not valid for the setting.
    """
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"{override!r}: an override is written setting=value, for example challenger.steps=2.")
    field = find_setting(shown(name))
    value: Any = text
    if field is None or not is_text(field) or text.startswith(("'", '"')):
        try:
            value = yaml.load(text, TextLoader) if text else text
        except (yaml.YAMLError, RecursionError) as error:
            raise ConfigError(f"{name}={text:.200}: the value is not valid YAML: {error}") from error
    for leaf, part in flatten({name: value}):
        yield leaf, typed(leaf, part, "override")


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
    """Checks bounds, relations between settings, and paths, before anything is started.

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
    if not re.fullmatch(r"sqlite:///[^?#]*[^?#/]|https?://[^/\s]+\S*", config.tracking_uri):
        raise ConfigError(f"tracking_uri={config.tracking_uri}: valid: sqlite:///PATH, or an MLflow server's http(s) address.")
    for role, phase in (("challenger", config.challenger), ("solver", config.solver)):
        if phase.batch % phase.group:
            raise ConfigError(
                f"{role}.batch={phase.batch}: must be a multiple of {role}.group={phase.group}, the responses to one prompt; "
                f"for example {max(1, phase.batch // phase.group) * phase.group}."
            )
    if not config.reward.scorers or len(set(config.reward.scorers)) < len(config.reward.scorers):
        raise ConfigError(f"reward.scorers={config.reward.scorers}: valid: one or more scorers, each once.")
    check_curriculum(config)
    if config.sampling.max_tokens >= config.model.max_length:
        raise ConfigError(
            f"sampling.max_tokens={config.sampling.max_tokens}: leaves no room for a prompt in model.max_length="
            f"{config.model.max_length}; valid: less than model.max_length."
        )
    if config.rollout.ahead and config.grpo.importance == "none":
        raise ConfigError(
            "rollout.ahead=1: batches are one update stale, which has to be corrected; valid: grpo.importance=token_tis or "
            "sequence_mask, or rollout.ahead=0."
        )
    if config.rollout.tensor_parallel > 1 and config.resources.device == "cpu":
        raise ConfigError(
            f"rollout.tensor_parallel={config.rollout.tensor_parallel}: splits an engine over GPUs; valid with "
            "resources.device=cpu: 1, with rollout.engines for more processes."
        )
    if config.learner.liger and config.resources.device == "cpu":
        raise ConfigError("learner.liger=true: its kernels run on GPUs; valid with resources.device=cpu: false.")
    check_gpus(config)
    check_transfer(config)
    if config.learner.offload != "none" and config.learner.zero_stage == 0:
        raise ConfigError(
            f"learner.offload={config.learner.offload}: needs a sharded optimizer; valid: learner.zero_stage 1, 2 or 3."
        )
    if config.lora.rank and not config.lora.targets:
        raise ConfigError(
            "lora.targets=[]: nothing would be trained; valid: names of linear layers, for example [q_proj,v_proj]."
        )
    if config.lora.rank and not config.lora.alpha:
        raise ConfigError("lora.alpha=0: adapters scaled by alpha / rank would have no effect; valid with lora.rank: at least 1.")
    if config.solver.average and not config.solver.steps:
        raise ConfigError(
            f"solver.average={config.solver.average}: averages the weights before and after the phase, and solver.steps=0 trains "
            "none; valid: 0, or solver.steps of at least 1."
        )
    if config.solver.members > 1 and not config.solver.steps:
        raise ConfigError(f"solver.members={config.solver.members}: solver.steps=0 trains none of them; valid: 1.")
    if config.challenger.start == "base" and config.policies == "shared":
        raise ConfigError("challenger.start=base: policies=shared has no Challenger of its own; valid: policies=separate.")
    if config.lora.rank and config.grpo.reference == "base":
        raise ConfigError(
            "grpo.reference=base: with LoRA the reference is the policy without its adapter; valid with lora.rank: start."
        )
    if config.solver.resample and config.grpo.baseline == "batch":
        raise ConfigError(
            f"solver.resample={config.solver.resample}: under grpo.baseline=batch groups with equal rewards have a gradient; "
            "valid: 0, or grpo.baseline=group."
        )
    if config.resources.device == "cuda" and not config.resources.learner_gpus:
        raise ConfigError("resources.learner_gpus=0: a learner on cuda needs a GPU; valid: 1, or a fraction to share one.")
    if config.resources.device == "cuda" and not config.resources.rollout_gpus:
        raise ConfigError("resources.rollout_gpus=0: an engine on cuda needs a GPU; valid: 1, or a fraction to share one.")
    check_colocated(config)
    if not resolve(config.prompts).is_file():
        raise ConfigError(
            f"prompts={config.prompts}: no such file (looked at {resolve(config.prompts)}); valid: one such as {Config.prompts}."
        )


def check_curriculum(config: Config) -> None:
    """Raises ConfigError if a number of votes is not one of `reward.samples`."""
    keep, votes = config.curriculum.keep, config.reward.samples
    if keep and not (len(keep) == 2 and 1 <= keep[0] <= keep[1] <= votes):
        raise ConfigError(
            f"curriculum.keep={keep}: valid: [], or the fewest and the most votes of reward.samples={votes}, for example "
            f"[{-(-votes // 2)},{votes - 1}]."
        )
    if config.curriculum.agreement > votes:
        raise ConfigError(f"curriculum.agreement={config.curriculum.agreement}: valid: at most reward.samples={votes}.")


def check_gpus(config: Config) -> None:
    """Raises ConfigError if Ray cannot reserve these GPUs: a part of one, or whole ones."""
    for name, gpus in (("learner_gpus", config.resources.learner_gpus), ("rollout_gpus", config.resources.rollout_gpus)):
        if gpus > 1 and gpus % 1:
            raise ConfigError(f"resources.{name}={gpus:g}: valid: a fraction to share one GPU, or a whole number.")
    if config.rollout.tensor_parallel > 1 and config.resources.rollout_gpus % 1:
        raise ConfigError(
            f"resources.rollout_gpus={config.resources.rollout_gpus:g}: an engine of rollout.tensor_parallel="
            f"{config.rollout.tensor_parallel} needs whole GPUs; valid: 1, or rollout.tensor_parallel=1."
        )


def all_fit(config: Config) -> bool:
    """Whether a learner rank and an engine of each fleet share a GPU."""
    resources = config.resources
    return config.shares_gpus and resources.learner_gpus + resources.rollout_gpus * config.fleet_count <= 1


def check_colocated(config: Config) -> None:
    """Raises ConfigError if engines and learner cannot take turns: they would work at once, or do not share their GPUs."""
    resources, ranks, engines = config.resources, config.learner.ranks, config.rollout.engines or 1
    if not config.colocated:
        return
    if config.rollout.ahead:
        raise ConfigError(
            "rollout.ahead=1: engines would sample while the learner works; valid with resources.placement=colocated: 0."
        )
    on_gpus = resources.device == "cuda" or resources.learner_gpus or resources.rollout_gpus
    if on_gpus and not (all_fit(config) and ranks == engines):
        learner, rollout = (0.5, 0.5) if config.fleet_count == 1 else (0.4, 0.3)
        raise ConfigError(
            "resources.placement=colocated: each GPU has a learner rank and an engine of each fleet; valid: as many "
            f"rollout.engines as learner.ranks={ranks}, resources.learner_gpus={learner} and resources.rollout_gpus={rollout}."
        )


def check_transfer(config: Config) -> None:
    """Raises ConfigError if `rollout.transfer` does not work with the other settings."""
    transfer = config.rollout.transfer
    if transfer == "host":
        return
    if (config.resources.device == "cpu") != (transfer == "shared"):
        valid_here = "host or shared" if config.resources.device == "cpu" else "host, nccl or ipc"
        raise ConfigError(f"rollout.transfer={transfer}: valid with resources.device={config.resources.device}: {valid_here}.")
    if config.rollout.ahead:
        raise ConfigError(f"rollout.transfer={transfer}: keeps only the latest weights; valid with rollout.ahead=1: host.")
    if transfer == "nccl" and config.shares_gpus:
        raise ConfigError(
            "rollout.transfer=nccl: NCCL refuses two processes on one GPU; valid when resources.learner_gpus and "
            "resources.rollout_gpus share one: ipc or host."
        )
    if transfer == "nccl" and config.resources.rollout_gpus < 1 and (config.rollout.engines or 1) > 1:
        raise ConfigError(
            f"rollout.transfer=nccl: NCCL refuses two engines on one GPU; valid with resources.rollout_gpus="
            f"{config.resources.rollout_gpus:g}: host, or resources.rollout_gpus=1."
        )
    if transfer == "ipc" and not (
        all_fit(config) and config.learner.ranks == (config.rollout.engines or 1) * config.rollout.tensor_parallel
    ):
        raise ConfigError(
            "rollout.transfer=ipc: every learner rank has to share its GPU with an engine; valid: learner.ranks equal to "
            "rollout.engines times rollout.tensor_parallel, and resources.learner_gpus + resources.rollout_gpus (twice that with "
            "rollout.fleets=per_role) at most 1; otherwise nccl or host."
        )


def resolve(path: str) -> Path:
    """The path as given, or relative to the repository if it does not exist."""
    return Path(path) if Path(path).exists() else ROOT / path
