"""Common parts of the commands: exit statuses, and the options that select a run."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from conf.load import ConfigError
from conf.schema import Config
from pipeline.errors import RunError

Main = Callable[[Sequence[str]], int]


def command(main: Main) -> Main:
    """Turns user-facing errors into a line on stderr and an exit status: 1 the run failed, 2 invalid input, 130 interrupted.

    SIGTERM exits every context and ends the command with status 143. Other exceptions keep their traceback.
    """

    @wraps(main)
    def ended(arguments: Sequence[str]) -> int:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        try:
            return main(arguments)
        except (ConfigError, RunError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2 if isinstance(error, ConfigError) else 1
        except KeyboardInterrupt:
            print("interrupted; the same command resumes", file=sys.stderr)
            return 130

    return ended


def options(program: str, description: str) -> argparse.ArgumentParser:
    """The options of commands that only read runs."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--name", help="name of the run (default: the most recently written one)")
    parser.add_argument("--runs-dir", default=Config.runs_dir, help="folder that holds the runs (default: %(default)s)")
    return parser
