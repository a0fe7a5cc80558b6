"""Writes the report of a run: `make report NAME=tiny`, or `python -m jobs.report`; also of a run that is still going on."""

import argparse
import sys
from collections.abc import Sequence

from conf.load import ConfigError
from conf.schema import Config
from pipeline.store.runs import find_run


def options(program: str, description: str) -> argparse.ArgumentParser:
    """What the commands that only read runs have in common."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--name", help="name of the run (default: the one that was written to last)")
    parser.add_argument("--runs-dir", default=Config.runs_dir, help="folder that holds the runs (default: %(default)s)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 written, 2 there is no such run, or its oracle is gone."""
    chosen = options("jobs.report", "Write report.html of a run.").parse_args(arguments)
    try:
        folder = find_run(chosen.runs_dir, chosen.name)
        from pipeline.observe.report.page import write_report  # late: a wrong name is told at once

        path = write_report(folder)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path} ({path.stat().st_size / 1024:,.0f} KB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
