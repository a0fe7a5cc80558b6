"""The watch over Ray's services, on a process that stands for one."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from actors import services


class EndError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def service() -> Iterator[psutil.Process]:
    process = subprocess.Popen(["sleep", "60"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def _end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(what: str, logs: Path) -> None:
        raise EndError(what)

    monkeypatch.setattr(services, "_end", end)
    monkeypatch.setattr(services, "CHECK_S", 0.02)
    monkeypatch.setattr(services, "STOPPED_S", 0.5)
    monkeypatch.setattr(services, "SERVICES", ("sleep",))


def watch() -> services.Watch:
    return services.Watch(Path("logs"), None)


@pytest.mark.parametrize(("fate", "how"), [(signal.SIGKILL, "died"), (signal.SIGSTOP, "was stopped by a signal")])
def test_a_service_that_dies_or_stays_stopped_ends_the_run(service: psutil.Process, fate: signal.Signals, how: str) -> None:
    service.send_signal(fate)
    with pytest.raises(EndError, match=rf"Ray's sleep \(pid={service.pid}\) {how}"):
        watch().run()


def test_a_service_that_starts_later_is_watched_from_then_on() -> None:
    told: list[str] = []

    def watched() -> None:
        try:
            watch().run()
        except EndError as end:
            told.append(str(end))

    thread = threading.Thread(target=watched)
    thread.start()
    with subprocess.Popen(["sleep", "0.2"]) as process:  # nobody waits for it until it has been seen
        thread.join(10)
    assert told == [f"Ray's sleep (pid={process.pid}) died"]


def test_a_service_that_is_continued_in_time_is_watched_further(service: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(services, "time", SimpleNamespace(monotonic=lambda: now))
    watched = watch()
    for status in (psutil.STATUS_STOPPED, psutil.STATUS_SLEEPING) * 3:
        monkeypatch.setattr(services, "status_of", lambda process, status=status: status)
        watched._look(service, "sleep")
        now += 0.4  # of the 0.5 s that it may be stopped
    monkeypatch.setattr(services, "status_of", lambda process: psutil.STATUS_STOPPED)
    watched._look(service, "sleep")
    now += 0.6
    with pytest.raises(EndError, match="was stopped by a signal"):
        watched._look(service, "sleep")


def test_at_the_end_a_stopped_service_is_continued_and_its_death_is_not_told(service: psutil.Process) -> None:
    thread = threading.Thread(target=(watched := watch()).run)
    thread.start()
    watched.close()
    service.suspend()
    deadline = time.monotonic() + 10
    while service.status() == psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.02)  # polls
    service.kill()
    thread.join(10)
    assert not thread.is_alive()
