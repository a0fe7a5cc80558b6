"""Whether engines that draw are alive: an engine's actor replies between two steps, also while its requests take minutes."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import ray

from actors.failures import DEATHS

PING_S = 10.0  # between pings of an engine
LOOKS = 10  # for replies, in that time


class Pings:
    """The last ping of each engine.

    `limit_s` is the wait for a reply: longer than a step, which may compute a long prompt or compile.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._sent: dict[Any, tuple[Any, float]] = {}  # the call and when it was made
        self._pids: dict[Any, int] = {}
        self._look_at = 0.0

    def hung(self, busy: Iterable[Any]) -> dict[Any, TimeoutError]:
        """Those of the `busy` engines that have not replied in time; pings the others, if their last ping is old enough."""
        now, silent = time.monotonic(), dict[Any, TimeoutError]()
        if now < self._look_at:
            return silent
        self._look_at = now + PING_S / LOOKS
        pinged = {engine: self._sent.get(engine, (None, -PING_S)) for engine in busy}
        calls = [call for call, _ in pinged.values() if call is not None]
        replied = set(ray.wait(calls, num_returns=len(calls), timeout=0)[0]) if calls else set()
        for engine, (call, sent) in pinged.items():
            late = now - sent
            if call is not None and call not in replied:
                if late > self._limit_s and not ray.wait([call], timeout=1)[0]:  # where this process was stopped itself
                    process = f" (pid={self._pids[engine]})" if engine in self._pids else ""
                    silent[engine] = TimeoutError(f"a rollout worker{process} hung: no reply for {self._limit_s:g} s")
            elif late >= PING_S:
                if call is not None:
                    self._remember(engine, call)
                self._sent[engine] = engine.ready.remote(), time.monotonic()
        return silent

    def _remember(self, engine: Any, call: Any) -> None:
        with suppress(*DEATHS):  # the call that draws reports the death
            self._pids[engine] = ray.get(call)
