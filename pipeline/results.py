"""Where the figures of a policy are kept: with the round of the run that it is, or in a folder of their own."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from conf.schema import Config
from pipeline.inputs import fingerprint, hashed
from pipeline.policies import Target
from pipeline.store.manifest import Accuracies, MeasuredSet, write_atomically
from pipeline.store.state import RunState


class Results(Protocol):
    """Tables `<set>.parquet` in `folder`, and how each was measured."""

    @property
    def folder(self) -> Path: ...

    def known(self) -> dict[str, MeasuredSet]:
        """What is measured already, by set."""

    def record(self, name: str, accuracies: Accuracies, measured: MeasuredSet) -> None:
        """Takes a set to be measured, once its table is written."""


class RoundResults:
    """Figures of a run's round: beside those that the run measured itself, in its files and its manifest."""

    def __init__(self, state: RunState, number: int) -> None:
        self._state, self._number = state, number

    @property
    def folder(self) -> Path:
        return self._state.round_folder(self._number) / "evaluation"

    def known(self) -> dict[str, MeasuredSet]:
        return self._state.manifest.round(self._number).evaluation.sets

    def record(self, name: str, accuracies: Accuracies, measured: MeasuredSet) -> None:
        stage = self._state.round(self._number).evaluation
        stage.accuracies |= accuracies
        stage.sets[name] = measured
        self._state.save()


class FolderResults:
    """Figures in a folder, with what they depend on: they are known only to a call that would measure the same."""

    def __init__(self, folder: Path, target: Target, config: Config) -> None:
        self._folder = folder
        evaluation = asdict(config.evaluation)
        del evaluation["sets"], evaluation["folder"], evaluation["oracle"]
        settings = {"model": config.model.dtype, "length": config.sampling.max_tokens, "seed": config.seed, **evaluation}
        self._key = hashed(json.dumps([fingerprint(Path(target.path)), settings], sort_keys=True).encode())

    @property
    def folder(self) -> Path:
        return self._folder

    def known(self) -> dict[str, MeasuredSet]:
        path = self._folder / "sets.json"
        if not path.exists():
            return {}
        return {name: MeasuredSet(**each["measured"]) for name, each in self._read().items() if each["key"] == self._key}

    def record(self, name: str, accuracies: Accuracies, measured: MeasuredSet) -> None:
        entry = {"key": self._key, "measured": asdict(measured)}
        write_atomically(self._folder / "sets.json", json.dumps(self._read() | {name: entry}, indent=1))

    def _read(self) -> dict[str, dict[str, Any]]:
        path = self._folder / "sets.json"
        entries: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
        return entries
