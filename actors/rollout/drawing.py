"""The requests of one call of `RolloutFleet.stream`: chunks that wait, chunks that engines draw, and what has arrived."""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import heapify, heapreplace
from typing import Any

import ray
from ray.exceptions import RayTaskError

from actors.failures import DEATHS
from actors.rollout.chunks import split
from actors.rollout.pings import PING_S
from actors.rollout.worker import Drawn, Report
from conf.schema import RolloutConfig
from pipeline.types import Request

LOST = (*DEATHS, RayTaskError)  # a dead engine, and one in which a call failed and whose state is therefore unknown
# Looking at all calls takes the longer, the more there are; the driver waits this many times as long between two looks.
PAUSES = 30


class Drawing:
    """Chunks wait in one queue, from which each engine with room takes the next."""

    def __init__(self, requests: Sequence[Request], rollout: RolloutConfig, start: Callable[[Any, list[Request]], Any]) -> None:
        """`start` lets an engine draw a chunk and returns the stream of its reports."""
        self._requests, self._start = requests, start
        self._room = rollout.max_num_seqs + rollout.chunk
        self.waiting = deque(split([len(request.seeds) for request in requests], rollout.chunk))
        self._running: dict[Any, tuple[Any, list[int]]] = {}  # by the stream of its reports: the engine and its chunk
        self._unfinished: Counter[Any] = Counter()  # samples of each engine, as last reported
        self._calls: Counter[Any] = Counter()  # running ones of each engine
        self._left = set(range(len(requests)))
        self._pause = 0.0

    @property
    def unfinished(self) -> bool:
        return bool(self.waiting or self._running)

    @property
    def busy(self) -> Collection[Any]:
        """The engines that draw."""
        return self._calls.keys()

    def feed(self, engines: Sequence[Any]) -> None:
        """Gives chunks to the engines with room, first to those with the fewest samples.

        An engine has room for a chunk more than it decodes at once, so that it does not wait for the driver.
        """
        if not self.waiting:
            return
        queue = [(self._unfinished[engine], number) for number, engine in enumerate(engines)]
        heapify(queue)
        while self.waiting and (fewest := queue[0][0]) < self._room:
            chunk, engine = self.waiting.popleft(), engines[queue[0][1]]
            self._unfinished[engine] = fewest + sum(len(self._requests[place].seeds) for place in chunk)
            self._running[self._start(engine, [self._requests[place] for place in chunk])] = engine, chunk
            self._calls[engine] += 1
            heapreplace(queue, (self._unfinished[engine], queue[0][1]))

    def arrived(self, starts: Collection[Any]) -> tuple[list[tuple[int, Drawn]], dict[Any, Exception]]:
        """Waits for reports, or one of the `starts`: (index of the request, its samples), and the engines that failed.

        Returns with nothing after `PING_S`.
        """
        calls = [*self._running, *starts]
        before = time.thread_time()
        done, _ = ray.wait(calls, num_returns=len(calls), timeout=self._pause)
        self._pause = PAUSES * (time.thread_time() - before)
        if not done:
            done, _ = ray.wait(calls, num_returns=1, timeout=PING_S)
        ready: list[Any] = done
        arrived: list[tuple[int, Drawn]] = []
        failed: dict[Any, Exception] = {}
        for stream in ready:
            if stream not in self._running:
                continue
            engine, chunk = self._running[stream]
            try:
                report: Report = ray.get(next(stream))
            except StopIteration:
                del self._running[stream]
                self._calls[engine] -= 1
                if not self._calls[engine]:  # what it finished may be in the report of a call that was never read to its end
                    del self._calls[engine], self._unfinished[engine]
            except LOST as error:
                failed[engine] = error
            else:
                self._unfinished[engine] -= report.finished
                arrived += [(chunk[drawn.place], drawn) for drawn in report.drawn]
        self._left.difference_update(place for place, _ in arrived)
        return arrived, failed

    def put_back(self, engines: Iterable[Any]) -> None:
        """What these engines have not finished waits again, before all else."""
        for engine in engines:
            lost = [stream for stream, (each, _) in self._running.items() if each == engine]
            again = [[place for place in self._running.pop(stream)[1] if place in self._left] for stream in lost]
            self.waiting.extendleft(chunk for chunk in again if chunk)
            del self._unfinished[engine], self._calls[engine]
