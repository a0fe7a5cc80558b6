"""Held-out problems, read from a file of the user's."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from conf.load import ConfigError, resolve

COLUMNS = ("question", "answer")


def read_benchmark(name: str, path: str) -> list[dict[str, Any]]:
    """The problems of a Parquet or JSONL file: its rows, with `question`, `answer` and (where there is one) `band` as texts.

    A line of JSONL ends with a line feed alone, since other line ends of Unicode may stand in a text; lines are UTF-8, with or
    without a byte-order mark.

    Raises:
        ConfigError: the file cannot be read as such, or a row is no problem; the message names the first such row, from 1.
    """
    file = resolve(path)
    try:
        rows = [problem(row, number) for number, row in (jsonl(file) if file.suffix.lower() == ".jsonl" else parquet(file))]
        if not rows:
            raise ValueError("holds no rows; valid: one row for each problem, with the columns `question` and `answer`")
    except (OSError, ValueError) as error:
        raise ConfigError(f"evaluation.benchmarks.{name}.path={path}: {error}.") from error
    return rows


def jsonl(file: Path) -> Iterator[tuple[int, object]]:
    """(Number, content) of each line that is not blank."""
    for number, line in enumerate(file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line.decode())
            except UnicodeDecodeError as error:
                raise ValueError(f"row {number} is not UTF-8 ({error.reason}); valid: a JSONL file in UTF-8") from error
            except (ValueError, RecursionError) as error:
                raise ValueError(f"row {number} is not JSON ({error}); valid: one object a line") from error


def parquet(file: Path) -> Iterator[tuple[int, object]]:
    """(Number, content) of each row."""
    try:
        yield from enumerate(pq.read_table(file).to_pylist(), start=1)
    except (ValueError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"is no Parquet file that can be read ({reason}); valid: Parquet, or JSONL named *.jsonl") from error


def problem(row: object, number: int) -> dict[str, Any]:
    """A row whose texts are sure to be texts.

    Raises:
        ValueError: something is missing or of another kind.
    """
    if not isinstance(row, dict):
        raise ValueError(f"row {number} is {row!r:.60}; valid: an object with `question` and `answer`")
    for column in COLUMNS:
        if column not in row:
            raise ValueError(
                f"row {number} has no column `{column}` but {', '.join(map(str, row)) or 'none'}; valid: both columns"
            )
    read = {"question": text(row["question"], "question", number), "answer": text(row["answer"], "answer", number)}
    if row.get("band") not in (None, ""):
        read["band"] = text(row["band"], "band", number)
    return row | read


def text(value: object, column: str, number: int) -> str:
    """A cell as text: a number as Python writes it, unless it is a question."""
    if column != "question" and is_number(value):
        return str(value)
    valid = "a text that is not empty" + (" or a number" if column != "question" else "")
    if not isinstance(value, str):
        shown = "null" if value is None else repr(value)
        raise ValueError(f"row {number}: `{column}` is {shown:.60}; valid: {valid}")
    if not value.strip():
        raise ValueError(f"row {number}: `{column}` is empty; valid: {valid}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"row {number}: `{column}` holds half a character ({value!r:.60}); valid: {valid}") from error
    return value


def is_number(value: object) -> bool:
    """Whether a value is a number, and finite. True and False are none."""
    if isinstance(value, (float, Decimal)):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def by_band(name: str, rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of a benchmark under its name, and those of each of its bands under `name_band`.

    A band called "transfer" is reported on its own and left out of the benchmark.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["band"] != "transfer":
            groups[name].append(row)
        if row["band"]:
            groups[f"{name}_{row['band']}"].append(row)
    return groups
