"""A folder's lock: held by one process until it exits, even if killed. The file says which, and what for."""

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import Literal

FILE = ".lock"
Purpose = Literal["round", "evaluate"]


class HeldError(Exception):
    """Another process has the lock; the message is its id, its host and what it does."""


class Lock:
    """Raises HeldError if another process has the lock of `folder`, OSError if its file cannot be written."""

    def __init__(self, folder: Path, purpose: Purpose) -> None:
        self._file = (folder / FILE).open("a+")
        for _ in range(10):  # `runs.held_for` also holds it for a moment
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            raise HeldError(holder or "of an unknown id")
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on host {socket.gethostname()}, {purpose}")
        self._file.flush()

    def release(self) -> None:
        self._file.close()


def purpose_of(holder: str) -> Purpose:
    """What the process does that wrote this into a lock.

    >>> purpose_of("process 1 on host here, evaluate"), purpose_of("process 1 on host here, round")
    ('evaluate', 'round')
    """
    return "evaluate" if holder.endswith(", evaluate") else "round"
