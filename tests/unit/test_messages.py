"""What a command prints: nothing that moves the cursor, in any encoding, to a reader that may leave."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from conf.errors import ConfigError
from conf.load import ROOT
from jobs.cli import command
from pipeline.errors import RunError
from tests.made_runs import made_config, write_run

CLEARS = "a\x1b[2J"  # the screen


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (RunError(f"{CLEARS}\nb"), 1, "error: a\\x1b[2J\nb\n"),
        (ConfigError(f"{CLEARS}\nb"), 2, "error: a\\x1b[2J b\n"),
        (OSError(errno.ENOSPC, "full", CLEARS), 1, "error: a\\x1b[2J: full; once it can be used, the same command resumes\n"),
        (OSError(errno.ENOTDIR, "no folder", CLEARS), 2, "error: a\\x1b[2J: no folder; valid: another path, or this one freed\n"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory"), 2, None),
    ],
)
def test_a_name_does_not_move_the_cursor(
    error: Exception, status: int, shown: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    @command
    def main(arguments: Sequence[str]) -> int:
        raise error

    assert main([]) == status
    told = capsys.readouterr().err
    assert told == shown or (shown is None and "TMPDIR" in told)


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    @command
    def main(arguments: Sequence[str]) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file", "a")

    with pytest.raises(FileNotFoundError):
        main([])


def test_a_terminal_without_unicode_and_a_reader_that_leaves(tmp_path: Path) -> None:
    run = write_run(made_config(tmp_path), 2)
    status = [sys.executable, "-m", "jobs.status", "--runs-dir", str(tmp_path)]
    ascii_only = subprocess.run(
        [*status, "--name", "made"], cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert (ascii_only.returncode, ascii_only.stderr) == (0, "")
    assert "made  tiny  idle" in ascii_only.stdout
    reader, writer = os.pipe()
    os.close(reader)
    left = subprocess.run([sys.executable, "-m", "jobs.limits", run], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (left.returncode, left.stderr) == (128 + signal.SIGPIPE, "")
