"""How many engines a fleet has."""

from actors.machine import cores, free_memory
from actors.rollout.chunks import PARTS
from conf.load import resolve
from conf.schema import Config

ENGINE_BYTES = 3 << 29  # of an engine on CPU, without weights and KV cache
OTHERS_BYTES = 3 << 30  # of the other processes of a run: driver, learner, reward actor, Ray


def engine_count(config: Config) -> int:
    """`rollout.engines`; by default as many as have work on this machine's cores and room in its memory, and one on a GPU.

    A run on CPU has the same results with any number.
    """
    if config.rollout.engines is not None:
        return config.rollout.engines
    if config.resources.device != "cpu" or config.resources.rollout_gpus:
        return 1
    weights = sum(file.stat().st_size for file in resolve(config.model.path).glob("*.safetensors"))
    each = ENGINE_BYTES + weights + (config.rollout.kv_cache_mb << 20)
    fleets = 2 if config.rollout.fleets == "per_role" else 1
    return max(1, min(cores(), PARTS, (free_memory() - OTHERS_BYTES) // (fleets * each)))
