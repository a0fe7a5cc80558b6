"""Reserves the GPUs of a run, all at once as a Ray placement group; which bundles there are, `actors/bundles.py` decides.

GPUs may be logical: Ray counts them as its nodes declare them, whatever `resources.device` is.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.bundles import Plan, missing, plan
from conf.errors import ConfigError
from conf.schema import Config

POLL_S = 1.0  # for a cluster without room, before it is looked at again
READY_S = 10.0  # for Ray to place bundles for which there is room


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster with its free GPUs and all of them."""

    address: str
    free: float
    total: float


@dataclass(frozen=True, slots=True)
class Placement:
    """A plan with its placement group; without one, actors run wherever Ray finds room."""

    plan: Plan
    group: PlacementGroup | None

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


ANYWHERE = Placement(Plan(), None)


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
        yield ANYWHERE
        return
    placement = wait_for_room(config, wait_s, say, learner)
    try:
        yield placement
    finally:
        remove_placement_group(placement.group)


def wait_for_room(config: Config, wait_s: float, say: Callable[[str], None], learner: bool) -> Placement:
    """While it waits, a group without room tells Ray's autoscaler, if the cluster has one, what to add to what is in use."""
    deadline = time.monotonic() + wait_s
    demand: PlacementGroup | None = None
    said = False
    try:
        while True:
            present = nodes()
            planned = plan(config, [node.free for node in present], learner)
            unplaced = missing(planned, [node.free for node in present])
            if not unplaced:
                withdraw(demand)
                demand = None
                group = group_of(planned)
                if group.wait(READY_S):
                    return Placement(planned, group)
                remove_placement_group(group)  # what was free has been taken meanwhile
            lack = no_room(planned, unplaced, present)
            if time.monotonic() >= deadline:
                raise ConfigError(
                    f"resources: {lack}; valid: fewer learner.ranks or rollout.engines, a profile that needs no GPU (tiny), more "
                    f"nodes, or a resources.wait_s above {config.resources.wait_s:g} where the cluster can grow."
                )
            if not said:
                say(f"{lack}; waiting {wait_s:g} s for room")
                said = True
            demand = demand or group_of(planned)
            if demand.wait(POLL_S):  # there is room, perhaps for a plan that scatters the ranks less
                withdraw(demand)
                demand = None
                time.sleep(POLL_S)  # Ray counts what it held as free a little later
    finally:
        withdraw(demand)


def group_of(planned: Plan) -> PlacementGroup:
    return placement_group([{"GPU": gpus} for gpus in planned.bundles], "STRICT_PACK" if planned.one_node else "PACK")


def withdraw(demand: PlacementGroup | None) -> None:
    if demand is not None:
        remove_placement_group(demand)


def no_room(plan: Plan, unplaced: Sequence[int], present: Sequence[Node]) -> str:
    """One line: which bundle has no place, and what is free on which node."""
    free = ", ".join(f"{node.free:g} of {node.total:g} on {node.address}" for node in present) or "none"
    first = unplaced[0] if unplaced else 0
    needed = f"{plan.bundles[first]} of the {sum(plan.bundles)} GPUs reserved"
    return f"no node has room for {plan.members(first)} ({needed}); free GPUs: {free}"
