"""Watches the processes of a run while it works: where they listen, and whether a secret of its environment gets into a file."""

import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from actors.cluster import FOLDER_PREFIX, parent_folder

# What a user may have in the environment, with values that appear nowhere else.
SECRETS = {
    "HF_TOKEN": "hf_aSecretTokenOfTheTests",
    "MLFLOW_TRACKING_USERNAME": "aSecretNameOfTheTests",
    "MLFLOW_TRACKING_PASSWORD": "aSecretPasswordOfTheTests",
    "AWS_SECRET_ACCESS_KEY": "aSecretKeyOfTheTests",
}
EVERY_S = 0.5


def files_with_secrets(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and holds_secret(path)]


def holds_secret(path: Path) -> bool:
    with suppress(OSError):  # removed meanwhile
        content = path.read_bytes()
        return any(secret.encode() in content for secret in SECRETS.values())
    return False


class Watch:
    """Looks at the driver `pid` and its descendants every half second until the end of its context.

    `listening`: the addresses at which processes listen or take datagrams, by program or actor; `secrets`: files of the private
    cluster that hold a secret; `searched`: how many were looked at.
    """

    def __init__(self, pid: int) -> None:
        self.listening: dict[str, set[str]] = defaultdict(set)
        self.secrets: set[Path] = set()
        self.searched = 0
        self._driver = psutil.Process(pid)
        self._sizes: dict[Path, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            with suppress(psutil.NoSuchProcess):
                for process in [self._driver, *self._driver.children(recursive=True)]:
                    self._look_at(process)
            for folder in parent_folder().glob(f"{FOLDER_PREFIX}{self._driver.pid}-*"):
                self._search(folder.glob("session_*/**/*"))

    def _look_at(self, process: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            title = (process.cmdline() or [process.name()])[0].split(".")[0].strip()
            for found in process.net_connections("inet"):
                if found.laddr and not found.raddr and found.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):
                    self.listening[title if title.startswith("ray::") else process.name()].add(found.laddr.ip)

    def _search(self, paths: Iterable[Path]) -> None:
        """Reads the files that have grown since they were read last."""
        for path in paths:
            with suppress(OSError):
                if path.is_file() and path.stat().st_size != self._sizes.get(path):
                    self._sizes[path] = path.stat().st_size
                    self.searched = len(self._sizes)
                    if holds_secret(path):
                        self.secrets.add(path)
