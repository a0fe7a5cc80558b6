"""What a run leaves on disk, and the manifest that says how far it got.

    runs/<name>/manifest.json                     the only source of truth for resume, replaced atomically
    runs/<name>/config.yaml                       the settings the run was started with
    runs/<name>/round-<n>/challenger|solver/      step files, the last checkpoint, policy/ in HF format
    runs/<name>/round-<n>/curriculum.parquet      questions, votes and which were kept
    runs/<name>/round-<n>/evaluation/             one file per benchmark

Files are written before the manifest names them: after a kill at any moment the manifest points at whole files only.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from conf.load import ConfigError
from conf.schema import Config
from conf.settings import flatten
from pipeline.store.runs import stage_of

MANIFEST_SCHEMA = 1

# Settings that change where and how fast a run goes, not what comes out of it, but for the last bits of a probability, which
# follow from the shapes of batches: they may differ when a run goes on.
FREE_SETTINGS = (
    "resources.",
    "rollout.",
    "tracking_uri",
    "profile",
    "preset",
    "runs_dir",
    "reward.workers",
    "learner.checkpoint_every",
    "learner.gradient_checkpointing",
    "learner.micro_batch_tokens",
)
BINDING_SETTINGS = ("rollout.ahead",)  # all the same

_STRING_LIST = pa.list_(pa.string())
# A question and the Solver's vote on it, the columns that the Challenger's steps and the curriculum share.
_VOTE = [
    ("question", pa.string()),
    ("answers", _STRING_LIST),
    ("majority", pa.string()),
    ("count", pa.int32()),
    ("total", pa.int32()),
    ("p_hat", pa.float32()),
    ("invalid", pa.float32()),
]
SAMPLES = pa.schema(
    [
        ("group", pa.int32()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("version", pa.string()),
        ("seed", pa.int64()),
        ("reward", pa.float32()),
    ],
    metadata={"rzero.table": "samples", "rzero.version": "1"},
)
QUESTIONS = pa.schema(
    [
        *_VOTE,
        ("undecided", pa.int32()),
        ("cluster", pa.int32()),
        ("reward", pa.float32()),
        ("solver_version", pa.string()),
    ],
    metadata={"rzero.table": "questions", "rzero.version": "2"},
)
CURRICULUM = pa.schema(
    [
        *_VOTE,
        ("kept", pa.bool_()),
    ],
    metadata={"rzero.table": "curriculum", "rzero.version": "2"},
)
EVALUATION = pa.schema(
    [
        ("question", pa.string()),
        ("band", pa.string()),
        ("answer", pa.string()),
        ("answers", _STRING_LIST),
        ("sampled", pa.float32()),
        ("greedy", pa.float32()),
        ("majority", pa.float32()),
    ],
    metadata={"rzero.table": "evaluation", "rzero.version": "1"},
)


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one step; a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as Parquet, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), partial)
    partial.replace(path)


def read_table(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


class RunState:
    """The manifest of one run, held under a lock so that two drivers cannot write one run."""

    def __init__(self, config: Config) -> None:
        """Opens the run's folder, making it on the first call.

        Raises:
            ConfigError: another process holds the run, or it was started with settings that give other results.
        """
        self.folder = Path(config.runs_dir).absolute() / config.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / ".lock").open("w")
        if not self._locked():
            raise ConfigError(
                f"name={config.name}: another process is working on {self.folder}. Wait for it, or use another name."
            )
        try:
            self.data = self._data(config)
        except BaseException:
            self._lock.close()
            raise

    def _locked(self) -> bool:
        """Takes the lock. Who only looks whether a run is in use (`runs.in_use`) holds it for a moment, too."""
        for _ in range(10):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.1)
        return False

    def _data(self, config: Config) -> dict[str, Any]:
        """The manifest as it is, or a new one."""
        settings = json.loads(json.dumps(asdict(config)))
        if not self.path.exists():
            data = {"schema": MANIFEST_SCHEMA, "name": config.name, "config": settings, "tracking_id": None, "rounds": {}}
            write_atomically(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.structured(config)))
            write_atomically(self.path, json.dumps(data, indent=1))
            return data
        data = json.loads(self.path.read_text())
        if data["schema"] != MANIFEST_SCHEMA:
            raise ConfigError(f"{self.path}: manifest schema {data['schema']}, this code reads {MANIFEST_SCHEMA}.")
        refuse_other_settings(config.name, data["config"], settings)
        return data

    @property
    def path(self) -> Path:
        return self.folder / "manifest.json"

    def save(self) -> None:
        write_atomically(self.path, json.dumps(self.data, indent=1))

    def round_folder(self, round_: int) -> Path:
        return self.folder / f"round-{round_}"

    def earlier_questions(self, round_: int, step: int) -> list[str]:
        """Every well-formed question that the Challenger posed before this step: in its steps, and in the curricula."""
        folders = [self.round_folder(number) for number in range(1, round_ + 1)]
        steps = [path for folder in folders for path in sorted((folder / "challenger").glob("questions-*.parquet"))]
        # An interrupted run leaves files of steps that are now run again.
        steps = [path for path in steps if path.parent.parent != folders[-1] or int(path.stem.split("-")[1]) < step]
        curricula = [folder / "curriculum.parquet" for folder in folders[:-1]]
        columns = [pq.read_table(path, columns=["question"])["question"] for path in [*steps, *curricula]]
        return [question for column in columns for question in column.to_pylist() if question is not None]

    def stage(self, round_: int, name: str) -> dict[str, Any]:
        """What is known of a stage (challenger, curriculum, solver, evaluation) of a round; empty before it starts."""
        return stage_of(self.data, round_, name)

    def record(self, round_: int, name: str, **values: Any) -> None:
        """Adds to what is known of a stage and replaces the manifest."""
        self.data["rounds"].setdefault(str(round_), {}).setdefault(name, {}).update(values)
        self.save()

    def finished_rounds(self) -> int:
        """The last round that was closed, 0 for none."""
        return max((int(number) for number in self.data["rounds"] if self.stage(int(number), "summary").get("done")), default=0)

    def refuse_other_files(self, fingerprints: dict[str, str]) -> None:
        """Remembers by setting what a run starts from, and raises ConfigError where it has changed since."""
        if "fingerprints" not in self.data:
            self.data["fingerprints"] = fingerprints
            self.save()
        before = self.data["fingerprints"]
        for setting, value in fingerprints.items():
            if before.get(setting) != value:
                raise ConfigError(
                    f"{setting}: what it names has changed since run '{self.data['name']}' was started from it. Bring it back, "
                    "or give the new run another name: NAME=..."
                )

    def track(self, tracking_id: str) -> None:
        """Remembers the MLflow run, so that a resumed run goes on in it."""
        if self.data["tracking_id"] != tracking_id:
            self.data["tracking_id"] = tracking_id
            self.save()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()  # and with it the lock


def remove_tree(path: str | Path | None) -> None:
    """Removes a folder that the manifest no longer names."""
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)


def may_change(setting: str) -> bool:
    """Whether a run may go on with another value of a setting."""
    return setting.startswith(FREE_SETTINGS) and setting not in BINDING_SETTINGS


def refuse_other_settings(name: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises ConfigError where a run would go on under settings that change its results."""
    # No held-out sets and sets that are new, or gone, differ in the settings of these.
    old, new = ({key: value for key, value in flatten(tree) if value != {}} for tree in (before, now))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and not may_change(key):
            raise ConfigError(
                f"{key}={new.get(key)}: run {name!r} was started with {key}={old.get(key)}. "
                f"Go on with that, or give the new settings a name of their own (NAME=...)."
            )
