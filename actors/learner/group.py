"""The driver's handle of the learner: N Ray actors that form one DeepSpeed world."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors.bundles import rank_gpus
from actors.failures import DEATHS, reason
from actors.learner.environment import LOOPBACK, computes_on_cores, rank_environment, threads_told
from actors.learner.rank import Learner
from actors.placement import ANYWHERE, Placement
from actors.weights.buckets import Published
from actors.weights.host import HostWeights
from conf.schema import Config
from pipeline.errors import LearnerError, LearnerLostError
from pipeline.types import Checksums, Sample, TrainingBatch, Weights

# Seconds for all ranks to start, including the import of torch and DeepSpeed; for GPUs of a lost node they wait longer.
START_TIMEOUT = 300

# When a rank fails, the others' collectives fail too: seconds to wait for the original failure.
CAUSE_WAIT = 10

# Metrics that the ranks report as sums over tokens and the driver as means.
TOKEN_MEANS = ("kl", "clip_fraction", "entropy", "mismatch_kl", "mismatch_mean", "ratio_outside", "importance_mean")


def is_death(failure: RayError) -> bool:
    """Whether the rank itself died. Ray reports another actor's death, met inside a task, as both kinds of error."""
    return isinstance(failure, DEATHS) and not isinstance(failure, RayTaskError)


@dataclass(frozen=True, slots=True)
class DeviceWeights:
    """The learner's weights after update `updates`, sent from its own memory without Ray's object store."""

    group: "LearnerGroup"
    updates: int

    def send(self, engines: Sequence[Any]) -> Checksums:
        """See `pipeline.types.Weights`.

        Raises:
            LearnerError: the learner has been updated since, or the transfer failed or exceeded three times
                `rollout.transfer_timeout_s`.
        """
        self.group._refuse_if_updated(self.updates)
        # Longer than the time-outs of a worker that hangs while connecting and of one that hangs while loading.
        return self.group._call("send", list(engines), timeout=3 * self.group.config.rollout.transfer_timeout_s)[0]


class LearnerGroup:
    """Handle of the learner's ranks. A `LearnerLostError` ends its actors; `begin_phase` starts new ones."""

    def __init__(self, config: Config, placement: Placement = ANYWHERE) -> None:
        self.config = config
        self._placement = placement
        self._ranks: list[Any] = []
        self._pids: tuple[int, ...] = ()  # of the ranks, once they have joined
        self._joined = self._has_joined = False  # the present ranks, any ranks
        self._updates = 0

    def begin_phase(self, model_path: str, lr: float, resume_from: str | None = None, reference: str | None = None) -> None:
        """Loads the policy from the HF folder `model_path`; it is also the KL reference, unless that has its own.

        Args:
            lr: AdamW's learning rate, unless an update has its own.
            resume_from: a folder written by `save` in this phase, from which weights, optimizer and random state are loaded.
        """
        self.launch()
        if not self._joined:
            self._join()
        self._updates += 1
        self._call("begin_phase", self.config, model_path, lr, resume_from, reference)

    def update(self, batch: TrainingBatch, lr: float | None = None) -> dict[str, float]:
        """`grpo.updates_per_batch` GRPO updates. A batch without samples changes nothing; its means are NaN, "not measured".

        Args:
            lr: the learning rate from here on; None for that of the previous update.

        Returns:
            loss, grad_norm (before clipping), mismatch_max, each the mean over the updates;
            means over response tokens: kl (k3, to the reference; 0 where `grpo.kl` is 0), entropy (nats), clip_fraction,
            importance_mean (the correction as applied), mismatch_mean (|learner's less rollout worker's log-probability|),
            mismatch_kl (k3 of KL(rollout || learner)), ratio_outside (share of learner to rollout ratios outside [0.9, 1.1]);
            tokens (of responses), learner_tokens_per_s (prompts included), seconds,
            skipped_updates (1 if loss or gradient was not finite, so that the update and those after it were left out, else 0).

        Raises:
            LearnerError: a rank failed.
        """
        started = time.perf_counter()
        names = ("loss", "grad_norm", "mismatch_max", *TOKEN_MEANS)
        if not batch.samples:
            zeros = dict.fromkeys(("tokens", "learner_tokens_per_s", "skipped_updates", "seconds"), 0.0)
            return dict.fromkeys(names, math.nan) | zeros
        self._updates += 1
        parts = self._call("update", ray.put(batch), lr)
        tokens = sum(part["tokens"] for part in parts)
        metrics = {name: sum(part[name] for part in parts) / tokens for name in TOKEN_MEANS}
        metrics["loss"] = sum(part["loss"] for part in parts)
        metrics["mismatch_max"] = max(part["mismatch_max"] for part in parts)
        metrics["grad_norm"] = parts[0]["grad_norm"]
        metrics["tokens"] = tokens
        metrics["skipped_updates"] = parts[0]["skipped"]
        metrics["seconds"] = time.perf_counter() - started
        metrics["learner_tokens_per_s"] = sum(len(s.prompt_ids) + len(s.token_ids) for s in batch.samples) / metrics["seconds"]
        return metrics

    def weights(self) -> Weights:
        """The policy's current weights. With `rollout.transfer: host`, once sent they stay available after the next update."""
        if self.config.rollout.transfer == "host":
            updates = self._updates
            return HostWeights(lambda: self._publish(updates), self.config.rollout.transfer_timeout_s)
        return DeviceWeights(self, self._updates)

    def _publish(self, updates: int) -> Published:
        self._refuse_if_updated(updates)
        published: Published = self._call("publish", timeout=self.config.rollout.transfer_timeout_s)[0]
        return published

    def _refuse_if_updated(self, updates: int) -> None:
        if updates != self._updates:
            raise LearnerError("the learner no longer holds the requested weights: it has been updated since")

    def logprobs(self, samples: Sequence[Sample]) -> list[list[float]]:
        """The policy's log-probabilities of each sample's response tokens, at the sampling temperature."""
        by_sample: dict[int, list[float]] = {}
        for part in self._call("logprobs", ray.put(tuple(samples))):
            by_sample |= part
        return [by_sample[i] for i in range(len(samples))]

    def save(self, path: str) -> None:
        """Writes a checkpoint for `begin_phase(resume_from=path)`. With several nodes the folder must be shared by all."""
        self._call("save", os.path.abspath(path))

    def export(self, path: str, seed: int, start: float = 0.0, members: Sequence[str] = ()) -> None:
        """Writes the policy as a HF model folder, which transformers and vLLM load.

        In bfloat16 it is the master weights, rounded so that they are right in the mean (`algorithm.rounding`).

        Args:
            seed: of the rounding; another for each folder, so that not the same weights are rounded up each time.
            start: the share in it of the weights that the phase started from, which are then a folder that this has written.
            members: folders that this has written, of whose weights and the learner's the mean is taken first.
        """
        self._call("export", os.path.abspath(path), seed, start, list(map(os.path.abspath, members)))

    def shutdown(self) -> None:
        """Ends the ranks; unsaved state is lost."""
        for actor in self._ranks:
            ray.kill(actor)
        self._ranks = []

    def launch(self) -> None:
        """Starts the ranks' processes in the background, unless they run already; `begin_phase` waits for them."""
        if self._ranks:
            return
        resources, world_size = self.config.resources, self.config.learner.ranks
        environment = rank_environment(self.config)
        actor: Any = ray.remote(num_cpus=0, num_gpus=rank_gpus(self.config), runtime_env={"env_vars": environment})(Learner)
        self._joined = False
        self._ranks = [
            actor.options(**self._placement.rank(rank)).remote(rank, world_size, resources.device) for rank in range(world_size)
        ]

    def _join(self) -> None:
        """Joins the ranks into one world."""
        # After a loss the ranks' bundle waits for a node with room, as it did when the run reserved it.
        started = max(START_TIMEOUT, self.config.resources.wait_s)
        nodes, self._pids = zip(*self._call("node_and_pid", timeout=started), strict=True)
        host = LOOPBACK if len(set(nodes)) == 1 else nodes[0]
        if computes_on_cores(self.config) and not threads_told():
            self._call("share_cores", nodes, timeout=START_TIMEOUT)
        port = self._call("listen", host)[0]
        # Longer than the driver waits: by default NCCL ends ranks that wait ten minutes, as for rank 0 to write a large policy.
        limit = self.config.learner.timeout_s + 60
        self._call("join", host, port, limit, timeout=START_TIMEOUT)
        self._joined = self._has_joined = True

    def _call(self, method: str, *arguments: Any, timeout: float | None = None) -> list[Any]:
        """Calls all ranks and returns their results; if one fails, the group ends and the error names it.

        `timeout` is in seconds, `learner.timeout_s` by default.

        A rank's death leaves the others in a collective that fails later or never, so they are killed rather than awaited, and a
        death is reported as the cause even if other errors arrive first.
        """
        if not self._ranks:
            raise LearnerError(f"{method}: the learner has no ranks: begin_phase was not called, or a rank has failed")
        pending = {getattr(actor, method).remote(*arguments): rank for rank, actor in enumerate(self._ranks)}
        timeout = self.config.learner.timeout_s if timeout is None else timeout
        deadline = time.monotonic() + timeout
        results: dict[int, Any] = {}
        failures: dict[int, RayError] = {}
        while pending and not any(map(is_death, failures.values())):
            done, _ = ray.wait(list(pending), num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
            if not done:
                break
            rank = pending.pop(done[0])
            try:
                results[rank] = ray.get(done[0])
            except RayError as failure:
                failures[rank] = failure
                deadline = min(deadline, time.monotonic() + CAUSE_WAIT)
        if len(results) == len(self._ranks):
            return [results[rank] for rank in range(len(results))]
        world = len(self._ranks)
        self.shutdown()
        if not failures:
            hung = sorted(pending.values())
            where = "".join(f", pid={self._pids[rank]}" for rank in hung if self._joined)
            late = f"learner ranks {hung} of {world}{where} did not finish {method} in {timeout:.0f} s"
            # Where none has ever joined, e.g. for want of GPUs, new ranks would wait as long.
            lost = LearnerLostError if self._has_joined else LearnerError
            raise lost(f"{late}; free in the cluster: {ray.available_resources()}")
        rank, cause = min(failures.items(), key=lambda item: (not is_death(item[1]), item[0]))
        message = f"learner rank {rank} of {world} {'died' if is_death(cause) else 'failed'} in {method}: {reason(cause)}"
        if is_death(cause) or (self._has_joined and method != "begin_phase"):
            raise LearnerLostError(message) from cause
        raise LearnerError(message) from cause  # what cannot be loaded now, or never started, new ranks cannot do either
