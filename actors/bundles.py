"""Which learner ranks and engines are placed together: a run's GPUs in bundles, each of one node, decided with values alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from conf.schema import Config


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
    return config.resources.learner_gpus if config.shares_gpus else math.ceil(config.resources.learner_gpus)


def engine_gpus(config: Config) -> float:
    return config.resources.rollout_gpus * config.rollout.tensor_parallel


def plan(config: Config, free: Sequence[float], learner: bool = True) -> Plan:
    """The plan whose ranks are spread least among those that fit on nodes with these numbers of `free` GPUs.

    Ranks that share no GPU with an engine are bundled by node: all in one bundle if that fits. Ranks that do have a bundle each,
    with their engines. If nothing fits, the plan of which `missing` says the most.
    """
    if config.shares_gpus:
        whole = shared_plan(config, free)
        # Without a learner an engine has the GPU that it would have beside a rank, and not one with other engines.
        used = 1 + max(place for fleet in whole.engines for place in fleet)
        return whole if learner else replace(whole, bundles=whole.bundles[:used], ranks=(), one_node=False)
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
    engines = config.rollout.engines or 1
    fleets = [[-1] * engines for _ in range(config.fleet_count)]
    if gpus := engine_gpus(config):
        each = holds(1, gpus)
        for number in range(len(fleets) * engines):
            if number % each == 0:
                bundles.append(math.ceil(gpus))
            fleets[number // engines][number % engines] = len(bundles) - 1
        return Plan(tuple(bundles), learner, tuple(map(tuple, fleets)))
    return Plan(tuple(bundles), learner)


def shared_plan(config: Config, free: Sequence[float]) -> Plan:
    """A bundle of one GPU for each rank, with engine i of each fleet beside rank i while there is room; then other engines."""
    ranks, engines, gpus = config.learner.ranks, config.rollout.engines or 1, engine_gpus(config)
    beside = ranks * holds(1 - config.resources.learner_gpus, gpus)
    fleets = [
        tuple(
            number % ranks if number < beside else ranks + (number - beside) // holds(1, gpus)
            for number in range(fleet * engines, (fleet + 1) * engines)
        )
        for fleet in range(config.fleet_count)
    ]
    count = max(ranks, *(place + 1 for fleet in fleets for place in fleet))
    return Plan((1,) * count, tuple(range(ranks)), tuple(fleets), one_node=max(free, default=0) >= count)


def engines_of_a_gpu(config: Config) -> int:
    """The most engines of one fleet that are placed together, at least one."""
    return max((fleet.count(place) for fleet in plan(config, ()).engines for place in fleet), default=1)


def holds(room: float, gpus: float) -> int:
    """How many actors of `gpus` GPUs fit into the room, at least one."""
    return max(1, math.floor(room / gpus + 1e-6))


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


def gpus(config: Config, learner: bool = True) -> int:
    """GPUs that a run reserves, or its engines alone."""
    return sum(plan(config, (), learner).bundles)
