"""The manifest: a run's progress, the only source of truth for resume. One JSON file with a checksum, replaced atomically.

It names complete files only: each is written under its final name before the manifest names it. The previous manifest is kept,
with the files that it names, and used where the present one or a file that it names is damaged (`pipeline/store/state.py`).
"""

import hashlib
import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from conf.errors import ConfigError
from conf.files import read_text
from conf.schema import Config
from pipeline.errors import DamagedError
from pipeline.store.atomic import replacing
from pipeline.types import Role

SCHEMA = 2
FILE = "manifest.json"
PREVIOUS = "manifest.previous.json"
USED = "the previous one is used"
StageName = Literal["challenger", "curriculum", "solver", "evaluation"]
STAGES: tuple[StageName, ...] = ("challenger", "curriculum", "solver", "evaluation")  # in execution order
Seconds = dict[str, float]  # wall-clock seconds by part: sampling, learning, ...
Accuracies = dict[str, dict[str, float]]  # by benchmark, or benchmark and band, and way of answering


@dataclass(slots=True)
class PhaseStage:
    """A GRPO phase. Paths are relative to the run's folder; `metrics[i]` and `p_hats[i]` are of step i + 1.

    `seconds` excludes the steps, whose times are in their metrics (`seconds_<part>`).
    """

    metrics: list[dict[str, float]] = field(default_factory=list)
    p_hats: list[list[float]] = field(default_factory=list)
    checkpoint: str | None = None
    ahead: str | None = None  # a batch that was sampled ahead
    members: list[str] = field(default_factory=list)  # policies that the phase has trained, before their mean
    policy: str | None = None  # the trained weights in HF format, once the phase is finished
    seconds: Seconds = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.policy is not None

    def spent(self) -> Seconds:
        spent = Counter(self.seconds)
        for step in self.metrics:
            spent.update({name.removeprefix("seconds_"): value for name, value in step.items() if name.startswith("seconds_")})
        return dict(spent)


@dataclass(slots=True)
class CurriculumStage:
    """The funnel of a curriculum: questions written, well-formed, answered, kept. `label_accuracy` is None without an oracle."""

    finished: bool = False
    written: int = 0
    well_formed: int = 0
    answered: int = 0
    kept: int = 0
    label_accuracy: float | None = None
    counts: dict[str, float] = field(default_factory=dict)  # of fleets and sandbox, see `pipeline.inference.Usage`
    seconds: Seconds = field(default_factory=dict)

    def spent(self) -> Seconds:
        return self.seconds


@dataclass(slots=True)
class MeasuredSet:
    """How a set was measured, with counts of failures.

    `samples` is the k of mean@k, 0 for greedy alone; of all `responses`, `unboxed` have no answer and `truncated` were cut off.
    `undecided` counts comparisons without a verdict, `skipped` problems whose prompt leaves no room for an answer.
    """

    problems: int
    samples: int
    limit: int | None
    group: str
    grader: str
    responses: int = 0
    unboxed: int = 0
    truncated: int = 0
    undecided: int = 0
    skipped: int = 0
    checksum: str = ""  # of all problems of the set
    protocol: str = ""  # `BenchmarkSet.protocol`
    temperature: float = 1.0  # of the sampled answers
    top_p: float = 1.0

    def alike(self, other: "MeasuredSet") -> bool:
        """Whether both are of the same problems, asked and graded in one way; greedy answers are the same at any temperature."""
        ours, theirs = ((each.checksum, each.protocol, each.samples, each.limit) for each in (self, other))
        return ours == theirs and (not self.samples or (self.temperature, self.top_p) == (other.temperature, other.top_p))


@dataclass(slots=True)
class EvaluationStage:
    """Accuracies by set and band, and how each set was measured; `finished` once all configured sets are measured."""

    finished: bool = False
    accuracies: Accuracies = field(default_factory=dict)
    sets: dict[str, MeasuredSet] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    seconds: Seconds = field(default_factory=dict)

    def spent(self) -> Seconds:
        return self.seconds


@dataclass(slots=True)
class Round:
    """The stages of a round; round 0, the base model, has the evaluation alone. `closed` is set once the summary is recorded."""

    challenger: PhaseStage = field(default_factory=PhaseStage)
    curriculum: CurriculumStage = field(default_factory=CurriculumStage)
    solver: PhaseStage = field(default_factory=PhaseStage)
    evaluation: EvaluationStage = field(default_factory=EvaluationStage)
    closed: bool = False

    def stage(self, name: StageName) -> PhaseStage | CurriculumStage | EvaluationStage:
        stage: PhaseStage | CurriculumStage | EvaluationStage = getattr(self, name)
        return stage

    def phase(self, role: Role) -> PhaseStage:
        return self.challenger if role == "challenger" else self.solver


@dataclass(slots=True)
class Manifest:
    """A run's state. `config` and `code`, hashes of user code, are of its last start; `tracking_id` is its name in MLflow."""

    name: str
    config: dict[str, Any]
    tracking_id: str | None = None
    fingerprints: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    rounds: dict[int, Round] = field(default_factory=dict)
    schema: int = SCHEMA

    def round(self, number: int) -> Round:
        """The stages of a round; default ones if it has not begun."""
        return self.rounds.get(number) or Round()

    def begun(self) -> list[int]:
        """Every round that has begun, 0 for the base model."""
        return sorted(self.rounds)

    def closed_rounds(self) -> int:
        """The last closed round, 0 for none."""
        return max((number for number, round_ in self.rounds.items() if round_.closed), default=0)

    def next_stage(self, number: int) -> StageName | None:
        """The first unfinished stage of a round, None if all are finished; round 0, the base model, is evaluated only."""
        stages = STAGES if number else STAGES[-1:]
        return next((stage for stage in stages if not self.round(number).stage(stage).finished), None)

    def checkpoints(self) -> set[str]:
        """What unfinished phases resume from, relative to the run's folder: checkpoints, batches sampled ahead, members."""
        phases = [phase for round_ in self.rounds.values() for phase in (round_.challenger, round_.solver)]
        return {path for phase in phases for path in (phase.checkpoint, phase.ahead, *phase.members) if path}

    def sharded(self) -> bool:
        """Whether an unfinished phase resumes from a checkpoint, which is divided among the learner's ranks."""
        return any(phase.checkpoint for round_ in self.rounds.values() for phase in (round_.challenger, round_.solver))

    def spent(self, number: int) -> Seconds:
        """Wall-clock seconds of a round by part; round 1 includes the evaluation of the base model."""
        spent: Counter[str] = Counter()
        for name in STAGES:
            spent.update(self.round(number).stage(name).spent())
        if number == 1:
            spent.update(self.round(0).evaluation.spent())
        return dict(spent)

    def measured(self) -> list[tuple[int, Accuracies]]:
        """(round, accuracies) of every round with an evaluation."""
        rounds = [(number, self.round(number).evaluation.accuracies) for number in self.begun()]
        return [(number, accuracies) for number, accuracies in rounds if accuracies]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run's folder, a complete state also while the run is active, since it is replaced atomically.

    Where it is damaged, the previous one, with a line on standard error that says so.

    Raises:
        DamagedError: both are damaged.
        ConfigError: it has another schema, or belongs to another user.
    """
    manifest, damage = sound_manifest(folder)
    if damage is not None:
        print(damage, file=sys.stderr)
    return manifest


def sound_manifest(folder: Path) -> tuple[Manifest, str | None]:
    """The manifest and None, or the previous manifest and what damage the present one has; raises what `read_manifest` raises."""
    try:
        return _read(folder / FILE), None
    except DamagedError as damage:
        if (previous := previous_manifest(folder)) is not None:
            return previous, str(damage)
        remedy = f"restore it from a copy, or remove {folder} and start the run anew"
        raise DamagedError(f"{damage.damage}, and there is no previous one; how far the run was is lost", remedy) from None


def previous_manifest(folder: Path) -> Manifest | None:
    """None if there is none, or it is damaged."""
    try:
        return _read(folder / PREVIOUS)
    except ConfigError:
        return None


def _read(path: Path) -> Manifest:
    try:
        text = read_text(path)
        data = json.loads(text)
        # The text is compared, since another last digit of a number may be the same number; and first of all, since the damage
        # may be to the version.
        if data.pop("checksum", None) is None and isinstance(data.get("schema"), int) and data["schema"] != SCHEMA:
            raise _other_version(path, f"manifest schema {data['schema']}, this code reads {SCHEMA}")  # the first had none
        if text != as_text(data):
            raise DamagedError(f"{path}: the manifest is damaged (its checksum differs)", USED)
    except ConfigError:
        raise
    except PermissionError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; valid: a run that this user may read.") from error
    except OSError as error:
        raise DamagedError(f"{path}: the manifest cannot be read ({error.strerror})", USED) from error
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path}: the manifest is damaged ({type(error).__name__}: {error})", USED) from error
    if (version := data.get("schema")) != SCHEMA:
        raise _other_version(path, f"manifest schema {version}, this code reads {SCHEMA}")
    try:
        rounds = {int(number): _round(stages) for number, stages in data["rounds"].items()}
        return Manifest(**data | {"config": _with_defaults(data["config"]), "rounds": rounds})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _other_version(path, f"its fields are others than those of this code: {error}") from error


def _other_version(path: Path, how: str) -> ConfigError:
    return ConfigError(
        f"{path}: written by another version ({how}). Finish the run with that version, or start another one: NAME=..."
    )


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """A setting that is newer than the run had its default's effect."""
    default = asdict(Config())
    return settings | {
        name: value | settings.get(name, {}) if isinstance(value, dict) else settings.get(name, value)
        for name, value in default.items()
    }


def _round(data: dict[str, Any]) -> Round:
    sets = {name: MeasuredSet(**measured) for name, measured in data["evaluation"]["sets"].items()}
    return Round(
        challenger=PhaseStage(**data["challenger"]),
        curriculum=CurriculumStage(**data["curriculum"]),
        solver=PhaseStage(**data["solver"]),
        evaluation=EvaluationStage(**data["evaluation"] | {"sets": sets}),
        closed=data["closed"],
    )


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Replaces the manifest; returns its text."""
    text = as_text(json.loads(json.dumps(asdict(manifest))))
    write_atomically(folder / FILE, text)
    return text


def as_text(data: dict[str, Any]) -> str:
    """A manifest's content as it is written, with its checksum."""
    checksum = hashlib.blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=16).hexdigest()
    return json.dumps(data | {"checksum": checksum}, indent=1)


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file atomically, see `replacing`."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
