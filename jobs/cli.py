"""Common parts of the commands: exit statuses, and the options that select a run."""

import argparse
import errno
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from io import TextIOWrapper

from safetensors import SafetensorError

from conf.errors import ConfigError
from conf.schema import Config
from conf.secrets import without_credentials
from pipeline.errors import RunError

# Faults of a disk: no space, over quota, read-only, not permitted, too large, or broken.
STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
# A path that cannot be what a command makes of it: a file in place of a folder, one in place of the other, too long, a cycle.
PATHS = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
Main = Callable[[Sequence[str]], int]


def command(main: Main) -> Main:
    """Turns user-facing errors into a line on stderr and an exit status: 1 the run failed, 2 invalid input, 130 interrupted.

    A reader that closes the pipe, such as `head`, ends the command with status 141. What the terminal's encoding lacks is printed
    as a question mark. SIGTERM exits every context and ends the command with status 143. SIGINT counts also where it was handed
    down as ignored, as a shell's script does to a job that it starts with `&`. Other exceptions keep their traceback.
    """

    @wraps(main)
    def ended(arguments: Sequence[str]) -> int:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # None where it is closed
                stream.reconfigure(errors="replace")
        try:
            status = main(arguments)
            with suppress(AttributeError):  # stdout is closed
                sys.stdout.flush()
            return status
        except ConfigError as error:
            print(f"error: {in_a_line(error)}", file=sys.stderr)
            return 2
        except RunError as error:
            print("error: " + "\n".join(map(visible, without_credentials(str(error)).split("\n"))), file=sys.stderr)
            return 1
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of the output, at exit
            return 128 + signal.SIGPIPE
        except (shutil.Error, SafetensorError) as error:  # a model folder cannot be copied or written
            print(f"error: {in_a_line(error)}", file=sys.stderr)
            return 1
        except OSError as error:
            return failed(error)
        except SystemExit as ended:
            if ended.code == 128 + signal.SIGTERM:
                print("terminated; the same command resumes", file=sys.stderr)
            raise
        except KeyboardInterrupt:
            print("interrupted; the same command resumes", file=sys.stderr)
            return 130

    return ended


def failed(error: OSError) -> int:
    """Says in a line what a disk or a path lacks, and returns the exit status; other errors are raised again."""
    place = f"{error.filename2 or error.filename}: " if error.filename else ""
    if error.errno in STORAGE:
        print(f"error: {visible(place)}{error.strerror}; once it can be used, the same command resumes", file=sys.stderr)
        return 1
    if error.errno in PATHS:
        print(f"error: {visible(place)}{error.strerror}; valid: another path, or this one freed", file=sys.stderr)
        return 2
    if error.errno == errno.ENOENT and not error.filename:
        print(f"error: {error.strerror}; valid: a current folder that exists, and a TMPDIR that can be written", file=sys.stderr)
        return 2
    raise error


def in_a_line(error: Exception) -> str:
    """The message of an error, which a library's part of it may have broken into lines, without credentials."""
    return visible(without_credentials(" ".join(line.strip() for line in str(error).splitlines())))


def visible(text: str) -> str:
    """The text with its control characters written out, so that a name cannot move the terminal's cursor.

    >>> visible("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def make_line(target: str, **variables: object) -> str:
    """A make command with those variables that are given and not what they are by default; a list is one of words.

    >>> make_line("round", ITER=2, PROFILE="tiny", NAME=None, SET=["a=1", "b=[c,d]"])
    "make round ITER=2 SET='a=1 b=[c,d]'"
    """
    given = {name: value for name, value in variables.items() if value not in (None, "", [])}
    words = [f"{name}={shlex.quote(recipe(value))}" for name, value in given.items() if (name, value) != ("PROFILE", "tiny")]
    return " ".join([f"make {target}", *words])


def recipe(value: object) -> str:
    """A variable's text for make: the Makefile's recipes leave it to a shell of theirs, which splits it into words.

    >>> print(recipe(["prompts=my file", "b=[c,d]", "e=$f"]))
    'prompts=my file' b=[c,d] 'e=$$f'
    """
    words = value if isinstance(value, list) else [str(value)]
    # Brackets stay readable: the shell would take them for a pattern only where a file has such a name as `b=c`.
    quoted = [word if re.fullmatch(r"[\w@%+=:,./\[\]-]+", word, re.ASCII) else shlex.quote(word) for word in words]
    return " ".join(quoted).replace("$", "$$")


def replaced(settings: Sequence[str], changes: Sequence[str]) -> list[str]:
    """The settings of a call, but `changes` in place of those of the same names.

    >>> replaced(["a=1", "b=2"], ["a=3"])
    ['b=2', 'a=3']
    """
    changed = {change.partition("=")[0] for change in changes}
    return [*(each for each in settings if each.partition("=")[0] not in changed), *changes]


def set_names(text: str) -> list[str]:
    """The names and paths of `SETS`, between spaces or commas; a path that has some is in quotes.

    >>> set_names("math500, aime24"), set_names("'my set.jsonl' gsm8k")
    (['math500', 'aime24'], ['my set.jsonl', 'gsm8k'])

    Raises:
        ConfigError: a quote is not closed.
    """
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.whitespace, lexer.commenters = True, ", \t\r\n", ""
    try:
        return list(lexer)
    except ValueError as error:
        raise ConfigError(f"SETS={text}: {error}; valid: names and paths, those with spaces or commas in quotes.") from error


def options(program: str, description: str) -> argparse.ArgumentParser:
    """The options of commands that only read runs."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--name", help="name of the run (default: the most recently written one)")
    parser.add_argument("--runs-dir", default=Config.runs_dir, help="folder that holds the runs (default: %(default)s)")
    return parser
