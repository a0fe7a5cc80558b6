"""Memory of a learner rank and of an engine, by arithmetic from the model's shape and the settings; docs/learner.md explains it.

All figures are bytes. What depends on kernels and allocators (activations, the optimizer's temporaries) is an estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from conf.schema import Config
from pipeline.algorithm.model_shape import ModelShape

FULL = 4  # bytes of a number in fp32, which master weights, gradient sums and Adam's moments have in either precision
BUCKET = 50_000_000  # elements of DeepSpeed's buckets, which are allocated whole; its default of 5e8 takes 2 GB in fp32
# Logits in memory at once, in elements: 32 Mi are 128 MiB in fp32, and the backward pass has three such tensors. A GPU needs
# larger products to be busy: 128 Mi are 883 tokens of Qwen3's vocabulary.
CHUNK_LOGITS = 1 << 25
CHUNK_LOGITS_CUDA = 1 << 27
LIVE_PARAMETERS = 1_000_000_000  # most parameters that ZeRO-3 holds gathered, DeepSpeed's default
CUDA_CONTEXT = 1 << 30  # CUDA's and NCCL's own memory in a process
ENGINE_WORKSPACE = 2 << 30  # of vLLM on a GPU: activations of its largest batch, CUDA graphs
ENGINE_ASLEEP = 2 << 30  # of vLLM on a GPU that its sleep does not free: CUDA's context, CUDA graphs; an estimate
LEARNER_PROCESS = 640 << 20  # resident memory of a rank's process without a model, measured on CPU
ENGINE_PROCESS = 1 << 30  # the same of an engine
DRIVER_PROCESS = 600 << 20  # the driver and the reward actor
RAY_PROCESSES = 600 << 20


@dataclass(frozen=True, slots=True)
class RankMemory:
    """Bytes that one learner rank holds, by part: `held` for the whole phase, `passing` during a pass or a step."""

    held: Mapping[str, int]
    passing: Mapping[str, int]
    host: Mapping[str, int] = field(default_factory=dict)  # moved to host memory by learner.offload

    @property
    def device(self) -> int:
        return sum(self.held.values()) + sum(self.passing.values())


def width(config: Config) -> int:
    """Bytes of a number in the model's precision."""
    return 2 if config.model.dtype == "bfloat16" else 4


def model_bytes(shape: ModelShape, config: Config) -> int:
    return shape.parameters * width(config)


def stage_of(config: Config) -> int:
    """The ZeRO stage in use: in bfloat16 stage 0 runs as 1."""
    return max(1, config.learner.zero_stage) if config.model.dtype == "bfloat16" else config.learner.zero_stage


def trained_parameters(shape: ModelShape, config: Config) -> int:
    """All of them, or those of the LoRA adapters: rank * (inputs + outputs) of each target in each layer."""
    if not config.lora.rank:
        return shape.parameters
    queries, pairs = shape.heads * shape.head_dim, shape.key_value_heads * shape.head_dim
    ends = {
        "q_proj": shape.hidden + queries,
        "k_proj": shape.hidden + pairs,
        "v_proj": shape.hidden + pairs,
        "o_proj": queries + shape.hidden,
        **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), shape.hidden + shape.intermediate),
    }
    return shape.layers * config.lora.rank * sum(ends.get(target, 0) for target in config.lora.targets)


def rank_memory(shape: ModelShape, config: Config) -> RankMemory:
    """What one learner rank holds, at most, in an update."""
    learner, stage, cuda = config.learner, stage_of(config), config.resources.device == "cuda"
    shards = learner.ranks if stage >= 1 else 1
    weights, trained = model_bytes(shape, config), trained_parameters(shape, config)
    reference = 0 if config.lora.rank or config.grpo.kl == 0 else weights
    offloads, offloads_all = learner.offload != "none", learner.offload == "all"
    optimizer = 2 * FULL * trained // shards + (FULL * trained // shards if stage else 0)  # moments, and from 1 on master weights
    gradients = FULL * trained // (learner.ranks if stage >= 2 else 1)
    of_weights = weights // learner.ranks if stage == 3 else weights
    of_reference = reference // learner.ranks if stage == 3 else reference
    host: dict[str, int] = {}
    held = {"weights": of_weights, "KL reference": of_reference, "optimizer": optimizer}
    if offloads:
        host["optimizer"] = held.pop("optimizer") + FULL * trained // shards  # with the gradient's shard
    if offloads_all:
        host["KL reference"] = of_reference
        held["KL reference"] = reference if reference and stage < 3 else 0  # on the device while it computes
    if offloads_all and stage == 3:
        host["weights"] = held.pop("weights")
    if stage == 3 or offloads:
        held["buckets"] = FULL * BUCKET * (2 if cuda else 1)
    if cuda:
        held["CUDA"] = CUDA_CONTEXT
    passes = activation_bytes(shape, config) + head_bytes(shape, config)
    if stage == 3:
        passes += min(LIVE_PARAMETERS, shape.parameters) * width(config)
    step = 0 if offloads else FULL * trained // shards  # AdamW's denominator
    return RankMemory(held, {"gradients": gradients, "activations, logits": max(passes, step)}, host)


def between_updates(memory: RankMemory, config: Config) -> tuple[int, int]:
    """(device, host) bytes that a rank holds between updates: what `python -m jobs.bench.learner` measures.

    The gradient's shard stays allocated at ZeRO 3 alone; an offloaded reference is in host memory.
    """
    held = sum(bytes_ for name, bytes_ in memory.held.items() if not (name == "KL reference" and "KL reference" in memory.host))
    gradients = memory.passing["gradients"] if stage_of(config) == 3 else 0
    return held + gradients, sum(memory.host.values())


def activation_bytes(shape: ModelShape, config: Config) -> int:
    """Estimate of what the backward pass needs of one row of tokens: all layers, or one layer and each layer's input.

    Of a layer it keeps two normalised inputs with their fp32 copies, queries, keys and values before and after rotation and
    padding, the attention's output, and four tensors of the MLP.
    """
    tokens = row_tokens(config)
    attention = 6 * shape.heads * shape.head_dim + 6 * shape.key_value_heads * shape.head_dim
    layer = width(config) * (6 * shape.hidden + attention + 4 * shape.intermediate) + 2 * FULL * shape.hidden
    if config.learner.gradient_checkpointing:
        return tokens * (layer + shape.layers * shape.hidden * width(config))
    return tokens * shape.layers * layer


def row_tokens(config: Config) -> int:
    """Tokens of the longest row: a sequence that is longer than a micro-batch is a row of its own."""
    return max(config.learner.micro_batch_tokens, config.model.max_length)


def head_bytes(shape: ModelShape, config: Config) -> int:
    """Of the output layer: three tensors of a chunk's logits in fp32, and the gradient of its weight in fp32 and as it is."""
    limit = CHUNK_LOGITS_CUDA if config.resources.device == "cuda" else CHUNK_LOGITS
    chunk = min(limit, row_tokens(config) * shape.vocabulary)
    return 3 * FULL * chunk + shape.vocabulary * shape.hidden * (FULL + 2 * width(config))


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """One GPU of an engine, or an engine on CPU: bytes of weights, and how many tokens fit into its KV cache."""

    weights: int
    cache: int
    tokens: int


def engine_memory(shape: ModelShape, config: Config, gpu: int = 0) -> EngineMemory:
    """What an engine makes of its memory.

    Args:
        gpu: bytes of one GPU; unused on CPU, where rollout.kv_cache_mb is the cache.
    """
    ranks = config.rollout.tensor_parallel
    weights, a_token = model_bytes(shape, config) // ranks, shape.cache_bytes(width(config)) // ranks
    if config.resources.device == "cpu":
        cache = config.rollout.kv_cache_mb << 20
    else:
        cache = max(0, int(gpu * config.rollout.gpu_memory_utilization) - weights - ENGINE_WORKSPACE)
    return EngineMemory(weights, cache, cache // a_token)


def least_engine_gpu(shape: ModelShape, config: Config) -> int:
    """Bytes of the smallest GPU in which an engine can draw one response of full length."""
    ranks = config.rollout.tensor_parallel
    cache = shape.cache_bytes(width(config)) * config.model.max_length // ranks
    return int((model_bytes(shape, config) // ranks + ENGINE_WORKSPACE + cache) / config.rollout.gpu_memory_utilization)


def host_memory(shape: ModelShape, config: Config) -> dict[str, int]:
    """Bytes of host memory by part, where all processes are on one machine."""
    ranks, engines = config.learner.ranks, (config.rollout.engines or 1) * config.fleet_count  # the default number fits
    rank = rank_memory(shape, config)
    if config.resources.device == "cpu":
        learner = ranks * (LEARNER_PROCESS + rank.device + sum(rank.host.values()))
        of_engine = engine_memory(shape, config)
        engine = engines * (ENGINE_PROCESS + of_engine.weights + of_engine.cache)
    else:  # each rank reads the whole model before it takes its share to the GPU; one writes it from float32
        weights = max(ranks * model_bytes(shape, config), FULL * shape.parameters)
        learner = ranks * (LEARNER_PROCESS + sum(rank.host.values())) + weights
        engine = engines * config.rollout.tensor_parallel * 2 * ENGINE_PROCESS
        if config.colocated and config.fleet_count > 1:  # the policy of the fleet whose role is not trained, while it sleeps
            engine += ranks * model_bytes(shape, config)
    return {"learner": learner, "engines": engine, "Ray, driver": RAY_PROCESSES + DRIVER_PROCESS}


def store_bytes(shape: ModelShape, config: Config) -> int:
    """Of Ray's object store: the weights of the policies that are held at a time, the newest, the previous and the Solver's."""
    return 3 * model_bytes(shape, config)


def checkpoint_bytes(shape: ModelShape, config: Config) -> int:
    """A learner's checkpoint on disk: weights (with LoRA the adapter alone), Adam's moments, master weights from ZeRO 1 on."""
    trained = trained_parameters(shape, config)
    return trained * (width(config) + 2 * FULL + (FULL if stage_of(config) else 0))


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """Bytes on the disk of runs_dir: what the end of a phase needs, what a first round needs at most, what each round keeps."""

    least: int
    peak: int
    kept: int


def disk_need(shape: ModelShape, config: Config) -> DiskNeed:
    """A round keeps both roles' policies. In a phase its last two checkpoints, and briefly a third, lie beside them; in the
    Solver's also its members, until their mean is there.
    """
    policy, checkpoint = model_bytes(shape, config), checkpoint_bytes(shape, config)
    saved = [
        (role.total_steps - 1) // config.learner.checkpoint_every for role in (config.challenger, config.solver) if role.steps
    ]
    two, three = (min(most, max(saved, default=0)) * checkpoint for most in (2, 3))
    members = (config.solver.members - 1) * policy
    return DiskNeed(policy + members + two, policy + members + max(three, two + policy), 2 * policy)
