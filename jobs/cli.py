"""Common parts of the commands: exit statuses, and the options that select a run."""

import argparse
import errno
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from conf.load import ConfigError
from conf.schema import Config
from conf.secrets import without_credentials
from pipeline.errors import RunError

# Faults of a disk: no space, over quota, read-only, not permitted, too large, or broken.
STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
Main = Callable[[Sequence[str]], int]


def command(main: Main) -> Main:
    """Turns user-facing errors into a line on stderr and an exit status: 1 the run failed, 2 invalid input, 130 interrupted.

    SIGTERM exits every context and ends the command with status 143. SIGINT counts also where it was handed down as ignored, as
    a shell's script does to a job that it starts with `&`. Other exceptions keep their traceback.
    """

    @wraps(main)
    def ended(arguments: Sequence[str]) -> int:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return main(arguments)
        except ConfigError as error:
            print(f"error: {in_a_line(error)}", file=sys.stderr)
            return 2
        except RunError as error:
            print(f"error: {without_credentials(str(error))}", file=sys.stderr)
            return 1
        except OSError as error:
            if error.errno not in STORAGE:
                raise
            place = f"{error.filename}: " if error.filename else ""
            print(f"error: {place}{error.strerror}; once it can be written, the same command resumes", file=sys.stderr)
            return 1
        except SystemExit as ended:
            if ended.code == 128 + signal.SIGTERM:
                print("terminated; the same command resumes", file=sys.stderr)
            raise
        except KeyboardInterrupt:
            print("interrupted; the same command resumes", file=sys.stderr)
            return 130

    return ended


def in_a_line(error: Exception) -> str:
    """The message of an error, which a library's part of it may have broken into lines, without credentials."""
    return without_credentials(" ".join(line.strip() for line in str(error).splitlines()))


def make_line(target: str, **variables: object) -> str:
    """A make command with those variables that are given and not what they are by default.

    >>> make_line("round", ITER=2, PROFILE="tiny", NAME=None, SET="a=1 b=2")
    "make round ITER=2 SET='a=1 b=2'"
    """
    given = {name: value for name, value in variables.items() if value not in (None, "")}
    words = [f"{name}={shlex.quote(str(value))}" for name, value in given.items() if (name, value) != ("PROFILE", "tiny")]
    return " ".join([f"make {target}", *words])


def replaced(settings: Sequence[str], changes: Sequence[str]) -> str:
    """The value of SET: the settings of a call, but `changes` in place of those of the same names.

    >>> replaced(["a=1", "b=2"], ["a=3"])
    'b=2 a=3'
    """
    changed = {change.partition("=")[0] for change in changes}
    return " ".join([*(each for each in settings if each.partition("=")[0] not in changed), *changes])


def options(program: str, description: str) -> argparse.ArgumentParser:
    """The options of commands that only read runs."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--name", help="name of the run (default: the most recently written one)")
    parser.add_argument("--runs-dir", default=Config.runs_dir, help="folder that holds the runs (default: %(default)s)")
    return parser
