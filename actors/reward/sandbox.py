r"""Equivalence of answers by math-verify, in processes that can be killed.

An answer is model output, and some of it hangs or blows up any symbolic parser (`9^{9^{9^9}}`). So math-verify runs in
child processes, one comparison at a time. The limit is CPU time, which unlike wall-clock time does not depend on the machine's
load; at the limit the kernel kills the child, and it is replaced while the others continue. Each child is forked from its own
fork server, so that a replacement takes milliseconds, not the seconds that importing SymPy takes. No signal handlers, no threads.
`actors/reward/sandbox_child.py` says what a child may do and what is not covered.
"""

import re
import selectors
import time
from collections import Counter, deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

from actors.reward.sandbox_worker import Request, Worker
from pipeline.algorithm.votes import compare, majority
from pipeline.domain.graders.find import find_grader
from pipeline.domain.graders.protocol import Grader
from pipeline.types import Vote

T = TypeVar("T")

# Answers that are probed before they are compared: evaluating them may blow up.
_HEAVY = re.compile(
    r"!|\^.*\^|\*\*|\^ ?\{? ?[-(]? ?[0-9]{3}|[0-9]{20}|[0-9]E|\\(sum|prod|int|lim|binom|Gamma|zeta|bmod|mod|gcd|frac\{d)|.{150}"
)


_Task = Generator[Request, bool | None, T]


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
        self._known = _Known()
        self._workers = [Worker(timeout_s, memory_mb) for _ in range(workers)]

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
        verdicts = self._run([compare(a, b, resolved, self._judge()) for a, b in pairs])
        self._counts["undecided"] += verdicts.count(None)
        return verdicts

    def vote(self, answers: Sequence[str | None], grader: str | Grader = "math") -> Vote:
        """The majority among the answers to one question; see `pipeline.algorithm.votes.majority` for ties."""
        return self.votes([answers], grader)[0]

    def votes(self, questions: Sequence[Sequence[str | None]], grader: str | Grader = "math") -> list[Vote]:
        """One vote for the answers to each question."""
        resolved = find_grader(grader)
        votes = self._run([majority(answers, resolved, self._judge()) for answers in questions])
        self._counts["undecided"] += sum(vote.undecided for vote in votes)
        return votes

    def take_counts(self) -> dict[str, float]:
        """Counts since the last call: undecided pairs, pairs compared by `verify` (both orders count once), answers probed,
        children killed at the limit or blocked, and children that died (out of memory, a crash). Clears the cached verdicts."""
        counts = {name: float(self._counts[name]) for name in ("undecided", "verify_calls", "probes", "killed", "died")}
        self._counts.clear()
        self._known = _Known()
        return counts

    def _judge(self) -> "_Judge":
        return _Judge(self._counts, self._known)

    def _run(self, tasks: list[_Task[T]]) -> list[T]:
        """Runs the tasks to their results, each on the first free worker until it is done."""
        results: dict[int, T] = {}
        waiting = deque(enumerate(tasks))
        running: dict[Worker, tuple[int, _Task[T]]] = {}

        def advance(worker: Worker, index: int, task: _Task[T], reply: bool | None) -> None:
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
                    if outcome is not None and not worker.busy:
                        advance(worker, *running.pop(worker), {"equal": True, "different": False}.get(outcome))
        return [results[index] for index in range(len(tasks))]


@dataclass(slots=True)
class _Known:
    """What was found out since the last `take_counts`: by answer whether it can be evaluated, and verdicts on pairs."""

    tractable: dict[str, bool] = field(default_factory=dict)
    verdicts: dict[tuple[str, str], bool | None] = field(default_factory=dict)


class _Judge:
    """Requests the verdicts of one vote or comparison from the pool.

    An intractable answer is detected once, by comparing it with a number, not again beside every other answer: beforehand if it
    looks heavy, else after its first undecided comparison. The latter holds for this vote alone, whose pairs have an order, so
    that no verdict depends on which question was answered first.
    """

    def __init__(self, counts: Counter[str], known: _Known) -> None:
        self._counts, self._known = counts, known
        self._given_up: set[str] = set()

    def __call__(self, a: str, b: str) -> _Task[bool | None]:
        for answer in (a, b):
            if answer in self._given_up or (_HEAVY.search(answer) and not (yield from self._is_tractable(answer))):
                return None
        verdicts = self._known.verdicts
        if (a, b) not in verdicts:
            self._counts["verify_calls"] += 1
            verdicts[a, b] = yield Request(a, b, 1.0)
        if verdicts[a, b] is None:
            for answer in (a, b):
                if not (yield from self._is_tractable(answer)):
                    self._given_up.add(answer)
        return verdicts[a, b]

    def _is_tractable(self, answer: str) -> _Task[bool]:
        if answer not in self._known.tractable:
            self._counts["probes"] += 1
            self._known.tractable[answer] = (yield Request(answer, "7919", 0.5)) is not None
        return self._known.tractable[answer]
