"""How far a run is, from its manifest and from the files of the steps since: what `make status` and `make watch` show."""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.store.runs import STAGES, accuracies, in_use, read_manifest, round_numbers, round_seconds, stage_of, stage_seconds

FILES = {
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
    stage: str | None
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
    total = size(manifest["config"], stage)
    files = step_files(folder, manifest, round_, stage)
    done = min(total, len(files))
    written = max([(folder / "manifest.json").stat().st_mtime, *files[-1:]])
    role = next((role for role in ("solver", "challenger") if stage_of(manifest, round_, role).get("metrics")), None)
    steps = stage_of(manifest, round_, role)["metrics"] if role else []
    measured = [(number, next(iter(by_name.values()))) for number, by_name in accuracies(manifest)]
    stage_left = left(manifest, round_, stage, total, done, files) if working else None
    later = [stage_seconds(manifest, round_ - 1, name) for name in STAGES[STAGES.index(stage) + 1 :]] if stage else []
    return Progress(
        name=manifest["name"],
        profile=manifest["config"]["profile"],
        working=working,
        round=round_,
        stage=stage,
        done=done,
        total=total,
        rewards=[step["reward_mean"] for step in steps],
        p_hats=[step["p_hat_mean"] for step in steps if "p_hat_mean" in step],
        accuracy=measured,
        seconds=sum(sum(round_seconds(manifest, number).values()) for number in round_numbers(manifest) if number)
        or sum(stage_seconds(manifest, 0, "evaluation").values()),
        written=written,
        stage_left=stage_left,
        round_left=stage_left + sum(sum(parts.values()) for parts in later) if stage_left is not None and all(later) else None,
    )


def position(manifest: dict[str, Any], working: bool) -> tuple[int, str | None]:
    """(round, stage) that is being worked on or would be next; a finished round has no stage while no process is at the next."""
    numbers = round_numbers(manifest)
    if not numbers:
        return 0, "evaluation"  # of the base model
    last = numbers[-1]
    for stage in STAGES if last else ("evaluation",):
        known = stage_of(manifest, last, stage)
        if not (known.get("policy") or known.get("done")):
            return last, stage
    return (last + 1, STAGES[0]) if working or not last else (last, None)


def size(config: dict[str, Any], stage: str | None) -> int:
    """Steps of a phase, parts of a curriculum, benchmarks of an evaluation."""
    match stage:
        case "challenger" | "solver":
            return config[stage]["steps"]
        case "curriculum":
            return -(-config["curriculum"]["questions"] // config["curriculum"]["part"])
        case "evaluation":
            return len(config["evaluation"]["benchmarks"])
    return 0


def step_files(folder: Path, manifest: dict[str, Any], round_: int, stage: str | None) -> list[float]:
    """When each finished step of a stage was written, oldest first, seconds since 1970.

    Of a phase these are the steps that the manifest knows, and those that were made since it was written: an interrupted run
    repeats what came after its last checkpoint.
    """
    if stage is None:
        return []
    times = [path.stat().st_mtime for path in sorted((folder / f"round-{round_}" / stage).glob(FILES[stage]))]
    if stage in ("curriculum", "evaluation"):
        return sorted(times)
    saved = len(stage_of(manifest, round_, stage).get("metrics", []))
    recorded = (folder / "manifest.json").stat().st_mtime
    return times[:saved] + [at for at in times[saved:] if at > recorded]


def left(manifest: dict[str, Any], round_: int, stage: str | None, total: int, done: int, files: list[float]) -> float | None:
    """Seconds that a stage will take from now, by its last steps, else by the round before; None where neither exists."""
    between = [later - earlier for earlier, later in pairwise(files[-RECENT - 1 :])]
    before = sum(stage_seconds(manifest, round_ - 1, stage).values()) if stage else 0
    each = median(between) if between else before / total if before and total else None
    if each is None:
        return None
    since = time.time() - files[-1] if files else 0.0
    return max(0.0, each * (total - done) - since)
