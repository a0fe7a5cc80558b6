"""Whether a run would work, before it costs hours: `make check PROFILE=qwen3-4b`, and `TRY=1` to draw from the model as well.

Looks at the machine, computes whether the model fits and how much a round samples, and with --try draws questions and answers
from the base model. Nothing is trained, and without --try no model is downloaded.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from actors.cluster import check_head, prepare_environment
from conf.load import load_config, profiles
from conf.schema import Config
from jobs.checks.finding import Finding, is_setting, show
from jobs.cli import command, make_line, replaced


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 ready, 1 a fault that would end or spoil a run, 2 an invalid setting or model, 130 or 143 interrupted."""
    options = parse(arguments)
    config = load_config(options.profile, [*options.set, *([f"name={options.name}"] if options.name is not None else [])])
    prepare_environment()
    findings = check(config, options)
    faults, warnings = (sum(each.level == level for each in findings) for level in ("fault", "warning"))
    counts = [f"{count} {level}{'' if count == 1 else 's'}" for count, level in ((faults, "fault"), (warnings, "warning"))]
    print(f"\n{'not ready' if faults else 'ready'}: {', '.join(counts)}")
    changes = [each.do for each in sorted(findings, key=lambda each: each.level) if each.level != "ok" and is_setting(each.do)]
    if changes:
        print(f"to try next: {command_line('check', options, changes[0])}")
    elif not faults:
        print(f"next: {command_line('round', options)}")
    return 1 if faults else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.check", description="Check whether a run would work; trains nothing.")
    parser.add_argument(
        "--profile", default="tiny", help=f"one of {', '.join(profiles())}, or a path to a YAML file (default tiny)"
    )
    parser.add_argument("--name", help="name of the run (default: the profile's)")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="SETTING=VALUE", help="the run's settings, as for jobs.round"
    )
    parser.add_argument("--try", dest="trial", action="store_true", help="also draw questions and answers from the base model")
    parser.add_argument(
        "--tokens-per-second", type=float, metavar="N", help="of all engines together, for a round's hours (--try measures it)"
    )
    options = parser.parse_args(arguments)
    if options.tokens_per_second is not None and not 0 < options.tokens_per_second < float("inf"):
        parser.error(f"--tokens-per-second {options.tokens_per_second:g}: valid: a positive number")
    return options


def check(config: Config, options: argparse.Namespace) -> list[Finding]:
    """All findings, printed by group as they come.

    Raises:
        ConfigError: a setting, a file that one names, or the base model is invalid.
    """
    # Imported late, so that an invalid setting fails fast.
    from actors.rollout.count import engine_count
    from jobs.checks.base_model import find_base, sets_finding, usable_inputs
    from jobs.checks.fit import fit_findings, known_shape, workload_findings
    from jobs.checks.machine import machine_findings
    from jobs.checks.probe import read_gpus
    from jobs.checks.trial import try_model
    from jobs.checks.verdict import show_texts, trial_findings
    from pipeline.inputs import check_parts, find_model

    if options.trial and (address := os.environ.get("RAY_ADDRESS")):
        check_head(address)
    parts = check_parts(config)
    base = find_base(config, parts)
    config.rollout.engines = engine_count(config, base.config or {})
    gpus = read_gpus() if config.resources.device == "cuda" else []
    findings = show("the machine", machine_findings(config, gpus, starts_ray=not options.trial))
    findings += show("the model", [base.finding, *fit_findings(base.config, config, gpus)])
    speed, lengths = options.tokens_per_second, None
    if options.trial and any(each.level == "fault" for each in findings):
        findings += show("the base model, tried", [Finding("warning", "trial", "not tried, because of the faults above")])
    elif options.trial:
        inputs = base.inputs or usable_inputs(config, parts, find_model(config.model.path))  # a hub id is downloaded
        tried = try_model(config, inputs)
        speed, lengths = speed or tried.tokens_per_s * config.rollout.engines, tried.lengths
        found = trial_findings(tried, config, inputs.positions, inputs.prompts.for_base)
        findings += show("the base model, tried", found)
        show_texts(tried)
    work = workload_findings(config, parts.scorers, speed, lengths, known_shape(base.config))
    return findings + show("what a round samples", [*work, sets_finding(config)])


def command_line(target: str, options: argparse.Namespace, change: str = "") -> str:
    """The make command with this call's options, and with settings that replace those of the same names."""
    settings, trial = replaced(options.set, change.split()), 1 if options.trial and target == "check" else None
    return make_line(target, PROFILE=options.profile, NAME=options.name, SET=settings, TRY=trial)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
