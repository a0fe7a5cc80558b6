"""Runs the jobs of a plan in lanes: processes that each take the next run which no other has claimed, on one set of engines."""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from actors.cluster import prepare_environment, ray_cluster
from conf.errors import ConfigError
from conf.load import ROOT
from conf.schema import Config
from jobs.plans import Job, Plan, finished
from pipeline.errors import RunError
from pipeline.inputs import check_inputs
from pipeline.observe.terminal import PLAIN_EVERY_S, STARTED, PhaseProgress, say
from pipeline.store.manifest import read_manifest
from pipeline.store.runs import held_for
from pipeline.store.state import RunState

LANES = 2  # concurrent processes, about one per core
POLL_S = 5


def options(plan: Plan, description: str) -> argparse.ArgumentParser:
    """The options of commands that run plans."""
    parser = argparse.ArgumentParser(prog=f"python -m {plan.module}", description=description)
    parser.add_argument("--seeds", type=int, default=None, metavar="N", help="seeds 0 to N-1 for every variant")
    parser.add_argument("--collect", action="store_true", help="run nothing: write the results of the existing runs")
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    return parser


def work(plan: Plan, todo: Sequence[Job]) -> int:
    """Runs the jobs that no other lane has claimed, sequentially on one set of engines; 1 if a run failed."""
    prepare_environment()
    from actors.rollout.fleet import rollout_fleets
    from pipeline.round import run_rounds
    from pipeline.run import open_run

    status = 0
    first = plan.config(*todo[0])
    with ray_cluster(first, say) as placement, rollout_fleets(first, check_inputs(first).base_path, placement) as fleets:
        for number, (variant, seed) in enumerate(todo):
            config, began = plan.config(variant, seed), time.monotonic() if number else STARTED
            with ExitStack() as stack:
                if (state := claim(config)) is None or stack.enter_context(state).manifest.closed_rounds() >= variant.rounds:
                    continue
                inputs = check_inputs(config)
                # A run with other labels than the votes cannot be resumed by another command.
                labels = {} if plan.relabel is None else {"labels": variant.labels}
                state.refuse_other_files(inputs.fingerprints() | labels)
                take_base_evaluation(state, base_evaluation(plan, seed))
                for fleet in fleets.values():
                    fleet.forget_policy()  # the previous run had policies of the same names
                try:
                    opened = stack.enter_context(open_run(config, inputs, state, fleets, placement, began))
                    if plan.relabel is not None:
                        opened.relabel = plan.relabel(variant)
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
        if held_for(Path(config.runs_dir) / config.name) is not None:
            return None
        raise


def base_evaluation(plan: Plan, seed: int) -> Path:
    """The folder of a run with this seed that has evaluated the base model; the reference's if there is none."""
    runs = [plan.run_folder(variant, seed) for variant in (plan.reference, *plan.variants)]
    return next((folder for folder in runs if finished(folder, 0)), runs[0])


def take_base_evaluation(state: RunState, other: Path) -> None:
    """Copies the base model's evaluation from `other`: it is the same in every run of a seed."""
    if finished(other, 0) and not state.round(0).evaluation.finished:
        shutil.copytree(other / "round-0", state.round_folder(0), dirs_exist_ok=True)
        state.round(0).evaluation = read_manifest(other).round(0).evaluation
        state.save()


def run_all(plan: Plan, arguments: Sequence[str], todo: Sequence[Job]) -> int:
    """Starts the lanes and reports their progress until they end; returns the number of failed lanes.

    With `Plan.appends` each finished round is recorded in docs/results at once, so that nothing is lost with the runs' folders.
    """
    from jobs.table_results import collect, write_records

    before, total = plan.finished_rounds(todo), sum(variant.rounds for variant, _ in todo)
    folder = ROOT / "runs" / plan.folder
    say(f"{len(todo)} runs, {total - before} of {total} rounds to go; make watch RUNS=runs/{plan.folder} shows the latest")
    with ExitStack() as stack:
        lanes = []
        for lane in range(LANES):
            log = folder / f"lane-{lane}.log"
            folder.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", plan.module, *arguments, "--lane", str(lane)]
            lanes.append(subprocess.Popen(command, cwd=ROOT, stdout=stack.enter_context(log.open("a")), stderr=subprocess.STDOUT))
            stack.callback(end, lanes[-1])
        progress = stack.enter_context(PhaseProgress(f"{plan.name}, rounds", total=total, done=before, every_s=PLAIN_EVERY_S))
        done = before
        while any(lane.poll() is None for lane in lanes):
            time.sleep(POLL_S)
            progress.update(now := plan.finished_rounds(todo))
            if plan.appends and now > done:
                write_records(plan, collect(plan, todo))
            done = now
    failed = [number for number, process in enumerate(lanes) if process.returncode]
    for number in failed:
        say(f"lane {number} ended with status {lanes[number].returncode}; see runs/{plan.folder}/lane-{number}.log")
    return len(failed)


def end(lane: subprocess.Popen[bytes]) -> None:
    """Terminates a running lane, which closes its runs and its cluster."""
    if lane.poll() is None:
        lane.send_signal(signal.SIGTERM)
        lane.wait()


def run_plan(plan: Plan, arguments: Sequence[str], chosen: argparse.Namespace) -> int:
    """Runs what is missing of a plan, as `options` chose, and writes its results; 1 if a lane failed."""
    from jobs.table_results import recorded, write_results

    if chosen.seeds is not None and chosen.seeds < 1:
        raise ConfigError(f"--seeds {chosen.seeds}: valid: 1 or more.")
    jobs = plan.jobs(chosen.seeds)
    todo = [job for job in jobs if not recorded(plan, job)] if plan.appends else jobs
    if chosen.lane is not None:
        return work(plan, todo)
    failed = 0 if chosen.collect or not todo else run_all(plan, arguments, todo)
    write_results(plan, jobs)
    return min(failed, 1)
