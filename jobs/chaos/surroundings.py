"""What a run needs beside itself, where a fault may strike too: MLflow's server, a small disk, a cluster with a second node."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from actors.cluster import FOLDER_PREFIX, loopback_environment, write_token
from conf.load import ROOT
from pipeline.errors import RunError

# The Python that has the full mlflow package.
MLFLOW_PYTHON = os.environ.get("MLFLOW_PYTHON", sys.executable)
DISK_MB = 512
READY_S = 120.0


class TrackingServer:
    """MLflow's server over a store of its own. It takes up to a minute to reply, for which no run has to wait."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.start()

    def wait(self) -> None:
        """Until it replies."""
        deadline = time.monotonic() + READY_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RunError(f"MLflow's server did not start; see {self._folder / 'server.log'}")
            time.sleep(0.2)  # polls

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [MLFLOW_PYTHON, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self._folder}/m.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self._port)]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--workers", "1"], env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()


def has_tracking_server() -> bool:
    """Whether the full mlflow package is there; importing it takes up to half a minute."""
    look = "from importlib.util import find_spec; assert find_spec('mlflow') and find_spec('flask')"
    return subprocess.run([MLFLOW_PYTHON, "-c", look], capture_output=True).returncode == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of its own in `folder`; False where it cannot be mounted, which needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], capture_output=True)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def filler(folder: Path) -> Path:
    """A file that takes all that is free on the file system of `folder`."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    return path


class TwoNodes:
    """A cluster on this machine whose actors run on its second node, replaced where it is lost: `jobs/chaos/nodes.py`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}chaos"))
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self._environment = loopback_environment(write_token(self.folder)) | {"PYTHONPATH": str(ROOT)}
        with (self.folder / "nodes.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobs.chaos.nodes", str(self.folder)],
                cwd=ROOT, env=own | self._environment, stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + READY_S
        while not (self.folder / "nodes.json").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RunError(f"the cluster of two nodes did not start; see {self.folder / 'nodes.log'}")
            time.sleep(0.2)  # polls

    @property
    def session(self) -> str:
        return self.folder.name

    @property
    def environment(self) -> dict[str, str]:
        return self._environment | {"RAY_ADDRESS": self._state()["address"]}

    def raylet(self) -> int:
        """Process id of the second node's raylet."""
        return int(self._state()["raylet"])

    def _state(self) -> dict[str, str]:
        state: dict[str, str] = json.loads((self.folder / "nodes.json").read_text())
        return state

    def stop(self) -> None:
        self._process.communicate(timeout=60)  # it ends when its input does
        shutil.rmtree(self.folder, ignore_errors=True)
