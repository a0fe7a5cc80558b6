"""Where the figures of a policy are kept: with the round of the run that it is, or in a folder of their own."""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from conf.load import ConfigError, resolve
from conf.schema import Config
from pipeline.domain.problems import Problem, checksum
from pipeline.domain.sets import BenchmarkSet
from pipeline.inputs import fingerprint, hashed
from pipeline.policies import Target
from pipeline.store.manifest import Accuracies, MeasuredSet, write_atomically
from pipeline.store.state import RunState


class Results(Protocol):
    """The tables of a policy's sets, and how each set was measured."""

    def path(self, definition: BenchmarkSet, problems: Sequence[Problem]) -> Path:
        """The set's table."""

    def known(self, definition: BenchmarkSet, problems: Sequence[Problem]) -> MeasuredSet | None:
        """How the set was measured; None if it has to be measured."""

    def record(
        self, definition: BenchmarkSet, problems: Sequence[Problem], accuracies: Accuracies, measured: MeasuredSet
    ) -> None:
        """Records a measured set, whose table is complete."""


class RoundResults:
    """Figures of a run's round, in the run's own files and manifest."""

    def __init__(self, state: RunState, number: int) -> None:
        self._state, self._number = state, number

    def path(self, definition: BenchmarkSet, problems: Sequence[Problem]) -> Path:
        return self._state.round_folder(self._number) / "evaluation" / f"{definition.name}.parquet"

    def known(self, definition: BenchmarkSet, problems: Sequence[Problem]) -> MeasuredSet | None:
        """
        Raises:
            ConfigError: the round has a set of this name with other problems.
        """
        measured = self._state.manifest.round(self._number).evaluation.sets.get(definition.name)
        if measured is not None and measured.checksum != checksum(problems):
            raise ConfigError(
                f"SETS={definition.name}: the run was measured on other problems of that name in round {self._number}; valid: a "
                "file of another name, or the problems as they were."
            )
        return measured if self.path(definition, problems).exists() else None

    def record(
        self, definition: BenchmarkSet, problems: Sequence[Problem], accuracies: Accuracies, measured: MeasuredSet
    ) -> None:
        stage = self._state.round(self._number).evaluation
        stage.accuracies |= accuracies
        stage.sets[definition.name] = measured
        self._state.save()


class FolderResults:
    """Figures in a folder, each under a key of all that they depend on, so that none takes the place of another."""

    def __init__(self, folder: Path, target: Target, config: Config) -> None:
        self._folder, self._config = folder, config
        self._policy = fingerprint(Path(target.path)) + hashed(resolve(config.prompts).read_bytes())

    def path(self, definition: BenchmarkSet, problems: Sequence[Problem]) -> Path:
        return self._folder / f"{self._key(definition, problems)}.parquet"

    def known(self, definition: BenchmarkSet, problems: Sequence[Problem]) -> MeasuredSet | None:
        """
        Raises:
            ConfigError: the record is damaged.
        """
        entry = self._entries().get(self._key(definition, problems))
        try:
            return MeasuredSet(**entry) if entry and self.path(definition, problems).exists() else None
        except TypeError as error:
            raise self._damaged(error) from error

    def record(
        self, definition: BenchmarkSet, problems: Sequence[Problem], accuracies: Accuracies, measured: MeasuredSet
    ) -> None:
        entries = self._entries() | {self._key(definition, problems): asdict(measured)}
        write_atomically(self._folder / "sets.json", json.dumps(entries, indent=1))

    def _key(self, definition: BenchmarkSet, problems: Sequence[Problem]) -> str:
        config, drawn = self._config, self._config.evaluation
        settings = (drawn.samples, drawn.limit, drawn.temperature, drawn.top_p, config.seed, config.sampling.max_tokens)
        lengths = (config.model.dtype, config.model.max_length)
        asked = (definition.grader, definition.prompt, definition.system, definition.samples, definition.max_tokens)
        return f"{definition.name}-{hashed(repr((self._policy, checksum(problems), asked, settings, lengths)).encode())[:12]}"

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
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise ConfigError(f"OUTPUT: {folder} cannot be written: {error.strerror}; valid: a folder that can.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"OUTPUT: another evaluation writes to {folder}; valid: wait for it, or another folder.") from error
        yield
