"""Runs co-evolution rounds: `python -m jobs.round --iter 3`, or `make round ITER=3`."""

import argparse
import os
import sys
from collections.abc import Sequence

from actors.cluster import check_cluster, prepare_environment, ray_cluster
from actors.machine import IN_JOB
from conf.errors import ConfigError
from conf.load import load_config, profiles
from conf.schema import Config
from conf.settings import help_text
from jobs.cli import command, make_line, replaced
from pipeline.errors import NoSignalError
from pipeline.interruption import steps_finished

EPILOG = "settings (change them with --set SETTING=VALUE ...):\n"


class Parser(argparse.ArgumentParser):
    """Adds the list of all settings to --help."""

    def format_help(self) -> str:
        return f"{super().format_help()}\n{EPILOG}{help_text()}\n"


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The options that running here and submitting to a cluster share."""
    parser = Parser(prog=f"python -m {program}", description="Run R-Zero up to a round; finished work is not repeated.")
    names = ", ".join(profiles())
    parser.add_argument("--iter", type=int, default=1, metavar="N", help="last round to run (default 1)")
    parser.add_argument("--profile", default="tiny", help=f"one of {names}, or a path to a YAML file (default tiny)")
    parser.add_argument("--name", help="name of the run (default: the profile's)")
    parser.add_argument("--seed", type=int, help="seed of the run (default: the profile's)")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="SETTING=VALUE", help="e.g. challenger.steps=2 reward.lambda=0.5"
    )
    return parser.parse_args(arguments)


def settings(options: argparse.Namespace) -> Config:
    """The checked settings of a command line.

    Raises:
        ConfigError: one of them is invalid.
    """
    if options.iter < 1:
        raise ConfigError(f"ITER={options.iter}: number of the last round; valid: 1 or more.")
    return load_config(options.profile, overrides(options))


def overrides(options: argparse.Namespace) -> list[str]:
    named = [f"name={options.name}"] if options.name is not None else []
    seeded = [f"seed={options.seed}"] if options.seed is not None else []
    return [*options.set, *named, *seeded]


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 the run failed, 2 an invalid setting, 130 or 143 interrupted (the same command resumes)."""
    options = parse(arguments, "jobs.round")
    config = settings(options)
    try:
        run(config, options.iter)
    except NoSignalError as error:
        if not error.settings:
            raise
        other = make_command(options, options.iter, f"{config.name}-2", error.settings)
        raise NoSignalError(f"{error}\nIn a new run:\n  {other}") from error
    print(f"next: {make_command(options, options.iter + 1, options.name)}")
    return 0


def make_command(options: argparse.Namespace, last: int, name: str | None, changes: Sequence[str] = ()) -> str:
    """The command for rounds up to `last` with this call's options, except for `changes`; in a Ray job, to submit another."""
    target, settings = "submit" if IN_JOB in os.environ else "round", replaced(options.set, changes)
    return make_line(target, ITER=last, PROFILE=options.profile, NAME=name, SEED=options.seed, SET=settings)


def run(config: Config, last: int) -> None:
    # Imported late, so that an invalid setting fails fast.
    prepare_environment()
    from jobs.checks.fit import refuse_what_cannot_fit
    from pipeline.inputs import check_inputs
    from pipeline.observe.journal import has_unsent
    from pipeline.observe.terminal import say
    from pipeline.store.state import RunState

    inputs = check_inputs(config)
    check_cluster(config)
    for warning in inputs.warnings:
        say(f"warning: {warning}")
    with RunState(config) as state:
        for note in state.notes:
            say(note)
        state.refuse_other_files(inputs.fingerprints())
        if state.manifest.closed_rounds() >= last:
            say(f"run {config.name} has already finished round {last}; nothing to do")
            if has_unsent(state.folder, config.tracking_uri):
                from pipeline.observe.sender import send_pending

                send_pending(config, state.folder, state.tracking_id())
            return
        for change in state.changed_code(inputs.code):
            say(change)
        refuse_what_cannot_fit(inputs.model, config, held=state.kept_bytes())
        say(f"run {config.name}: starting Ray and the rollout workers")
        from actors.evidence import evidence_kept
        from actors.rollout.fleet import rollout_fleets
        from actors.services import services_watched

        logs = state.folder / "logs"
        with (
            ray_cluster(config, say, watch=services_watched(logs)) as placement,
            evidence_kept(logs),
            rollout_fleets(config, inputs.base_path, placement) as fleets,
        ):
            # Imported while the engines start, which takes longest.
            from pipeline.round import run_rounds
            from pipeline.run import open_run

            with open_run(config, inputs, state, fleets, placement) as opened, steps_finished():
                run_rounds(opened, last)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
