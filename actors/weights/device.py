"""Weights from the learner straight into the engines, by vLLM's own weight-transfer API.

Three ways, by `rollout.transfer`: `nccl` broadcasts between GPUs, `ipc` lets an engine read the memory of a learner rank on the
same GPU, `shared` is for a CPU (`actors/weights/shared.py`). The learner drives them: `Sender.send` is called on every rank, and
rank 0 calls the engines. Only these two modules use that API, as of vLLM 0.32.0. `nccl` and `ipc` have not been run on a GPU yet;
what they share with `shared` is tested.
"""

import math
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ray
from vllm.distributed.weight_transfer.base import ParamMeta, TrainerInitInfo, WeightSource
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from actors.weights.buckets import BUCKET_ELEMENTS, Named, checksums
from actors.weights.host import await_engines
from actors.weights.shared import SharedTrainerInit
from conf.schema import RolloutConfig
from pipeline.types import Checksums

# Bytes of a packed buffer in any precision, unless a tensor is larger; NCCL has two in flight at a time.
PACKED_BYTES = 2 * BUCKET_ELEMENTS


class LearnerSource(WeightSource):
    """A rank's parameters by HF name, as vLLM's trainer reads them; iterating is collective under ZeRO-3.

    Args:
        parameters: all of them, whole or sharded.
        buckets: whole parameters to send, LoRA merged.
        movable: whether a parameter's memory may be replaced, which ZeRO's optimizers do not allow.

    `checksums` are those of the last iteration, with its `offset`.
    """

    def __init__(
        self, parameters: Callable[[], Iterable[Named]], buckets: Callable[[], Iterable[Sequence[Named]]], movable: bool
    ) -> None:
        self.parameters, self._buckets, self.movable = parameters, buckets, movable
        self.offset: int | None = None
        self.checksums: dict[str, int] = {}

    def metadata(self) -> list[ParamMeta]:
        """Names, dtypes and full shapes. Under ZeRO-3 a parameter's own shape is (0,)."""
        return [ParamMeta(name, p.dtype, tuple(getattr(p, "ds_shape", p.shape))) for name, p in self.parameters()]

    def __iter__(self) -> Iterator[Named]:
        self.checksums = {}
        for bucket in self._buckets():
            self.checksums |= checksums(bucket, self.offset)
            yield from ((name, tensor.detach()) for name, tensor in bucket)


class EngineClient:
    """The sender's calls to the engines: vLLM's `VLLMWeightSyncClient` over Ray handles of rollout workers.

    vLLM's own client gives every engine the same NCCL ranks, so that several engines would collide. Engines that die, or exceed
    `timeout` seconds in a call, do not affect the learner; see `host.await_engines`.
    """

    def __init__(self, engines: Sequence[Any], ranks_each: int, timeout: float) -> None:
        self._engines, self._ranks_each, self._timeout = engines, ranks_each, timeout

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        offsets = [{"rank_offset": 1 + place * self._ranks_each} for place in range(len(self._engines))]
        infos = [init_info | (offset if "rank_offset" in init_info else {}) for offset in offsets]
        calls = [("init_weight_transfer_engine", info) for info in infos]
        pending = {engine.weight_transfer.remote(call): engine for engine, call in zip(self._engines, calls, strict=True)}
        await_engines(pending, self._timeout)

    def update_at_once(self) -> None:
        """A whole update in one call, for transfers whose layout the engines know from the start."""
        self._all(("start_weight_update",), ("update_weights", {}), ("finish_weight_update",))

    def start_weight_update(self) -> None:
        self._all(("start_weight_update",))

    def update_weights(self, update_info: Any) -> None:
        self._all(("update_weights", update_info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._all(("finish_weight_update",))

    def _all(self, *calls: tuple[Any, ...]) -> None:
        await_engines({engine.weight_transfer.remote(*calls): engine for engine in self._engines}, self._timeout)


def nccl(rank: int, world_size: int, parameters: Sequence[ParamMeta]) -> TrainerInitInfo:
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    return NCCLTrainerInitInfo(
        ray.util.get_node_ip_address(), port, world_size, packed_buffer_size_bytes=PACKED_BYTES, packed_num_buffers=2, rank=rank
    )


def ipc(rank: int, world_size: int, parameters: Sequence[ParamMeta]) -> TrainerInitInfo:
    """The buffer holds the largest parameter, usually the embedding: vLLM refuses a tensor that exceeds it."""
    largest = max(math.prod(parameter.shape) * parameter.dtype.itemsize for parameter in parameters)
    return IPCTrainerInitInfo(packed=True, packed_buffer_size_bytes=max(PACKED_BYTES, largest), rank=rank)


def shared(rank: int, world_size: int, parameters: Sequence[ParamMeta]) -> TrainerInitInfo:
    return SharedTrainerInit(rank=rank)


WAYS: dict[str, Callable[[int, int, Sequence[ParamMeta]], TrainerInitInfo]] = {"nccl": nccl, "ipc": ipc, "shared": shared}


class Sender:
    """One learner rank's end of a connection to some engines."""

    def __init__(self, rollout: RolloutConfig, rank: int, engines: Sequence[Any], source: LearnerSource) -> None:
        self.engines = engines
        self._source = source
        self._trainer = WeightTransferTrainerFactory.trainer_init(
            WAYS[rollout.transfer](rank, 1 + len(engines) * rollout.tensor_parallel, source.metadata()),
            client=EngineClient(engines, rollout.tensor_parallel, rollout.transfer_timeout_s),
            source=source,
        )

    def send(self, offset: int | None) -> Checksums:
        """Sends the current weights to all engines; returns the checksums they must have."""
        self._source.offset = offset
        self._trainer.send_weights()
        return Checksums(offset, self._source.checksums)

    def close(self) -> None:
        self._trainer.shutdown()
