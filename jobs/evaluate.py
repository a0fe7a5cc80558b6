"""Measures any policy on held-out sets: `make evaluate POLICY=runs/tiny:3 SETS="math500 aime24"`, or all rounds of `runs/tiny`.

What was measured is not measured again, and an interrupted call resumes. A run's rounds get their figures in the run's own files,
in MLflow and in its report, unless LIMIT or SAMPLES make them others than the run's.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from actors.cluster import prepare_environment, ray_cluster
from conf.load import ConfigError, load_config, profiles
from conf.schema import Config
from jobs.cli import command

if TYPE_CHECKING:
    from pipeline.domain.sets import BenchmarkSet
    from pipeline.inputs import Inputs
    from pipeline.observe.scores import Scores
    from pipeline.policies import Target
    from pipeline.results import Results
    from pipeline.store.state import RunState

CONTEXT = 2048  # tokens of a prompt that the context has room for, beside the longest answer that a set names


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 measured, 1 it failed, 2 an argument cannot be used, 130 or 143 interrupted (the same command resumes)."""
    parser = argparse.ArgumentParser(prog="python -m jobs.evaluate", description="Measure a policy on held-out sets.")
    parser.add_argument("--policy", required=True, help="runs/NAME:ROUND, runs/NAME:best, runs/NAME, a model folder, or a hub id")
    parser.add_argument("--sets", default="", help="names of conf/benchmarks.yaml, .yaml or data files (default: the settings')")
    parser.add_argument("--limit", type=int, metavar="N", help="problems of each set, drawn by seed (default: all)")
    parser.add_argument("--samples", type=int, metavar="K", help="k of mean@k, 0 for greedy alone (default: each set's own)")
    parser.add_argument("--output", type=Path, default=Path("evaluations"), help="folder of the results (default: %(default)s)")
    parser.add_argument(
        "--profile", default="tiny", help=f"settings of a policy that is no run's: {', '.join(profiles())}, or a file"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE", help="e.g. rollout.engines=2")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # leave through every context's end
    prepare_environment()
    from pipeline.policies import find_policies

    targets = find_policies(options.policy)
    evaluate(settings(options, targets[0]), targets, options.output, keep=options.limit is None and options.samples is None)
    return 0


def settings(options: argparse.Namespace, target: "Target") -> Config:
    """The run's own settings, or those of a profile, with what the command line says on top."""
    told = [f"evaluation.sets=[{','.join(options.sets.replace(',', ' ').split())}]"] if options.sets else []
    told += [f"evaluation.limit={options.limit}"] if options.limit is not None else []
    told += [f"evaluation.samples={options.samples}"] if options.samples is not None else []
    if target.run is None:
        return load_config(options.profile, [*told, *options.set, f"model.path={target.path}"])
    place = [f"name={target.run.name}", f"runs_dir={target.run.parent}"]
    return load_config(str(target.run / "config.yaml"), [*told, *options.set, *place])


def evaluate(config: Config, targets: "Sequence[Target]", output: Path, keep: bool) -> None:
    """Measures what is missing, writes summary.json for each policy, and prints the tables.

    Args:
        keep: whether a run's rounds keep their figures.
    """
    from pipeline.domain.sets import find_sets
    from pipeline.inputs import check_inputs
    from pipeline.observe.scores import read_scores, show_rounds, show_scores, summary
    from pipeline.results import FolderResults, Results, RoundResults
    from pipeline.store.manifest import write_atomically
    from pipeline.store.state import RunState

    if not (sets := find_sets(config.evaluation.sets, "SETS")):
        raise ConfigError("SETS: no set is named; valid: names of conf/benchmarks.yaml, .yaml files of definitions, data files.")
    inputs = check_inputs(config)
    with ExitStack() as stack:
        state = stack.enter_context(RunState(config)) if targets[0].run else None
        results: list[Results] = []
        for target in targets:
            folder = output / target.name
            results.append(RoundResults(state, target.round) if state and keep else FolderResults(folder, target, config))
        todo = [(*pair, each) for pair in zip(targets, results, strict=True) for each in sets if each.name not in pair[1].known()]
        if todo:
            measure_all(config, inputs, todo, (state.folder if state else output) / "logs")
        rows = []
        for target, result in zip(targets, results, strict=True):
            scores = read_scores(target.name, result.folder, {each.name: result.known()[each.name] for each in sets})
            write_atomically(output / target.name / "summary.json", json.dumps(summary(scores), indent=1))
            show_scores(scores)
            rows.append((target.label, scores))
        show_rounds(rows, config.model.path if state else targets[0].label)
        print(f"summaries: {output.absolute()}")
        if todo and (keep or state is None):
            track(config, state, targets, [scores for _, scores in rows])


def measure_all(config: Config, inputs: "Inputs", todo: "Sequence[tuple[Target, Results, BenchmarkSet]]", logs: Path) -> None:
    """Measures sets under policies with one fleet of engines, which takes on one policy after another.

    Where it fails, the actors' logs are copied to a subfolder of `logs`.
    """
    import torch

    from actors.evidence import evidence_kept
    from actors.rollout.fleet import rollout_fleets
    from actors.weights.host import stored_weights
    from pipeline.inference import start_inference
    from pipeline.measure import measure
    from pipeline.observe.clock import Clock
    from pipeline.observe.terminal import AnswerProgress, say
    from pipeline.store.benchmarks import read_problems
    from pipeline.types import Policy

    config = with_room(config, inputs, [each for _, _, each in todo])
    say(f"starting Ray and the rollout workers to measure {len(todo)} sets")
    with ray_cluster(config, say), evidence_kept(logs), rollout_fleets(config, inputs.base_path) as fleets:
        ask = start_inference(config, inputs, fleets, Clock())
        for target, result, each in todo:
            weights = stored_weights(target.path, getattr(torch, config.model.dtype), config.rollout.transfer_timeout_s)
            path = result.folder / f"{each.name}.parquet"
            with AnswerProgress(f"{target.name} {each.name}") as progress:
                policy, problems = Policy(target.name, weights), read_problems(each, config.evaluation.folder)
                accuracies, measured = measure(ask, policy, each, problems, path, progress)
            measured.undecided = round(ask.take_usage().sandbox.get("undecided", 0.0))
            result.record(each.name, accuracies, measured)


def with_room(config: Config, inputs: "Inputs", sets: "Sequence[BenchmarkSet]") -> Config:
    """The settings of the engines: a context that holds the longest answer that a set names, where the model has positions."""
    named = [each.max_tokens for each in sets if each.max_tokens]
    room = deepcopy(config)
    if named:
        wanted = max(named) + CONTEXT
        room.model.max_length = max(config.model.max_length, min(wanted, inputs.positions or wanted))
    return room


def track(config: Config, state: "RunState | None", targets: "Sequence[Target]", scores: "Sequence[Scores]") -> None:
    """Logs the figures: of a run's rounds in their MLflow runs, and in its report; of any other policy in a run of its own."""
    from pipeline.evaluate import as_metrics
    from pipeline.observe.report.page import write_report
    from pipeline.observe.tracking import Tracker, track_policy

    if state is None:
        for target, each in zip(targets, scores, strict=True):
            track_policy(config.tracking_uri, target.name, target.path, as_metrics(each.means()))
        return
    with Tracker(config, parent_id=state.manifest.tracking_id) as tracker:
        state.track(tracker.parent_id)
        for target in targets:
            figures = as_metrics(state.manifest.round(target.round).evaluation.accuracies)
            tracker.round(target.round).log_step(figures, target.round)
            tracker.log_step(figures, target.round)
    write_report(state.folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
