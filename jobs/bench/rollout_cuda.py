"""Sampling and weight transfer on one GPU, in bfloat16 on Qwen3's shapes with random weights: tokens/s, MFU, transfer seconds.

Not yet run on a GPU.
"""

import tempfile
from functools import partial

from actors.cluster import ray_cluster
from conf.load import load_config
from jobs.bench.common import timed, write_model
from jobs.bench.learner import PEAK_FLOPS, QWEN3, QWEN3_ALL
from jobs.bench.rollout import show_transfers, transfers
from pipeline.types import Policy, Request

PROMPTS, SEEDS, PROMPT_TOKENS, MAX_TOKENS = 64, 8, 64, 1024
SETTINGS = (
    *("resources.device=cuda", "resources.learner_gpus=0.5", "resources.rollout_gpus=0.5", "model.dtype=bfloat16"),
    *(f"sampling.max_tokens={MAX_TOKENS}", f"model.max_length={PROMPT_TOKENS + MAX_TOKENS}"),
    *("rollout.engines=1", "rollout.max_num_seqs=256", "rollout.chunk=32", "rollout.gpu_memory_utilization=0.4"),
)


def bench() -> None:
    for name in QWEN3:
        bench_model(name)


def bench_model(name: str) -> None:
    import torch

    from actors.rollout.fleet import RolloutFleet
    from actors.weights.host import stored_weights

    with tempfile.TemporaryDirectory() as folder:
        model = write_model(folder, "bfloat16", **QWEN3_ALL, **QWEN3[name])
        named = [(key, parameter.detach().cuda()) for key, parameter in model.named_parameters()]
        parameters = sum(parameter.numel() for _, parameter in named)
        requests = [Request(tuple(10 + (i + j) % 700 for j in range(PROMPT_TOKENS)), tuple(range(SEEDS))) for i in range(PROMPTS)]
        config = load_config(overrides=SETTINGS)
        with ray_cluster(config, print) as placement:
            fleet = RolloutFleet(config, folder, placement)
            fleet.wait_ready()
            draw = partial(fleet.sample, requests, Policy("base", stored_weights(folder, torch.bfloat16, 300)), config.sampling)
            draw()  # the first loads the weights
            groups, seconds = timed(draw)
            fleet.shutdown()
            ways = {way: load_config(overrides=[*SETTINGS, f"rollout.transfer={way}"]) for way in ("host", "ipc")}
            moved = {way: transfers(each, folder, named, placement) for way, each in ways.items()}
    rate = sum(len(sample.token_ids) for group in groups for sample in group) / seconds
    print(f"{name}, bfloat16, {torch.cuda.get_device_name()}: {PROMPTS} x {SEEDS} responses of up to {MAX_TOKENS} tokens")
    # 2 FLOPs a parameter and token; attention, a few per cent at this length, is left out.
    print(f"  {rate:,.0f} tokens/s, {2 * parameters * rate / PEAK_FLOPS:.1%} of {PEAK_FLOPS / 1e12:.0f} TFLOP/s")
    show_transfers(moved)
