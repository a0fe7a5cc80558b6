"""Read-only access to runs on disk, for reports and the status commands. Nothing here writes or waits."""

import fcntl
import os
from pathlib import Path

from conf.errors import ConfigError
from pipeline.store.lock import FILE as LOCK
from pipeline.store.lock import Purpose, purpose_of
from pipeline.store.manifest import FILE, PREVIOUS


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's; the previous manifest stands in where the present one is missing."""
    return any((folder / name).is_file() for name in (FILE, PREVIOUS))


def run_folders(runs_dir: str) -> list[Path]:
    """The folders of all runs, the most recently written first."""
    written: dict[Path, float] = {}
    for path in [*Path(runs_dir).glob(f"*/{PREVIOUS}"), *Path(runs_dir).glob(f"*/{FILE}")]:
        written[path.parent.absolute()] = path.stat().st_mtime
    return sorted(written, key=lambda folder: written[folder], reverse=True)


def find_run(runs_dir: str, name: str | None, variable: str = "NAME") -> Path:
    """The folder of a run, by default the most recently written one; `variable` is what the user gave the name with.

    Raises:
        ConfigError: there is none.
    """
    folders = run_folders(runs_dir)
    if Path(runs_dir).is_dir() and not os.access(runs_dir, os.R_OK | os.X_OK):
        raise ConfigError(f"runs_dir={runs_dir}: cannot be read: Permission denied; valid: a folder that this user may read.")
    if not folders:
        raise ConfigError(f"runs_dir={runs_dir}: holds no run yet; `make round` starts one.")
    for folder in folders:
        if name in (None, folder.name):
            return folder
    raise ConfigError(f"{variable}={name}: no such run in {runs_dir}; valid: {', '.join(folder.name for folder in folders)}.")


def held_for(folder: Path) -> Purpose | None:
    """What the process does that works on the run, whose lock it holds until it exits, even if killed; None if there is none."""
    try:
        with (folder / LOCK).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return purpose_of(lock.read())
    except (FileNotFoundError, IsADirectoryError):
        pass
    return None
