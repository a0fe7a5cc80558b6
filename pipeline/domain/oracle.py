"""A domain's oracle: right answers and difficulties of its questions. For reports only: no reward uses it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from conf.errors import ConfigError

VALID = "valid: a module such as pipeline.domain.tiny.read, or null."


@dataclass(frozen=True)
class Oracle:
    """Both return None for a question that they cannot read."""

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
    return Oracle(loaded.true_answer, getattr(loaded, "difficulty", lambda question: None))
