"""Whether engines that draw are alive: an engine's actor replies between two steps, also while its requests take minutes."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError

PING_S = 10.0  # between pings of an engine


class Pings:
    """The last ping of each engine.

    `limit_s` is the wait for a reply: longer than a step, which may compute a long prompt or compile.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._sent: dict[Any, tuple[Any, float]] = {}  # the call and when it was made
        self._pids: dict[Any, int] = {}

    def hung(self, busy: Iterable[Any]) -> dict[Any, TimeoutError]:
        """Those of the `busy` engines that have not replied in time; pings the others, if their last ping is old enough."""
        silent = {}
        for engine in set(busy):
            call, sent = self._sent.get(engine, (None, -PING_S))
            late = time.monotonic() - sent
            if call is not None and not ray.wait([call], timeout=0)[0]:
                if late > self._limit_s and not ray.wait([call], timeout=1)[0]:  # where this process was stopped itself
                    process = f" (pid={self._pids[engine]})" if engine in self._pids else ""
                    silent[engine] = TimeoutError(f"a rollout worker{process} hung: no reply for {self._limit_s:g} s")
            elif late >= PING_S:
                if call is not None:
                    self._remember(engine, call)
                self._sent[engine] = engine.ready.remote(), time.monotonic()
        return silent

    def _remember(self, engine: Any, call: Any) -> None:
        with suppress(RayActorError):  # the call that draws reports the death
            self._pids[engine] = ray.get(call)
