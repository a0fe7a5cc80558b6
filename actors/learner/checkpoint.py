"""A learner's files: the checkpoint that it resumes from and the policy in HF format, both written atomically."""

import copyreg
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from actors.weights.buckets import read_checkpoint
from conf.schema import Config
from pipeline.store.checksums import write_checksums

# Files copied from the base model's folder: the tokenizer and the generation settings.
COMPANION_SUFFIXES = {".json", ".txt", ".jinja", ".model"}


def write_folder(path: Path, rank: int, write: Callable[[Path], None]) -> None:
    """Runs `write` on a temporary folder on all ranks, adds checksums, and renames it to `path`.

    What was there is removed first, so that a kill in between leaves neither: no manifest may name it.
    """
    partial = path.with_name(f"{path.name}.partial")
    if rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    torch.distributed.barrier()
    write(partial)
    torch.distributed.barrier()
    write_checksums(partial, rank, torch.distributed.get_world_size())
    torch.distributed.barrier()
    if rank == 0:
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
    torch.distributed.barrier()


def layout(config: Config) -> dict[str, Any]:
    """The settings that determine how a checkpoint is sharded, by name."""
    learner = config.learner
    return {
        "learner.ranks": learner.ranks,
        "learner.zero_stage": learner.zero_stage,
        "learner.offload": learner.offload,
        "model.dtype": config.model.dtype,
        "lora.rank": config.lora.rank,
    }


def save_engine(engine: Any, config: Config, rank: int, folder: Path) -> None:
    """Saves engine, optimizer and random state. With LoRA the frozen parameters are left out: they are the base model's."""
    from deepspeed.runtime.zero.config import ZeroStageEnum

    # Python before 3.11.4 would write it as a call of getattr, which `load_engine` refuses.
    copyreg.pickle(ZeroStageEnum, lambda stage: (ZeroStageEnum, (stage.value,)))
    engine.save_checkpoint(str(folder), tag="engine", exclude_frozen_parameters=config.lora.rank > 0)
    torch.save(torch.get_rng_state(), folder / f"rng-{rank}.pt")
    if rank == 0:
        (folder / "layout.json").write_text(json.dumps(layout(config)))


def load_engine(engine: Any, config: Config, rank: int, folder: Path) -> None:
    """Raises:
    FileNotFoundError: the folder holds no checkpoint.
    ValueError: it was written with another `layout`, to which DeepSpeed cannot convert it, or holds more than data.
    """
    path = folder / "layout.json"
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint of the learner in {folder}")
    written, now = json.loads(path.read_text()), layout(config)
    if changed := [f"{name}={written[name]} (now {now[name]})" for name in now if written[name] != now[name]]:
        raise ValueError(f"cannot resume from checkpoint {folder}: written with {', '.join(changed)}; valid: the same settings")
    try:
        with torch.serialization.safe_globals(deepspeed_records()):
            engine.load_checkpoint(str(folder), load_module_strict=not config.lora.rank)
        torch.set_rng_state(torch.load(folder / f"rng-{rank}.pt", weights_only=True))
    except UnpicklingError as error:
        raise ValueError(
            f"checkpoint {folder} holds more than data, which is not read; valid: as the learner wrote it"
        ) from error


def deepspeed_records() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """The classes, beside tensors and plain values, of which DeepSpeed's checkpoints hold objects."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [LossScaler, ZeroStageEnum, fragment_address]


def take_mean(weights: dict[str, Tensor], others: Sequence[str]) -> None:
    """Replaces `weights`, float32, by their mean with those of other model folders, one tensor at a time."""
    for entries in zip(*(read_checkpoint(other, torch.float32) for other in others), strict=True):
        name = entries[0][0]
        weights[name] = sum((tensor for _, tensor in entries), weights[name]) / (len(others) + 1)


def mix_in(weights: dict[str, Tensor], start: str, share: float) -> None:
    """Moves `weights`, float32, by `share` of the way to those of the model folder `start`."""
    for name, other in read_checkpoint(start, torch.float32):
        weights[name] = torch.lerp(weights[name], other, share)


def write_hf(folder: Path, model_path: str, hf_config: Any, weights: Mapping[str, Tensor]) -> None:
    """A HF model folder with the tokenizer of the folder `model_path`."""
    from safetensors.torch import save_file

    for file in Path(model_path).iterdir():
        if file.suffix in COMPANION_SUFFIXES and not file.name.endswith(".index.json"):
            shutil.copy(file, folder)
    hf_config.save_pretrained(folder)
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
