"""Where the figures of a policy are kept: with the round of the run that it is, or in a folder of their own."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from conf.errors import ConfigError
from conf.load import resolve
from conf.schema import Config, EvaluationConfig
from pipeline.domain.problems import Problem, checksum
from pipeline.domain.sets import BenchmarkSet
from pipeline.inputs import fingerprint, hashed
from pipeline.policies import Target
from pipeline.store.lock import HeldError, Lock
from pipeline.store.manifest import Accuracies, MeasuredSet, write_atomically
from pipeline.store.scores import owner
from pipeline.store.state import RunState


@dataclass(frozen=True)
class Asked:
    """A set and its problems."""

    definition: BenchmarkSet
    problems: Sequence[Problem]

    @cached_property
    def checksum(self) -> str:
        """Of the problems: half a second for the largest sets, and every question about a result needs it."""
        return checksum(self.problems)


class Results(Protocol):
    """The tables of a policy's sets, and how each set was measured."""

    def path(self, asked: Asked) -> Path:
        """The set's table."""

    def known(self, asked: Asked) -> MeasuredSet | None:
        """How the set was measured; None if it has to be measured."""

    def record(self, asked: Asked, accuracies: Accuracies, measured: MeasuredSet) -> None:
        """Records a measured set, whose table is complete."""


class RoundResults:
    """Figures of a run's round, in the run's own files and manifest."""

    def __init__(self, state: RunState, number: int, settings: EvaluationConfig) -> None:
        self._state, self._number, self._settings = state, number, settings

    def path(self, asked: Asked) -> Path:
        return self._state.round_folder(self._number) / "evaluation" / f"{asked.definition.name}.parquet"

    def known(self, asked: Asked) -> MeasuredSet | None:
        """
        Raises:
            ConfigError: the round has a set of this name with other problems.
        """
        measured = self._state.manifest.round(self._number).evaluation.sets.get(asked.definition.name)
        if measured is not None and measured.checksum != asked.checksum:
            raise ConfigError(
                f"set {asked.definition.name}: the run was measured on other problems of that name in round {self._number}; "
                "valid: a file of another name, or the problems as they were."
            )
        if measured is None or not self.path(asked).exists():
            return None
        # A run may be resumed with other settings than those of the measurement, and a set's definition may be edited.
        now, definition = self._settings, asked.definition
        wanted = replace(
            measured,
            samples=definition.drawn(now.samples),
            protocol=definition.protocol,
            limit=now.limit,
            temperature=now.temperature,
            top_p=now.top_p,
        )
        return measured if measured.alike(wanted) else None

    def record(self, asked: Asked, accuracies: Accuracies, measured: MeasuredSet) -> None:
        stage = self._state.round(self._number).evaluation
        for name in [name for name in stage.accuracies if owner(name, stage.sets) == asked.definition.name]:
            del stage.accuracies[name]  # a band that is no longer among the problems asked
        stage.accuracies |= accuracies
        stage.sets[asked.definition.name] = measured
        self._state.save()


class FolderResults:
    """Figures in a folder, each under a key of all that they depend on, so that none takes the place of another."""

    def __init__(self, folder: Path, target: Target, config: Config) -> None:
        self._folder, self._config = folder, config
        self._policy = fingerprint(Path(target.path)) + hashed(resolve(config.prompts).read_bytes())

    def path(self, asked: Asked) -> Path:
        return self._folder / f"{self._key(asked)}.parquet"

    def known(self, asked: Asked) -> MeasuredSet | None:
        """
        Raises:
            ConfigError: the record is damaged.
        """
        entry = self._entries().get(self._key(asked))
        try:
            return MeasuredSet(**entry) if entry and self.path(asked).exists() else None
        except TypeError as error:
            raise self._damaged(error) from error

    def record(self, asked: Asked, accuracies: Accuracies, measured: MeasuredSet) -> None:
        entries = self._entries() | {self._key(asked): asdict(measured)}
        write_atomically(self._folder / "sets.json", json.dumps(entries, indent=1))

    def _key(self, asked: Asked) -> str:
        config, drawn, definition = self._config, self._config.evaluation, asked.definition
        settings = (drawn.samples, drawn.limit, drawn.temperature, drawn.top_p, config.seed, config.sampling.max_tokens)
        lengths = (config.model.dtype, config.model.max_length)
        kind = (definition.protocol, definition.samples)
        return f"{definition.name}-{hashed(repr((self._policy, asked.checksum, kind, settings, lengths)).encode())[:12]}"

    def _entries(self) -> dict[str, dict[str, Any]]:
        path = self._folder / "sets.json"
        try:
            entries: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
            return dict(entries)
        except (ValueError, TypeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ConfigError:
        path = self._folder / "sets.json"
        return ConfigError(f"{path}: damaged ({type(error).__name__}: {error}); remove it, and the sets are measured again.")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Makes a folder of results and holds it, so that two evaluations cannot write to it at once.

    Raises:
        ConfigError: it cannot be written, or another evaluation holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder, "evaluate")
    except HeldError as holder:
        raise ConfigError(
            f"OUTPUT: another evaluation writes to {folder} ({holder}); valid: wait for it, or another folder."
        ) from holder
    except OSError as error:
        raise ConfigError(f"OUTPUT: {folder} cannot be written: {error.strerror}; valid: a folder that can.") from error
    try:
        yield
    finally:
        lock.release()
