"""One life of a run: a driver process from its start to its end, seen from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from actors.cluster import FOLDER_PREFIX, parent_folder
from conf.load import ROOT
from jobs.chaos.moments import NAME, ROUND
from jobs.chaos.targets import actors_of, processes_of, sandbox_of

GONE_S = 60.0  # for what a driver has started, after its end


class Life:
    """A driver, started on construction; `session` is in the path of its Ray token: a cluster's, or None for its own."""

    def __init__(
        self, runs: Path, log: Path, seed: int, settings: list[str], cluster: Mapping[str, str], session: str | None
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | dict(cluster)
        self.log = log
        command = [sys.executable, "-m", "jobs.round", "--name", NAME, "--seed", str(seed), "--set", *ROUND]
        with log.open("w") as output:
            self._driver = subprocess.Popen(
                [*command, f"runs_dir={runs}", *settings], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        self.pid = self._driver.pid
        self._session = session or f"{FOLDER_PREFIX}{self.pid}-"
        self._private = session is None
        self._sandbox: set[psutil.Process] = set()

    def ended(self) -> int | None:
        """The driver's exit status, None while it runs."""
        return self._driver.poll()

    def send(self, number: signal.Signals) -> None:
        if self.ended() is None:
            self._driver.send_signal(number)

    def kill(self) -> None:
        self._driver.kill()
        self._driver.wait()

    def pids(self, target: str) -> list[int]:
        """The processes of a kind of target that could suffer a fault now."""
        processes = processes_of(self._session, self.pid)
        if target == "GCS":
            return [pid for pid, name in processes.items() if "/gcs_server " in name]
        sandbox = sandbox_of(actors_of(processes, "reward actor"))
        self._sandbox |= set(sandbox)
        if target == "sandbox process":
            return sorted(process.pid for process in sandbox)
        return actors_of(processes, target)

    def orphans(self) -> dict[int, str]:
        """What is still there `GONE_S` after the driver's end, of all that it started."""
        deadline = time.monotonic() + GONE_S
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.5)  # polls; Ray's processes end by themselves
        return left

    def _left(self) -> dict[int, str]:
        names = processes_of(self._session)
        if not self._private:  # the cluster lives on
            names = {pid: name for pid, name in names.items() if name.startswith("ray::") and "IDLE" not in name}
        return names | {process.pid: "a sandbox process" for process in self._sandbox if process.is_running()}

    def stray_folders(self) -> list[Path]:
        """Temporary folders of the driver; the next start of any run removes those of one that was killed."""
        return list(parent_folder().glob(f"{FOLDER_PREFIX}{self.pid}-*"))
