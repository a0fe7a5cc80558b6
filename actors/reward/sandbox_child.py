"""The process that runs math-verify on model output: started, used and killed by `actors/reward/sandbox_worker.py`.

An answer is text that is parsed, not executed; of it SymPy evaluates numbers and operators. What runs here is math-verify, SymPy
and a generated parser, on text that may be made to break them. So a child is restricted before it reads any input: address space,
processes and open files by rlimit, CPU time by a timer, no file writes, no core dumps, no inherited environment, an empty network
namespace where the kernel allows one. `actors/reward/confinement.py` leaves it few system calls and Python's own folders, to be
read; an audit hook refuses the same with a traceback, also where the kernel has neither seccomp nor Landlock. It dies with its
parent.
Not covered: it keeps the user of its parent. A single allocation beyond the memory limit reads as "different" if math-verify's
handlers swallow the error.
"""

import ctypes
import json
import logging
import os
import re
import resource
import select
import signal
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn

from actors.reward.confinement import confine

# A child's message is two bytes, which a pipe writes atomically: one of these and a number modulo 256, the request's for a
# verdict, the child's generation for READY, LATE (killed at its CPU limit) and LOST (killed from outside).
EQUAL, DIFFERENT, READY, LATE, LOST = 0, 1, 2, 3, 4

_CLONE_NEWUSER, _CLONE_NEWNET, _PR_SET_PDEATHSIG = 0x10000000, 0x40000000, 1
# Compared once at start, so that every child inherits the loaded imports and parser tables.
_WARM_UP = (
    r"\frac{1}{2}+\sqrt{3}", r"\{1,2\}", r"[0,1)\cup(2,\infty)", r"x^2-2x+1=0", r"(x-1)^2", r"\text{yes}", r"x\le 3", r"(1,2,3)",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"2\pi", r"\sin(x)", r"3+4i", r"12\text{ cm}", r"25\%", r"\log_2 8", r"|x|", "5!",
)  # fmt: skip


def fork_server(request_fd: str, reply_fd: str, memory_mb: str, generation: str) -> NoReturn:
    """Imports math-verify once, then keeps one child running, killed on the parent's command and replaced.

    Reads no answer itself. Exits, with its child, when the parent does, also while it is stopped.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    same = _load_math_verify()
    for text in _WARM_UP:
        same(text, "1")
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # if that is not allowed either, only the audit hook blocks the network
    born, own_pid = int(generation), os.getpid()
    while True:
        alive, held_by_child = os.pipe()
        pid = os.fork()
        if pid == 0:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != own_pid:
                os._exit(0)
            os.close(alive)
            _serve(same, int(request_fd), int(reply_fd), int(memory_mb), born)
        os.close(held_by_child)
        readable, _, _ = select.select([0, alive], [], [])
        command = os.read(0, 1) if 0 in readable else b"-"
        os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid is still our child's
        _, status = os.waitpid(pid, 0)
        os.close(alive)
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        if ended_by == signal.SIGPROF or (ended_by == signal.SIGKILL and command == b"-"):
            os.write(int(reply_fd), bytes([LATE if ended_by == signal.SIGPROF else LOST, born % 256]))
        born += command == b"k"
        if not command:
            os._exit(0)


def _load_math_verify() -> Callable[[str, str], bool]:
    """A function that says whether two answers are equivalent: `verify` in both orders, as it is not symmetric."""
    from math_verify import parse, verify
    from sympy import Expr

    @lru_cache(maxsize=1024)
    def parsed(text: str) -> list[Any]:
        return parse(f"\\boxed{{{text}}}", parsing_timeout=None)

    def same(a: str, b: str) -> bool:
        first, second = parsed(a), parsed(b)
        if verify(first, second, timeout_seconds=None):
            return True
        # verify treats relations and sets differently as first and second argument, but plain expressions alike.
        plain = all(isinstance(value, Expr | str) for value in (*first, *second))
        return not plain and verify(second, first, timeout_seconds=None)

    return same


def _serve(same: Callable[[str, str], bool], request_fd: int, reply_fd: int, memory_mb: int, generation: int) -> NoReturn:
    """The child: drops its privileges, sends READY, then answers one request after another until killed."""
    memory = memory_mb << 20
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    status = os.open("/proc/self/status", os.O_RDONLY)
    for limit, value in (("AS", memory), ("FSIZE", 0), ("CORE", 0), ("NPROC", 0), ("NOFILE", 64)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (value, value))
    os.set_blocking(request_fd, False)
    try:
        while os.read(request_fd, 1 << 16):
            pass  # leftovers of the request over which the previous child was killed
    except BlockingIOError:
        os.set_blocking(request_fd, True)
    requests = os.fdopen(request_fd, "rb")
    confine(_READABLE)
    sys.addaudithook(_refuse)
    os.write(reply_fd, bytes([READY, generation % 256]))
    for line in requests:
        number, cpu_s, a, b = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_s)  # then SIGPROF, which has no handler, kills the process
        equal = same(a, b)  # an exception ends the child, which the parent counts
        signal.setitimer(signal.ITIMER_PROF, 0)
        # math-verify swallows MemoryError too: near the limit its verdict is unreliable.
        if _peak_memory(status) > 0.8 * memory:
            os._exit(1)
        os.write(reply_fd, bytes([EQUAL if equal else DIFFERENT, number]))
    os._exit(0)


def _peak_memory(status: int) -> int:
    """Largest address space of this process so far, bytes; `status` is its open /proc/self/status."""
    return int(re.search(rb"VmPeak:\s*(\d+)", os.pread(status, 4096, 0))[1]) << 10  # type: ignore[index]


# Python's own folders; of the repository, which holds the runs, nothing is read any more.
_ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..")) + os.sep
_READABLE = tuple(
    {os.path.realpath(path) + os.sep for path in (sys.prefix, sys.base_prefix, *sys.path) if os.path.isdir(path)} - {_ROOT}
)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: no sockets, no processes, no change to any file, and none read outside Python's own folders."""
    if event == "open":
        path, _, flags = args
        reading = isinstance(path, str) and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if reading and os.path.realpath(path).startswith(_READABLE):
            return
    elif event in ("os.listdir", "os.scandir") or not event.startswith(("socket.", "subprocess.", "os.", "shutil.", "ctypes.")):
        return
    raise PermissionError(f"not allowed in a sandboxed process: {event}")
