"""A run's folder, locked by its driver, which writes the manifest.

runs/<name>/manifest.json                     progress, see `pipeline/store/manifest.py`
runs/<name>/config.yaml                       the settings that the run was started with
runs/<name>/round-<n>/challenger|solver/      step files, the last checkpoint, policy/ in HF format
runs/<name>/round-<n>/curriculum.parquet      questions, votes and which were kept
runs/<name>/round-<n>/evaluation/             one file per benchmark
"""

import fcntl
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from omegaconf import OmegaConf

from conf.load import ConfigError
from conf.schema import Config
from conf.settings import flatten
from pipeline.store.manifest import FILE, Manifest, Round, read_manifest, write_atomically, write_manifest
from pipeline.store.tables import read_column

# Settings that may differ when a run is resumed: they change where and how fast it runs, not its results, except for the last
# bits of probabilities, which depend on the shapes of batches.
FREE_SETTINGS = (
    "resources.",
    "rollout.",
    "tracking_uri",
    "profile",
    "preset",
    "runs_dir",
    "stop_without_signal",
    "evaluation.",
    "reward.workers",
    "learner.checkpoint_every",
    "learner.gradient_checkpointing",
    "learner.micro_batch_tokens",
)
BINDING_SETTINGS = ("rollout.ahead",)  # exceptions: these change the results


class RunState:
    """The manifest of one run, under a lock so that two drivers cannot write to one run."""

    def __init__(self, config: Config) -> None:
        """Opens the run's folder, making it on the first call.

        Raises:
            ConfigError: another process works on the run, or it was started with settings that give different results.
        """
        self.folder = Path(config.runs_dir).absolute() / config.name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise ConfigError(f"runs_dir={config.runs_dir}: {self.folder} cannot be written: {error.strerror}.") from error
        if not self._locked():
            raise ConfigError(
                f"name={config.name}: another process is working on {self.folder}. Wait for it, or use another name."
            )
        try:
            self.manifest = self._opened(config)
        except BaseException:
            self._lock.close()
            raise

    def _locked(self) -> bool:
        """Takes the lock; retries, since `runs.in_use` also holds it for a moment."""
        for _ in range(10):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.1)
        return False

    def _opened(self, config: Config) -> Manifest:
        """The existing manifest, or a new one."""
        settings = json.loads(json.dumps(asdict(config)))
        if not self.path.exists():
            manifest = Manifest(config.name, settings)
            write_atomically(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.structured(config)))
            write_manifest(self.folder, manifest)
            return manifest
        manifest = read_manifest(self.folder)
        refuse_other_settings(config.name, manifest.config, settings)
        return manifest

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def save(self) -> None:
        """Writes the current manifest to disk."""
        write_manifest(self.folder, self.manifest)

    def round(self, number: int) -> Round:
        """The stages of a round, which may be changed; `save` writes the changes."""
        return self.manifest.rounds.setdefault(number, Round())

    def round_folder(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def relative(self, path: Path) -> str:
        """A path relative to the run's folder, as in the manifest, so that the folder can be moved."""
        return str(path.relative_to(self.folder))

    def earlier_questions(self, round_: int, step: int) -> list[str]:
        """Every well-formed question of the Challenger before this step, from its steps and the curricula."""
        folders = [self.round_folder(number) for number in range(1, round_ + 1)]
        steps = [path for folder in folders for path in sorted((folder / "challenger").glob("questions-*.parquet"))]
        # An interrupted run leaves files of steps that are now repeated.
        steps = [path for path in steps if path.parent.parent != folders[-1] or int(path.stem.split("-")[1]) < step]
        curricula = [folder / "curriculum.parquet" for folder in folders[:-1]]
        posed = [question for path in [*steps, *curricula] for question in read_column(path, "question")]
        return [question for question in posed if question is not None]

    def refuse_other_files(self, fingerprints: dict[str, str]) -> None:
        """Records the inputs' fingerprints by setting; raises ConfigError if one has changed since the run was started."""
        if not self.manifest.fingerprints:
            self.manifest.fingerprints = fingerprints
            self.save()
        for setting, value in fingerprints.items():
            if self.manifest.fingerprints.get(setting) != value:
                raise ConfigError(
                    f"{setting}: its content has changed since run '{self.manifest.name}' was started. Restore it, or start "
                    "a run under another name: NAME=..."
                )

    def track(self, tracking_id: str) -> None:
        """Records the MLflow run, which a resumed run continues."""
        if self.manifest.tracking_id != tracking_id:
            self.manifest.tracking_id = tracking_id
            self.save()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()  # releases the lock


def remove_tree(path: Path) -> None:
    """Removes a folder that the manifest no longer names."""
    shutil.rmtree(path, ignore_errors=True)


def may_change(setting: str) -> bool:
    """Whether a run may be resumed with another value of a setting."""
    return setting.startswith(FREE_SETTINGS) and setting not in BINDING_SETTINGS


def refuse_other_settings(name: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises ConfigError if a run would be resumed with settings that change its results."""
    # An empty mapping equals a missing one.
    old, new = ({key: value for key, value in flatten(tree) if value != {}} for tree in (before, now))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and not may_change(key):
            raise ConfigError(
                f"{key}={new.get(key)}: run {name!r} was started with {key}={old.get(key)}. "
                f"Resume it with that value, or start a run under another name: NAME=..."
            )
