"""From settings to DeepSpeed: the engine that trains the policy, and the frozen KL reference."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actors.learner.liger import use_liger
from actors.learner.lora import adapter_off, add_adapter
from conf.schema import Config
from pipeline.algorithm.memory import BUCKET, stage_of
from pipeline.algorithm.packing import ATTENTION, PackedRow, PolicyModel, register_packed_attention


def engine_config(config: Config) -> dict[str, Any]:
    """DeepSpeed's configuration: fp32, or bf16 with master weights and gradient sums in fp32.

    In bf16 stage 0 runs as stage 1, which is equivalent: at stage 0 DeepSpeed would sum gradients in bf16.
    """
    learner = config.learner
    bfloat16 = config.model.dtype == "bfloat16"
    host = {"device": "cpu", "pin_memory": config.resources.device == "cuda"}
    return {
        # The number of micro-batches varies: `Learner.update` sets the accumulation boundaries itself.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": learner.max_grad_norm,
        "zero_allow_untested_optimizer": True,
        # DeepSpeed's CPU AdamW takes minutes to compile; torch's is used instead.
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bfloat16, "check_grad_overflow": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": {
            "stage": stage_of(config),
            "overlap_comm": config.resources.device == "cuda",
            "reduce_bucket_size": BUCKET,
            "allgather_bucket_size": BUCKET,
            # Norm weights stay replicated on every rank, matrices are sharded.
            "stage3_param_persistence_threshold": 10_000,
            **({"offload_optimizer": host} if learner.offload != "none" else {}),
            **({"offload_param": host} if learner.offload == "all" and learner.zero_stage == 3 else {}),
        },
    }


def load_policy(config: Config, model_path: str) -> PolicyModel:
    """The model of the HF folder `model_path`, unsharded, in host memory."""
    from transformers import AutoModelForCausalLM, logging

    logging.disable_progress_bar()
    register_packed_attention()
    model = AutoModelForCausalLM.from_pretrained(
        model_path, dtype=getattr(torch, config.model.dtype), attn_implementation=ATTENTION, trust_remote_code=False
    )
    if config.learner.liger:
        use_liger(model)
    if config.learner.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return PolicyModel(model, config.sampling.temperature)


def place(policy: PolicyModel, config: Config, device: torch.device) -> PolicyModel:
    """Moves a policy to its device: whole, or under ZeRO-3 one parameter at a time, of which each rank keeps its shard."""
    if config.learner.zero_stage < 3:
        return policy.to(device)
    import deepspeed

    deepspeed.zero.Init(module=policy, config_dict_or_path=engine_config(config), dtype=getattr(torch, config.model.dtype))
    return policy


def training_engine(config: Config, model_path: str, lr: float, device: torch.device) -> Any:
    """The DeepSpeed engine of a policy initialised from `model_path`; with LoRA only the adapter is trained."""
    import deepspeed

    policy = load_policy(config, model_path).train()
    if config.lora.rank:
        add_adapter(policy, config.lora)
    policy = place(policy, config, device)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    # One kernel a step, without temporary copies of the parameters' size.
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=config.learner.weight_decay, fused=device.type == "cuda")
    return deepspeed.initialize(model=policy, optimizer=optimizer, config=engine_config(config))[0]


def master_weights(parameter: Tensor) -> Tensor:
    """What the optimizer holds of a whole parameter: in bfloat16 its float32 master weights, else the parameter. Collective."""
    from deepspeed.utils import safe_get_full_fp32_param

    master = safe_get_full_fp32_param(parameter) if parameter.dtype == torch.bfloat16 else None
    return parameter if master is None else master


class Reference:
    """The policy of the KL penalty, by default that at the start of the phase, of which only log-probabilities are needed.

    With LoRA it is the policy with its adapter disabled and takes no memory. Otherwise it is a frozen copy without an optimizer:
    sharded under ZeRO-3, where a full copy per rank may not fit, and with `learner.offload: all` in host memory between batches.
    """

    def __init__(self, config: Config, model_path: str, device: torch.device, policy: nn.Module) -> None:
        self._device = device
        self._shared = bool(config.lora.rank)
        self._to_host = config.learner.offload == "all" and config.learner.zero_stage < 3
        self._engine: Any = None
        if self._shared:
            self._policy: Any = policy
            return
        copy = load_policy(config, model_path).requires_grad_(False).eval()
        if config.learner.zero_stage == 3:
            import deepspeed

            settings = engine_config(config)
            settings["zero_optimization"].pop("offload_optimizer", None)
            self._policy = self._engine = deepspeed.initialize(model=place(copy, config, device), config=settings)[0]
        else:
            self._policy = copy if self._to_host else copy.to(device)

    @torch.no_grad()
    def logprobs(self, rows: Sequence[PackedRow]) -> list[Tensor]:
        """The response tokens' log-probabilities [R] of each row."""
        if self._shared:
            with adapter_off(self._policy):
                return [self._policy(row)[0] for row in rows]
        if self._to_host:
            self._policy.to(self._device)
        logprobs = [self._policy(row)[0] for row in rows]
        if self._to_host:
            self._policy.to("cpu")
        return logprobs

    def destroy(self) -> None:
        if self._engine is not None:
            self._engine.destroy()
        self._policy = self._engine = None
