"""One rank of the learner: a policy in a DeepSpeed engine that takes GRPO updates, in a Ray actor.

`actors/learner/group.py` starts the ranks, joins them into one world and calls them all at once: every method from `begin_phase`
on is collective, called on all ranks with the same arguments.
"""

import gc
import logging
import math
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import ray
import torch
from torch import Tensor

from actors.learner.checkpoint import load_engine, mix_in, save_engine, take_mean, write_folder, write_hf
from actors.learner.deepspeed_engine import Reference, master_weights, training_engine
from actors.learner.environment import socket_interfaces
from actors.learner.lora import adapted_layers, adapter_parameters, base_parameters, merged
from actors.learner.threads import one_thread, use_threads
from actors.machine import cores
from actors.weights.buckets import CHECKSUM_STRIDE, Named, Published, in_buckets, publish, strided_sums_add_up
from conf.schema import Config
from pipeline.algorithm.grpo import policy_loss, token_weights
from pipeline.algorithm.packing import PackedRow, assign_rows, pack_row
from pipeline.algorithm.rounding import rounded
from pipeline.types import Checksums, Sample, TrainingBatch


@dataclass(slots=True)
class MicroBatch:
    """A packed row and the loss's inputs for each of its R response tokens: tensors [R] without gradient."""

    row: PackedRow
    rollout: Tensor  # log-probabilities as drawn by the rollout worker
    reference: Tensor | None  # log-probabilities under the KL reference
    advantages: Tensor
    weights: Tensor
    old: Tensor | None = None  # log-probabilities under the policy at the batch's start, set in the first step


class Learner:
    """One rank. Weights, optimizer and reference exist from `begin_phase` on."""

    config: Config

    def __init__(self, rank: int, world_size: int, device: str) -> None:
        self.rank = rank
        self.world_size = world_size
        self.device = torch.device(device)
        use_threads(torch.get_num_threads(), self.device)
        self.engine: Any = None
        self.reference: Reference | None = None
        self.model_path = ""
        self._transfers = 0
        self._sender: Any = None  # connection to the engines, unless weights go through host memory

    def node_and_pid(self) -> tuple[str, int]:
        return ray.util.get_node_ip_address(), os.getpid()

    def share_cores(self, nodes: Sequence[str]) -> None:
        """Computes in its share of the node's cores; `nodes` are those of the ranks, in order."""
        use_threads(max(1, cores() // nodes.count(nodes[self.rank])), self.device)

    def listen(self, host: str) -> int:
        """On rank 0 opens the rendezvous socket on this address and returns its port, chosen by the system."""
        if self.rank > 0:
            return 0
        self._listener = socket.create_server((host, 0))
        return self._listener.getsockname()[1]

    def join(self, host: str, port: int, timeout: float) -> None:
        """Joins the world whose rank 0 listens on host:port; a rank waits for others for at most `timeout` seconds."""
        os.environ |= {"RANK": str(self.rank), "WORLD_SIZE": str(self.world_size), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
        os.environ |= {"LOCAL_RANK": "0", "LOCAL_SIZE": "1"}  # Ray makes only its own GPU visible to each rank
        os.environ |= socket_interfaces(host, ray.util.get_node_ip_address())

        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        # DeepSpeed's C++ all-reduce takes two minutes to compile; gloo's and NCCL's are used instead.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        listener = self._listener.detach() if self.rank == 0 else None
        store = torch.distributed.TCPStore(
            host,
            port,
            self.world_size,
            is_master=self.rank == 0,
            timeout=timedelta(seconds=120),
            master_listen_fd=listener,
        )
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        limit = timedelta(seconds=timeout)
        torch.distributed.init_process_group(backend, store=store, rank=self.rank, world_size=self.world_size, timeout=limit)
        deepspeed.init_distributed(backend, dist_init_required=False)

    def begin_phase(
        self, config: Config, model_path: str, lr: float, resume_from: str | None, reference: str | None = None
    ) -> None:
        """Builds policy and optimizer from `model_path`, and the KL reference, by default as well; frees the previous phase's."""
        self._release()
        self.config, self.model_path = config, model_path
        torch.manual_seed(config.seed)
        self.engine = training_engine(config, model_path, lr, self.device)
        if config.grpo.kl > 0:
            self.reference = Reference(config, reference or model_path, self.device, self.engine.module)
        if resume_from is not None:
            load_engine(self.engine, config, self.rank, Path(resume_from))
        self._empty_cache()

    def _release(self) -> None:
        """Frees the previous phase's engines, which hold reference cycles."""
        from deepspeed.runtime.zero import parameter_offload

        for part in (self.reference, self.engine):
            if part is not None:
                part.destroy()
        # ZeRO-3 appends each model to this global list and never removes it.
        parameter_offload.FWD_MODULE_STACK.clear()
        self.engine = self.reference = None
        gc.collect()
        self._empty_cache()

    def _empty_cache(self) -> None:
        """Returns cached GPU memory to the driver, for an engine that shares the GPU."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _rows(self, samples: Sequence[Sample]) -> Iterator[PackedRow]:
        """This rank's micro-batches of a batch, the same number on every rank."""
        lengths = [len(sample.prompt_ids) + len(sample.token_ids) - 1 for sample in samples]
        plan = assign_rows(lengths, self.config.learner.micro_batch_tokens, self.world_size)
        for members in plan[self.rank]:
            yield pack_row(samples, members, self.device)

    def update(self, batch: TrainingBatch, lr: float | None = None) -> dict[str, float]:
        """`grpo.updates_per_batch` optimizer steps on the whole batch; a step with a non-finite loss or gradient is skipped.

        Returns:
            This rank's metric sums (see `grpo.policy_loss`) and the global "grad_norm", each the mean over the steps.
            "skipped" is 1 if a step was skipped, which ends the batch, else 0.
        """
        for group in self.engine.optimizer.param_groups if lr is not None else ():
            group["lr"] = lr
        parts = self._micro_batches(batch)
        steps: list[dict[str, float]] = []
        while len(steps) < self.config.grpo.updates_per_batch and not (steps and steps[-1]["skipped"]):
            steps.append(self._one_step(parts))
        means = {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
        self._empty_cache()
        return means | {"skipped": steps[-1]["skipped"]}

    def _micro_batches(self, batch: TrainingBatch) -> list[MicroBatch]:
        """This rank's share of a batch. The reference's log-probabilities are computed once, before any update."""
        lengths = [len(sample.token_ids) for sample in batch.samples]
        weights = token_weights(lengths, self.config.grpo.aggregation, self.config.sampling.max_tokens)

        def per_token(values: Sequence[float], row: PackedRow) -> Tensor:
            return torch.tensor([values[i] for i in row.members], device=self.device)[row.sequence]

        def drawn(row: PackedRow) -> Tensor:
            return torch.tensor(list(chain.from_iterable(batch.samples[i].logprobs for i in row.members)), device=self.device)

        rows = list(self._rows(batch.samples))
        references = self.reference.logprobs(rows) if self.reference is not None else [None] * len(rows)
        return [
            MicroBatch(row, drawn(row), reference, per_token(batch.advantages, row), per_token(weights, row))
            for row, reference in zip(rows, references, strict=True)
        ]

    def _one_step(self, parts: Sequence[MicroBatch]) -> dict[str, float]:
        sums: dict[str, Tensor] = {}
        for i, part in enumerate(parts):
            self.engine.set_gradient_accumulation_boundary(i == len(parts) - 1)
            loss, of_part = self._loss(part)
            # DeepSpeed averages over ranks, but the token weights already make the ranks' losses sum to the batch's. A non-finite
            # loss makes every gradient NaN, so that the gradient check detects it on all ranks.
            poison = torch.where(loss.detach().isfinite(), 1.0, math.nan)
            self.engine.backward(loss * self.world_size * poison)
            for name, value in of_part.items():
                join = torch.maximum if name == "mismatch_max" else torch.add
                sums[name] = join(sums[name], value) if name in sums else value
        # With a GPU and offload the optimizer's step, which adds up nothing, is on the host, in all threads.
        with one_thread() if self.device.type == "cpu" else nullcontext():
            return {name: float(value) for name, value in sums.items()} | self._step()

    def _loss(self, part: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The micro-batch's share of the batch's loss, and its metric sums."""
        logprobs, entropy = self.engine(part.row)
        if part.old is None:  # the batch's first step: the policy is the one at the batch's start
            part.old = logprobs.detach()
        with one_thread():
            loss, sums = policy_loss(
                logprobs,
                part.old,
                part.rollout,
                part.reference,
                part.advantages,
                part.weights,
                part.row.sequence,
                self.config.grpo,
            )
            sums["entropy"] = entropy.sum()
        return loss, sums

    def _step(self) -> dict[str, float]:
        """Takes the optimizer step if the gradient is finite; ZeRO's optimizers check that themselves."""
        if self.engine.zero_optimization():
            self.engine.step()
            norm, skipped = float(self.engine.get_global_grad_norm()), not self.engine.was_step_applied()
            if skipped and self.config.learner.zero_stage < 3:
                # DeepSpeed 0.19.8 keeps the gradient with bfloat16 and offload, and would add the next one to it.
                held = getattr(self.engine.optimizer, "averaged_gradients", {})  # not every optimizer of these stages has them
                held.update(dict.fromkeys(held))
        else:
            gradients = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
            norm = float(torch.nn.utils.get_total_norm(gradients))
            skipped = not math.isfinite(norm)
            if skipped:
                self.engine.zero_grad()
            else:
                self.engine.step()
        return {"grad_norm": norm, "skipped": float(skipped)}

    def logprobs(self, samples: Sequence[Sample]) -> dict[int, list[float]]:
        """Log-probabilities of response tokens by index of the sample, for the samples that this rank computed."""
        by_sample: dict[int, list[float]] = {}
        with torch.no_grad():
            for row in self._rows(samples):
                values = self.engine(row)[0].split([len(samples[i].token_ids) for i in row.members])
                by_sample |= {i: value.tolist() for i, value in zip(row.members, values, strict=True)}
        return by_sample

    def _buckets(self) -> Iterator[list[Named]]:
        """Whole parameters by HF name, LoRA merged, in buckets; under ZeRO-3 gathered until the next bucket is requested."""
        dtype = getattr(torch, self.config.model.dtype)
        for bucket in self._merged_buckets():
            yield [(name, tensor.to(dtype)) for name, tensor in bucket]

    def _merged_buckets(self) -> Iterator[list[Named]]:
        """The same, where an adapter was merged in fp32."""
        from deepspeed.runtime.zero import GatheredParameters

        policy = self.engine.module
        named, layers = base_parameters(policy), adapted_layers(policy)
        sharded = self.config.learner.zero_stage == 3
        with GatheredParameters(adapter_parameters(policy)) if sharded and layers else nullcontext():
            for bucket in in_buckets(named):
                with GatheredParameters([p for _, p in bucket]) if sharded else nullcontext():
                    yield list(merged(bucket, layers))
        self._empty_cache()

    def publish(self) -> Published | None:
        """The weights in Ray's object store, on rank 0; None on other ranks."""
        if self.rank == 0:
            return publish(self._buckets(), self._checksum_offset())
        for _ in self._buckets():  # a gather needs every rank
            pass
        return None

    def _checksum_offset(self) -> int | None:
        """Which rows this transfer's checksums cover: other rows at each transfer, all (None) if strided sums do not add up."""
        self._transfers += 1
        policy, ranks = self.engine.module, self.config.rollout.tensor_parallel
        parameters = (parameter for _, parameter in base_parameters(policy))
        strided = strided_sums_add_up(parameters, policy.config.vocab_size, ranks)
        return self._transfers % CHECKSUM_STRIDE if strided else None

    def send(self, engines: Sequence[Any]) -> Checksums:
        """Sends the weights to rollout workers by `rollout.transfer`; returns the checksums of what rank 0 sent."""
        from actors.weights.device import LearnerSource, Sender  # imports vLLM, needed only here

        if self._sender is None or self._sender.engines != engines:
            if self._sender is not None:
                self._sender.close()
            # ZeRO's optimizers (in bfloat16 at any stage) write to the parameters' memory, so it must not be replaced.
            movable = not self.engine.zero_optimization()
            source = LearnerSource(lambda: base_parameters(self.engine.module), self._buckets, movable)
            self._sender = Sender(self.config.rollout, self.rank, engines, source)
        sent = self._sender.send(self._checksum_offset())
        self._empty_cache()
        return sent

    def _host_weights(self) -> dict[str, Tensor]:
        """A copy of the policy's weights in host memory on rank 0, in float32, nothing elsewhere."""
        weights: dict[str, Tensor] = {}
        for name, tensor in chain.from_iterable(self._merged_buckets()):
            exact = master_weights(tensor)
            if self.rank == 0:
                weights[name] = exact.detach().to("cpu", torch.float32, copy=True)
        return weights

    def save(self, path: str) -> None:
        """Writes engine, optimizer and random state to the folder `path`, atomically."""
        write_folder(Path(path), self.rank, lambda folder: save_engine(self.engine, self.config, self.rank, folder))
        self._empty_cache()

    def export(self, path: str, seed: int, start: float = 0.0, members: Sequence[str] = ()) -> None:
        """Writes the policy in HF format, with the base model's tokenizer, to `path`, atomically; see `LearnerGroup.export`."""

        def write(folder: Path) -> None:
            weights = self._host_weights()
            if self.rank == 0:
                take_mean(weights, members)
                if start:
                    mix_in(weights, self.model_path, start)
                dtype, rounding = getattr(torch, self.config.model.dtype), torch.Generator().manual_seed(seed)
                for name, tensor in weights.items():
                    weights[name] = rounded(tensor, dtype, rounding)
                write_hf(folder, self.model_path, self.engine.module.config, weights)

        write_folder(Path(path), self.rank, write)
