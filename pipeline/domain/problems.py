"""From a set's raw rows to problems in one format, by the set's column names."""

import hashlib
import json
import math
import string
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from conf.errors import ConfigError
from pipeline.domain.rows import Row
from pipeline.domain.sets import BenchmarkSet, Column

LETTERS = string.ascii_uppercase
LONGEST_BAND = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """A held-out problem. `answer` is the final answer alone; for a choice, the letter of one of its `options`."""

    question: str
    answer: str
    id: str
    band: str | None = None
    subject: str | None = None
    options: tuple[str, ...] = ()


def to_problems(definition: BenchmarkSet, rows: Iterable[Row]) -> list[Problem]:
    """All rows of a set as problems, in their order.

    Raises:
        ConfigError: a row lacks a column, a value is empty or unusable, two problems share an id, or their number is wrong.
    """
    problems = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        try:
            problem = _problem(definition, row, number)
            if problem.id in seen:
                raise ValueError(
                    f"its id {problem.id!r} is also that of row {seen[problem.id]}; valid: unique ids, or no id column"
                )
        except ValueError as error:
            raise ConfigError(f"set {definition.name}, row {number}: {error}.") from error
        seen[problem.id] = number
        problems.append(problem)
    if not problems or definition.problems not in (None, len(problems)):
        expected = definition.problems or "at least one"
        raise ConfigError(f"set {definition.name}: has {len(problems)} problems; valid: {expected}.")
    return problems


def checksum(problems: Sequence[Problem]) -> str:
    """SHA-256 of the problems themselves: a Parquet file's bytes depend on the library version."""
    lines = (json.dumps(asdict(problem), sort_keys=True, ensure_ascii=False) for problem in problems)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _problem(definition: BenchmarkSet, row: Row, number: int) -> Problem:
    columns = definition.columns
    problem = Problem(
        question=_text(row, columns.question),
        answer=_text(row, columns.answer).strip(),
        id=_text(row, columns.id).strip() if columns.id else str(number - 1),
        band=_band(row, columns.band),
        subject=_optional_text(row, columns.subject),
        options=_options(row, columns.options) if columns.options else (),
    )
    if definition.grader == "choice":
        letters = LETTERS[: len(problem.options)]
        if len(problem.answer) != 1 or problem.answer not in letters:
            raise ValueError(f"the answer {problem.answer[:80]!r} is not a letter of its options; valid: one of {letters}")
    return problem


def _value(row: Row, column: Column) -> object:
    """The value of a column, possibly None."""
    if column.name not in row:
        raise ValueError(f"has no column {column.name!r}; there are {', '.join(map(str, row)) or 'none'}")
    value = row[column.name]
    if column.index is not None:
        if not isinstance(value, list) or column.index >= len(value):
            raise ValueError(f"column {column.name!r} holds {str(value)[:80]!r}; valid: a list with an element {column.index}")
        value = value[column.index]
    if column.after is not None:
        if not isinstance(value, str) or column.after not in value:
            raise ValueError(f"column {column.name!r} has no {column.after!r}; valid: a text with the value after it")
        value = value.rpartition(column.after)[2]
    return value


def _text(row: Row, column: Column) -> str:
    """A non-empty text."""
    text = _as_text(_value(row, column), column.name)
    if not text.strip():
        raise ValueError(f"column {column.name!r} is empty; valid: a text or a number")
    return text


def _optional_text(row: Row, column: Column | None) -> str | None:
    if column is None or column.name not in row:
        return None
    return _as_text(_value(row, column), column.name).strip() or None


def _band(row: Row, column: Column | None) -> str | None:
    """It becomes a part of a metric's name, for which MLflow has 250 characters."""
    band = _optional_text(row, column)
    if band and len(band) > LONGEST_BAND:
        raise ValueError(f"its band has {len(band)} characters, {band[:40]!r}...; valid: at most {LONGEST_BAND}")
    return band


def _as_text(value: object, column: str) -> str:
    """A text or number as text, "" for none. A whole number stored as a float is written as an integer: "27" for 27.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float) or value in (math.inf, -math.inf):
        raise ValueError(f"column {column!r} holds {str(value)[:80]!r}; valid: a text or a number")
    text = str(value)
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"column {column!r} holds half a surrogate pair; valid: Unicode text")
    if "\0" in text:
        raise ValueError(f"column {column!r} holds a NUL character; valid: Unicode text, in UTF-8")
    return text


def _options(row: Row, column: Column) -> tuple[str, ...]:
    value = _value(row, column)
    if not isinstance(value, list) or not 2 <= len(value) <= len(LETTERS):
        raise ValueError(f"column {column.name!r} holds {str(value)[:80]!r}; valid: a list of 2 to {len(LETTERS)} options")
    if None in value:
        raise ValueError(f"column {column.name!r} has an option that is null; valid: texts or numbers")
    return tuple(_as_text(option, column.name) for option in value)
