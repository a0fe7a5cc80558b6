"""A round of the tiny base on GPUs, with each way of the weights: bf16, NCCL, CUDA kernels."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conf.load import ROOT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch sees none"),
]


@pytest.mark.parametrize(
    ("transfer", "placement"),
    [("host", "split"), ("ipc", "split"), ("nccl", "split"), ("host", "colocated"), ("ipc", "colocated")],
)
def test_a_round(transfer: str, placement: str, tmp_path: Path) -> None:
    """On one GPU that learner and engine share; NCCL refuses that, and gets one for each."""
    if transfer == "nccl" and torch.cuda.device_count() < 2:
        pytest.skip(f"rollout.transfer=nccl needs two GPUs, and torch sees {torch.cuda.device_count()}")
    share = 1 if transfer == "nccl" else 0.5
    settings = [
        "model.dtype=bfloat16",
        "resources.device=cuda",
        f"resources.learner_gpus={share}",
        f"resources.rollout_gpus={share}",
        f"rollout.transfer={transfer}",
        f"resources.placement={placement}",
        f"rollout.gpu_memory_utilization={0.6 if placement == 'colocated' else 0.3}",
        "challenger.steps=2",
        "solver.steps=2",
        "curriculum.questions=128",
        "curriculum.delta=0.4",
        f"runs_dir={tmp_path}",
        f"tracking_uri=sqlite:///{tmp_path}/mlflow.db",
    ]
    command = [sys.executable, "-m", "jobs.round", "--name", "gpu", "--set", *settings]
    subprocess.run(command, cwd=ROOT, check=True, timeout=500)
    rounds = json.loads((tmp_path / "gpu" / "manifest.json").read_text())["rounds"]
    for role in ("challenger", "solver"):
        assert all(step.get("mismatch_mean", 0.0) < 0.05 for step in rounds["1"][role]["metrics"])
