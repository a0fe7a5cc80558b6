"""Minutes of a round on GPUs, split or colocated, estimated from the speed of an engine. No figure here was measured on a GPU.

A call that samples takes its tokens at the engines' speed, and then a tail in which the last responses are drawn nearly alone.
"""

from collections.abc import Mapping

from conf.schema import Config
from pipeline.algorithm.memory import checkpoint_bytes, model_bytes
from pipeline.algorithm.model_shape import ModelShape
from pipeline.algorithm.workload import Responses

ALONE = 100.0  # tokens/s of a response that is drawn nearly alone
PROMPT = 200  # tokens
RANK_FLOPS = 4e14  # floating-point operations per second of a learner rank: 40 % of what an H100 can do in bfloat16
BYTES_S = {"host": 3e9, "shared": 3e9, "nccl": 2e10, "ipc": 5e10}  # of weights, by rollout.transfer
DISK_BYTES_S = 1e9
START_S = 120.0  # of engines and learner


def round_minutes(
    shape: ModelShape, config: Config, stages: Mapping[str, Responses], mean: tuple[float, float], speed: float
) -> dict[str, float]:
    """Minutes by stage, and "other": the start, checkpoints and policies on disk.

    Args:
        stages: what a round samples, see `workload.round_responses`.
        mean: tokens of a question's and of an answer's response.
        speed: tokens/s of one engine with as many responses as it has room for.
    """
    calls = {"Challenger": 2 * config.challenger.steps, "curriculum": 2, "Solver": config.solver.total_steps}
    learned, stored = BYTES_S[config.rollout.transfer], BYTES_S["host"]
    weights = model_bytes(shape, config)
    transfers = {
        "Challenger": config.challenger.steps * (weights / learned + weights / stored),
        "curriculum": 2 * weights / stored,
        "Solver": config.solver.total_steps * weights / learned,
    }
    seconds = {
        name: responses.tokens(*mean) / (speed * (config.rollout.engines or 1))
        + calls.get(name, 1) * max(0.0, responses.longest - mean[1]) / ALONE
        + transfers.get(name, weights / stored)
        for name, responses in stages.items()
    }
    phases = (("Challenger", config.challenger, mean[0]), ("Solver", config.solver, mean[1]))
    for name, role, length in phases:
        seconds[name] += role.total_steps * update_seconds(shape, config, role.batch * (PROMPT + length))
    saved = sum(max(0, role.total_steps - 1) // config.learner.checkpoint_every for _, role, _ in phases)
    written = saved * checkpoint_bytes(shape, config) + (len(phases) + config.solver.members - 1) * weights
    seconds["other"] = START_S + written / DISK_BYTES_S
    return {name: value / 60 for name, value in seconds.items()}


def update_seconds(shape: ModelShape, config: Config, tokens: float) -> float:
    """One update: 2 operations a parameter and token forward, 4 backward, 2 each for recomputation and for the KL reference."""
    operations = 6 + 2 * config.learner.gradient_checkpointing + 2 * (config.grpo.kl > 0)
    return config.grpo.updates_per_batch * tokens * operations * shape.parameters / (config.learner.ranks * RANK_FLOPS)
