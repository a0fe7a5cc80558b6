"""Stack traces of every process of a run: `make stacks`, or `make stacks NAME=tiny` for one that was not written last.

py-spy inspects a process from outside, even a stopped one. If the kernel forbids that (it takes root, or the capability
SYS_PTRACE in a container), a signal makes the process print its stacks.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from actors.processes import STACK_SIGNAL, RunProcess, answers_signal, run_processes
from conf.errors import ConfigError
from conf.load import ROOT
from jobs.cli import command, options
from pipeline.observe.terminal import printable
from pipeline.store.runs import find_run

PY_SPY = str(Path(sys.executable).with_name("py-spy"))
INNERMOST = 5  # frames of a thread
ANSWER_S = 5.0
PACKAGES = "site-packages/"
LIBRARY = sysconfig.get_path("stdlib")
QUOTED = re.compile(r'(?<=File ")[^"]+')  # a path in what `faulthandler` writes


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 shown, 2 no such run, or no process on this machine works on it."""
    chosen = options("jobs.stacks", "Print the stack traces of every process of a run.").parse_args(arguments)
    folder = find_run(chosen.runs_dir, chosen.name)
    processes = run_processes(folder)
    if not processes:
        raise ConfigError(f"NAME={folder.name}: no process on this machine works on {folder}; `make status` lists the runs.")
    own = [process for process in processes if not process.of_ray]
    for process in own:
        print("\n".join(described(process)), end="\n\n")
    if len(own) == len(processes):
        print("The driver uses an existing Ray cluster; run `ray stack` on its nodes for the actors.")
    return 0


def described(process: RunProcess) -> Iterator[str]:
    """A heading, then the stacks of its threads, the innermost frame first."""
    pid = process.process.pid
    dump = subprocess.run([PY_SPY, "dump", "--nonblocking", "--json", "--pid", str(pid)], capture_output=True, text=True)
    try:
        yield f"{process.role} (process {pid}, {process.process.status()})"
        if dump.returncode == 0:
            yield from summary(json.loads(dump.stdout))
        elif answers_signal(process.process):
            yield from answer(pid)
        else:
            yield f"  py-spy: {(dump.stderr.strip().splitlines() or ['no output'])[0]}; try as root"
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        yield f"{process.role} (process {pid}) has exited"


def summary(threads: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The main thread and the threads that run code of this repository.

    For each thread, its innermost frames and those of this repository.
    """
    for thread in threads:
        frames = thread["frames"]
        ours = [frame["filename"].startswith(f"{ROOT}/") and PACKAGES not in frame["filename"] for frame in frames]
        if any(ours) or thread["thread_name"] == "MainThread":
            yield f"  {thread['thread_name']}, {'active' if thread['active'] else 'waiting'}"
            shown = [place < INNERMOST or own for place, own in enumerate(ours)]
            for place, frame in enumerate(frames):
                if shown[place]:
                    yield f"    {frame['name']} ({short(frame['filename'])}:{frame['line']})"
                elif shown[place - 1]:
                    yield "    ..."


def short(file: str) -> str:
    """A file relative to the folder of its package, to the repository, or to Python's own library."""
    return file.rpartition(PACKAGES)[2].removeprefix(f"{ROOT}/").removeprefix(f"{LIBRARY}/")


def answer(pid: int) -> Iterator[str]:
    """What a process writes to standard error on STACK_SIGNAL."""
    output = Path(os.readlink(f"/proc/{pid}/fd/2"))
    if not output.is_file():
        os.kill(pid, STACK_SIGNAL)
        yield f"  its stacks are on its own standard error, {output}"
        return
    before = size = output.stat().st_size
    os.kill(pid, STACK_SIGNAL)
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        time.sleep(0.2)  # polls until the output has grown and is stable
        if before < (now := output.stat().st_size) == size:
            break
        size = now
    with output.open(errors="replace") as file:
        file.seek(before)
        yield from (f"    {printable(QUOTED.sub(lambda path: short(path[0]), line), 200)}" for line in file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
