"""Ray's own services under a run. Without one of them nothing can go on, and Ray's client waits for a minute, or forever."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from actors.cluster import failure_folder, private_folder, remove_cluster_folder
from actors.evidence import SERVICES, keep
from pipeline.errors import ClusterLostError

CHECK_S = 1.0
STOPPED_S = 10.0  # a service that is stopped by a signal for so long is lost
ENDED = (psutil.STATUS_DEAD, psutil.STATUS_ZOMBIE)


@contextmanager
def services_watched(logs: Path) -> Iterator[None]:
    """Ends this process, with status 1 and a line, when a service of its cluster dies or is stopped on this machine.

    Entered before a private cluster starts, it watches each service from its start; of a cluster that the run has joined, the
    raylet of this node. It ends at once, as by a SIGKILL, which every file of a run survives: an orderly end would wait for the
    service. A private cluster's logs are kept in a subfolder of `logs`.
    """
    watch = Watch(logs, raylet_of_this_node() if private_folder() is None else None)
    threading.Thread(target=watch.run, name="services", daemon=True).start()
    try:
        yield
    finally:
        watch.close()


class Watch:
    """Watches the services of the cluster that was `joined`, or those that this process starts."""

    def __init__(self, logs: Path, joined: dict[psutil.Process, str] | None) -> None:
        self._logs, self._private = logs, joined is None
        self._services: dict[psutil.Process, str] = joined or {}
        self._stopped: dict[psutil.Process, float] = {}  # since when
        self._closed = False
        self._looking = threading.Lock()

    def close(self) -> None:
        """The cluster is about to end: nothing is reported from here on. What is being reported alone is told."""
        with self._looking:
            self._closed = True

    def run(self) -> None:
        while True:
            time.sleep(CHECK_S)  # polls
            with self._looking:
                if self._private:
                    self._services |= started()
                for service, name in self._services.items():
                    if self._closed:
                        self._let_it_end(service)
                    else:
                        self._look(service, name)
                if self._closed and not (self._private and self._are_there()):
                    return

    def _are_there(self) -> bool:
        return any(status_of(service) not in ENDED for service in self._services)

    def _look(self, service: psutil.Process, name: str) -> None:
        status = status_of(service)
        since = self._stopped.setdefault(service, time.monotonic())
        if status in ENDED:
            _end(f"Ray's {name} (pid={service.pid}) died", self._logs)
        elif status != psutil.STATUS_STOPPED:
            del self._stopped[service]
        elif time.monotonic() - since > STOPPED_S:
            seconds = f"{STOPPED_S:.0f} s"
            _end(f"Ray's {name} (pid={service.pid}) was stopped by a signal and not continued in {seconds}", self._logs)

    def _let_it_end(self, service: psutil.Process) -> None:
        """Continues a stopped service of a private cluster, for which Ray would wait for seven minutes after a finished run."""
        if self._private and status_of(service) == psutil.STATUS_STOPPED:
            with suppress(psutil.Error):
                service.send_signal(signal.SIGCONT)


def started() -> dict[psutil.Process, str]:
    """Ray's services among the children of this process, and their names."""
    found = {}
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            found[child] = child.name()
    return {child: name for child, name in found.items() if name in SERVICES}


def raylet_of_this_node() -> dict[psutil.Process, str]:
    """The raylet through which this process has joined a cluster; empty where its processes cannot be seen."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    socket = next(f"={each['RayletSocketName']}" for each in ray.nodes() if each["NodeID"] == node)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "raylet" and any(argument.endswith(socket) for argument in process.cmdline()):
                return {process: "raylet"}
    return {}


def status_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.status()) if process.is_running() else psutil.STATUS_DEAD
    return psutil.STATUS_DEAD


def _end(what: str, logs: Path) -> None:
    error = ClusterLostError(f"{what}; the same command resumes")
    if private_folder():  # else Ray ends this process before it has collected the logs of a cluster
        try:
            keep(error, failure_folder(logs, time.time()))
        except OSError as problem:
            print(f"the actors' logs could not be copied to {logs}: {problem}", file=sys.stderr)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    if folder := private_folder():
        remove_cluster_folder(folder)
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)
