"""What a domain can say of its questions: right answers, and difficulty. For reports alone: no reward comes from here."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from conf.load import ConfigError


@dataclass(frozen=True)
class Oracle:
    """Both give None for a question that they cannot say anything of."""

    true_answer: Callable[[str], str | None]
    difficulty: Callable[[str], int | None]


def load_oracle(module: str | None) -> Oracle | None:
    """The oracle of the setting `evaluation.oracle`; None where a domain has none.

    Raises:
        ConfigError: there is no such module, it fails when it is imported, or it does not know right answers.
    """
    if module is None:
        return None
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # it may be the user's code
        raise ConfigError(f"evaluation.oracle={module}: cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(getattr(loaded, "true_answer", None)):
        raise ConfigError(f"evaluation.oracle={module}: has no function true_answer(question)")
    return Oracle(loaded.true_answer, getattr(loaded, "difficulty", lambda question: None))
