"""The fleet over hundreds of engines that only sleep: what its scheduling costs the driver, and how busy it keeps the engines.

`python -m jobs.bench.scale [case ...]`, five minutes each. Real: `RolloutFleet`, Ray's calls and streams, the pickled samples.
Simulated: the engines, which sleep for each token, and the weights. Up to 64 engines are Ray actors of their own. Of 512, 64 live
in each of eight actors, in one event loop: 512 processes do not fit on a small machine. A dead engine's calls fail, as after
a CUDA error; its process lives.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from actors.cluster import prepare_environment, ray_cluster
from conf.load import load_config
from conf.schema import SamplingConfig
from pipeline.types import Policy, Request, in_groups

if TYPE_CHECKING:
    from jobs.bench.sleeping import Times

ANSWERS, GROUP = 80_000, 10  # the curriculum's, ten to a question
PROMPT = tuple(range(100, 300))
LIVE_S = 5.0


@contextmanager
def live(line: Callable[[], str]) -> Iterator[None]:
    """Prints `line()` every few seconds."""
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(LIVE_S):
            print(line(), file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Case:
    """So many engines in so many Ray actors; each draws so many `sequences` at once, and dies at a rate of `deaths` an hour.

    `calls`: of `stream`, one after another. Without `reports` an engine reports whole requests alone.
    """

    engines: int
    actors: int
    sequences: int
    deaths: float
    calls: int = 1
    reports: bool = True


CASES = {
    "8": Case(8, 8, 256, 0.01),
    "8-parts": Case(8, 8, 256, 0.01, calls=8),
    "64": Case(64, 64, 256, 0.01),
    "64-requests": Case(64, 64, 256, 0.01, reports=False),
    # With 256 sequences at once all answers would begin together, and the call be nothing but its tail.
    "512": Case(512, 8, 32, 0.01),
    "512-dying": Case(512, 8, 32, 1.0),
}


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds are of the simulated time. The tail is that of the last call of `stream`."""

    seconds: float
    driver: float  # share of one core before the tail
    request_ms: float  # the driver's CPU time, tail included
    idle: float  # share of what the engines could have drawn at once, before the tail
    tail_s: float
    replaced: int
    memory_mb: tuple[float, float]  # of the driver before, and at most


def simulate(case: Case, times: "Times") -> Result:
    import ray

    from jobs.bench.sleeping import NoWeights, SimulatedFleet

    fleet = SimulatedFleet(case.engines, case.sequences, case.actors, times, case.reports)
    fleet.wait_ready()
    policy = Policy("v1", NoWeights())
    fleet.load(policy)
    requests = [Request(PROMPT, tuple(range(i * GROUP, (i + 1) * GROUP))) for i in range(ANSWERS // GROUP)]
    process = psutil.Process()
    memory = [process.memory_info().rss / 2**20]
    spent = [(time.time(), time.process_time())]  # as requests arrive

    def line() -> str:
        memory.append(process.memory_info().rss / 2**20)
        (began, before), (now, cpu) = spent[0], spent[-1]
        share = (cpu - before) / max(1e-9, now - began) / times.speedup
        return f"{case}: {time.time() - began:.0f} s, {len(spent) - 1} of {len(requests)} requests, driver {share:.1%} of a core"

    with live(line):
        for part in in_groups(requests, len(requests) // case.calls):
            for _ in fleet.stream(part, policy, SamplingConfig(), for_learning=False):
                spent.append((time.time(), time.process_time()))
    given, drawn = zip(*ray.get([host.drawn.remote() for host in fleet.hosts]), strict=True)
    for host in fleet.hosts:
        ray.kill(host)
    (began, before), (ended, after) = spent[0], spent[-1]
    tail = max(given)  # nothing waits in the fleet any more
    busy = sum(max(0.0, min(end, tail) - start) for each in drawn for start, end in each)
    until_tail = next(cpu for at, cpu in reversed(spent) if at <= tail) - before
    return Result(
        seconds=(ended - began) * times.speedup,
        driver=until_tail / (tail - began) / times.speedup,
        request_ms=(after - before) / len(requests) * 1000,
        idle=1 - busy / (case.engines * case.sequences * (tail - began)),
        tail_s=(ended - tail) * times.speedup,
        replaced=int(fleet.take_counts().get("replaced", 0)),
        memory_mb=(memory[0], max(memory)),
    )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--speedup", type=float, default=1.0, help="simulated seconds in one second (default: %(default)g)")
    given = parser.parse_args(arguments)
    if unknown := set(given.cases) - CASES.keys():
        parser.error(f"unknown case {min(unknown)}; valid: {', '.join(CASES)}")
    prepare_environment()
    from jobs.bench.sleeping import LONGEST, MEAN, Times, fitted_mu

    mu = fitted_mu()
    results: dict[str, Result] = {}
    with ray_cluster(load_config(), print):
        for name in given.cases or CASES:
            results[name] = simulate(CASES[name], Times(mu, given.speedup, 3600 / CASES[name].deaths))
    print(f"{ANSWERS:,} answers, {GROUP} to a request, mean {MEAN:,} and at most {LONGEST:,} tokens; speed-up {given.speedup:g}")
    print("| case | engines | sequences each | die an hour | s | of a core | a request | idle | tail | replaced | memory |")
    for name, each in results.items():
        case, (start, most) = CASES[name], each.memory_mb
        print(
            f"| {name} | {case.engines} | {case.sequences} | {case.deaths:.0%} | {each.seconds:.0f} | {each.driver:.1%} | "
            f"{each.request_ms:.2f} ms | {each.idle:.1%} | {each.tail_s:.0f} s | {each.replaced} | {start:.0f} to {most:.0f} MB |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
