"""What a run records, kept beside it in `tracking.jsonl`: one line for each call, in order, whether or not MLflow can be reached.

`pipeline/observe/sender.py` sends the lines. `tracking.sent.json` holds how many bytes of them have arrived in which store.
"""

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.store.manifest import write_atomically

FILE = "tracking.jsonl"
SENT = "tracking.sent.json"
BLOCK = 1 << 16  # bytes read at a time


@dataclass(frozen=True)
class Entry:
    """A call of `method` on the MLflow run of `place`: () for the run, (round,), or (round, phase).

    `end` is the byte of the file after it.
    """

    place: tuple[int | str, ...]
    method: str
    arguments: dict[str, Any]
    milliseconds: int  # since 1970, when it was recorded
    end: int


class Journal:
    """The file of a run's folder. One process writes it, the one that holds the run's lock."""

    def __init__(self, folder: Path, store: str) -> None:
        """`store` is the tracking URI: another store than before gets all lines from the first one on."""
        self.path, self._sent_path, self._store = folder / FILE, folder / SENT, store
        self.grown = threading.Condition()
        self._file = self.path.open("ab+")
        self._reader = os.open(self.path, os.O_RDONLY)  # the file may be removed meanwhile
        content = self.path.read_bytes()
        self._file.truncate(content.rfind(b"\n") + 1)  # a kill may have cut off the last line
        self.size = self._file.seek(0, os.SEEK_END)
        self.sent = min(read_sent(folder, store), self.size)

    def add(self, place: tuple[int | str, ...], method: str, **arguments: Any) -> None:
        entry = {"place": place, "method": method, "arguments": arguments, "milliseconds": time.time_ns() // 1_000_000}
        with self.grown:
            self.sent = min(self.sent, self._file.seek(0, os.SEEK_END))  # it may have been truncated
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            self.size = self._file.tell()
            self.grown.notify_all()

    def next(self) -> Entry | None:
        """The first line that was not sent; None if all were."""
        if self.sent >= self.size:
            return None
        line = b""
        while not line.endswith(b"\n") and (block := os.pread(self._reader, BLOCK, self.sent + len(line))):
            line += block[: block.find(b"\n") + 1] or block
        if not line:  # the file was truncated
            self.size = self.sent = os.fstat(self._reader).st_size
            return None
        try:
            entry = json.loads(line)
            return Entry(tuple(entry["place"]), entry["method"], entry["arguments"], entry["milliseconds"], self.sent + len(line))
        except (ValueError, KeyError, TypeError) as error:
            return Entry((), "damaged", {"reason": str(error)}, 0, self.sent + len(line))

    def pending(self) -> int:
        """Number of lines that were not sent."""
        return os.pread(self._reader, max(0, os.fstat(self._reader).st_size - self.sent), self.sent).count(b"\n")

    def mark(self, end: int) -> None:
        """Everything up to the byte `end` has arrived."""
        self.sent = end
        write_atomically(self._sent_path, json.dumps({"store": self._store, "bytes": end}))

    def close(self) -> None:
        self._file.close()  # the reader is left open: the sender may not have ended yet


def read_sent(folder: Path, store: str) -> int:
    """How many bytes of a run's journal have arrived in a store."""
    try:
        sent = json.loads((folder / SENT).read_text())
        return int(sent["bytes"]) if sent["store"] == store else 0
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: what has arrived is recognised in the store
        return 0


def has_unsent(folder: Path, store: str) -> bool:
    path = folder / FILE
    return path.exists() and read_sent(folder, store) < path.stat().st_size


class Record:
    """The record of a run, a round or a phase. As a context manager it is RUNNING inside; see `TrackedRun` for the methods."""

    def __init__(self, journal: Journal, place: tuple[int | str, ...] = ()) -> None:
        self._journal, self._place = journal, place

    def __enter__(self) -> Self:
        self._journal.add(self._place, "begin")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        self._journal.add(self._place, "end", status=status)

    def round(self, number: int) -> "Record":
        return Record(self._journal, (number,))

    def phase(self, round_: int, role: str) -> "Record":
        return Record(self._journal, (round_, role))

    def log_step(self, metrics: Mapping[str, float], step: int) -> None:
        self._journal.add(self._place, "log_step", metrics={name: float(value) for name, value in metrics.items()}, step=step)

    def log_histogram(self, values: Sequence[float], step: int) -> None:
        self._journal.add(self._place, "log_histogram", values=list(values), step=step)

    def log_histograms(self, values_by_step: Mapping[int, Sequence[float]]) -> None:
        self._journal.add(self._place, "log_histograms", values_by_step=[[step, list(v)] for step, v in values_by_step.items()])

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        self._journal.add(self._place, "log_table", rows=[dict(row) for row in rows], name=name)

    def log_file(self, path: Path) -> None:
        self._journal.add(self._place, "log_file", path=str(path))

    def log_config(self, settings: Mapping[str, Any]) -> None:
        self._journal.add(self._place, "log_config", settings=dict(settings))

    def describe(self, markdown: str) -> None:
        self._journal.add(self._place, "describe", markdown=markdown)

    def register_solver(self, round_: int, path: str, metrics: Mapping[str, float], by: str) -> None:
        self._journal.add(self._place, "register_solver", round_=round_, path=path, metrics=dict(metrics), by=by)
