"""Live progress of a run: `make watch`, until Ctrl-C. Reads the same as `make status`, every other second."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.live import Live

from conf.errors import ConfigError
from jobs.cli import command, options
from jobs.status import one_run
from pipeline.observe.terminal import console
from pipeline.store.progress import read_progress
from pipeline.store.runs import find_run

EVERY_S = 2.0


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 after Ctrl-C, 2 no such run, or the output is not a terminal."""
    chosen = options("jobs.watch", "Follow a run until Ctrl-C.").parse_args(arguments)
    folder = find_run(chosen.runs_dir, chosen.name)
    if not console.is_terminal:
        raise ConfigError("watch needs a terminal as output; valid: `make status NAME=...`, which prints once.")
    with suppress(KeyboardInterrupt), Live(one_run(read_progress(folder)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(EVERY_S)
            live.update(one_run(read_progress(folder)), refresh=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
