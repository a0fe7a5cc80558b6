"""A default round against the same with one engine and one learner thread: `python -m jobs.bench.round`, ten minutes."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from conf.load import ROOT
from jobs.bench.common import timed
from pipeline.store.manifest import Accuracies, read_manifest

ONE = {"OMP_NUM_THREADS": "1"}
REPEATS = 2


def run_round(folder: Path, overrides: Sequence[str], environment: dict[str, str]) -> tuple[Accuracies, float]:
    """The round's accuracies, and its seconds from command to table."""
    places = [f"runs_dir={folder}", f"tracking_uri=sqlite:///{folder}/mlflow.db"]
    command = [sys.executable, "-m", "jobs.round", "--set", *places, *overrides]
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    _, seconds = timed(lambda: subprocess.run(command, cwd=ROOT, env=inherited | environment, check=True, stdout=subprocess.PIPE))
    return read_manifest(folder / "tiny").round(1).evaluation.accuracies, seconds


def main() -> None:
    seconds: dict[str, list[float]] = {"default": [], "one": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(REPEATS):  # in turn, so that what else the machine does falls on both
            whole, spent = run_round(Path(folder, f"default-{number}"), [], {})
            seconds["default"].append(spent)
            one, spent = run_round(Path(folder, f"one-{number}"), ["rollout.engines=1"], ONE)
            seconds["one"].append(spent)
            if whole != one:
                sys.exit(f"error: the results differ: {whole} and {one}")
    fast, slow = min(seconds["default"]), min(seconds["one"])
    print(f"A default round, seconds from command to table (best of {REPEATS}; the results are the same)")
    print(f"  one engine, one learner thread {slow:>6.0f}")
    print(f"  default                        {fast:>6.0f}   {fast / slow:.2f} of it")


if __name__ == "__main__":
    main()
