r"""Equivalence of answers by math-verify, in processes that can be killed.

An answer is model output, and some of it hangs or blows up any symbolic parser (`9^{9^{9^9}}`). So math-verify runs in
child processes, one comparison at a time. The limit is CPU time, which unlike wall-clock time does not depend on the machine's
load; at the limit the kernel kills the child, and it is replaced while the others continue. Each child is forked from its own
fork server, so that a replacement takes milliseconds, not the seconds that importing SymPy takes. No signal handlers, no threads.
`actors/reward/sandbox_child.py` says what a child may do and what is not covered.
"""

import json
import os
import re
import select
import selectors
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeVar

from actors.reward.sandbox_child import DIFFERENT, EQUAL, LATE, READY
from pipeline.algorithm.votes import compare, majority
from pipeline.domain.graders.find import find_grader
from pipeline.domain.graders.protocol import Grader
from pipeline.types import Vote

T = TypeVar("T")
_Outcome = Literal["equal", "different", "died", "killed"]

_START_S = 120.0  # importing SymPy takes 2 s; a machine sixty times slower than that is broken
_CLOCK_TO_CPU = 20  # a child that takes this many times its CPU limit in wall-clock time is blocked, and gets SIGKILL
_ROOT = str(Path(__file__).resolve().parents[2])


# Answers that are probed before they are compared: evaluating them may blow up.
_HEAVY = re.compile(
    r"!|\^.*\^|\*\*|\^ ?\{? ?[-(]? ?[0-9]{3}|[0-9]{20}|[0-9]E|\\(sum|prod|int|lim|binom|Gamma|zeta|bmod|mod|gcd|frac\{d)|.{150}"
)


@dataclass(frozen=True, slots=True)
class _Request:
    """Two answers to compare within the fraction `share` of the CPU limit."""

    a: str
    b: str
    share: float


_Task = Generator[_Request, bool | None, T]


class AnswerSandbox:
    r"""A pool of `workers` killable processes that compare answers: what a `\boxed{}` held, None where there was none.

    `timeout_s` bounds one comparison, in seconds of CPU time; `memory_mb` bounds a child's address space, in MiB. Use it
    as a context manager, or call `close`.

    >>> with AnswerSandbox() as sandbox:
    ...     sandbox.vote(["0.5", r"\frac{1}{2}", "3", None]).share
    0.5
    """

    def __init__(self, workers: int = 2, timeout_s: float = 2.0, memory_mb: int = 1024) -> None:
        self._counts: Counter[str] = Counter()
        self._judge = _Judge(self._counts)
        self._workers = [_Worker(timeout_s, memory_mb) for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def equivalent(self, a: str, b: str, grader: str | Grader = "math") -> bool | None:
        """Whether two answers are equivalent; None if undecided in time."""
        return self.equivalents([(a, b)], grader)[0]

    def equivalents(self, pairs: Sequence[tuple[str, str]], grader: str | Grader = "math") -> list[bool | None]:
        """`equivalent` of each pair. Here and below `grader` is a grader, or a name for `find_grader`."""
        resolved = find_grader(grader)
        verdicts = self._run([compare(a, b, resolved, self._judge) for a, b in pairs])
        self._counts["undecided"] += verdicts.count(None)
        return verdicts

    def vote(self, answers: Sequence[str | None], grader: str | Grader = "math") -> Vote:
        """The majority among the answers to one question; see `pipeline.algorithm.votes.majority` for ties."""
        return self.votes([answers], grader)[0]

    def votes(self, questions: Sequence[Sequence[str | None]], grader: str | Grader = "math") -> list[Vote]:
        """One vote for the answers to each question."""
        resolved = find_grader(grader)
        votes = self._run([majority(answers, resolved, self._judge) for answers in questions])
        self._counts["undecided"] += sum(vote.undecided for vote in votes)
        return votes

    def take_counts(self) -> dict[str, float]:
        """Counts since the last call: undecided pairs, pairs compared by `verify` (both orders count once), answers probed,
        children killed at the limit, and children that died (out of memory, a crash). Also clears the cached verdicts."""
        counts = {name: float(self._counts[name]) for name in ("undecided", "verify_calls", "probes", "killed", "died")}
        self._counts.clear()
        self._judge = _Judge(self._counts)
        return counts

    def _run(self, tasks: list[_Task[T]]) -> list[T]:
        """Runs the tasks to their results, each on the first free worker until it is done."""
        results: dict[int, T] = {}
        waiting = deque(enumerate(tasks))
        running: dict[_Worker, tuple[int, _Task[T]]] = {}

        def advance(worker: _Worker, index: int, task: _Task[T], reply: bool | None) -> None:
            """Sends `task` a reply (None starts it) and submits its next request to `worker`."""
            try:
                worker.submit(task.send(reply))
                running[worker] = index, task
            except StopIteration as stop:
                results[index] = stop.value

        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.replies, selectors.EVENT_READ, worker)
            while waiting or running:
                for worker in self._workers:
                    while waiting and worker not in running:
                        advance(worker, *waiting.popleft(), None)
                if not running:
                    continue
                nearest = min(worker.deadline for worker in running) - time.monotonic()
                # Wakes at least this often to check for a dead fork server, which no pipe signals.
                ready = {key.data for key, _ in selector.select(min(max(0.0, nearest), 0.25))}
                for worker in self._workers:
                    outcome = worker.step(worker in ready)
                    if outcome is not None:
                        self._counts[outcome] += 1
                        advance(worker, *running.pop(worker), {"equal": True, "different": False}.get(outcome))
        return [results[index] for index in range(len(tasks))]


class _Judge:
    """Requests verdicts on pairs of answers from the pool, cached until the next `take_counts`.

    An intractable answer is detected once, by comparing it with a number, not again beside every other answer: beforehand if it
    looks heavy, else after its first undecided comparison.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._tractable: dict[str, bool] = {}
        self._verdicts: dict[tuple[str, str], bool | None] = {}

    def __call__(self, a: str, b: str) -> _Task[bool | None]:
        for answer in (a, b):
            if self._tractable.get(answer) is None and _HEAVY.search(answer):
                yield from self._probe(answer)
            if self._tractable.get(answer) is False:
                return None
        if (a, b) not in self._verdicts:
            self._counts["verify_calls"] += 1
            self._verdicts[a, b] = yield _Request(a, b, 1.0)
            if self._verdicts[a, b] is None:
                yield from self._probe(a)
                yield from self._probe(b)
        return self._verdicts[a, b]

    def _probe(self, answer: str) -> _Task[None]:
        if answer not in self._tractable:
            self._counts["probes"] += 1
            self._tractable[answer] = (yield _Request(answer, "7919", 0.5)) is not None


class _Worker:
    """The parent's side of one child: at most one request at a time, and no wait beyond its deadline.

    Both pipes outlive any child. Generations distinguish a new child's READY from that of one being killed, sequence numbers the
    reply to this request from a late one to an abandoned request.
    """

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        self._timeout_s, self._memory_mb = timeout_s, memory_mb
        self._request_in, self._request_out = os.pipe()
        self.replies, self._reply_out = os.pipe()
        self._generation = self._sequence = 0
        self._failed_starts = 0
        self._request: _Request | None = None
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

    def _await_child(self) -> None:
        self._ready, self.deadline = False, time.monotonic() + _START_S

    def close(self) -> None:
        if self.replies < 0:
            return
        self._process.kill()  # the child dies with it (PR_SET_PDEATHSIG)
        self._process.communicate()
        for fd in (self._request_in, self._request_out, self.replies, self._reply_out):
            os.close(fd)
        self.replies = -1

    def submit(self, request: _Request) -> None:
        """Sends a request to the child, once it is ready."""
        self._request = request
        if self._ready:
            while select.select([self.replies], [], [], 0)[0]:
                os.read(self.replies, 2)  # READY of the replacement of a child that died idle: unrelated to this request
            self._send(request)

    def _send(self, request: _Request) -> None:
        # At most 2 x 1000 characters of 12 bytes: fits a pipe's buffer, so this never blocks.
        self._sequence = (self._sequence + 1) % 256
        cpu_s = self._timeout_s * request.share
        os.write(self._request_out, json.dumps([self._sequence, cpu_s, request.a, request.b]).encode() + b"\n")
        self.deadline = time.monotonic() + _CLOCK_TO_CPU * cpu_s

    def step(self, readable: bool) -> _Outcome | None:
        """Handles events since the last step; returns the request's outcome once there is one."""
        if readable:
            kind, number = os.read(self.replies, 2)
            if kind == READY and number == self._generation % 256:
                return self._on_ready()
            if kind == LATE and number == self._generation % 256 and self._ready and self._request is not None:
                self._await_child()
                return self._finish("killed")
            if kind in (EQUAL, DIFFERENT) and number == self._sequence and self._ready and self._request is not None:
                return self._finish("equal" if kind == EQUAL else "different")
        if self._process.poll() is not None:
            return self._replace_fork_server()
        if self._request is not None and time.monotonic() >= self.deadline:
            if not self._ready:
                raise RuntimeError(f"a sandbox process was not ready after {_START_S:.0f} s")
            return self._kill()
        return None

    def _on_ready(self) -> _Outcome | None:
        self._failed_starts = 0
        if self._ready and self._request is not None:
            return self._finish("died")  # READY of the replacement: the child with the request died
        self._ready = True
        if self._request is not None:
            self._send(self._request)
        return None

    def _finish(self, outcome: _Outcome) -> _Outcome:
        self._request = None
        return outcome

    def _kill(self) -> _Outcome:
        self._generation += 1
        self._await_child()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the fork server died too: the next step restarts it
            self._process.stdin.write(b"k")
        return self._finish("killed")

    def _replace_fork_server(self) -> _Outcome | None:
        self._failed_starts += not self._ready
        if self._failed_starts >= 3:
            raise RuntimeError(f"a sandbox process cannot start: exit code {self._process.returncode}, see its output")
        outcome = self._finish("died") if self._ready and self._request is not None else None
        self._process.communicate()
        self._generation += 1
        self._start()
        return outcome
