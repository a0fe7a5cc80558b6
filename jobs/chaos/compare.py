"""What differs between a run that suffered faults and the undisturbed one."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from jobs.chaos.damage import files_of

# In a run that was started several times: when and how often things happened.
OF_THE_COURSE = ("tracking.jsonl", "tracking.sent.json", "report.html", "manifest.json", "manifest.previous.json", "config.yaml")


def differences(folder: Path, undisturbed: Path) -> Iterator[tuple[str, str]]:
    """(file relative to the run's folder, what is different): every table and weight has to be the same, to the last bit."""
    expected, found = ({str(path.relative_to(place)) for path in files_of(place)} for place in (undisturbed, folder))
    yield from ((name, "is missing") for name in sorted(expected - found))
    yield from ((name, "is left over") for name in sorted(found - expected))
    for name in sorted(expected & found):
        if not name.startswith(OF_THE_COURSE) and not same(folder / name, undisturbed / name):
            yield name, "differs from that of the undisturbed run"


def same(first: Path, second: Path) -> bool:
    if first.suffix == ".parquet":
        try:
            return bool(pq.read_table(first).equals(pq.read_table(second)))
        except (OSError, ValueError):  # damaged
            return False
    return first.name == "README.md" or first.read_bytes() == second.read_bytes()
