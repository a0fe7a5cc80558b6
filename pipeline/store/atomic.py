"""Files that are replaced as a whole, also where several processes write the same one at once: the last one stays."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import psutil

LEFT_S = 3600  # no file takes as long to write


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file of this process beside `path`, which it replaces at the end: after a kill that is the old file or the new.

    What processes that have died left of the same file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(f"{escape(path.name)}.*partial"):
        if is_left(other, path):
            with suppress(OSError):  # another process removed it, or it cannot be
                other.unlink()
    partial = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


def is_left(partial: Path, path: Path) -> bool:
    """Whether the process that wrote it has died, by the age of the file where it is another host's, which cannot be asked."""
    host, _, process = partial.name[len(path.name) + 1 : -len(".partial")].rpartition("-")
    if host == socket.gethostname() and process.isdecimal():
        return not psutil.pid_exists(int(process))
    with suppress(OSError):
        return time.time() - partial.stat().st_mtime > LEFT_S
    return False
