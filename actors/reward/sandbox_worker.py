"""The parent's side of one sandboxed process: starts it, sends it one comparison at a time, and replaces it."""

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actors.reward.sandbox_child import DIFFERENT, EQUAL, LATE, LOST, READY

Outcome = Literal["equal", "different", "died", "killed"]

_START_S = 120.0  # importing SymPy takes 2 s; a machine sixty times slower than that is broken
_CLOCK_TO_CPU = 20  # a child that takes this many times its CPU limit in wall-clock time is blocked, and gets SIGKILL
_ROOT = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True, slots=True)
class Request:
    """Two answers to compare within the fraction `share` of the CPU limit."""

    a: str
    b: str
    share: float


class Worker:
    """The parent's side of one child: at most one request at a time, and no wait beyond its deadline.

    Both pipes outlive any child. Generations distinguish a new child's READY from that of one being killed, sequence numbers the
    reply to this request from a late one to an abandoned request.

    A request whose child was stopped or killed from outside is sent once more, so that a verdict does not depend on such an
    accident. It is undecided if that happens again: the kernel kills a child that takes the machine's memory from outside, too.
    """

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        self._timeout_s, self._memory_mb = timeout_s, memory_mb
        self._request_in, self._request_out = os.pipe()
        self.replies, self._reply_out = os.pipe()
        self._generation = self._sequence = 0
        self._failed_starts = 0
        self._request: Request | None = None
        self._sent_again = False
        self._start()

    def _start(self) -> None:
        imports = "import sys; sys.path.insert(0, sys.argv[1]); from actors.reward.sandbox_child import fork_server"
        code = f"{imports}; fork_server(*sys.argv[2:])"
        settings = (self._request_in, self._reply_out, self._memory_mb, self._generation)
        # With hash randomisation the order of a set, and so a verdict, could differ between runs.
        environment = {"PYTHONHASHSEED": "0", "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
        self._process = subprocess.Popen(
            [sys.executable, "-sPB", "-c", code, _ROOT, *map(str, settings)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(self._request_in, self._reply_out),
            env=environment, cwd="/", start_new_session=True, bufsize=0,
        )  # fmt: skip
        self._await_child()

    def _await_child(self, ready: bool = False) -> None:
        self._ready, self.deadline = ready, time.monotonic() + _START_S

    def close(self) -> None:
        if self.replies < 0:
            return
        self._process.kill()  # the child dies with it (PR_SET_PDEATHSIG)
        self._process.communicate()
        for fd in (self._request_in, self._request_out, self.replies, self._reply_out):
            os.close(fd)
        self.replies = -1

    @property
    def busy(self) -> bool:
        return self._request is not None

    def submit(self, request: Request) -> None:
        """Sends a request to the child, once it is ready."""
        self._request, self._sent_again = request, False
        while select.select([self.replies], [], [], 0)[0]:  # of a child that was lost idle, and of its replacement
            kind, number = os.read(self.replies, 2)
            if kind in (LOST, READY) and number == self._generation % 256:
                self._await_child(ready=kind == READY)
        if self._ready:
            self._send(request)

    def _send(self, request: Request) -> None:
        # At most 2 x 1000 characters of 12 bytes: fits a pipe's buffer, so this never blocks.
        self._sequence = (self._sequence + 1) % 256
        cpu_s = self._timeout_s * request.share
        os.write(self._request_out, json.dumps([self._sequence, cpu_s, request.a, request.b]).encode() + b"\n")
        self.deadline = time.monotonic() + _CLOCK_TO_CPU * cpu_s

    def step(self, readable: bool) -> Outcome | None:
        """Handles events since the last step; returns the outcome of sending the request, once there is one.

        The worker is `busy` afterwards if the request is sent once more.
        """
        if readable:
            kind, number = os.read(self.replies, 2)
            if kind == READY and number == self._generation % 256:
                return self._on_ready()
            if kind == LATE and number == self._generation % 256 and self._ready and self._request is not None:
                self._await_child()
                return self._finish("killed")
            if kind == LOST and number == self._generation % 256 and self._ready and self._request is not None:
                self._await_child()
                return self._lose("died")
            if kind in (EQUAL, DIFFERENT) and number == self._sequence and self._ready and self._request is not None:
                return self._finish("equal" if kind == EQUAL else "different")
        if self._process.poll() is not None:
            return self._replace_fork_server()
        if self._request is not None and time.monotonic() >= self.deadline:
            if not self._ready:
                raise RuntimeError(f"a sandbox process was not ready after {_START_S:.0f} s")
            return self._kill()
        return None

    def _on_ready(self) -> Outcome | None:
        self._failed_starts = 0
        if self._ready and self._request is not None:
            return self._finish("died")  # READY of the replacement: the child with the request died
        self._ready = True
        if self._request is not None:
            self._send(self._request)
        return None

    def _finish(self, outcome: Outcome) -> Outcome:
        self._request = None
        return outcome

    def _lose(self, outcome: Outcome) -> Outcome:
        """The child was lost from outside: the next one gets the request, unless it is the second time."""
        if self._sent_again:
            self._request = None
        self._sent_again = True
        return outcome

    def _kill(self) -> Outcome:
        self._generation += 1
        self._await_child()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the fork server died too: the next step restarts it
            self._process.stdin.write(b"k")
        return self._lose("killed")

    def _replace_fork_server(self) -> Outcome | None:
        self._failed_starts += not self._ready
        if self._failed_starts >= 3:
            raise RuntimeError(f"a sandbox process cannot start: exit code {self._process.returncode}, see its output")
        outcome = self._lose("died") if self._ready and self._request is not None else None
        self._process.communicate()
        self._generation += 1
        self._start()
        return outcome
