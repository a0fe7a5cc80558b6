"""A run's progress, from its manifest and the files of later steps, for `make status` and `make watch`."""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.store.manifest import FILE, PREVIOUS, STAGES, Manifest, PhaseStage, StageName, sound_manifest
from pipeline.store.runs import held_for

FILES: dict[StageName, str] = {
    "challenger": "samples-*.parquet",
    "curriculum": "part-*.parquet",
    "solver": "samples-*.parquet",
    "evaluation": "*.parquet",
}
RECENT = 5  # steps from which the remaining time is estimated


@dataclass(frozen=True)
class Progress:
    """A run's progress. `stage` is None if the last round is finished and no process works on the next one.

    `working` is whether a process works on the run, `evaluated` whether it only measures policies (`make evaluate`).
    `stage_left` and `round_left` are the estimated remaining seconds, None without data (at the start of the first round) or
    where no process runs the round. `accuracy` is that of one set: (round, accuracy by way).
    """

    name: str
    profile: str
    working: bool
    evaluated: bool
    round: int
    stage: StageName | None
    done: int
    total: int
    rewards: list[float]  # of the last role's steps in this round
    p_hats: list[float]
    accuracy: list[tuple[int, dict[str, float]]]
    seconds: float  # of work so far, without interruptions
    written: float  # when the manifest or a step's file was last written, seconds since 1970
    stage_left: float | None
    round_left: float | None


def read_progress(folder: Path) -> Progress:
    """Reads a manifest and lists one folder: a few milliseconds, whatever the size of the run."""
    manifest, purpose = sound_manifest(folder)[0], held_for(folder)
    advancing = purpose == "round"
    round_, stage = position(manifest, advancing)
    total = size(manifest.config, stage)
    files = step_files(folder, manifest, round_, stage)
    done = min(total, len(files))
    written = max([manifest_time(folder), *files[-1:]])
    stages = manifest.round(round_)
    steps = stages.solver.metrics or stages.challenger.metrics
    stage_left = left(manifest, round_, stage, total, done, files) if advancing else None
    next_stages = [manifest.round(round_ - 1).stage(name).spent() for name in STAGES[STAGES.index(stage) + 1 :]] if stage else []
    return Progress(
        name=folder.name,  # of a copy, the manifest has that of the original until it is resumed
        profile=manifest.config["profile"],
        working=purpose is not None,
        evaluated=purpose == "evaluate",
        round=round_,
        stage=stage,
        done=done,
        total=total,
        rewards=[step["reward_mean"] for step in steps],
        p_hats=[step["p_hat_mean"] for step in steps if "p_hat_mean" in step],
        accuracy=first_set(manifest),
        seconds=sum(sum(manifest.spent(number).values()) for number in manifest.begun() if number)
        or sum(manifest.round(0).evaluation.spent().values()),
        written=written,
        stage_left=stage_left,
        round_left=stage_left + sum(sum(parts.values()) for parts in next_stages)
        if stage_left is not None and all(next_stages)
        else None,
    )


def first_set(manifest: Manifest) -> list[tuple[int, dict[str, float]]]:
    """(round, accuracy by way) on the first set of the last measured round, of every round that was measured on it."""
    measured = manifest.measured()
    name = next(iter(measured[-1][1])) if measured else ""
    return [(number, by_name[name]) for number, by_name in measured if name in by_name]


def position(manifest: Manifest, advancing: bool) -> tuple[int, StageName | None]:
    """The current or next (round, stage); the stage is None after a finished round while no process runs the next one."""
    numbers = manifest.begun()
    if not numbers:
        return 0, "evaluation"  # of the base model
    last = numbers[-1]
    if (stage := manifest.next_stage(last)) is not None:
        return last, stage
    return (last + 1, STAGES[0]) if advancing or not last else (last, None)


def size(config: dict[str, Any], stage: StageName | None) -> int:
    """Steps of a phase, parts of a curriculum, benchmarks of an evaluation."""
    match stage:
        case "challenger" | "solver":
            return int(config[stage]["steps"]) * int(config[stage].get("members", 1))  # the Solver alone has members
        case "curriculum":
            return -(-config["curriculum"]["questions"] // config["curriculum"]["part"])
        case "evaluation":
            return len(config["evaluation"]["sets"])
    return 0


def step_files(folder: Path, manifest: Manifest, round_: int, stage: StageName | None) -> list[float]:
    """When each finished step of a stage was written, oldest first, seconds since 1970.

    For a phase these are the steps in the manifest and those written after it: older files belong to steps that an interrupted
    run repeats.
    """
    if stage is None:
        return []
    times = [path.stat().st_mtime for path in sorted((folder / f"round-{round_}" / stage).glob(FILES[stage]))]
    recorded = manifest.round(round_).stage(stage)
    if not isinstance(recorded, PhaseStage):
        return sorted(times)
    saved = len(recorded.metrics)
    written = manifest_time(folder)
    return times[:saved] + [at for at in times[saved:] if at > written]


def manifest_time(folder: Path) -> float:
    """When the manifest, or where it is missing the previous one, was written, seconds since 1970."""
    return (folder / FILE if (folder / FILE).exists() else folder / PREVIOUS).stat().st_mtime


def left(manifest: Manifest, round_: int, stage: StageName | None, total: int, done: int, files: list[float]) -> float | None:
    """Estimated remaining seconds of a stage, by its last steps, else by the previous round; None if neither exists."""
    between = [end - start for start, end in pairwise(files[-RECENT - 1 :])]
    previous = sum(manifest.round(round_ - 1).stage(stage).spent().values()) if stage else 0
    each = median(between) if between else previous / total if previous and total else None
    if each is None:
        return None
    elapsed = time.time() - files[-1] if files else 0.0
    return max(0.0, each * (total - done) - elapsed)
