"""Whether a run's model fits: memory of learner and engines, host memory, disk, and the work of a round, by arithmetic alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.bundles import gpus as reserved
from actors.bundles import plan
from actors.cluster import private_folder
from actors.machine import free_memory, total_memory
from conf.errors import ConfigError
from conf.schema import Config
from jobs.checks.finding import Finding, compared, gb
from jobs.checks.machine import disk_finding, gpu_findings, host_finding, store_finding
from jobs.checks.placements import placement_findings
from jobs.checks.probe import Gpu, free_bytes, read_gpus, store_size
from pipeline.algorithm.memory import (
    ENGINE_ASLEEP,
    RankMemory,
    between_updates,
    disk_need,
    engine_memory,
    host_memory,
    least_engine_gpu,
    model_bytes,
    rank_memory,
    store_bytes,
)
from pipeline.algorithm.model_shape import ModelShape, model_shape
from pipeline.algorithm.rewards import Scorer, needs_of
from pipeline.algorithm.workload import ASSUMED_SHARE, Responses, round_responses
from pipeline.domain.sets import BenchmarkSet, find_sets
from pipeline.observe.terminal import say
from pipeline.store.benchmarks import read_problems

COMMON_GPUS = (16, 24, 32, 40, 48, 80, 96, 141, 192)  # as they are sold, in GiB
MARGIN = 0.9  # of a GPU's memory; the rest is lost to fragments
LESS = (
    "a smaller learner.micro_batch_tokens (not below model.max_length), more learner.ranks with learner.zero_stage=3, "
    "learner.gradient_checkpointing=true, learner.offload=optimizer, or lora.rank=16"
)


def memory_findings(shape: ModelShape, config: Config, gpu: int | None) -> list[Finding]:
    """The model, a learner rank and an engine, against `gpu` bytes of one GPU; None where there is none to compare with."""
    size = f"{shape.parameters / 1e6:,.0f} million parameters, {gb(model_bytes(shape, config))} in {config.model.dtype}"
    on_device = on_cpu if config.resources.device == "cpu" else on_gpu
    return [Finding("ok", "model", size), *on_device(shape, config, gpu)]


def on_cpu(shape: ModelShape, config: Config, _: int | None) -> list[Finding]:
    """What a rank and an engine take; whether all of them fit is judged by host memory."""
    rank, engine = rank_memory(shape, config), engine_memory(shape, config)
    return [
        Finding("ok", "learner rank", f"about {gb(rank.device + sum(rank.host.values()))}: {by_part(rank)}"),
        engine_finding(engine.tokens, config, f"{gb(engine.weights)} of weights, KV cache of {gb(engine.cache)}"),
    ]


def on_gpu(shape: ModelShape, config: Config, gpu: int | None) -> list[Finding]:
    """What a rank and an engine take of a GPU, which they share where the settings say so."""
    rank = rank_memory(shape, config)
    placed = plan(config, ())
    count = [sum(fleet.count(place) for fleet in placed.engines) for place in range(len(placed.bundles))]
    beside = max((count[place] for place in placed.ranks), default=0)
    together = 1 if config.colocated else max(count, default=1)
    share = beside * config.rollout.gpu_memory_utilization
    # Of the rank while engines are awake, and of all while it works; where they do not take turns, both at once.
    resting = between_updates(rank, config)[0] if config.colocated else rank.device
    working = rank.device + (beside * ENGINE_ASLEEP if config.colocated else 0)
    least = max(resting / (MARGIN - share), working / MARGIN) if share < MARGIN else math.inf
    fitting = [size for size in COMMON_GPUS if size << 30 >= max(least, least_engine_gpu(shape, config))]
    engines = f" beside {'an engine' if beside == 1 else f'{beside} engines'} with {share:.0%} of the GPU" if beside else ""
    turns = f", {gb(rank.device)} while it works and the engine sleeps" if config.colocated else ""
    wanted = f"about {gb(resting)}{engines}{turns} ({by_part(rank)}): a GPU of {fitting[0] if fitting else 'more than 192'} GB"
    crowded = []
    if (all_shares := together * config.rollout.gpu_memory_utilization) > 1:
        do = f"rollout.gpu_memory_utilization={math.floor(100 / together) / 100}, or resources.rollout_gpus=1"
        crowded = [Finding("fault", "engine", f"{together} on one GPU would take {all_shares:.0%} of it", "at most 100%", do)]
    if gpu is None:
        full = gb(least_engine_gpu(shape, config))
        engine = Finding("ok", "engine", f"no GPU here to compare with; needed: {full} for one response of full length")
        return [Finding("ok", "learner rank", "no GPU here to compare with", wanted), engine, *crowded]
    filled = max(resting + share * gpu, working)
    memory = engine_memory(shape, config, gpu)
    return [
        compared(
            "learner rank",
            f"a GPU of {gb(gpu)}, filled to {filled / gpu:.0%}",
            wanted,
            LESS,
            fault=filled > gpu,
            warning=filled > MARGIN * gpu,
        ),
        engine_finding(memory.tokens, config, f"{gb(memory.weights)} of weights, KV cache of {gb(memory.cache)}"),
        *crowded,
    ]


def by_part(rank: RankMemory) -> str:
    return ", ".join(f"{name} {gb(size)}" for name, size in {**rank.held, **rank.passing}.items() if size)


def engine_finding(tokens: int, config: Config, of: str) -> Finding:
    """Responses of full length that the KV cache of an engine holds, against rollout.max_num_seqs."""
    full, most = tokens // config.model.max_length, config.rollout.max_num_seqs
    do = "rollout.kv_cache_mb" if config.resources.device == "cpu" else "rollout.gpu_memory_utilization, rollout.tensor_parallel"
    return compared(
        "engine",
        f"{of}, which hold {full:,} responses of full length ({config.model.max_length:,} tokens)",
        f"1, better a share of rollout.max_num_seqs={most}, the others wait for room",
        f"a larger {do}, or a smaller model.max_length",
        fault=full < 1,
        warning=full < most / 8,
    )


def room_findings(shape: ModelShape, config: Config, held: int = 0) -> list[Finding]:
    """Disk, host memory and the object store of this machine; of a cluster only the disk, if it is shared.

    `held`: bytes on the disk that the run will replace.
    """
    folder = Path(config.runs_dir).absolute()
    disk = disk_finding(disk_need(shape, config), free_bytes(folder) + held, str(folder))
    if private_folder() is None:
        return [disk]
    device, weights = config.resources.device, model_bytes(shape, config)
    store = store_finding(weights, store_bytes(shape, config), store_size(device), device)
    return [disk, host_finding(host_memory(shape, config), total_memory(), free_memory(), device), store]


def fit_findings(model: Mapping[str, Any] | None, config: Config, gpus: Sequence[Gpu], held: int = 0) -> list[Finding]:
    """Whether a model, by its config.json, fits on this machine with these GPUs; without one, that it cannot be computed.

    `held`: see `room_findings`.
    """
    try:
        shape = model_shape(model or {})
    except ValueError as error:
        return [
            Finding("warning", "memory", f"cannot be computed: {error}", "", "try a round with few steps and watch the memory")
        ]
    used = gpus[: max(1, reserved(config))]  # Ray hands them out in order
    smallest = min((gpu.memory for gpu in used), default=None)
    return [*memory_findings(shape, config, smallest), *room_findings(shape, config, held)]


def known_shape(model: Mapping[str, Any] | None) -> ModelShape | None:
    """The shape of a model by its config.json, None where it cannot be computed."""
    try:
        return model_shape(model or {})
    except ValueError:
        return None


def refuse_what_cannot_fit(model: Mapping[str, Any], config: Config, held: int = 0) -> None:
    """What `make round` checks by itself, in a fraction of a second; warnings are printed. `held`: see `room_findings`.

    Raises:
        ConfigError: a run of this model cannot fit on this machine.
    """
    local, cuda = private_folder() is not None, config.resources.device == "cuda"
    gpus = read_gpus() if local and cuda else []
    if local and cuda and not gpus:
        return  # Ray says how many are missing
    for each in [*(gpu_findings(gpus, reserved(config), config) if gpus else []), *fit_findings(model, config, gpus, held)]:
        if each.level == "fault":
            raise ConfigError(f"{each.text}. `make check` with the same settings shows everything.")
        if each.level == "warning":
            say(f"warning: {each.text}")


def held_out(config: Config) -> list[tuple[int, int, int]]:
    """(problems, samples of each, longest answer) of each held-out set whose size is known."""
    settings = config.evaluation
    sets = []
    for each in find_sets(settings.sets, "evaluation.sets"):
        problems = each.problems if each.problems is not None else count_problems(each, settings.folder)
        if problems is not None:
            count = problems if settings.limit is None else min(problems, settings.limit)
            samples = each.samples if settings.samples is None else settings.samples
            sets.append((count, samples, min(each.max_tokens or config.sampling.max_tokens, config.model.max_length)))
    return sets


def count_problems(definition: BenchmarkSet, folder: str) -> int | None:
    """The problems of a set on disk, None if it cannot be read."""
    try:
        return len(read_problems(definition, folder))
    except ConfigError:
        return None


def workload_findings(
    config: Config,
    scorers: Sequence[Scorer],
    speed: float | None,
    lengths: tuple[float, float] | None,
    shape: ModelShape | None = None,
) -> list[Finding]:
    """Tokens of a round by stage, and the hours of sampling at `speed` tokens/s of all engines together.

    On GPUs also an estimate of a whole round, split and colocated, if the model's `shape` is known.

    Args:
        lengths: mean tokens of a question's and of an answer's response, as measured; None for an assumption.
    """
    stages = round_responses(config, "verdicts" in needs_of(scorers), held_out(config))
    mean = lengths or (ASSUMED_SHARE * config.sampling.max_tokens,) * 2
    lines = [stage_finding(name, responses, mean, speed) for name, responses in stages.items()]
    lines.append(total_finding(list(stages.values()), mean, speed, lengths is not None))
    if speed and shape and config.resources.device == "cuda":
        lines += placement_findings(shape, config, stages, mean, speed)
    return lines


def stage_finding(name: str, responses: Responses, mean: tuple[float, float], speed: float | None) -> Finding:
    about = responses.tokens(*mean)
    questions = f"{responses.questions:,} questions, " if responses.questions else ""
    time = f", {hours(about / speed)}" if speed else ""
    counted = f"{questions}{responses.answers:,} answers"
    return Finding("ok", name, f"about {millions(about)}{time} ({counted}); at most {millions(responses.most_tokens)}")


def total_finding(stages: Sequence[Responses], mean: tuple[float, float], speed: float | None, measured: bool) -> Finding:
    about, most = sum(each.tokens(*mean) for each in stages), sum(each.most_tokens for each in stages)
    time = f", {hours(about / speed)} of sampling at {speed:,.0f} tokens/s" if speed else "; hours: --tokens-per-second or --try"
    how = "measured" if measured else f"assumed: a response is {ASSUMED_SHARE:.0%} of sampling.max_tokens on average"
    return Finding("ok", "a round", f"about {millions(about)} ({how}){time}; at most {millions(most)}")


def millions(tokens: float) -> str:
    return f"{tokens / 1e6:,.1f} M tokens" if tokens >= 1e6 else f"{tokens / 1e3:,.0f} k tokens"


def hours(seconds: float) -> str:
    """
    >>> hours(5400), hours(90)
    ('1.5 hours', '1.5 minutes')
    """
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
