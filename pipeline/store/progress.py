"""How far a run is, from its manifest and from the files of the steps since: what `make status` and `make watch` show."""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.store.manifest import FILE, STAGES, Manifest, PhaseStage, StageName, read_manifest
from pipeline.store.runs import in_use

FILES: dict[StageName, str] = {
    "challenger": "samples-*.parquet",
    "curriculum": "part-*.parquet",
    "solver": "samples-*.parquet",
    "evaluation": "*.parquet",
}
RECENT = 5  # steps that the time left is estimated from


@dataclass(frozen=True)
class Progress:
    """Where a run is. `stage` is None where the last round is finished and no process works on the next one.

    `stage_left` and `round_left` are estimates in seconds, None where there is nothing to estimate from (the first round, at its
    beginning) or no process is working. `accuracy` holds what is known of the first benchmark: (round, accuracy by way).
    """

    name: str
    profile: str
    working: bool
    round: int
    stage: StageName | None
    done: int
    total: int
    rewards: list[float]  # of the last role's steps in this round
    p_hats: list[float]
    accuracy: list[tuple[int, dict[str, float]]]
    seconds: float  # of work so far
    written: float  # when the manifest or a step's file was last written, seconds since 1970
    stage_left: float | None
    round_left: float | None


def read_progress(folder: Path) -> Progress:
    """Reads a manifest and lists one folder: a few milliseconds, whatever the size of the run."""
    manifest, working = read_manifest(folder), in_use(folder)
    round_, stage = position(manifest, working)
    total = size(manifest.config, stage)
    files = step_files(folder, manifest, round_, stage)
    done = min(total, len(files))
    written = max([(folder / FILE).stat().st_mtime, *files[-1:]])
    known = manifest.round(round_)
    steps = known.solver.metrics or known.challenger.metrics
    measured = [(number, next(iter(by_name.values()))) for number, by_name in manifest.measured()]
    stage_left = left(manifest, round_, stage, total, done, files) if working else None
    later = [manifest.round(round_ - 1).stage(name).spent() for name in STAGES[STAGES.index(stage) + 1 :]] if stage else []
    return Progress(
        name=manifest.name,
        profile=manifest.config["profile"],
        working=working,
        round=round_,
        stage=stage,
        done=done,
        total=total,
        rewards=[step["reward_mean"] for step in steps],
        p_hats=[step["p_hat_mean"] for step in steps if "p_hat_mean" in step],
        accuracy=measured,
        seconds=sum(sum(manifest.spent(number).values()) for number in manifest.begun() if number)
        or sum(manifest.round(0).evaluation.spent().values()),
        written=written,
        stage_left=stage_left,
        round_left=stage_left + sum(sum(parts.values()) for parts in later) if stage_left is not None and all(later) else None,
    )


def position(manifest: Manifest, working: bool) -> tuple[int, StageName | None]:
    """(round, stage) that is being worked on or would be next; a finished round has no stage while no process is at the next."""
    numbers = manifest.begun()
    if not numbers:
        return 0, "evaluation"  # of the base model
    last = numbers[-1]
    for stage in STAGES if last else STAGES[-1:]:
        if not manifest.round(last).stage(stage).finished:
            return last, stage
    return (last + 1, STAGES[0]) if working or not last else (last, None)


def size(config: dict[str, Any], stage: StageName | None) -> int:
    """Steps of a phase, parts of a curriculum, benchmarks of an evaluation."""
    match stage:
        case "challenger" | "solver":
            return int(config[stage]["steps"])
        case "curriculum":
            return -(-config["curriculum"]["questions"] // config["curriculum"]["part"])
        case "evaluation":
            return len(config["evaluation"]["sets"])
    return 0


def step_files(folder: Path, manifest: Manifest, round_: int, stage: StageName | None) -> list[float]:
    """When each finished step of a stage was written, oldest first, seconds since 1970.

    Of a phase these are the steps that the manifest knows, and those that were made since it was written: an interrupted run
    repeats what came after its last checkpoint.
    """
    if stage is None:
        return []
    times = [path.stat().st_mtime for path in sorted((folder / f"round-{round_}" / stage).glob(FILES[stage]))]
    known = manifest.round(round_).stage(stage)
    if not isinstance(known, PhaseStage):
        return sorted(times)
    saved = len(known.metrics)
    recorded = (folder / FILE).stat().st_mtime
    return times[:saved] + [at for at in times[saved:] if at > recorded]


def left(manifest: Manifest, round_: int, stage: StageName | None, total: int, done: int, files: list[float]) -> float | None:
    """Seconds that a stage will take from now, by its last steps, else by the previous round; None where neither exists."""
    between = [later - earlier for earlier, later in pairwise(files[-RECENT - 1 :])]
    previous = sum(manifest.round(round_ - 1).stage(stage).spent().values()) if stage else 0
    each = median(between) if between else previous / total if previous and total else None
    if each is None:
        return None
    since = time.time() - files[-1] if files else 0.0
    return max(0.0, each * (total - done) - since)
