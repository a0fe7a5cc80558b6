"""Sampling and weight transfer on one GPU, in bfloat16 on Qwen3's shapes with random weights: tokens/s, MFU, transfer seconds.

Not yet run on a GPU.
"""

import tempfile
from collections.abc import Mapping
from functools import partial

from actors.cluster import ray_cluster
from conf.load import load_config
from jobs.bench.common import timed, write_model
from jobs.bench.qwen3 import PEAK_FLOPS, QWEN3, QWEN3_ALL, device_name
from jobs.bench.rollout import show_transfers, transfers
from pipeline.types import Policy, Request

PROMPTS, SEEDS, PROMPT_TOKENS = 64, 8, 64
SETTINGS = {
    "cuda": (
        *("resources.device=cuda", "resources.learner_gpus=0.5", "resources.rollout_gpus=0.5"),
        *("rollout.gpu_memory_utilization=0.4", "rollout.max_num_seqs=256", "rollout.chunk=32"),
    ),
    "cpu": (),
}
WAYS = {"cuda": ("host", "ipc"), "cpu": ("host", "shared")}


def bench() -> None:
    for name, shape in QWEN3.items():
        bench_shape(name, shape, "cuda", max_tokens=1024)


def bench_shape(name: str, shape: Mapping[str, int], device: str, max_tokens: int) -> float:
    """Prints tokens/s and transfer seconds; returns the share of `PEAK_FLOPS` that sampling reaches."""
    import torch

    from actors.rollout.fleet import RolloutFleet
    from actors.weights.host import stored_weights

    sizes = (f"sampling.max_tokens={max_tokens}", f"model.max_length={PROMPT_TOKENS + max_tokens}")
    settings = (*SETTINGS[device], *sizes, "model.dtype=bfloat16", "rollout.engines=1")
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(folder, "bfloat16", **QWEN3_ALL, **shape)
        named = [(key, parameter.detach().to(device)) for key, parameter in model.named_parameters()]
        parameters = sum(parameter.numel() for _, parameter in named)
        requests = [Request(tuple(10 + (i + j) % 700 for j in range(PROMPT_TOKENS)), tuple(range(SEEDS))) for i in range(PROMPTS)]
        config = load_config(overrides=settings)
        with ray_cluster(config, print) as placement:
            fleet = RolloutFleet(config, folder, placement)
            fleet.wait_ready()
            draw = partial(fleet.sample, requests, Policy("base", stored_weights(folder, torch.bfloat16, 300)), config.sampling)
            draw()  # the first loads the weights
            groups, seconds = timed(draw)
            fleet.shutdown()
            ways = {way: load_config(overrides=[*settings, f"rollout.transfer={way}"]) for way in WAYS[device]}
            moved = {way: transfers(each, folder, named, placement) for way, each in ways.items()}
    rate = sum(len(sample.token_ids) for group in groups for sample in group) / seconds
    # 2 FLOPs a parameter and token; attention, a few per cent at this length, is left out.
    reached = 2 * parameters * rate / PEAK_FLOPS
    print(f"{name}, bfloat16, {device_name(device)}: {PROMPTS} x {SEEDS} responses of up to {max_tokens} tokens")
    print(f"  {rate:,.0f} tokens/s, {reached:.2%} of {PEAK_FLOPS / 1e12:.0f} TFLOP/s, the peak of an H100")
    show_transfers(moved)
    return reached
