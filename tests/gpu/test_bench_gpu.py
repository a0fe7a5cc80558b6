"""The benchmarks' CUDA modes, on a small model."""

import subprocess
import sys

import pytest
import torch

from conf.load import ROOT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch sees none"),
]
SMALL = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 16}


def lines(module: str, call: str) -> list[str]:
    """What a call in a process of its own prints, and last what it returns."""
    code = f"from actors.cluster import prepare_environment; prepare_environment(); import {module} as m; print(m.{call})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_the_learner_reaches_a_share_of_the_gpus_peak() -> None:
    assert 0 < float(lines("jobs.bench.learner", f"bench_shape('small', {SMALL}, 'cuda', 256)")[-1]) < 1


def test_rollouts_reach_a_share_of_the_gpus_peak_and_each_transfer_is_timed_against_a_copy() -> None:
    printed = lines("jobs.bench.rollout_cuda", f"bench_shape('small', {SMALL}, 'cuda', 64)")
    assert 0 < float(printed[-1]) < 1
    assert [line.split()[0] for line in printed if "of a plain copy" in line] == ["rollout.transfer=host", "rollout.transfer=ipc"]
