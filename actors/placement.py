"""Where learner ranks and engines run: bundles of GPUs, each on one node, reserved all at once as a Ray placement group.

`plan` decides with values alone, so that a cluster's layouts are unit tests; `reserved` asks Ray for the bundles. GPUs may be
logical: Ray counts them as its nodes declare them, whatever `resources.device` is.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from conf.load import ConfigError
from conf.schema import Config

POLL_S = 1.0  # between two looks at a cluster without room
READY_S = 10.0  # for Ray to place bundles for which there is room


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster with its free GPUs and all of them."""

    address: str
    free: float
    total: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`bundles` holds the GPUs of each bundle; `ranks` the bundle of each learner rank, `engines` of each engine, by fleet.

    `one_node`: all bundles have to be on one node.
    """

    bundles: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    engines: tuple[tuple[int, ...], ...] = ()
    one_node: bool = False

    def members(self, bundle: int) -> str:
        """
        >>> Plan((2, 1), ranks=(0, 0), engines=((1,),)).members(0)
        'learner rank 0 and learner rank 1'
        """
        ranks = [f"learner rank {rank}" for rank, place in enumerate(self.ranks) if place == bundle]
        names = ["engine {}"] if len(self.engines) < 2 else ["engine {} of the Challenger", "engine {} of the Solver"]
        fleets = zip(names, self.engines, strict=False)
        engines = [name.format(place) for name, fleet in fleets for place, at in enumerate(fleet) if at == bundle]
        return " and ".join(ranks + engines)


def rank_gpus(config: Config) -> float:
    """GPUs that a rank reserves: whole ones, since NCCL refuses two ranks on a GPU, unless it shares one with an engine."""
    return config.resources.learner_gpus if shares_gpus(config) else math.ceil(config.resources.learner_gpus)


def engine_gpus(config: Config) -> float:
    return config.resources.rollout_gpus * config.rollout.tensor_parallel


def shares_gpus(config: Config) -> bool:
    """Whether a rank and an engine share a GPU: each takes a part of one, and the parts are at most a whole."""
    learner, rollout = config.resources.learner_gpus, config.resources.rollout_gpus
    return 0 < learner < 1 and 0 < rollout < 1 and learner + rollout <= 1


def plan(config: Config, free: Sequence[float], learner: bool = True) -> Plan:
    """The plan whose ranks are spread least among those that fit on nodes with these numbers of `free` GPUs.

    Ranks that share no GPU with an engine are bundled by node: all in one bundle if that fits. Ranks that do have a bundle each,
    with their engines. If nothing fits, the plan of which `missing` says the most.
    """
    if learner and shares_gpus(config):
        return shared_plan(config, free)
    ranks = config.learner.ranks if learner and config.resources.learner_gpus else 0
    plans = [split_plan(config, ranks, each) for each in range(max(1, ranks), 0, -1)]
    fitting = (each for each in plans if not missing(each, free))
    return next(fitting, plans[-1])


def split_plan(config: Config, ranks: int, ranks_each: int) -> Plan:
    """Bundles of `ranks_each` ranks, then of engines: one each, or as many as a GPU holds."""
    of_rank = int(rank_gpus(config))
    starts = range(0, ranks, ranks_each)
    bundles = [of_rank * min(ranks_each, ranks - start) for start in starts]
    learner = tuple(rank // ranks_each for rank in range(ranks))
    fleets = [[-1] * config.rollout.engines for _ in range(fleet_count(config))]
    if gpus := engine_gpus(config):
        each = holds(1, gpus)
        for number in range(len(fleets) * config.rollout.engines):
            if number % each == 0:
                bundles.append(math.ceil(gpus))
            fleets[number // config.rollout.engines][number % config.rollout.engines] = len(bundles) - 1
        return Plan(tuple(bundles), learner, tuple(map(tuple, fleets)))
    return Plan(tuple(bundles), learner)


def shared_plan(config: Config, free: Sequence[float]) -> Plan:
    """A bundle of one GPU for each rank, with engine i of each fleet beside rank i while there is room; then other engines."""
    ranks, engines, gpus = config.learner.ranks, config.rollout.engines, engine_gpus(config)
    beside = ranks * holds(1 - config.resources.learner_gpus, gpus)
    fleets = [
        tuple(
            number % ranks if number < beside else ranks + (number - beside) // holds(1, gpus)
            for number in range(fleet * engines, (fleet + 1) * engines)
        )
        for fleet in range(fleet_count(config))
    ]
    count = max(ranks, *(place + 1 for fleet in fleets for place in fleet))
    return Plan((1,) * count, tuple(range(ranks)), tuple(fleets), one_node=max(free, default=0) >= count)


def holds(room: float, gpus: float) -> int:
    """How many actors of `gpus` GPUs fit into the room, at least one."""
    return max(1, math.floor(room / gpus + 1e-6))


def fleet_count(config: Config) -> int:
    return 2 if config.rollout.fleets == "per_role" else 1


def missing(plan: Plan, free: Sequence[float]) -> list[int]:
    """The bundles for which nodes with these numbers of free GPUs have no room, when the larger are placed first.

    >>> missing(Plan((2, 1, 1)), [2, 1])
    [2]
    """
    left = sorted(free, reverse=True)
    unplaced = []
    for bundle in sorted(range(len(plan.bundles)), key=lambda bundle: -plan.bundles[bundle]):
        node = next((node for node, gpus in enumerate(left) if gpus >= plan.bundles[bundle]), None)
        if node is None:
            unplaced.append(bundle)
        else:
            left[node] -= plan.bundles[bundle]
    return unplaced


@dataclass(frozen=True, slots=True)
class Placement:
    """A plan with its placement group; without one, actors run wherever Ray finds room."""

    plan: Plan = Plan()
    group: PlacementGroup | None = None

    def rank(self, rank: int) -> dict[str, Any]:
        """Ray's options for a learner rank; a replacement gets the same."""
        return self._options(self.plan.ranks[rank] if self.plan.ranks else -1)

    def engine(self, fleet: int, engine: int) -> dict[str, Any]:
        """Ray's options for an engine; a replacement gets the same."""
        return self._options(self.plan.engines[fleet][engine] if self.plan.engines else -1)

    def _options(self, bundle: int) -> dict[str, Any]:
        if self.group is None or bundle < 0:
            return {}
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(self.group, bundle)}


ANYWHERE = Placement()


def nodes() -> list[Node]:
    """The cluster's living nodes with GPUs."""
    free = available_resources_per_node()
    alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    return [
        Node(node["NodeManagerAddress"], free.get(node["NodeID"], {}).get("GPU", 0.0), node["Resources"]["GPU"]) for node in alive
    ]


@contextmanager
def reserved(config: Config, wait_s: float, say: Callable[[str], None], learner: bool = True) -> Iterator[Placement]:
    """Reserves the GPUs of learner (unless False) and engines, and releases them at the end.

    Args:
        wait_s: seconds to wait for room.
        say: called with a status line before waiting.

    Raises:
        ConfigError: there is still no room. The message names what has no place, and what is free.
    """
    if not any(plan(config, (), learner).bundles):
        yield Placement()
        return
    placement = wait_for_room(config, wait_s, say, learner)
    try:
        yield placement
    finally:
        remove_placement_group(placement.group)


def wait_for_room(config: Config, wait_s: float, say: Callable[[str], None], learner: bool) -> Placement:
    deadline = time.monotonic() + wait_s
    waiting = False
    while True:
        present = nodes()
        planned = plan(config, [node.free for node in present], learner)
        unplaced = missing(planned, [node.free for node in present])
        if not unplaced:
            strategy = "STRICT_PACK" if planned.one_node else "PACK"
            group = placement_group([{"GPU": gpus} for gpus in planned.bundles], strategy)
            if group.wait(READY_S):
                if waiting:
                    request_growth(())
                return Placement(planned, group)
            remove_placement_group(group)  # what was free has been taken meanwhile
        lack = no_room(planned, unplaced, present)
        if time.monotonic() >= deadline:
            if waiting:
                request_growth(())
            raise ConfigError(
                f"resources: {lack}; valid: fewer learner.ranks or rollout.engines, a profile that needs no GPU (tiny), more "
                f"nodes, or a resources.wait_s above {config.resources.wait_s:g} where the cluster can grow."
            )
        if not waiting:
            say(f"{lack}; waiting {wait_s:g} s for room")
            request_growth(planned.bundles)
            waiting = True
        time.sleep(POLL_S)


def request_growth(bundles: Sequence[int]) -> None:
    """Tells Ray's autoscaler, if the cluster has one, what is needed beside what it sees in use; () withdraws it."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[{"GPU": gpus} for gpus in bundles])


def no_room(plan: Plan, unplaced: Sequence[int], present: Sequence[Node]) -> str:
    """One line: which bundle has no place, and what is free on which node."""
    free = ", ".join(f"{node.free:g} of {node.total:g} on {node.address}" for node in present) or "none"
    first = unplaced[0] if unplaced else 0
    needed = f"{plan.bundles[first]} of the {sum(plan.bundles)} GPUs reserved"
    return f"no node has room for {plan.members(first)} ({needed}); free GPUs: {free}"
