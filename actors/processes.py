"""The processes of a run on this machine, and how to get their stack traces."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

STACK_SIGNAL = signal.SIGUSR1


@dataclass(frozen=True, slots=True)
class RunProcess:
    """`role` is "driver", the class of an actor, the program of one of Ray's services ("raylet"), or "child of" an actor."""

    role: str
    process: psutil.Process
    of_ray: bool = False  # one of Ray's services


def run_processes(folder: Path) -> list[RunProcess]:
    """The driver of the run in `folder`, then all its descendants on this machine; empty if no driver is running.

    On an existing cluster the actors are not descendants of the driver and are not listed.
    """
    driver = driver_of(folder)
    if driver is None:
        return []
    processes = {driver.pid: RunProcess("driver", driver)}
    for process in driver.children(recursive=True):  # parents before their children
        try:
            parent = processes.get(process.ppid(), processes[driver.pid])
            processes[process.pid] = described(process, parent)
        except psutil.Error:
            continue  # it has exited
    return list(processes.values())


def described(process: psutil.Process, parent: RunProcess) -> RunProcess:
    """A process with the role that its title gives: `ray::Class.method` for an actor, `VLLM::Worker_TP0` for a vLLM worker."""
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
    """The process that holds the run's lock: the oldest that has it open, since others only try to take it."""
    lock = str((folder / ".lock").resolve())
    writers = [process for process in psutil.process_iter() if lock in files_open_for_writing(process)]
    return min(writers, key=lambda process: process.create_time(), default=None)


def files_open_for_writing(process: psutil.Process) -> Iterator[str]:
    """Paths; none if the process has exited or belongs to another user."""
    try:
        yield from (file.path for file in process.open_files() if file.mode != "r")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return


def stacks_on_signal() -> Callable[[], None]:
    """What makes a process write its threads' stacks to standard error on STACK_SIGNAL, when called in it.

    Needed where the kernel forbids inspecting other processes, as in many containers. Ray sends the function to its workers by
    value, so that one on a node without this project fails later, where its error can be told.
    """
    number = int(STACK_SIGNAL)

    def write_stacks() -> None:
        import faulthandler

        faulthandler.register(number)

    return write_stacks


def answers_signal(process: psutil.Process) -> bool:
    """Whether the process handles STACK_SIGNAL, which would otherwise kill it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (STACK_SIGNAL - 1) & 1)
