"""Runs on disk as seen by whoever does not work on them: reports and the status commands. Nothing here writes or waits."""

import fcntl
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conf.load import ConfigError

STAGES = ("challenger", "curriculum", "solver", "evaluation")  # of a round, in the order in which they run


def run_folders(runs_dir: str) -> list[Path]:
    """The folders of all runs, the one that was written to last first."""
    manifests = sorted(Path(runs_dir).glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.absolute() for path in manifests]


def find_run(runs_dir: str, name: str | None) -> Path:
    """The folder of a run; without a name, of the one that was written to last.

    Raises:
        ConfigError: there is none.
    """
    folders = run_folders(runs_dir)
    if not folders:
        raise ConfigError(f"runs_dir={runs_dir}: holds no run yet; `make round` starts one.")
    for folder in folders:
        if name in (None, folder.name):
            return folder
    raise ConfigError(f"NAME={name}: no such run in {runs_dir}; valid: {', '.join(folder.name for folder in folders)}.")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, which is replaced as a whole: what is read is some finished state, also while the run goes on."""
    return json.loads((folder / "manifest.json").read_text())


def in_use(folder: Path) -> bool:
    """Whether a process works on the run: it then holds the lock for as long as it lives, however it ends."""
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def stage_of(manifest: dict[str, Any], round_: int, name: str) -> dict[str, Any]:
    """What the manifest knows of a stage; empty before it starts."""
    return manifest["rounds"].get(str(round_), {}).get(name, {})


def round_numbers(manifest: dict[str, Any]) -> list[int]:
    """Every round that was begun, 0 for the base model."""
    return sorted(map(int, manifest["rounds"]))


def stage_seconds(manifest: dict[str, Any], round_: int, name: str) -> dict[str, float]:
    """Wall-clock seconds of a stage by part: sampling, learning, ..."""
    stage = stage_of(manifest, round_, name)
    spent: Counter[str] = Counter(stage.get("seconds", {}))
    for step in stage.get("metrics", []):
        spent.update({name.removeprefix("seconds_"): value for name, value in step.items() if name.startswith("seconds_")})
    return dict(spent)


def round_seconds(manifest: dict[str, Any], round_: int) -> dict[str, float]:
    """Wall-clock seconds of a round by part; round 1 counts the evaluation of the base model, too."""
    spent: Counter[str] = Counter()
    for stage in STAGES:
        spent.update(stage_seconds(manifest, round_, stage))
    if round_ == 1:
        spent.update(stage_seconds(manifest, 0, "evaluation"))
    return dict(spent)


def accuracies(manifest: dict[str, Any]) -> Iterator[tuple[int, dict[str, dict[str, float]]]]:
    """(round, accuracies by benchmark and way) of every round that was evaluated."""
    for round_ in round_numbers(manifest):
        if measured := stage_of(manifest, round_, "evaluation").get("accuracies"):
            yield round_, measured
