"""A round's minutes split and colocated, on the GPUs that the settings reserve."""

from collections.abc import Mapping
from copy import deepcopy

from actors.bundles import gpus
from conf.schema import Config
from jobs.checks.finding import Finding
from pipeline.algorithm.estimate import round_minutes
from pipeline.algorithm.model_shape import ModelShape
from pipeline.algorithm.workload import Responses


def in_both(config: Config) -> dict[str, Config]:
    """The settings by placement: as they are, and if they reserve several GPUs for one fleet, in the other placement on these."""
    own, count = {config.resources.placement: config}, gpus(config)
    if count < 2 or config.fleet_count > 1 or config.rollout.tensor_parallel > 1:
        return own
    other = deepcopy(config)
    resources = other.resources
    if config.colocated:
        resources.placement, other.rollout.transfer = "split", "host"
        resources.learner_gpus = resources.rollout_gpus = 1
        other.learner.ranks, other.rollout.engines = count // 2, count - count // 2
    else:
        resources.placement, other.rollout.transfer = "colocated", "ipc"
        resources.learner_gpus = resources.rollout_gpus = 0.5
        other.learner.ranks = other.rollout.engines = count
    return own | {resources.placement: other}


def placement_findings(
    shape: ModelShape, config: Config, stages: Mapping[str, Responses], mean: tuple[float, float], speed: float
) -> list[Finding]:
    """An estimate for each placement; `speed` is in tokens/s, of all engines of `config` together."""
    found = []
    for name, each in sorted(in_both(config).items(), reverse=True):
        minutes = round_minutes(shape, each, stages, mean, speed / (config.rollout.engines or 1))
        parts = ", ".join(f"{stage} {value:.1f}" for stage, value in minutes.items())
        actors = f"{each.learner.ranks} learner ranks and {each.rollout.engines or 1} engines on {gpus(each)} GPUs"
        found.append(Finding("ok", name, f"about {sum(minutes.values()):.0f} minutes a round: {parts}; {actors}, estimated"))
    return found
