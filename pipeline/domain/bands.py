"""The bands of held-out problems."""

from collections.abc import Iterable
from typing import Protocol, TypeVar


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
