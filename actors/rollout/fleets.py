"""The fleets of a run, by role."""

from collections.abc import Iterator
from contextlib import contextmanager

from actors.placement import ANYWHERE, Placement
from actors.rollout.fleet import RolloutFleet
from conf.schema import Config
from pipeline.types import Role


@contextmanager
def rollout_fleets(config: Config, model_path: str, placement: Placement = ANYWHERE) -> Iterator[dict[Role, RolloutFleet]]:
    """The fleet of each role, shared or not by `rollout.fleets`; the engines start in the background."""
    fleet = RolloutFleet(config, model_path, placement)
    other = RolloutFleet(config, model_path, placement, 1) if config.rollout.fleets == "per_role" else fleet
    try:
        yield {"challenger": fleet, "solver": other}
    finally:
        for each in {fleet, other}:
            each.shutdown()
