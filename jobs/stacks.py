"""Where every process of a run stands: `make stacks`, and `make stacks NAME=tiny` for one that was not the last to write.

py-spy looks into a process from outside, also into one that is stopped. Where the kernel does not allow that (it takes root, or
the capability SYS_PTRACE in a container), the process is asked for its stacks by a signal.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from actors.processes import STACK_SIGNAL, RunProcess, answers_signal, run_processes
from conf.load import ROOT, ConfigError
from jobs.cli import command, options
from pipeline.observe.terminal import printable
from pipeline.store.runs import find_run

PY_SPY = str(Path(sys.executable).with_name("py-spy"))
INNERMOST = 5  # frames of a thread
ANSWER_S = 5.0
PACKAGES = "site-packages/"


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 shown, 2 there is no such run, or no process of this machine works on it."""
    chosen = options("jobs.stacks", "Print where every process of a run stands.").parse_args(arguments)
    folder = find_run(chosen.runs_dir, chosen.name)
    processes = run_processes(folder)
    if not processes:
        raise ConfigError(f"NAME={folder.name}: no process of this machine works on {folder}; `make status` lists the runs.")
    own = [process for process in processes if not process.of_ray]
    for process in own:
        print("\n".join(described(process)), end="\n\n")
    if len(own) == len(processes):
        print("The driver has started no Ray of its own. Actors of a cluster that it joined: `ray stack` on their nodes.")
    return 0


def described(process: RunProcess) -> Iterator[str]:
    """A heading, then the stacks of its threads, the innermost frame first."""
    pid = process.process.pid
    looked = subprocess.run([PY_SPY, "dump", "--nonblocking", "--json", "--pid", str(pid)], capture_output=True, text=True)
    try:
        yield f"{process.role} (process {pid}, {process.process.status()})"
        if looked.returncode == 0:
            yield from summary(json.loads(looked.stdout))
        elif answers_signal(process.process):
            yield from answer(pid)
        else:
            yield f"  py-spy: {(looked.stderr.strip().splitlines() or ['no output'])[0]}; to be tried as root"
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        yield f"{process.role} (process {pid}) has ended meanwhile"


def summary(threads: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Of the threads that py-spy has found the main one, and those in which code of this repository runs.

    Of a thread's frames the innermost, and those of this repository.
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
    """A file relative to the folder of its package, or to the repository."""
    return file.rpartition(PACKAGES)[2].removeprefix(f"{ROOT}/")


def answer(pid: int) -> Iterator[str]:
    """What a process writes on its standard error when it is sent STACK_SIGNAL."""
    output = Path(os.readlink(f"/proc/{pid}/fd/2"))
    if not output.is_file():
        os.kill(pid, STACK_SIGNAL)
        yield f"  its stacks are on its own standard error, {output}"
        return
    before = size = output.stat().st_size
    os.kill(pid, STACK_SIGNAL)
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        time.sleep(0.2)  # polls until it has begun to write, and has written nothing more since
        if before < (now := output.stat().st_size) == size:
            break
        size = now
    with output.open(errors="replace") as file:
        file.seek(before)
        yield from (f"    {printable(line, 200)}" for line in file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
