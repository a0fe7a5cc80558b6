"""Kills, stops and damages parts of tiny rounds at random moments, and compares what they leave with the undisturbed round.

    python -m jobs.chaos --faults 20 --seed 0

The outcomes are in the file --output; the undisturbed round, and what the last round left, in the folder of the same name. A call
with more faults adds those that the file does not have.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from conf.errors import ConfigError
from jobs.chaos.faults import KINDS
from jobs.cli import command


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 nothing was lost, 1 something was."""
    parser = argparse.ArgumentParser(prog="python -m jobs.chaos", description="Faults at random moments of tiny rounds.")
    parser.add_argument("--faults", type=int, default=len(KINDS), metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the round and of the faults (default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this fault alone, to repeat it")
    parser.add_argument("--output", type=Path, default=Path("runs/chaos.jsonl"), help="outcomes, which later calls add to")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no fault strikes; a later call resumes")
    options = parser.parse_args(arguments)
    if options.faults < 1:
        raise ConfigError(f"--faults={options.faults}: valid: 1 or more")
    from jobs.chaos.campaign import Campaign
    from jobs.chaos.records import table
    from pipeline.observe.terminal import console, say

    numbers = range(options.faults) if options.only is None else [options.only]
    if not options.output.suffix:
        parser.error(f"--output {options.output}: valid: a file with a suffix, beside which a folder without it is made")
    folder = options.output.with_suffix("").absolute()
    records = Campaign(options.seed, options.output, folder, 60 * options.minutes, say).run(
        numbers, again=options.only is not None
    )
    chosen = [record for record in records if record.number in numbers]
    console.print("\n".join(table(chosen)), soft_wrap=True, markup=False)
    return 1 if any(record.outcome == "lost" for record in chosen) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
