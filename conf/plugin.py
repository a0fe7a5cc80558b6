"""User code named in a setting as `path/to/file.py:name`."""

import importlib.util
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from conf.load import resolve


def code_file(name: str) -> Path:
    """The file that `path/to/file.py:name` names, whether it exists or not."""
    return resolve(name.rpartition(":")[0])


def from_file(name: str, kind: str, what: str, builtin: Collection[str]) -> Any:
    """The attribute that `name`, `path/to/file.py:attribute`, refers to; `kind` ("scorer"), `what` it has to be ("function") and
    the `builtin` names are for the error message.

    Raises:
        ValueError: there is no such file or attribute, or the file cannot be run.
    """
    path, attribute = code_file(name), name.rpartition(":")[2]
    if ":" not in name or not path.is_file():
        raise ValueError(f"{name}: no such {kind}; valid: {', '.join(builtin)}, or path/to/file.py:{what} of an existing file")
    spec = importlib.util.spec_from_file_location(f"user's {path.stem}", path)  # no module's name: the file may be json.py
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}: {path} is no Python file; valid: a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where `dataclass` looks its class's module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise ValueError(f"{name}: {path} fails to run: {type(error).__name__}: {error}") from error
    finally:
        del sys.modules[spec.name]  # actors have no such module: what is in it has to be sent to them by value
    if not callable(loaded := getattr(module, attribute, None)):
        raise ValueError(f"{name}: {path} has no {what} {attribute}; valid: the name of one in it")
    return loaded
