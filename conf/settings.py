"""The schema's settings: their names, valid values and conversion from text."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, asdict, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from conf.schema import Config

NULL = ("null", "Null", "NULL", "~", "")
LARGEST = 10**9  # of a number without a bound of its own: larger ones overflow timers and the limits of processes
BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def settings(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Every leaf setting as (dotted name in the schema, dataclass field)."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from settings(hint, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{field.name}", field


@cache  # resolving the sections' types takes most of the time of loading settings
def _by_name() -> dict[str, Field[Any]]:
    return {shown(name): field for name, field in settings()}


def find_setting(name: str) -> Field[Any] | None:
    """The field of a dotted name as a user writes it; None if there is no such setting."""
    return _by_name().get(name)


def shown(name: str) -> str:
    """The dotted name that a user writes. `lambda` is a Python keyword, so the schema calls that field `lambda_`."""
    return ".".join("lambda" if part == "lambda_" else part for part in name.split("."))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted name that a user writes, value).

    >>> dict(flatten({"reward": {"lambda_": 1.0}, "evaluation": {"sets": []}}))
    {'reward.lambda': 1.0, 'evaluation.sets': []}
    """
    for key, value in tree.items():
        name = prefix + shown(str(key))
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, value


def is_text(field: Field[Any]) -> bool:
    return str in (field.type, *get_args(field.type)) and get_origin(field.type) is not list


def convert(value: object, kind: Any) -> Any:
    """Converts text (for a list: texts) to the type `kind`. A text is kept verbatim.

    Raises:
        ValueError: the text is not a value of that type.
    """
    members = [member for member in get_args(kind) if member is not NoneType]
    if get_origin(kind) is list and isinstance(value, list):
        return [convert(item, members[0]) for item in value]
    if not isinstance(value, str) or get_origin(kind) is list:
        raise ValueError(value)
    if members:  # X | None
        return None if value in NULL else convert(value, members[0])
    if kind is bool:
        if value.lower() not in BOOLS:
            raise ValueError(value)
        return BOOLS[value.lower()]
    return kind(value)


def fault(value: Any, field: Field[Any]) -> str | None:
    """What would be valid, in words, if the schema does not allow a value, which has the right type."""
    low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
    if choices:
        return None if value in choices else valid(field)
    if isinstance(value, list):
        return next((said for item in value if (said := fault(item, field))), None)
    if isinstance(value, str):
        return None if value.isprintable() and value else "valid: a text that is not empty, without control characters"
    if value is None:
        return None
    if (low is not None and value < low) or (high is not None and value > high):
        return valid(field)
    if isinstance(value, float) and not math.isfinite(value):  # which overflows for a large enough int
        return valid(field)
    return f"valid: at most {LARGEST}" if high is None and value > LARGEST else None


def valid(field: Field[Any]) -> str:
    """A setting's valid values, in words."""
    low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
    if choices:
        return f"valid: {' | '.join(map(str, choices))}"
    bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    bounds += ["finite"] * (field.type is float and high is None)
    return f"valid: {type_name(field)}{' ' if bounds else ''}{' and '.join(bounds)}"


def type_name(field: Field[Any]) -> str:
    if get_origin(field.type) is list:
        return "a list such as [a,b]" if str in get_args(field.type) else "a list of whole numbers such as [4,7]"
    names = [kind.__name__ for kind in get_args(field.type) or (field.type,) if kind is not NoneType]
    return " or ".join(names + (["null"] if NoneType in get_args(field.type) else []))


def help_text() -> str:
    """Every setting with its default, meaning and valid values."""
    default = dict(flatten(asdict(Config())))
    lines = []
    for name, field in settings():
        lines.append(f"  {shown(name)}={default[shown(name)]}")
        lines.append(f"      {field.metadata['help']}; {valid(field)}")
    return "\n".join(lines)
