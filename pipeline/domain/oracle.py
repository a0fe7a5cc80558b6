"""A domain's oracle: right answers and difficulties of its questions. For reports only: no reward uses it."""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from conf.errors import ConfigError

T = TypeVar("T")
VALID = "valid: a module such as pipeline.domain.tiny.read, or null."


@dataclass(frozen=True)
class Oracle:
    """Both return None for a question that they cannot read. An oracle that fails on a question has not read it."""

    true_answer: Callable[[str], str | None]
    difficulty: Callable[[str], int | None]


def load_oracle(module: str | None) -> Oracle | None:
    """The oracle of the setting `evaluation.oracle`; None if it is not set.

    Raises:
        ConfigError: the module does not exist, fails on import, or has no `true_answer`.
    """
    if module is None:
        return None
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise ConfigError(f"evaluation.oracle={module}: cannot be imported: {type(error).__name__}: {error}; {VALID}") from error
    if not callable(getattr(loaded, "true_answer", None)):
        raise ConfigError(f"evaluation.oracle={module}: has no function true_answer(question); {VALID}")
    difficulty = getattr(loaded, "difficulty", lambda question: None)
    return Oracle(_reads(module, loaded.true_answer, "true_answer", str), _reads(module, difficulty, "difficulty", int))


def _reads(module: str, function: Callable[[str], object], name: str, kind: type[T]) -> Callable[[str], T | None]:
    """The function, with None and one warning where it fails or returns something else: no report is worth the end of a run."""
    warned = False

    def read(question: str) -> T | None:
        nonlocal warned
        try:
            value = function(question)
        except Exception as error:  # user code may raise anything
            problem = f"raised {type(error).__name__}: {error}"
        else:
            if value is None or isinstance(value, kind):
                return value
            problem = f"returned {value!r:.60}; valid: {kind.__name__} or None"
        if not warned:
            warned = True
            warnings.warn(f"evaluation.oracle={module}: {name} {problem}; question: {question:.80}", stacklevel=2)
        return None

    return read
