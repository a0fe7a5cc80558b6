"""Settings that contradict each other: each is valid by itself."""

from conf.errors import ConfigError
from conf.schema import Config


def refuse_contradictions(config: Config) -> None:
    """Raises ConfigError for the first settings that do not go together."""
    check_phases(config)
    check_votes(config)
    check_learner(config)
    check_devices(config)
    check_transfer(config)
    check_colocated(config)


def check_phases(config: Config) -> None:
    """Raises ConfigError if a phase cannot be sampled, or its other settings need what it lacks."""
    for role, phase in (("challenger", config.challenger), ("solver", config.solver)):
        if phase.batch % phase.group:
            raise ConfigError(
                f"{role}.batch={phase.batch}: must be a multiple of {role}.group={phase.group}, the responses to one prompt; "
                f"for example {max(1, phase.batch // phase.group) * phase.group}."
            )
    if config.sampling.max_tokens >= config.model.max_length:
        raise ConfigError(
            f"sampling.max_tokens={config.sampling.max_tokens}: leaves no room for a prompt in model.max_length="
            f"{config.model.max_length}; valid: less than model.max_length."
        )
    if config.solver.average and not config.solver.steps:
        raise ConfigError(
            f"solver.average={config.solver.average}: averages the weights before and after the phase, and solver.steps=0 trains "
            "none; valid: 0, or solver.steps of at least 1."
        )
    if config.solver.members > 1 and not config.solver.steps:
        raise ConfigError(f"solver.members={config.solver.members}: solver.steps=0 trains none of them; valid: 1.")
    if config.solver.verdicts and not config.solver.verdict_prompts:
        prompts = config.solver.batch // config.solver.group
        valid = f"at least {1 / prompts:.2g}, of up to 0.5" if prompts > 1 else "a larger solver.batch"
        raise ConfigError(
            f"solver.verdicts={config.solver.verdicts:g}: is less than one of the {prompts} prompts of a step (solver.batch / "
            f"solver.group); valid: 0, or {valid}."
        )
    if config.solver.resample and config.grpo.baseline == "batch":
        raise ConfigError(
            f"solver.resample={config.solver.resample}: under grpo.baseline=batch groups with equal rewards have a gradient; "
            "valid: 0, or grpo.baseline=group."
        )
    if config.challenger.start == "base" and config.policies == "shared":
        raise ConfigError("challenger.start=base: policies=shared has no Challenger of its own; valid: policies=separate.")
    if config.rollout.ahead and config.grpo.importance == "none":
        raise ConfigError(
            "rollout.ahead=1: batches are one update stale, which has to be corrected; valid: grpo.importance=token_tis or "
            "sequence_mask, or rollout.ahead=0."
        )


def check_votes(config: Config) -> None:
    """Raises ConfigError if there is no scorer, or a number of votes is not one of `reward.samples`."""
    if not config.reward.scorers or len(set(config.reward.scorers)) < len(config.reward.scorers):
        raise ConfigError(f"reward.scorers={config.reward.scorers}: valid: one or more scorers, each once.")
    if {"official", "repetition"} <= set(config.reward.scorers):
        raise ConfigError(
            f"reward.scorers={config.reward.scorers}: official takes off the repetition penalty itself; valid: one of the two."
        )
    keep, votes = config.curriculum.keep, config.reward.samples
    nearest = abs(votes // 2 / votes - 0.5)
    if not keep and config.curriculum.delta < nearest - 1e-9:
        raise ConfigError(
            f"curriculum.delta={config.curriculum.delta:g}: no share of reward.samples={votes} votes is that near to one half; "
            f"valid: at least {nearest:.3g}."
        )
    if keep and not (len(keep) == 2 and 1 <= keep[0] <= keep[1] <= votes):
        raise ConfigError(
            f"curriculum.keep={keep}: valid: [], or the fewest and the most votes of reward.samples={votes}, for example "
            f"[{-(-votes // 2)},{votes - 1}]."
        )
    if config.curriculum.agreement > votes:
        raise ConfigError(f"curriculum.agreement={config.curriculum.agreement}: valid: at most reward.samples={votes}.")


def check_learner(config: Config) -> None:
    """Raises ConfigError if adapters or an offloaded optimizer lack what they need."""
    if config.learner.offload != "none" and config.learner.zero_stage == 0:
        raise ConfigError(
            f"learner.offload={config.learner.offload}: needs a sharded optimizer; valid: learner.zero_stage 1, 2 or 3."
        )
    if config.lora.rank and not config.lora.targets:
        raise ConfigError(
            "lora.targets=[]: nothing would be trained; valid: names of linear layers, for example [q_proj,v_proj]."
        )
    if config.lora.rank and not config.lora.alpha:
        raise ConfigError("lora.alpha=0: adapters scaled by alpha / rank would have no effect; valid with lora.rank: at least 1.")
    if config.grpo.reference == "base" and not config.grpo.kl:
        raise ConfigError("grpo.reference=base: is what grpo.kl measures the distance to; valid: start, or grpo.kl above 0.")
    if config.lora.rank and config.grpo.reference == "base":
        raise ConfigError(
            "grpo.reference=base: with LoRA the reference is the policy without its adapter; valid with lora.rank: start."
        )


def check_devices(config: Config) -> None:
    """Raises ConfigError if the device cannot do it, or Ray cannot reserve these GPUs: a part of one, or whole ones."""
    if config.rollout.tensor_parallel > 1 and config.resources.device == "cpu":
        raise ConfigError(
            f"rollout.tensor_parallel={config.rollout.tensor_parallel}: splits an engine over GPUs; valid with "
            "resources.device=cpu: 1, with rollout.engines for more processes."
        )
    if config.learner.liger and config.resources.device == "cpu":
        raise ConfigError("learner.liger=true: its kernels run on GPUs; valid with resources.device=cpu: false.")
    if config.resources.device == "cuda" and not config.resources.learner_gpus:
        raise ConfigError("resources.learner_gpus=0: a learner on cuda needs a GPU; valid: 1, or a fraction to share one.")
    if config.resources.device == "cuda" and not config.resources.rollout_gpus:
        raise ConfigError("resources.rollout_gpus=0: an engine on cuda needs a GPU; valid: 1, or a fraction to share one.")
    for name, gpus in (("learner_gpus", config.resources.learner_gpus), ("rollout_gpus", config.resources.rollout_gpus)):
        if gpus > 1 and gpus % 1:
            raise ConfigError(f"resources.{name}={gpus:g}: valid: a fraction to share one GPU, or a whole number.")
    if config.rollout.tensor_parallel > 1 and config.resources.rollout_gpus % 1:
        raise ConfigError(
            f"resources.rollout_gpus={config.resources.rollout_gpus:g}: an engine of rollout.tensor_parallel="
            f"{config.rollout.tensor_parallel} needs whole GPUs; valid: 1, or rollout.tensor_parallel=1."
        )


def check_colocated(config: Config) -> None:
    """Raises ConfigError if engines and learner cannot take turns: they would work at once, or do not share their GPUs."""
    resources, ranks, engines = config.resources, config.learner.ranks, config.rollout.engines or 1
    if not config.colocated:
        return
    if config.rollout.ahead:
        raise ConfigError(
            "rollout.ahead=1: engines would sample while the learner works; valid with resources.placement=colocated: 0."
        )
    on_gpus = resources.device == "cuda" or resources.learner_gpus or resources.rollout_gpus
    if on_gpus and not (all_fit(config) and ranks == engines):
        learner, rollout = (0.5, 0.5) if config.fleet_count == 1 else (0.4, 0.3)
        raise ConfigError(
            "resources.placement=colocated: each GPU has a learner rank and an engine of each fleet; valid: as many "
            f"rollout.engines as learner.ranks={ranks}, resources.learner_gpus={learner} and resources.rollout_gpus={rollout}."
        )


def check_transfer(config: Config) -> None:
    """Raises ConfigError if `rollout.transfer` does not work with the other settings."""
    transfer = config.rollout.transfer
    if transfer == "host":
        return
    if (config.resources.device == "cpu") != (transfer == "shared"):
        valid_here = "host or shared" if config.resources.device == "cpu" else "host, nccl or ipc"
        raise ConfigError(f"rollout.transfer={transfer}: valid with resources.device={config.resources.device}: {valid_here}.")
    if config.rollout.ahead:
        raise ConfigError(f"rollout.transfer={transfer}: keeps only the latest weights; valid with rollout.ahead=1: host.")
    if transfer == "nccl" and config.shares_gpus:
        raise ConfigError(
            "rollout.transfer=nccl: NCCL refuses two processes on one GPU; valid when resources.learner_gpus and "
            "resources.rollout_gpus share one: ipc or host."
        )
    if transfer == "nccl" and config.resources.rollout_gpus < 1 and (config.rollout.engines or 1) > 1:
        raise ConfigError(
            f"rollout.transfer=nccl: NCCL refuses two engines on one GPU; valid with resources.rollout_gpus="
            f"{config.resources.rollout_gpus:g}: host, or resources.rollout_gpus=1."
        )
    if transfer == "ipc" and not (
        all_fit(config) and config.learner.ranks == (config.rollout.engines or 1) * config.rollout.tensor_parallel
    ):
        raise ConfigError(
            "rollout.transfer=ipc: every learner rank has to share its GPU with an engine; valid: learner.ranks equal to "
            "rollout.engines times rollout.tensor_parallel, and resources.learner_gpus + resources.rollout_gpus (twice that with "
            "rollout.fleets=per_role) at most 1; otherwise nccl or host."
        )


def all_fit(config: Config) -> bool:
    """Whether a learner rank and an engine of each fleet share a GPU."""
    resources = config.resources
    return config.shares_gpus and resources.learner_gpus + resources.rollout_gpus * config.fleet_count <= 1
