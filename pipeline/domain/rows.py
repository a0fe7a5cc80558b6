"""Raw rows of data files: Parquet, JSONL, JSON, CSV."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")

Row = Mapping[str, object]


def read_rows(path: Path) -> list[Row]:
    """All rows, each by column name.

    Lines of JSONL end at line feeds only: U+2028 and the like are allowed inside JSON strings.

    Raises:
        ValueError: the file cannot be read as its suffix says; with the line if known.
    """
    if path.exists() and not path.is_file():
        raise ValueError("cannot be read: it is a folder, a pipe or a device")
    try:
        match path.suffix:
            case ".parquet":
                rows: object = pq.read_table(path).to_pylist()
            case ".jsonl":
                rows = [_json(line, number) for number, line in enumerate(_text(path).split("\n"), start=1) if line.strip()]
            case ".json":
                rows = json.loads(_text(path))
            case ".csv":
                rows = _csv(_text(path))
            case _:
                raise ValueError(f"is no data file; valid: {', '.join(SUFFIXES)}")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise ValueError(f"cannot be read as {path.suffix[1:]}: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"holds {rows!r:.60}; valid: one object for each problem")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is {row!r:.60}; valid: one object for each problem")
    return rows


def _csv(text: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = list(reader.fieldnames or [])
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"its first line has {repeated[0]!r} twice; valid: each column once")
    rows: list[Row] = list(reader)
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise ValueError(
                f"row {number} has more cells than the first line has names; valid: quotes around a text with commas"
            )
    return rows


def _text(path: Path) -> str:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return file.read()


def _json(line: str, number: int) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"cannot be read as jsonl: line {number}: {error}") from error
