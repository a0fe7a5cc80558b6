"""The mean of several policies' weights: `python -m jobs.average --policy runs/tiny --output averaged`, then `make evaluate`.

Phases end at noisy points around a better one; where they share a base model, the mean of their weights is nearer to it (model
soups, arXiv 2203.05482; policies of rewarded phases: WARP, arXiv 2406.16768). No label and no sampling is needed.
"""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from conf.errors import ConfigError
from jobs.cli import command
from pipeline.algorithm.rounding import rounded
from pipeline.errors import DamagedError
from pipeline.observe.terminal import say
from pipeline.policies import Target, find_policies
from pipeline.store.checksums import SUFFIX, damaged_file, write_checksums
from pipeline.store.model_folder import ModelError, tensor_shapes

WEIGHTS = "model.safetensors"


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 written, 2 an argument cannot be used, or a policy is damaged."""
    parser = argparse.ArgumentParser(prog="python -m jobs.average", description="The mean of several policies' weights.")
    parser.add_argument("--policy", nargs="+", required=True, help="runs/NAME:ROUND ..., or runs/NAME for all of its rounds")
    parser.add_argument("--output", type=Path, required=True, help="folder of the new policy; must not exist")
    chosen = parser.parse_args(arguments)
    if os.path.lexists(chosen.output):
        raise ConfigError(f"--output {chosen.output}: exists; valid: a new folder.")
    # A run's base model is where its rounds started from, and none of them.
    targets = [each for text in chosen.policy for each in find_policies(text) if each.round or ":" in text or each.run is None]
    if len(targets) < 2:
        raise ConfigError(f"--policy {' '.join(chosen.policy)}: {len(targets)} policies; valid: two or more.")
    try:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=chosen.output.parent).close()
    except OSError as error:
        raise ConfigError(f"--output {chosen.output}: cannot be written: {error.strerror}; valid: a folder that can.") from error
    for each in targets:
        if (damage := damaged_file(Path(each.path))) is not None:
            raise DamagedError(damage, "restore it from a copy, or leave this policy out")
    write(targets, chosen.output)
    policy = shlex.quote(str(chosen.output))
    say(f"the mean of {', '.join(each.name for each in targets)} is in {chosen.output}; make evaluate POLICY={policy}")
    return 0


def write(targets: Sequence[Target], output: Path) -> None:
    """The model folder of the mean: the first policy's files, other weights."""
    with tempfile.TemporaryDirectory(prefix=f"{output.name}.", dir=output.parent) as partial:
        folder = Path(partial) / "policy"
        shutil.copytree(targets[0].path, folder, ignore=shutil.ignore_patterns("*.safetensors*", f"*{SUFFIX}", "README.md"))
        save_file(mean(targets), folder / WEIGHTS, metadata={"format": "pt"})
        write_checksums(folder)
        folder.rename(output)


def mean(targets: Sequence[Target]) -> dict[str, Tensor]:
    """The weights' mean, taken in float32 tensor by tensor, in the first policy's dtype (see `algorithm.rounding`).

    Raises:
        ConfigError: a policy has its weights in another form, or they are of other shapes.
    """
    with ExitStack() as stack:
        files, shapes = [], []
        for each in targets:
            path = Path(each.path) / WEIGHTS
            if not path.is_file():
                raise ConfigError(f"{each.path}: has no {WEIGHTS}; valid: policies that a run has written.")
            try:
                shapes.append(tensor_shapes(path))
            except ModelError as fault:
                raise ConfigError(f"{each.path}: {fault}.") from fault
            files.append(stack.enter_context(safe_open(path, framework="pt")))
        for each, own in zip(targets, shapes, strict=True):
            if own != shapes[0]:
                raise ConfigError(f"{each.path}: its weights have other names or shapes than those of {targets[0].path}.")
        rounding = torch.Generator().manual_seed(0)
        return {name: mean_of([file.get_tensor(name) for file in files], rounding) for name in shapes[0]}


def mean_of(tensors: Sequence[Tensor], rounding: torch.Generator) -> Tensor:
    """
    >>> mean_of([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])], torch.Generator()).tolist()
    [2.0, 2.0]
    """
    return rounded(torch.stack([each.float() for each in tensors]).mean(0), tensors[0].dtype, rounding)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
