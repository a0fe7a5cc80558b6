"""Code of the user's, named in a setting as `path/to/file.py:name`."""

import importlib.util
from collections.abc import Collection
from typing import Any

from conf.load import resolve


def from_file(name: str, kind: str, what: str, known: Collection[str]) -> Any:
    """What `name`, `path/to/file.py:attribute`, stands for; `kind` ("scorer"), `what` it has to be ("function") and the
    `known` names are for the message.

    Raises:
        ValueError: there is no such file or attribute, or the file cannot be run.
    """
    file, colon, attribute = name.rpartition(":")
    path = resolve(file)
    if not colon or not path.is_file():
        raise ValueError(f"{name}: no such {kind}; valid: {', '.join(known)}, or path/to/file.py:{what} of a file there is")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}: {path} is no Python file; valid: a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is the user's code
        raise ValueError(f"{name}: {path} fails when it is run: {type(error).__name__}: {error}") from error
    if not callable(found := getattr(module, attribute, None)):
        raise ValueError(f"{name}: {path} has no {what} {attribute}")
    return found
