"""Moments of a tiny round, by what it has written: a fault strikes when the run has come so far, however fast the machine is."""

from pathlib import Path

NAME = "chaos"
STEPS, PARTS = 6, 6
ROUND = [
    f"challenger.steps={STEPS}",
    "challenger.batch=16",
    f"solver.steps={STEPS}",
    "solver.batch=20",
    f"curriculum.questions={16 * PARTS}",
    "curriculum.part=16",
    "curriculum.delta=0.4",
    "reward.samples=4",
    "rollout.kv_cache_mb=64",
    "rollout.engines=1",
    "sampling.max_tokens=80",
    "evaluation.samples=2",
    # A part that hangs is given up after these.
    "rollout.transfer_timeout_s=15",
    "learner.timeout_s=30",
]
# (stage, file in the run's folder that is written when the moment is reached), in order; none for the start.
MARKS: tuple[tuple[str, str], ...] = (
    ("start-up", ""),
    ("start-up", "manifest.json"),
    ("evaluation", "round-0/evaluation/heldout.parquet"),
    *(("challenger", f"round-1/challenger/samples-{step:04d}.parquet") for step in range(1, STEPS + 1)),
    ("challenger", "round-1/challenger/policy/config.json"),
    *(("curriculum", f"round-1/curriculum/part-{part:04d}.parquet") for part in range(PARTS)),
    ("curriculum", "round-1/curriculum.parquet"),
    *(("solver", f"round-1/solver/samples-{step:04d}.parquet") for step in range(1, STEPS + 1)),
    ("solver", "round-1/solver/policy/config.json"),
    ("results", "round-1/evaluation/heldout.parquet"),
)


START_UP = 1  # the manifest is written anew at each start, and says nothing of progress


def is_reached(folder: Path, mark: int) -> bool:
    return (folder / MARKS[mark][1]).exists()


def passed_since(folder: Path, place: int, moment: float) -> bool:
    """Whether the run in `folder` has passed a mark behind MARKS[place] since `moment` (seconds since 1970)."""
    for _, name in MARKS[max(place, START_UP) + 1 :]:
        try:
            if (folder / name).stat().st_mtime > moment:
                return True
        except OSError:
            continue
    return False


def place_of(folder: Path) -> int:
    """The last mark that a run has passed: it is at work on what follows it."""
    return max((mark for mark in range(len(MARKS)) if is_reached(folder, mark)), default=0)


def stage_of(folder: Path) -> str:
    """The stage in which a run is, by the marks that it has passed."""
    return MARKS[place_of(folder)][0]
