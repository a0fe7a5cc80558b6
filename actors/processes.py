"""The processes of a run on this machine, and how each can be asked where it stands."""

import faulthandler
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

STACK_SIGNAL = signal.SIGUSR1


@dataclass(frozen=True, slots=True)
class RunProcess:
    """`role` is "driver", the class of an actor, the program of one of Ray's services ("raylet"), or "child of" an actor."""

    role: str
    process: psutil.Process
    of_ray: bool = False  # one of Ray's services, which every private cluster has


def run_processes(folder: Path) -> list[RunProcess]:
    """The driver that works on the run in `folder`, first, and all that it has started here; empty where none works on it.

    In a cluster that was joined, actors are not the driver's own processes, and are not found.
    """
    driver = driver_of(folder)
    if driver is None:
        return []
    found = {driver.pid: RunProcess("driver", driver)}
    for process in driver.children(recursive=True):  # parents before their children
        try:
            parent = found.get(process.ppid(), found[driver.pid])
            found[process.pid] = described(process, parent)
        except psutil.Error:
            continue  # it ended meanwhile
    return list(found.values())


def described(process: psutil.Process, parent: RunProcess) -> RunProcess:
    """A process by what it is called: `ray::Class.method` where it is an actor, and vLLM's `VLLM::Worker_TP0`."""
    title, *arguments = process.cmdline() or [process.name()]
    if title.startswith("ray::") and "RAY_JOB_ID" in process.environ():
        return RunProcess(title.removeprefix("ray::").partition(".")[0], process)
    if parent.of_ray or parent.role == "driver":
        script = next((Path(argument).stem for argument in arguments if argument.endswith(".py")), process.name())
        return RunProcess(script, process, of_ray=True)
    if "::" in title or parent.role.startswith("child of"):
        return RunProcess(title if "::" in title else parent.role, process)
    return RunProcess(f"child of {parent.role}", process)


def driver_of(folder: Path) -> psutil.Process | None:
    """The process that holds the run's lock; whoever has only tried to take it came later."""
    lock = str((folder / ".lock").resolve())
    writers = [process for process in psutil.process_iter() if ("w", lock) in open_files(process)]
    return min(writers, key=lambda process: process.create_time(), default=None)


def open_files(process: psutil.Process) -> Iterator[tuple[str, str]]:
    """(mode, path) of the files a process has open; none of one that has ended or is another user's."""
    try:
        yield from ((file.mode, file.path) for file in process.open_files())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return


def write_stacks_on_signal() -> None:
    """From here on this process answers STACK_SIGNAL with the stacks of its threads, on its standard error.

    For where the kernel lets no other process look into it, which is so in many containers.
    """
    faulthandler.register(STACK_SIGNAL)


def answers_signal(process: psutil.Process) -> bool:
    """Whether it is safe to send STACK_SIGNAL: a process that does not handle it would die of it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (STACK_SIGNAL - 1) & 1)
