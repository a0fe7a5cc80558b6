"""A run's folder, locked by its driver, which writes the manifest.

runs/<name>/manifest.json                     progress, see `pipeline/store/manifest.py`, and manifest.previous.json
runs/<name>/config.yaml                       the settings of its last start
runs/<name>/round-<n>/challenger|solver/      step files, the last checkpoint, policy/ in HF format
runs/<name>/round-<n>/curriculum.parquet      questions, votes and which were kept
runs/<name>/round-<n>/evaluation/             one file per benchmark
"""

import json
import shutil
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from omegaconf import OmegaConf

from conf.errors import ConfigError
from conf.schema import Config
from conf.settings import flatten
from pipeline.errors import DamagedError
from pipeline.store.damage import join_curricula, remove_later_stages, sound_state
from pipeline.store.lock import HeldError, Lock, Purpose
from pipeline.store.manifest import FILE, PREVIOUS, Manifest, Round, previous_manifest, write_atomically, write_manifest
from pipeline.store.tables import CurriculumRow, read_column
from pipeline.types import ScoredQuestion

SETTINGS = "config.yaml"
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
    "learner.liger",
    "learner.micro_batch_tokens",
    "learner.timeout_s",
)
# Between phases, where no checkpoint is divided among ranks, these may differ as well.
SHARDING = ("learner.ranks", "learner.zero_stage", "learner.offload")
# Exceptions: these change the results. A generator of a GPU draws other numbers from a seed than one of a CPU.
BINDING_SETTINGS = ("rollout.ahead", "resources.device")


class RunState:
    """The manifest of one run, under a lock so that two drivers cannot write to one run."""

    def __init__(self, config: Config, purpose: Purpose = "round") -> None:
        """Opens the run's folder, making it on the first call. `purpose` is what others are told that this process does.

        `notes` then has a line for each damage to its files that the run survives.

        Raises:
            ConfigError: another process works on the run, or it was started with settings that give different results.
            DamagedError: its files are damaged, and no earlier state is complete.
        """
        self.folder = Path(config.runs_dir).absolute() / config.name
        self.notes: list[str] = []
        self._made: list[Path] = []  # folders that were not there, the innermost first
        try:
            self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.folder, purpose)
        except HeldError as holder:
            raise ConfigError(
                f"name={config.name}: another process ({holder}) is working on {self.folder}; valid: wait, or another NAME."
            ) from holder
        except OSError as error:
            self._unmake()
            raise ConfigError(
                f"runs_dir={config.runs_dir}: {self.folder} cannot be written: {error.strerror}; valid: a folder that can."
            ) from error
        try:
            self.manifest = self._opened(config)
        except BaseException:
            self._unmake()
            self._lock.release()
            raise

    def _opened(self, config: Config) -> Manifest:
        """The latest sound state of the run, or a new one."""
        settings = as_json(config)
        self._new = not self.path.exists() and not (self.folder / PREVIOUS).exists()
        if self._new:
            if any(self.folder.glob("round-*")):
                raise DamagedError(
                    f"{self.path} is missing", f"restore it from a copy, or remove {self.folder} and start the run anew"
                )
            manifest = Manifest(config.name, settings)
            self._write_settings(config)
        else:
            manifest, self.notes = sound_state(self.folder)
            refuse_other_settings(config.name, manifest.config | {"name": config.name}, settings, manifest.sharded())
            if manifest.name != config.name:  # two runs must not write to one record in MLflow
                self.notes.append(
                    f"{self.folder} was run {manifest.name!r}; it resumes as {config.name!r}, with its own record in MLflow"
                )
                manifest.name, manifest.tracking_id = config.name, None
            # Before the manifest is written, so that a kill in between repeats it.
            self.notes += remove_later_stages(self.folder, manifest) + join_curricula(self.folder, manifest)
        previous = previous_manifest(self.folder)
        # The checkpoints and batches that the manifest names, and those that it or the previous one name, relative to the folder.
        self._last = manifest.checkpoints()
        self.kept = self._last | (previous.checkpoints() if previous else set())
        if self.notes or not self.path.exists():
            write_manifest(self.folder, manifest)
        self._written = self.path.read_text()
        self.remove_unnamed()
        return manifest

    def remove_unnamed(self) -> None:
        """Removes checkpoints, batches sampled ahead and members that no manifest names: what an interruption left."""
        for path in [path for kind in ("checkpoint", "ahead", "member") for path in self.folder.glob(f"round-*/*/{kind}-*")]:
            if self.relative(path) not in self.kept:
                remove(path)

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def adopt(self, config: Config, code: dict[str, str]) -> None:
        """Records the settings and the user's code of this start, which may differ from the previous where a resume allows it."""
        settings = as_json(config)
        changed = settings != self.manifest.config or code != self.manifest.code
        if changed or not (self.folder / SETTINGS).exists():
            self._write_settings(config)  # first, so that a kill in between repeats it
        if changed:
            self.manifest.config, self.manifest.code = settings, code
            self._written = write_manifest(self.folder, self.manifest)  # the previous one keeps its checkpoint

    def _write_settings(self, config: Config) -> None:
        write_atomically(self.folder / SETTINGS, OmegaConf.to_yaml(OmegaConf.structured(config)))

    def save(self) -> None:
        """Writes the current manifest to disk, keeps the previous one, and removes checkpoints that neither names any more."""
        write_atomically(self.folder / PREVIOUS, self._written)
        self._written = write_manifest(self.folder, self.manifest)
        named, before = self.manifest.checkpoints(), self.kept
        self.kept, self._last = named | self._last, named
        for path in before - self.kept:
            remove(self.folder / path)

    def kept_bytes(self) -> int:
        """Size on disk of the checkpoints and batches that are kept, which later ones replace."""
        kept = [self.folder / path for path in self.kept]
        return sum(file.stat().st_size for path in kept for file in [path, *path.rglob("*")] if file.is_file())

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
        posed = [question for path in steps for question in read_column(path, ScoredQuestion, "question")]
        posed += [question for path in curricula for question in read_column(path, CurriculumRow, "question")]
        return [question for question in posed if question is not None]

    def refuse_other_files(self, fingerprints: dict[str, str]) -> None:
        """Records the inputs' fingerprints by setting; raises ConfigError if one has changed since the run was started."""
        if not self.manifest.fingerprints:
            self.manifest.fingerprints = fingerprints
            self.save()
        for setting in sorted(fingerprints.keys() | self.manifest.fingerprints.keys()):
            if self.manifest.fingerprints.get(setting) != fingerprints.get(setting):
                raise ConfigError(
                    f"{setting}: its content has changed since run '{self.manifest.name}' was started. Restore it, or start "
                    "a run under another name: NAME=..."
                )

    def changed_code(self, code: dict[str, str]) -> list[str]:
        """A line for each file of the user's code that has changed since the last start: one that failed may be corrected."""
        changed = [name for name, content in code.items() if self.manifest.code.get(name, content) != content]
        return [
            f"{name}: the file has changed since the run's last start; the run resumes with the file as it is now"
            for name in changed
        ]

    def tracking_id(self) -> str:
        """The name under which MLflow knows the run, also where it has not been told of it yet."""
        if self.manifest.tracking_id is None:
            self.manifest.tracking_id = uuid.uuid4().hex
            self.save()
        return self.manifest.tracking_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if self._new and not self.manifest.rounds and kind is not None and issubclass(kind, ConfigError):
            # Nothing was done, and the settings that were wrong must not bind the run.
            if self.folder in self._made:
                remove(self.folder)
            else:  # it was there before, and may hold other files
                for name in (FILE, PREVIOUS, SETTINGS):
                    remove(self.folder / name)
            self._unmake()
        self._lock.release()

    def _unmake(self) -> None:
        """Removes those folders that this call made and that are empty."""
        for path in self._made:
            with suppress(OSError):
                path.rmdir()


def remove(path: Path) -> None:
    """Removes a file or folder that the manifest no longer names."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def may_change(setting: str) -> bool:
    """Whether a run may be resumed with another value of a setting."""
    return setting.startswith(FREE_SETTINGS) and setting not in BINDING_SETTINGS


def as_json(config: Config) -> dict[str, Any]:
    """The settings as a manifest that was read has them."""
    tree: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return tree


def refuse_other_settings(name: str, before: dict[str, Any], now: dict[str, Any], sharded: bool) -> None:
    """Raises ConfigError if a run would be resumed with settings that change its results, or that its checkpoint does not fit.

    `sharded`: whether it resumes from a checkpoint.
    """
    # An empty mapping equals a missing one.
    old, new = ({key: value for key, value in flatten(tree) if value != {}} for tree in (before, now))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key) or may_change(key) or (key in SHARDING and not sharded):
            continue
        until = " until the phase that it is in has ended" if key in SHARDING else ""
        raise ConfigError(
            f"{key}={new.get(key)}: run {name!r} was started with {key}={old.get(key)}. "
            f"Resume it with that value{until}, or start a run under another name: NAME=..."
        )
