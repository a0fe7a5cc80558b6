"""What became of each fault of a campaign, one JSON line each, and the table of them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from jobs.chaos.faults import KINDS

Outcome = Literal["by itself", "after a restart", "its line", "lost"]


@dataclass(frozen=True, slots=True)
class Record:
    """The outcome of one fault. `restarts` counts starts of the same command; `line` is what the run ended with, if it did.

    `seconds_lost` is the fault's share of what the round took longer than the undisturbed one.
    """

    seed: int
    number: int
    kind: str
    stage: str
    file: str
    outcome: Outcome
    restarts: int
    seconds_lost: float
    line: str = ""
    problem: str = ""


def append(path: Path, records: Sequence[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and (before := path.read_text()) and not before.endswith("\n"):
        path.write_text(before[: before.rfind("\n") + 1])  # a kill has cut off the last line
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(record)) + "\n" for record in records)


def read(path: Path, seed: int) -> list[Record]:
    """The records of a seed, none if there is no file; the last one of each fault. A line that a kill cut off is left out."""
    if not path.exists():
        return []
    records = [Record(**json.loads(line)) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return list({record.number: record for record in records if record.seed == seed}.values())


def table(records: Sequence[Record]) -> list[str]:
    """The table in Markdown: one row for each kind of fault, then the sum.

    >>> row = Record(0, 1, "driver, SIGKILL", "solver", "", "after a restart", 1, 24.6)
    >>> print(table([row])[2])
    | driver, SIGKILL | 1 | 0 | 1 | 0 | 0 | 25 |
    """
    rows = ["| fault | tried | recovered by itself | after a restart | named as damaged | lost | seconds lost, mean |"]
    rows.append("|---|---|---|---|---|---|---|")
    kinds = [f"{target}, {action}" for target, action in KINDS]
    for name, chosen in [(kind, [each for each in records if each.kind == kind]) for kind in kinds] + [("all", list(records))]:
        if chosen:
            counts = Counter(each.outcome for each in chosen)
            outcomes = " | ".join(str(counts[each]) for each in ("by itself", "after a restart", "its line", "lost"))
            seconds = sum(each.seconds_lost for each in chosen) / len(chosen)
            rows.append(f"| {name} | {len(chosen)} | {outcomes} | {seconds:.0f} |")
    return rows
