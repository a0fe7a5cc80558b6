"""Held-out problems in files of the project's format, and their bands."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from conf.load import ConfigError, resolve
from pipeline.domain.problems import to_problems
from pipeline.domain.rows import read_rows
from pipeline.domain.sets import of_file


def read_benchmark(name: str, path: str) -> list[dict[str, Any]]:
    """The problems of a Parquet, JSONL, JSON or CSV file as dicts, with the fields of `pipeline.domain.problems.Problem`.

    Raises:
        ConfigError: the file cannot be read as such, or a row lacks a text or number as `question` or `answer`.
    """
    definition = of_file(resolve(path), name)
    try:
        return [asdict(problem) for problem in to_problems(definition, read_rows(resolve(path)))]
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(f"{name}={path}: {error}.") from error


class Banded(Protocol):
    @property
    def band(self) -> str | None: ...


Row = TypeVar("Row", bound=Banded)


def by_band(name: str, rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of a benchmark under its name, which comes first, and those of each of its bands under `name_band`.

    A band called "transfer" is reported on its own and left out of the benchmark, unless there is nothing else in it.
    """
    listed = list(rows)
    groups: dict[str, list[Row]] = {name: [row for row in listed if row.band != "transfer"] or listed}
    for row in listed:
        if row.band:
            groups.setdefault(f"{name}_{row.band}", []).append(row)
    return groups
