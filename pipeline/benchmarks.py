"""Held-out problems, read from a file of the user's."""

import json
from typing import Any

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
