"""Held-out problems, read from a file of the user's."""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

import pyarrow.parquet as pq

from conf.load import ConfigError, resolve


def read_benchmark(name: str, path: str) -> list[dict[str, Any]]:
    """The problems of a Parquet or JSONL file.

    Raises:
        ConfigError: the file cannot be read as such or lacks the columns `question` and `answer`.
    """
    setting, file = f"evaluation.benchmarks.{name}.path", resolve(path)
    try:
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
        else:
            rows = pq.read_table(file).to_pylist()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{setting}={path}: not a Parquet or JSONL file that can be read: {error}") from error
    if not rows or not all(isinstance(row, dict) and {"question", "answer"} <= row.keys() for row in rows):
        raise ConfigError(f"{setting}={path}: needs rows with the columns `question` and `answer`.")
    return [row | {"question": str(row["question"]), "answer": str(row["answer"])} for row in rows]


class Banded(Protocol):
    @property
    def band(self) -> str | None: ...


Row = TypeVar("Row", bound=Banded)


def by_band(name: str, rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of a benchmark under its name, and those of each of its bands under `name_band`.

    A band called "transfer" is reported on its own and left out of the benchmark.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.band != "transfer":
            groups[name].append(row)
        if row.band:
            groups[f"{name}_{row.band}"].append(row)
    return groups
