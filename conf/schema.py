"""Every setting of a run: its type, its default, its bounds and what it means.

The defaults are those of the embedded tiny base on two CPU cores (profile `tiny`). `conf/load.py` merges a preset, a profile and
the user's overrides into `Config`, and checks the bounds below before anything is started.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


def setting(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, choices: tuple[Any, ...] = ()
) -> Any:
    """A dataclass field with its help text and valid values (bounds are inclusive)."""
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class ModelConfig:
    path: str = setting("assets/tiny-base", "base model of both roles: a local folder in HF format, or a hub id")
    dtype: str = setting("float32", "precision of weights and activations", choices=("float32", "bfloat16"))
    max_length: int = setting(256, "longest prompt plus response, tokens", low=16)


@dataclass
class SamplingConfig:
    temperature: float = setting(1.0, "softmax temperature of the rollouts and of all log-probabilities", low=0.01, high=10)
    top_p: float = setting(1.0, "nucleus mass of the rollouts; below 1 the importance ratio is biased", low=0.01, high=1)
    max_tokens: int = setting(96, "longest response, tokens", low=1)


@dataclass
class RoleConfig:
    """One GRPO phase of a role."""

    steps: int = setting(30, "GRPO updates in the phase", low=0)
    batch: int = setting(160, "responses sampled per step (a multiple of `group`)", low=1)
    group: int = setting(5, "responses per prompt, the group of GRPO's baseline", low=2)
    lr: float = setting(1e-4, "AdamW learning rate", low=0)
    schedule: str = setting(
        "constant", "learning rate over the phase: constant, or falling linearly to lr / steps", choices=("constant", "linear")
    )

    def lr_at(self, step: int) -> float:
        """The learning rate of a step of the phase, from 1.

        >>> RoleConfig(steps=4, lr=1.0, schedule="linear").lr_at(2)
        0.75
        """
        return self.lr if self.schedule == "constant" else self.lr * (self.steps - step + 1) / self.steps

    @property
    def total_steps(self) -> int:
        """Updates in a round."""
        return self.steps

    def member(self, step: int) -> tuple[int, int]:
        """Which member a step of the round trains, from 0, and which of its own steps it is, from 1.

        >>> SolverConfig(steps=4, members=2).member(5)
        (1, 1)
        """
        return (step - 1) // self.steps, (step - 1) % self.steps + 1


@dataclass
class ChallengerConfig(RoleConfig):
    """The Challenger's phase."""

    start: str = setting(
        "previous",
        "what the phase starts from: the previous round's Challenger, or the base model, near whose questions it then stays",
        choices=("previous", "base"),
    )


@dataclass
class SolverConfig(RoleConfig):
    """The Solver's phase."""

    resample: int = setting(
        0, "times that groups with equal rewards are replaced by groups of other questions in a step (DAPO); 0 for never", low=0
    )
    verdicts: float = setting(
        0.0,
        "share of the prompts that ask whether a question is well-posed: questions with a high p-hat, and the same made "
        "ill-posed by rule; 0 for none",
        low=0,
        high=0.5,
    )
    members: int = setting(
        1,
        "Solvers that a round trains one after the other, from one start, each for `steps` steps on its own share of the "
        "questions (of all, where there are fewer than members); the mean of their weights is the round's Solver (model soups, "
        "arXiv 2203.05482)",
        low=1,
        high=64,
    )
    average: float = setting(
        0.0,
        "share of its phase's start in the weights that the Solver ends a round with, from round 2 on (WARP, arXiv 2406.16768): "
        "0.5 for the mean of start and end; 0 for the end alone",
        low=0,
        high=0.9,
    )

    @property
    def total_steps(self) -> int:
        return self.steps * self.members

    @property
    def verdict_prompts(self) -> int:
        """Prompts of a step that ask for a verdict."""
        return round(self.verdicts * (self.batch // self.group))


@dataclass
class RewardConfig:
    lambda_: float = setting(1.0, "weight of the repetition penalty", low=0)
    threshold: float = setting(0.5, "BLEU distance below which questions cluster (tau)", low=0, high=1)
    scorers: list[str] = setting(
        ["triangular", "repetition"],
        "scorers of the Challenger's reward, in order: triangular | zone | band | variance | official first, then repetition | "
        "memory | validity, or your own as path/to/file.py:function",
    )
    peak: float = setting(0.75, "p_hat that the scorer zone rewards most", low=0, high=1)
    grader: str = setting(
        "math", "grader that decides which answers are equal: math | choice | exact, or your own as path/to/file.py:Class"
    )
    samples: int = setting(10, "Solver answers per question, over which the vote is taken (m)", low=2)
    workers: int = setting(2, "sandboxed math-verify processes", low=1, high=1024)
    timeout_s: float = setting(2.0, "CPU seconds one equivalence check may take before its process is killed", low=0.05)
    memory_mb: int = setting(1024, "address-space limit of a sandboxed process, MiB", low=256)


@dataclass
class CurriculumConfig:
    questions: int = setting(512, "questions the trained Challenger writes (N)", low=1)
    part: int = setting(
        128, "questions saved at a time, written and answered; an interruption loses those of unfinished parts", low=1
    )
    delta: float = setting(0.25, "a question is kept when |p_hat - 1/2| <= delta", low=0, high=0.5)
    keep: list[int] = setting(
        [],
        "fewest and most votes for the majority, of reward.samples, with which a question is kept, for example [4,7] in place of "
        "delta; [] for delta",
    )
    confident: float = setting(
        1.0,
        "share of a part's questions within delta or keep that is kept, those of the surest majorities: by the least likely "
        "token of its best response, and verdicts; 1 for all",
        low=0.05,
        high=1,
    )
    agreement: int = setting(
        0,
        "answers, of reward.samples, in which the Solver that labelled the previous round has to give the label; 0 for no check",
        low=0,
    )
    replay: int = setting(0, "earlier rounds whose kept questions the Solver trains on again, with their original labels", low=0)


@dataclass
class GrpoConfig:
    """The policy-gradient loss; both roles share it."""

    kl: float = setting(0.01, "coefficient of the KL penalty to the reference", low=0)
    reference: str = setting(
        "start", "reference of the KL penalty: the policy at the start of the phase, or the base model", choices=("start", "base")
    )
    kl_estimator: str = setting("k3", "per-token estimate of the KL divergence in the loss", choices=("k1", "k2", "k3"))
    updates_per_batch: int = setting(
        1, "optimizer updates on one sampled batch (mu in GRPO), all clipped around the policy at the batch's start", low=1
    )
    clip_low: float = setting(0.2, "lower clip of the importance ratio: 1 - clip_low", low=0, high=1)
    clip_high: float = setting(0.28, "upper clip of the importance ratio: 1 + clip_high", low=0)
    aggregation: str = setting(
        "token_mean", "how per-token losses are averaged", choices=("token_mean", "sequence_mean", "fixed_length")
    )
    advantage_scale: str = setting(
        "group", "standard deviation that advantages are divided by", choices=("group", "batch", "none")
    )
    baseline: str = setting("group", "mean that is subtracted from rewards", choices=("group", "batch"))
    importance: str = setting(
        "token_tis",
        "correction for differences between rollout and learner log-probabilities",
        choices=("none", "token_tis", "sequence_mask"),
    )
    importance_cap: float = setting(2.0, "cap of the importance correction", low=1)


@dataclass
class LearnerConfig:
    ranks: int = setting(1, "learner processes (one GPU each on a GPU profile)", low=1)
    zero_stage: int = setting(0, "DeepSpeed ZeRO stage", choices=(0, 1, 2, 3))
    micro_batch_tokens: int = setting(2048, "tokens of one packed forward and backward pass, per rank", low=64)
    weight_decay: float = setting(0.01, "AdamW weight decay", low=0)
    max_grad_norm: float = setting(1.0, "gradient norm at which gradients are clipped; 0 for none", low=0)
    gradient_checkpointing: bool = setting(False, "recompute activations in the backward pass to save memory")
    liger: bool = setting(False, "on GPUs, Liger's kernels for RMSNorm, RoPE and SwiGLU")
    offload: str = setting(
        "none",
        "what is kept in host memory: the optimizer state, or also the KL reference between batches and at ZeRO 3 the parameters",
        choices=("none", "optimizer", "all"),
    )
    timeout_s: float = setting(
        1800.0, "seconds for one call of the learner, e.g. an update or a checkpoint, before its ranks are replaced", low=1
    )
    checkpoint_every: int = setting(1, "steps between checkpoints; a resumed run repeats at most this many", low=1)


@dataclass
class LoraConfig:
    """Low-rank adapters in place of full fine-tuning, merged into the policy when it leaves the learner."""

    rank: int = setting(0, "rank of the adapters; 0 trains all weights", low=0)
    alpha: int = setting(32, "an adapter is scaled by alpha / rank", low=0)
    targets: list[str] = setting(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "names of the linear layers with an adapter",
    )


@dataclass
class RolloutConfig:
    engines: int | None = setting(
        None,
        "vLLM engines per fleet (data parallel); null for one; on CPU for one a core, at most 4 and as many as memory holds",
        low=1,
    )
    tensor_parallel: int = setting(1, "GPUs that one engine is split over, all on one node", low=1)
    fleets: str = setting(
        "shared", "whether both roles share one fleet, swapping weights, or have one each", choices=("shared", "per_role")
    )
    ahead: int = setting(
        0, "batches sampled while the learner trains on the previous one; with 1 they are one update stale", low=0, high=1
    )
    max_num_seqs: int = setting(256, "sequences an engine decodes at once", low=1, high=2**16)
    chunk: int = setting(16, "most samples requested from an engine at a time; small chunks balance load over engines", low=1)
    transfer: str = setting(
        "host",
        "how the learner's weights reach the engines: Ray's object store in host memory, shared memory (CPU, one machine), NCCL "
        "broadcasts between GPUs, or CUDA IPC when both are on one GPU",
        choices=("host", "shared", "nccl", "ipc"),
    )
    transfer_timeout_s: float = setting(
        300.0, "seconds for an engine to load new weights before it is replaced, and for the learner to send them", low=0.1
    )
    kv_cache_mb: int = setting(512, "KV cache of an engine on CPU, MiB", low=16)
    gpu_memory_utilization: float = setting(0.85, "share of a GPU's memory that an engine may take", low=0.05, high=0.98)


@dataclass
class ResourcesConfig:
    device: str = setting("cpu", "where policies run", choices=("cpu", "cuda"))
    placement: str = setting(
        "split",
        "whether engines hold their memory while the learner works, or take turns with it: an engine on the GPU of each learner "
        "rank, asleep while the rank works",
        choices=("split", "colocated"),
    )
    learner_gpus: float = setting(0.0, "GPUs a learner rank reserves (a fraction shares the GPU)", low=0)
    rollout_gpus: float = setting(0.0, "GPUs an engine reserves for each of its rollout.tensor_parallel ranks", low=0)
    wait_s: float = setting(
        60.0, "seconds to wait for a cluster to have room for learner and engines; more where it can grow", low=0
    )


@dataclass
class EvaluationConfig:
    sets: list[str] = setting(
        [],
        "held-out sets that the Solver is measured on after each round: names of conf/benchmarks.yaml, .yaml files of "
        "definitions, or data files with columns `question` and `answer`",
    )
    folder: str = setting("benchmarks", "folder that `make benchmarks` fetches sets into")
    samples: int | None = setting(
        None, "answers sampled per problem, for mean@k and majority@k, overriding each set's own; 0 for greedy alone", low=0
    )
    limit: int | None = setting(None, "problems measured per set, drawn by the run's seed; null for all", low=1)
    temperature: float = setting(1.0, "softmax temperature of the sampled answers", low=0.01, high=10)
    top_p: float = setting(1.0, "nucleus mass of the sampled answers", low=0.01, high=1)
    oracle: str | None = setting(
        None,
        "module with true_answer(question) -> str | None, the right answer, and optionally difficulty(question) -> int | None; "
        "used in reports only; null for none",
    )


@dataclass
class Config:
    """A whole run. See conf/profiles/*.yaml for the profiles."""

    profile: str = setting("tiny", "profile that these settings come from")
    preset: str = setting(
        "modern",
        "settings of the algorithm, conf/presets/*.yaml, which profile and overrides take precedence over",
        choices=("paper", "modern", "rising"),
    )
    name: str = setting("tiny", "name of the run; its folder is <runs_dir>/<name>")
    runs_dir: str = setting("runs", "folder that holds the runs")
    seed: int = setting(0, "seed from which the seeds of all samples and shuffles are derived", low=0, high=2**32 - 1)
    prompts: str = setting("conf/prompts/tiny.yaml", "file with the prompts of both roles, see docs/prompts.md")
    tracking_uri: str = setting("sqlite:///mlruns/mlflow.db", "MLflow tracking store: a sqlite:/// path or an http(s) server")
    policies: str = setting(
        "separate",
        "whether the roles are two models, or one model that every phase trains further",
        choices=("separate", "shared"),
    )
    stop_without_signal: bool = setting(
        True,
        "end the run, with responses and what to change, after a GRPO step without a well-formed question or boxed answer, or "
        "three in a row without a difference of rewards within any group",
    )
    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    challenger: ChallengerConfig = field(default_factory=lambda: ChallengerConfig(steps=5, batch=128, group=4, lr=5e-4))
    solver: SolverConfig = field(default_factory=SolverConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def role(self, role: Literal["challenger", "solver"]) -> RoleConfig:
        """The settings of a role's GRPO phase."""
        return self.challenger if role == "challenger" else self.solver

    @property
    def fleet_count(self) -> int:
        return 2 if self.rollout.fleets == "per_role" else 1

    @property
    def colocated(self) -> bool:
        """Whether engines and learner take turns, on the same GPUs where there are any."""
        return self.resources.placement == "colocated"

    @property
    def shares_gpus(self) -> bool:
        """Whether a learner rank and an engine share a GPU: each takes a part of one, and the parts are at most a whole."""
        learner, rollout = self.resources.learner_gpus, self.resources.rollout_gpus
        return 0 < learner < 1 and 0 < rollout < 1 and learner + rollout <= 1
