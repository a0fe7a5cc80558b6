"""How many engines a fleet has."""

from collections.abc import Mapping
from typing import Any

from actors.machine import cores, free_memory
from conf.schema import Config
from pipeline.algorithm.memory import host_memory, store_bytes
from pipeline.algorithm.model_shape import model_shape

MOST = 4  # on a CPU: each takes seconds of every start
USED = 0.75  # of free memory, since what processes take is an estimate


def engine_count(config: Config, model: Mapping[str, Any]) -> int:
    """`rollout.engines`; by default one a core, as memory allows, at most `MOST`, and one on a GPU.

    A run on CPU has the same results with any number.

    Args:
        model: its config.json; empty if unknown. One engine where its size cannot be computed.
    """
    if config.rollout.engines is not None:
        return config.rollout.engines
    if config.resources.device != "cpu" or config.resources.rollout_gpus:
        return 1
    try:
        shape = model_shape(model)
    except ValueError:
        return 1
    parts = host_memory(shape, config)  # with one engine a fleet
    room = USED * free_memory() - store_bytes(shape, config) - sum(size for name, size in parts.items() if name != "engines")
    return max(1, min(cores(), MOST, int(room // parts["engines"])))
