"""What the learner holds in memory: over ZeRO stages with and without offload, and the logits of a large vocabulary."""

import gc
import multiprocessing
import tempfile
import warnings
from collections.abc import Iterable
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conf.schema import Config
from jobs.bench.common import in_new_process, write_model
from pipeline.types import Sample, TrainingBatch

CASES = [(0, "none"), (1, "none"), (1, "all"), (2, "none"), (2, "all"), (3, "none"), (3, "optimizer"), (3, "all")]


def process_bytes(field: str) -> int:
    """VmRSS (resident now) or VmHWM (the most since `reset_peak`) of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) << 10


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def logprob_peak(chunked: bool, tokens: int = 1024, vocabulary: int = 150_000, hidden: int = 64) -> int:
    """Bytes by which log-probabilities of `tokens` tokens and their backward pass raise the peak of this process's memory."""
    from pipeline.algorithm.packing import LogprobHead

    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.randn(vocabulary, hidden) / 8)
    states, targets = torch.randn(tokens, hidden, requires_grad=True), torch.arange(tokens)
    weight.grad = torch.zeros_like(weight)
    reset_peak()
    before = process_bytes("VmRSS")
    if chunked:
        logprobs = LogprobHead(weight, 1.0)(states, targets)[0]
    else:
        logprobs = (states @ weight.T).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    logprobs.sum().backward()
    return process_bytes("VmHWM") - before


def bench_peak(tokens: int = 1024, vocabulary: int = 150_000) -> None:
    print(f"\nlog-probabilities of {tokens} tokens, forward and backward, at a vocabulary of {vocabulary:,}")
    print(f"logits of all of them in fp32: {tokens * vocabulary * 4 / 2**20:.0f} MiB")
    for name, chunked in [("whole", False), ("in chunks, made again", True)]:
        print(f"  {name:<22} peak +{in_new_process(logprob_peak, chunked, tokens, vocabulary) / 2**20:.0f} MiB", flush=True)


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes behind the tensors, each storage counted once."""
    return sum({s.data_ptr(): s.nbytes() for s in (tensor.untyped_storage() for tensor in tensors)}.values())


def held_on_host(learner: Any, config: Config) -> int:
    """Bytes that `learner.offload` moves to host memory; where the device is the host itself, nothing else tells them apart."""
    if config.learner.offload == "none":
        return 0
    inner = learner.engine.optimizer.optimizer
    host = [parameter for group in inner.param_groups for parameter in group["params"]]
    host += getattr(learner.engine.optimizer, "fp32_partitioned_groups_flat", [])  # ZeRO-3 takes them out of the groups
    host += [parameter.grad for parameter in host if parameter.grad is not None]
    host += [value for state in inner.state.values() for value in state.values() if isinstance(value, Tensor)]
    if config.learner.offload == "all":
        modules = [learner.reference._policy] + ([learner.engine.module] if config.learner.zero_stage == 3 else [])
        host += [getattr(parameter, "ds_tensor", parameter) for module in modules for parameter in module.parameters()]
    return storage_bytes(host)


def rank_main(rank: int, ports: "SimpleQueue[int]", model_path: str, batch: TrainingBatch, size: int) -> None:
    """One of two ranks: for each case, what the larger one holds between updates, and how much of it on the host."""
    from actors.learner.rank import Learner

    warnings.simplefilter("ignore")  # of names that torch will drop, which a walk over all objects touches
    torch.set_num_threads(1)
    learner = Learner(rank, 2, "cpu")
    port = learner.listen("127.0.0.1")
    if rank == 0:
        ports.put(port)
    learner.join("127.0.0.1", port or ports.get(), Config().learner.timeout_s)
    for stage, offload in CASES:
        config = Config()
        config.learner.ranks, config.learner.zero_stage, config.learner.offload = 2, stage, offload
        learner.begin_phase(config, model_path, 1e-6, None)
        learner.update(batch)
        gc.collect()
        held = storage_bytes(tensor for tensor in gc.get_objects() if isinstance(tensor, Tensor))
        most = torch.tensor([held, held_on_host(learner, config)])
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        if rank == 0:
            held, host = most.tolist()
            print(f"{stage:>4} {offload:>10} {(held - host) / size:>10.2f} {host / size:>8.2f}", flush=True)


def bench_memory() -> None:
    shape: dict[str, Any] = {"vocab_size": 8192, "hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 10}
    heads: dict[str, Any] = {"num_attention_heads": 12, "num_key_value_heads": 6, "head_dim": 64, "tie_word_embeddings": True}
    sample = Sample((1, 2, 3), tuple(range(32)), (-9.0,) * 32, "", "stop", "bench", 0)
    batch = TrainingBatch((sample,) * 4, (1.0, -1.0, 0.5, -0.5))
    with tempfile.TemporaryDirectory() as folder:
        size = 4 * write_model(folder, **shape, **heads).num_parameters()
        print(f"\nmemory of a rank, 2 ranks, fp32, in sizes of the model ({size / 4e6:.0f} M parameters, {size / 2**20:.0f} MiB)")
        print("between updates, DeepSpeed's buckets of up to 200 MB included, whatever the model's size")
        print(f"{'ZeRO':>4} {'offload':>10} {'on device':>10} {'on host':>8}", flush=True)
        ports = multiprocessing.get_context("spawn").SimpleQueue()
        torch.multiprocessing.spawn(rank_main, (ports, folder, batch, size), nprocs=2)
