"""Sends a run's journal to MLflow from a thread of its own. A store that is away, slow, full or restarted never stops a run.

Each line is sent until it has arrived, in order. A line that arrived without an answer is sent again, and MLflow's own record of
the run tells what it already has: each value is there once.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from conf.errors import ConfigError
from conf.schema import Config
from pipeline.observe.journal import FILE, Entry, Journal, Record
from pipeline.observe.plots import p_hat_histogram
from pipeline.observe.registry import register_solver
from pipeline.observe.terminal import say
from pipeline.observe.tracking import TrackedRun, Tracker, open_store

RETRY_S = 5.0
LAST_S = 20.0  # at the end of a run, for what is still unsent
REFUSED = {"INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS"}  # sending it again would not help


@contextmanager
def recorder(config: Config, folder: Path, tracking_id: str) -> Iterator[Record]:
    """The record of the run in `folder`, which is sent while the context is open, and for at most LAST_S afterwards.

    Raises:
        ConfigError: an SQLite store cannot be used.
    """
    if config.tracking_uri.startswith("sqlite:"):
        open_store(config.tracking_uri)
    journal = Journal(folder, config.tracking_uri)
    with Sender(config, journal, tracking_id), Record(journal) as record:
        yield record


def send_pending(config: Config, folder: Path, tracking_id: str) -> None:
    """Sends what an earlier start could not."""
    with Sender(config, Journal(folder, config.tracking_uri), tracking_id):
        pass


class Sender:
    """The thread that sends a journal."""

    def __init__(self, config: Config, journal: Journal, tracking_id: str) -> None:
        self._config, self._journal, self._tracking_id = config, journal, tracking_id
        self._tracker: Tracker | None = None
        self._runs: dict[tuple[int | str, ...], TrackedRun] = {}
        self._away = False
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        with self._journal.grown:
            self._journal.grown.notify_all()
        self._thread.join(LAST_S)
        self._given_up.set()
        if pending := self._journal.pending():
            say(f"{pending} records have not arrived in MLflow; {self._journal.path} keeps them, and the next start sends them")
        self._journal.close()

    def _run(self) -> None:
        while not self._given_up.is_set():
            closing = self._closing.is_set()  # before the look, after which nothing is added then
            sent, entry = self._journal.sent, self._journal.next()
            if entry is None:
                if closing:
                    return
                with self._journal.grown:
                    self._journal.grown.wait_for(lambda: self._closing.is_set() or self._journal.sent < self._journal.size)
                continue
            try:
                tracker = self._tracker or self._connect()
                if self._journal.sent == sent:  # else the store gets everything again
                    self._send(entry, tracker)
                    self._arrived(entry)
            except (KeyError, TypeError, FileNotFoundError, PermissionError) as error:
                self._leave_out(entry, error)
            except (MlflowException, SQLAlchemyError, OSError, ConfigError) as error:
                if getattr(error, "error_code", None) in REFUSED:
                    self._leave_out(entry, error)
                else:
                    self._report_unreachable(error)
                    if self._closing.is_set():
                        return
                    self._closing.wait(RETRY_S)  # then tries once more

    def _connect(self) -> Tracker:
        """Opens the store and the run in it. One that has lost the run, or never had it, gets the journal from its beginning."""
        tracker = Tracker(self._config, tracking_id=self._tracking_id)
        if tracker.created:
            self._journal.mark(0)
        self._tracker, self._runs = tracker, {(): tracker}
        return tracker

    def _run_of(self, place: tuple[int | str, ...], tracker: Tracker) -> TrackedRun:
        if place not in self._runs:
            number, *role = place
            self._runs[place] = tracker.phase(int(number), str(role[0])) if role else tracker.round(int(number))
        return self._runs[place]

    def _send(self, entry: Entry, tracker: Tracker) -> None:
        run = self._run_of(entry.place, tracker)
        arguments = entry.arguments
        match entry.method:
            case "begin":
                run.begin()
            case "end":
                run.end(arguments["status"])
            case "log_step":
                run.log_step(arguments["metrics"], arguments["step"], entry.milliseconds)
            case "log_histogram":
                run.log_histogram(arguments["values"], arguments["step"], entry.milliseconds)
            case "log_histograms":
                run.log_figure(p_hat_histogram(dict(arguments["values_by_step"])), "p_hat")
            case "log_table":
                run.log_table(**arguments)
            case "log_file":
                run.log_file(**arguments)
            case "log_config":
                tracker.log_config(arguments["settings"])
            case "describe":
                tracker.describe(**arguments)
            case "register_solver":
                register_solver(self._config, run, **arguments)
            case _:
                raise KeyError(f"{FILE} has a damaged line")

    def _arrived(self, entry: Entry) -> None:
        self._journal.mark(entry.end)
        if self._away:
            self._away = False
            say("MLflow takes records again")

    def _leave_out(self, entry: Entry, error: Exception) -> None:
        if self._given_up.is_set():  # the process ends, and may have removed MLflow's temporary files: the next start sends it
            return
        say(f"MLflow does not get one record, {entry.method} of {'/'.join(map(str, entry.place)) or 'the run'} ({reason(error)})")
        self._journal.mark(entry.end)

    def _report_unreachable(self, error: Exception) -> None:
        self._tracker = None  # what has arrived is read from the store again
        if not self._away:
            self._away = True
            say(f"MLflow does not take records ({reason(error)}); the run continues; {self._journal.path} keeps them until then")


def reason(error: Exception) -> str:
    """
    >>> reason(KeyError())
    'KeyError'
    >>> reason(OSError("(raised as a result of ...)\\n(sqlite3.OperationalError) database or disk is full"))
    '(sqlite3.OperationalError) database or disk is full'
    """
    lines = [line for line in str(error).splitlines() if not line.startswith("(raised as a result of")]  # SQLAlchemy's
    return (lines or [type(error).__name__])[0][:300]
