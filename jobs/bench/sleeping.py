"""Engines that only sleep, in the place of vLLM's, and the fleet over them; see `jobs/bench/scale.py`."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import ray

from actors.rollout.fleet import RolloutFleet
from actors.rollout.worker import Drawn, Report
from conf.load import load_config
from conf.schema import RolloutConfig, SamplingConfig
from jobs.bench.common import BASE
from pipeline.types import Checksums, Request, Sample

MEAN, LONGEST, SIGMA = 1044, 4096, 0.8  # tokens; sigma of the logarithm
TOKEN_S = 0.025  # of one sequence: 256 at once are 10,000 tokens/s an engine
START_S = 90.0  # of an engine that replaces another
WEIGHTS_S = 3.0


def tokens_of(seed: int, mu: float) -> int:
    return max(1, min(LONGEST, round(random.Random(seed).lognormvariate(mu, SIGMA))))


def fitted_mu() -> float:
    """The mean of the logarithm with which the mean of the lengths, cut off at the longest, is `MEAN`."""
    low, high = 4.0, 9.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if fmean(tokens_of(seed, middle) for seed in range(4000)) < MEAN else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Times:
    """Of simulated engines, in seconds of the wall clock; `speedup` divides all of them."""

    mu: float
    speedup: float
    life_s: float  # mean


class Simulated:
    """One engine: at most `slots` sequences at once, each token a sleep."""

    def __init__(self, times: Times, slots: int, number: int, start_s: float) -> None:
        self._times, self._free = times, asyncio.Semaphore(slots)
        self.ready_at = time.time() + start_s / times.speedup
        self._dies_at = self.ready_at + random.Random(number).expovariate(1 / times.life_s) / times.speedup
        self.drawn: list[tuple[float, float]] = []
        self.unreported = 0

    async def sample(self, request: Request, seed: int, version: str, for_learning: bool) -> Sample:
        tokens = tokens_of(seed, self._times.mu)
        async with self._free:
            started = time.time()
            ends = started + tokens * TOKEN_S / self._times.speedup
            if started < self._dies_at:
                await asyncio.sleep(min(ends, self._dies_at) - started)
                self.drawn.append((started, time.time()))
        self.unreported += 1
        if ends > self._dies_at:
            raise RuntimeError("a simulated engine is dead")
        logprobs = (-0.1,) * tokens if for_learning else ()
        text = "word " * (tokens // 2)
        return Sample(request.prompt_ids, tuple(range(1000, 1000 + tokens)), logprobs, text, "stop", version, seed)


class Host:
    """A Ray actor with the methods of `RolloutWorker` for several simulated engines, by their number."""

    def __init__(self, times: Times, rollout: RolloutConfig, reports: bool) -> None:
        self._times, self._slots, self._first = times, rollout.max_num_seqs, rollout.engines or 1
        self._report_at = rollout.chunk if reports else math.inf
        self._engines: dict[int, Simulated] = {}
        self._given = 0.0  # when the last chunk came

    async def ready(self, number: int) -> int:
        """Returns when the engine has started: the first at once, those that replace them later."""
        if number not in self._engines:
            self._engines[number] = Simulated(self._times, self._slots, number, START_S if number >= self._first else 0.0)
        await asyncio.sleep(max(0.0, self._engines[number].ready_at - time.time()))
        return number

    async def accept(self, number: int, version: str, checksums: Checksums) -> list[str]:
        await asyncio.sleep(WEIGHTS_S / self._times.speedup)
        return []

    async def sample(
        self, number: int, requests: Sequence[Request], sampling: SamplingConfig, version: str, for_learning: bool = True
    ) -> AsyncIterator[Report]:
        engine = self._engines[number]
        self._given = time.time()
        drawing = {
            asyncio.ensure_future(engine.sample(request, seed, version, for_learning)): place
            for place, request in enumerate(requests)
            for seed in request.seeds
        }
        samples: list[list[Sample]] = [[] for _ in requests]
        while drawing:
            done, _ = await asyncio.wait(drawing, return_when=asyncio.FIRST_COMPLETED)
            complete = []
            for task in done:
                place = drawing.pop(task)
                samples[place].append(task.result())
                if len(samples[place]) == len(requests[place].seeds):
                    complete.append(Drawn(place, samples[place], 0))
            if complete or engine.unreported >= self._report_at:
                finished, engine.unreported = engine.unreported, 0
                yield Report(complete, finished)

    async def drawn(self) -> tuple[float, list[tuple[float, float]]]:
        """When the last chunk came, and (start, end) of each sample, epoch seconds."""
        return self._given, [sample for engine in self._engines.values() for sample in engine.drawn]


class Handle:
    """Stands for the Ray handle of one engine."""

    def __init__(self, host: Any, number: int) -> None:
        self._host, self._number = host, number
        self.ready, self.accept, self.sample = (self._method(getattr(host, name)) for name in ("ready", "accept", "sample"))

    def _method(self, method: Any) -> SimpleNamespace:
        return SimpleNamespace(
            remote=partial(method.remote, self._number), options=lambda **options: self._method(method.options(**options))
        )


class NoWeights:
    """Weights that are not transferred: an engine sleeps as it accepts them."""

    def send(self, engines: Sequence[Any]) -> Checksums:
        return Checksums(None, {})


class SimulatedFleet(RolloutFleet):
    """The fleet, but for how an engine is started and killed."""

    def __init__(self, engines: int, sequences: int, actors: int, times: Times, reports: bool) -> None:
        overrides = [f"rollout.engines={engines}", f"learner.ranks={engines}", f"rollout.max_num_seqs={sequences}"]
        config = load_config("qwen3-4b", [*overrides, "evaluation.sets=[]"])
        remote: Any = ray.remote  # whose types lack `max_concurrency`
        actor = remote(num_cpus=0, max_concurrency=100_000)(Host)
        self.hosts = [actor.remote(times, config.rollout, reports) for _ in range(actors)]
        self._numbers = count()
        super().__init__(config, BASE)

    def _start(self) -> Any:
        number = next(self._numbers)
        handle = Handle(self.hosts[number % len(self.hosts)], number)
        self._places[handle] = number
        return handle

    def _kill(self, worker: Any) -> None:
        pass
