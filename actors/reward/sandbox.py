r"""Equivalence of answers by math-verify, in processes that can be killed.

An answer is model output, and some of it hangs or blows up any symbolic parser (`9^{9^{9^9}}`). So math-verify runs in
children, one comparison at a time. A child may use so much CPU time for it, which does not depend on what else the machine
is doing, as time on a clock would; then the kernel ends it, and it is replaced while its neighbours go on. Each child is
forked from a warm process of its own, so that a replacement takes milliseconds, not the seconds that importing SymPy takes.
No signal handlers, no threads. What a child may do, and what is not covered, `actors/reward/sandbox_child.py` tells.
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
_CLOCK_TO_CPU = 20  # a child that takes so many times its CPU time on the clock is waiting for something, and gets SIGKILL
_ROOT = str(Path(__file__).resolve().parents[2])


# What makes an answer worth a look before it is compared: things that can grow out of all proportion when evaluated.
_HEAVY = re.compile(
    r"!|\^.*\^|\*\*|\^ ?\{? ?[-(]? ?[0-9]{3}|[0-9]{20}|[0-9]E|\\(sum|prod|int|lim|binom|Gamma|zeta|bmod|mod|gcd|frac\{d)|.{150}"
)


@dataclass(frozen=True, slots=True)
class _Request:
    """Two answers to compare within `share` of the limit."""

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
        """Whether two answers are equivalent; None where that could not be decided in time."""
        return self.equivalents([(a, b)], grader)[0]

    def equivalents(self, pairs: Sequence[tuple[str, str]], grader: str | Grader = "math") -> list[bool | None]:
        """`equivalent` of each pair. `grader` is one, or the name of one, as in `find_grader`; so in all methods."""
        found = find_grader(grader)
        verdicts = self._run([compare(a, b, found, self._judge) for a, b in pairs])
        self._counts["undecided"] += verdicts.count(None)
        return verdicts

    def vote(self, answers: Sequence[str | None], grader: str | Grader = "math") -> Vote:
        """The majority among the answers to one question; see `pipeline.algorithm.votes.majority` for ties."""
        return self.votes([answers], grader)[0]

    def votes(self, questions: Sequence[Sequence[str | None]], grader: str | Grader = "math") -> list[Vote]:
        """One vote for the answers to each question."""
        found = find_grader(grader)
        votes = self._run([majority(answers, found, self._judge) for answers in questions])
        self._counts["undecided"] += sum(vote.undecided for vote in votes)
        return votes

    def take_counts(self) -> dict[str, float]:
        """Counts since the last call: undecided pairs, pairs put to `verify` (both ways round is one), answers probed,
        children killed at the limit, and children that died (out of memory, a crash). What was found out is forgotten."""
        counts = {name: float(self._counts[name]) for name in ("undecided", "verify_calls", "probes", "killed", "died")}
        self._counts.clear()
        self._judge = _Judge(self._counts)
        return counts

    def _run(self, tasks: list[_Task[T]]) -> list[T]:
        """Drive the tasks to their results: each on the first free worker, and there to its end."""
        results: dict[int, T] = {}
        waiting = deque(enumerate(tasks))
        running: dict[_Worker, tuple[int, _Task[T]]] = {}

        def advance(worker: _Worker, index: int, task: _Task[T], reply: bool | None) -> None:
            """Send `task` a reply (None starts it); what it asks next goes to `worker`."""
            try:
                worker.ask(task.send(reply))
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
                # Woken at least this often to see whether a nursery is gone, of which no pipe tells.
                ready = {key.data for key, _ in selector.select(min(max(0.0, nearest), 0.25))}
                for worker in self._workers:
                    outcome = worker.step(worker in ready)
                    if outcome is not None:
                        self._counts[outcome] += 1
                        advance(worker, *running.pop(worker), {"equal": True, "different": False}.get(outcome))
        return [results[index] for index in range(len(tasks))]


class _Judge:
    """Asks the pool whether two answers are equivalent, and remembers what it said, from one `take_counts` to the next.

    An answer that cannot be worked with by itself is found out once, by comparing it with a number, not once beside every
    other answer: beforehand where it looks heavy, else after its first comparison that came to nothing.
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
    """The parent's side of one child: at most one request at a time, and never a wait beyond its deadline.

    Both pipes outlive any child. Generations tell a new child's greeting from that of one that is being killed, sequence
    numbers the reply to this request from one to a request that was given up.
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
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from actors.reward.sandbox_child import nursery; nursery(*sys.argv[2:])"
        )
        settings = (self._request_in, self._reply_out, self._memory_mb, self._generation)
        # Hash randomisation would let the order of a set, and with it a verdict, differ from run to run.
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
        self._process.kill()  # the child follows: it asked for that at its birth
        self._process.communicate()
        for fd in (self._request_in, self._request_out, self.replies, self._reply_out):
            os.close(fd)
        self.replies = -1

    def ask(self, request: _Request) -> None:
        """Hand over a request; one that no child is ready for waits until one is."""
        self._request = request
        if self._ready:
            while select.select([self.replies], [], [], 0)[0]:
                os.read(self.replies, 2)  # the greeting of a child that replaced one that died idle: not about this request
            self._send(request)

    def _send(self, request: _Request) -> None:
        # At most 2 x 1000 characters of 12 bytes: less than a pipe holds, so this never blocks.
        self._sequence = (self._sequence + 1) % 256
        cpu_s = self._timeout_s * request.share
        os.write(self._request_out, json.dumps([self._sequence, cpu_s, request.a, request.b]).encode() + b"\n")
        self.deadline = time.monotonic() + _CLOCK_TO_CPU * cpu_s

    def step(self, readable: bool) -> _Outcome | None:
        """Take what has happened since the last step; the outcome of the request, once there is one."""
        if readable:
            kind, number = os.read(self.replies, 2)
            if kind == READY and number == self._generation % 256:
                return self._greeted()
            if kind == LATE and number == self._generation % 256 and self._ready and self._request is not None:
                self._await_child()
                return self._finish("killed")
            if kind in (EQUAL, DIFFERENT) and number == self._sequence and self._ready and self._request is not None:
                return self._finish("equal" if kind == EQUAL else "different")
        if self._process.poll() is not None:
            return self._replace_nursery()
        if self._request is not None and time.monotonic() >= self.deadline:
            if not self._ready:
                raise RuntimeError(f"a sandbox process was not ready after {_START_S:.0f} s")
            return self._kill()
        return None

    def _greeted(self) -> _Outcome | None:
        self._failed_starts = 0
        if self._ready and self._request is not None:
            return self._finish("died")  # the greeting of the child that replaces the one we had asked
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
        with suppress(BrokenPipeError):  # the nursery is gone as well: the next step sees that, and starts another
            self._process.stdin.write(b"k")
        return self._finish("killed")

    def _replace_nursery(self) -> _Outcome | None:
        self._failed_starts += not self._ready
        if self._failed_starts >= 3:
            raise RuntimeError(f"a sandbox process cannot start: it exits with code {self._process.returncode}, see its output")
        outcome = self._finish("died") if self._ready and self._request is not None else None
        self._process.communicate()
        self._generation += 1
        self._start()
        return outcome
