"""The paper's table in small: variants of the algorithm on the tiny base, several seeds each: `make table`.

Each variant and seed is a normal run in runs/table/, so that an interrupted table resumes; `make status RUNS=runs/table`
shows them. The results are written to docs/results/ (`jobs/table_results.py`).
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from actors.cluster import prepare_environment, ray_cluster
from conf.load import ROOT, ConfigError, load_config
from conf.schema import Config
from jobs.cli import command
from pipeline.errors import RunError
from pipeline.inputs import check_inputs
from pipeline.observe.terminal import STARTED, PhaseProgress, say
from pipeline.store.manifest import FILE, read_manifest
from pipeline.store.runs import in_use
from pipeline.store.state import RunState

LANES = 2  # concurrent processes, about one per core
POLL_S, REPORT_S = 30, 600


@dataclass(frozen=True, slots=True)
class Variant:
    """A row or more of the table: settings under a name, how many rounds they run, and with which seeds."""

    name: str
    label: str  # in the table
    rounds: int
    overrides: tuple[str, ...] = ()
    seeds: range = range(5)


VARIANTS = (
    Variant("r-zero", "R-Zero", 6),
    Variant("untrained-challenger", "untrained Challenger", 3, ("challenger.steps=0",)),
    Variant("no-repetition-penalty", "no repetition penalty", 2, ("reward.scorers=[triangular]",)),
    Variant("no-filter", "no filter", 2, ("curriculum.delta=0.5",)),
    Variant("one-model", "one model for both roles", 2, ("policies=shared",)),
    Variant("official-reward", "the public code's reward", 2, ("reward.scorers=[official]",)),
    # More seeds for the main comparison, whose difference is small.
    Variant("r-zero", "R-Zero", 3, seeds=range(5, 7)),
    Variant("untrained-challenger", "untrained Challenger", 3, ("challenger.steps=0",), range(5, 7)),
)
# Options that might help over many rounds.
OPTIONS = (
    Variant("validity-vote", "R-Zero, validity vote", 6, ("reward.scorers=[triangular,repetition,validity]",), range(3)),
    Variant("memory", "R-Zero, memory", 6, ("reward.scorers=[triangular,repetition,memory]",), range(3)),
    Variant("narrow-filter", "R-Zero, narrow filter", 6, ("curriculum.delta=0.15",), range(3)),
    Variant("replay", "R-Zero, replay", 6, ("curriculum.replay=2",), range(5)),  # more seeds, since it seems to help
)


def config_of(variant: Variant, seed: int) -> Config:
    return load_config("table", [*variant.overrides, f"name={variant.name}-{seed}", f"seed={seed}"])


def jobs(variants: Sequence[Variant], seeds: int | None = None) -> list[tuple[Variant, int]]:
    """All runs, seed by seed, so that partial results cover all variants; `seeds` overrides each variant's number of seeds."""
    wanted = [(variant, range(seeds) if seeds else variant.seeds) for variant in variants]
    return [(variant, seed) for seed in range(max(each.stop for _, each in wanted)) for variant, each in wanted if seed in each]


def work(todo: Sequence[tuple[Variant, int]]) -> int:
    """Runs the jobs that no other lane has claimed, sequentially on one set of engines; 1 if a run failed."""
    prepare_environment()
    from actors.rollout.fleet import rollout_fleets
    from pipeline.round import run_rounds
    from pipeline.run import open_run

    status = 0
    first = config_of(*todo[0])
    with ray_cluster(first, say) as placement, rollout_fleets(first, check_inputs(first).base_path, placement) as fleets:
        for number, (variant, seed) in enumerate(todo):
            config, began = config_of(variant, seed), time.monotonic() if number else STARTED
            with ExitStack() as stack:
                if (state := claim(config)) is None or stack.enter_context(state).manifest.closed_rounds() >= variant.rounds:
                    continue
                inputs = check_inputs(config)
                state.refuse_other_files(inputs.fingerprints())
                take_base_evaluation(state, folder_of(VARIANTS[0], seed))
                for fleet in fleets.values():
                    fleet.forget_policy()  # the previous run had policies of the same names
                try:
                    opened = stack.enter_context(open_run(config, inputs, state, fleets, placement, began))
                    run_rounds(opened, variant.rounds)
                except RunError as error:
                    say(f"run {config.name} failed: {error}")
                    status = 1
    return status


def claim(config: Config) -> RunState | None:
    """The run's state, or None if another lane works on it."""
    try:
        return RunState(config)
    except ConfigError:
        if in_use(Path(config.runs_dir) / config.name):
            return None
        raise


def take_base_evaluation(state: RunState, other: Path) -> None:
    """Copies the base model's evaluation from `other`: it is the same in every run of a seed."""
    if finished(other, 0) and not state.round(0).evaluation.finished:
        shutil.copytree(other / "round-0", state.round_folder(0), dirs_exist_ok=True)
        state.round(0).evaluation = read_manifest(other).round(0).evaluation
        state.save()


def finished_rounds(todo: Sequence[tuple[Variant, int]]) -> int:
    rounds = [(folder_of(variant, seed), round_) for variant, seed in todo for round_ in range(1, variant.rounds + 1)]
    return sum(finished(folder, round_) for folder, round_ in rounds)


def folder_of(variant: Variant, seed: int) -> Path:
    return ROOT / "runs" / "table" / f"{variant.name}-{seed}"


def finished(folder: Path, round_: int) -> bool:
    return (folder / FILE).exists() and read_manifest(folder).round(round_).evaluation.finished


def run_all(arguments: Sequence[str], todo: Sequence[tuple[Variant, int]]) -> int:
    """Starts the lanes and reports their progress until they end; returns the number of failed lanes."""
    before, total = finished_rounds(todo), sum(variant.rounds for variant, _ in todo)
    say(f"{len(todo)} runs, {total - before} of {total} rounds to go; make watch RUNS=runs/table shows the latest")
    with ExitStack() as stack:
        lanes = []
        for lane in range(LANES):
            log = folder_of(*todo[0]).parent / f"lane-{lane}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "jobs.table", *arguments, "--lane", str(lane)]
            lanes.append(subprocess.Popen(command, cwd=ROOT, stdout=stack.enter_context(log.open("a")), stderr=subprocess.STDOUT))
            stack.callback(end, lanes[-1])
        progress = stack.enter_context(PhaseProgress("table, rounds", total=total, done=before, every_s=REPORT_S))
        while any(lane.poll() is None for lane in lanes):
            time.sleep(POLL_S)
            progress.update(finished_rounds(todo))
    failed = [number for number, process in enumerate(lanes) if process.returncode]
    for number in failed:
        say(f"lane {number} ended with status {lanes[number].returncode}; see runs/table/lane-{number}.log")
    return len(failed)


def end(lane: subprocess.Popen[bytes]) -> None:
    """Terminates a running lane, which closes its runs and its cluster."""
    if lane.poll() is None:
        lane.send_signal(signal.SIGTERM)
        lane.wait()


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 a lane failed, 130 or 143 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m jobs.table", description="Compare variants of R-Zero on the tiny base.")
    parser.add_argument("--options", action="store_true", help="the options that might help over many rounds")
    parser.add_argument("--seeds", type=int, default=None, metavar="N", help="seeds 0 to N-1 for every variant")
    parser.add_argument("--collect", action="store_true", help="run nothing: write the results of the existing runs")
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    todo = jobs(OPTIONS if chosen.options else VARIANTS, chosen.seeds)
    if chosen.lane is not None:
        return work(todo)
    failed = 0 if chosen.collect else run_all(arguments, todo)
    from jobs.table_results import write_results

    write_results(todo, "options" if chosen.options else "table")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
