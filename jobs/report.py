"""Writes the report of a run: `make report NAME=tiny`, or `python -m jobs.report`; also of an unfinished run."""

import sys
from collections.abc import Sequence

from jobs.cli import command, options
from pipeline.store.runs import find_run


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 written, 2 no such run, or its oracle cannot be loaded."""
    chosen = options("jobs.report", "Write report.html of a run.").parse_args(arguments)
    folder = find_run(chosen.runs_dir, chosen.name)
    from pipeline.observe.report.page import write_report  # imported late, so that a wrong name fails fast

    path = write_report(folder)
    print(f"{path} ({path.stat().st_size / 1024:,.0f} KB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
