"""Measures any policy on held-out sets: `make evaluate POLICY=runs/tiny:3 SETS="math500 aime24"`, or all rounds of `runs/tiny`.

What was measured is not measured again, and an interrupted call resumes. A run's rounds get their figures in the run's own files,
in MLflow and in its report, unless LIMIT, SAMPLES or a set's longer answers make them others than the run's.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actors.cluster import check_cluster, prepare_environment, ray_cluster
from conf.errors import ConfigError
from conf.load import list_override, load_config, profiles
from conf.schema import Config
from jobs.cli import command, set_names
from pipeline.domain.sets import BenchmarkSet, find_sets
from pipeline.errors import DamagedError
from pipeline.evaluate import as_metrics
from pipeline.inputs import Inputs, check_inputs, fingerprint
from pipeline.interruption import steps_finished
from pipeline.measure import forget_parts, measure
from pipeline.observe.clock import Clock
from pipeline.observe.report.page import write_report
from pipeline.observe.scores import read_scores, show_rounds, show_scores, summary
from pipeline.observe.terminal import AnswerProgress, say
from pipeline.policies import Target, find_policies
from pipeline.results import Asked, FolderResults, Results, RoundResults, held
from pipeline.store.benchmarks import read_problems, refuse_missing
from pipeline.store.manifest import write_atomically
from pipeline.store.state import RunState
from pipeline.store.tables import EvaluationRow, remove_damaged
from pipeline.types import Policy

if TYPE_CHECKING:
    from pipeline.inference import Inference

CONTEXT = 2048  # tokens of a prompt that the context has room for, beside the longest answer that the set names


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
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="SETTING=VALUE", help="e.g. rollout.engines=2")
    options = parser.parse_args(arguments)
    prepare_environment()
    targets = find_policies(options.policy)
    evaluate(settings(options, targets[0]), targets, options.output)
    return 0


def settings(options: argparse.Namespace, target: Target) -> Config:
    """The run's own settings, or those of a profile, with what the command line says on top."""
    told = [list_override("evaluation.sets", set_names(options.sets))] if options.sets else []
    told += [f"evaluation.limit={options.limit}"] if options.limit is not None else []
    told += [f"evaluation.samples={options.samples}"] if options.samples is not None else []
    if target.run is None:
        return load_config(options.profile, [*told, *options.set, f"model.path={target.path}"])
    place = [f"name={target.run.name}", f"runs_dir={target.run.parent}"]
    if not (file := target.run / "config.yaml").is_file():
        raise DamagedError(
            f"{file} is missing", f"`make round` with the run's settings and NAME={target.run.name} writes it anew"
        )
    return load_config(str(file), [*told, *options.set, *place])


def evaluate(config: Config, targets: Sequence[Target], output: Path) -> None:
    """Measures what is missing, writes summary.json for each policy, and prints the tables."""
    if not (sets := find_sets(config.evaluation.sets, "SETS")):
        raise ConfigError("SETS: no set is named; valid: names of conf/benchmarks.yaml, .yaml files of definitions, data files.")
    inputs = measuring_inputs(config)
    check_cluster(config, learner=False)
    refuse_missing(sets, config.evaluation.folder)
    asked = [Asked(each, read_problems(each, config.evaluation.folder)) for each in sets]
    with ExitStack() as stack:
        for target in targets:
            stack.enter_context(held(output / target.name))
        state = stack.enter_context(RunState(config, "evaluate")) if targets[0].run else None
        if state:
            for note in state.notes:
                say(note)
            state.refuse_other_files(inputs.fingerprints())
        rooms = [with_room(config, inputs, each.definition) for each in asked]
        # By target and context, since each reads parts of the policy's files.
        places = {
            (target, length): results_of(target, state, output, room)
            for target in targets
            for length, room in {room.model.max_length: room for room in rooms}.items()
        }
        measurements = [
            Measurement(target, places[target, room.model.max_length], each, room)
            for target in targets
            for each, room in zip(asked, rooms, strict=True)
        ]
        if todo := [each for each in measurements if not sound(each.results, each.asked)]:
            measure_all(config, inputs, todo, (state.folder if state else output) / "logs")
        rows = []
        for target in targets:
            tables = {
                each.asked.definition.name: (known, each.results.path(each.asked))
                for each in measurements
                if each.target is target and (known := each.results.known(each.asked))
            }
            scores = read_scores(target.name, tables)
            write_atomically(output / target.name / "summary.json", json.dumps(summary(scores), indent=1))
            show_scores(scores)
            rows.append((target.label, scores))
        show_rounds(rows, config.model.path if state else targets[0].label)
        print(f"summaries: {output.absolute()}")
        if state and any(isinstance(each.results, RoundResults) for each in measurements):
            track_rounds(config, state, targets)
        elif todo and state is None:
            from pipeline.observe.tracking import track_policy  # mlflow takes seconds to import

            try:
                for target, (_, scores) in zip(targets, rows, strict=True):
                    track_policy(config.tracking_uri, target.name, target.path, as_metrics(scores.means()))
            except ConfigError as error:  # the figures are on disk
                say(f"the figures are not in MLflow: {error}")


@dataclass(frozen=True, slots=True)
class Measurement:
    """A set under a policy: where its figures go, and the settings of the engines that draw its answers."""

    target: Target
    results: Results
    asked: Asked
    config: Config


def measuring_inputs(config: Config) -> Inputs:
    """The inputs without the scorers, which only a round needs: a policy can be measured where a scorer's file is gone."""
    plain = deepcopy(config)
    plain.reward.scorers = []
    return check_inputs(plain)


def results_of(target: Target, state: RunState | None, output: Path, config: Config) -> Results:
    """Where figures go: into the run, where they are measured as the run measures its own."""
    own = state.manifest.config if state else {}
    now = asdict(config)
    names = [("evaluation", name) for name in ("limit", "samples", "temperature", "top_p")]
    if state and all(own[part][name] == now[part][name] for part, name in [*names, ("model", "max_length")]):
        return RoundResults(state, target.round, config.evaluation)
    return FolderResults(output / target.name, target, config)


def sound(result: Results, asked: Asked) -> bool:
    """Whether a set need not be measured; its table is removed where it is damaged, so that the set is measured again."""
    damaged = remove_damaged([result.path(asked)], EvaluationRow) if result.known(asked) else []
    for damage in damaged:
        say(f"{damage}; the set is measured again, with the same seeds")
    return result.known(asked) is not None


def measure_all(config: Config, inputs: Inputs, todo: Sequence[Measurement], logs: Path) -> None:
    """Measures sets under policies: one fleet of engines for each length of context, which takes on one policy after another.

    Where it fails, the actors' logs are copied to a subfolder of `logs`.
    """
    from actors.evidence import evidence_kept
    from actors.rollout.fleet import rollout_fleets
    from actors.services import services_watched
    from pipeline.inference import start_inference

    say(f"starting Ray and the rollout workers to measure {len(todo)} sets")
    with ExitStack() as stack:
        placement = stack.enter_context(ray_cluster(config, say, learner=False, watch=services_watched(logs)))
        stack.enter_context(evidence_kept(logs))
        policies = {target: stored(target, config) for target in dict.fromkeys(each.target for each in todo)}
        for length in sorted({each.config.model.max_length for each in todo}):
            of_length = [each for each in todo if each.config.model.max_length == length]
            room = of_length[0].config
            with rollout_fleets(room, inputs.base_path, placement) as fleets, steps_finished():
                ask = start_inference(room, inputs, fleets, Clock())
                for each in of_length:
                    measure_set(ask, policies[each.target], each)


def measure_set(ask: "Inference", policy: Policy, each: Measurement) -> None:
    definition, path = each.asked.definition, each.results.path(each.asked)
    with AnswerProgress(f"{each.target.name} {definition.name}") as progress:
        accuracies, measured = measure(ask, policy, definition, each.asked.problems, path, progress)
    measured.undecided = round(ask.take_usage().sandbox.get("undecided", 0.0))
    each.results.record(each.asked, accuracies, measured)
    forget_parts(path)


def stored(target: Target, config: Config) -> Policy:
    """A target's policy; the version tells apart folders that were written anew under one name."""
    import torch

    from actors.weights.host import stored_weights

    weights = stored_weights(target.path, getattr(torch, config.model.dtype), config.rollout.transfer_timeout_s)
    return Policy(f"{target.name} {fingerprint(Path(target.path))}", weights)


def with_room(config: Config, inputs: Inputs, definition: BenchmarkSet) -> Config:
    """The settings of the engines: a context that holds the longest answer that the set names, where the model has positions."""
    room = deepcopy(config)
    if definition.max_tokens:
        wanted = definition.max_tokens + CONTEXT
        room.model.max_length = max(config.model.max_length, min(wanted, inputs.positions or wanted))
    return room


def track_rounds(config: Config, state: RunState, targets: Sequence[Target]) -> None:
    """Logs the figures of a run's rounds in their MLflow runs, and writes the run's report anew."""
    from pipeline.observe.sender import recorder  # mlflow takes seconds to import

    with recorder(config, state.folder, state.tracking_id()) as tracker:
        for target in targets:
            metrics = as_metrics(state.manifest.round(target.round).evaluation.accuracies)
            tracker.round(target.round).log_step(metrics, target.round)
            tracker.log_step(metrics, target.round)
    write_report(state.folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
