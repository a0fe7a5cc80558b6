"""Weights from a CPU learner to engines on the same machine through shared memory: a backend of vLLM's weight-transfer API.

The learner's parameters move into the shared memory at the first transfer and stay there, so that a transfer is one copy, from
there into the engine. Importing this module registers the backend `shared` with vLLM.
"""

import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from vllm.distributed.weight_transfer.base import (
    ParamMeta,
    TrainerInitInfo,
    TrainerWeightTransferEngine,
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory

from actors.weights.buckets import ALIGNMENT, Named
from actors.weights.vllm_load import load


@dataclass
class SharedInit(WeightTransferInitInfo):
    """Path of the shared memory, and its layout: names, dtypes and shapes, in order."""

    path: str
    names: list[str]
    dtypes: list[str]
    shapes: list[list[int]]


@dataclass
class SharedUpdate(WeightTransferUpdateInfo):
    """Empty: `SharedInit` has the whole layout."""


def padded_bytes(meta: ParamMeta) -> int:
    """Bytes of a parameter, padded to the alignment."""
    size = torch.Size(meta.shape).numel() * meta.dtype.itemsize
    return size + -size % ALIGNMENT


def views(memory: mmap.mmap, metas: Iterable[ParamMeta]) -> Iterator[Named]:
    """Tensors over the memory, in order."""
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    start = 0
    for meta in metas:
        size = torch.Size(meta.shape).numel() * meta.dtype.itemsize
        yield meta.name, whole[start : start + size].view(meta.dtype).view(meta.shape)
        start += padded_bytes(meta)


class SharedEngine(WeightTransferEngine[SharedInit, SharedUpdate]):
    """The receiving engine."""

    init_info_cls, update_info_cls = SharedInit, SharedUpdate

    def init_transfer_engine(self, init_info: SharedInit) -> None:
        with open(init_info.path, "rb+") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        layout = zip(init_info.names, init_info.dtypes, init_info.shapes, strict=True)
        self._weights = list(views(self._memory, [ParamMeta(n, getattr(torch, d), tuple(s)) for n, d, s in layout]))

    def start_weight_update(self) -> None:
        """No-op: without packing (`keep_cpu_weights_loadable`) a load is a plain copy."""

    def finish_weight_update(self) -> None:
        """No-op."""

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))  # the base class also synchronises an accelerator

    def receive_weights(self, update_info: SharedUpdate) -> None:
        load(self.model, self._weights)

    def shutdown(self) -> None:
        self._weights = []


@dataclass
class SharedTrainerInit(TrainerInitInfo):
    backend: ClassVar[str] = "shared"


class SharedTrainer(TrainerWeightTransferEngine[SharedTrainerInit]):
    """The sending learner; `source` is a `device.LearnerSource`, `client` a `device.EngineClient`."""

    init_info_cls = SharedTrainerInit

    def __init__(self, client: Any, source: Any, is_sender: bool) -> None:
        super().__init__(client=client, source=source, is_sender=is_sender)
        self._source, self._engines = source, client
        if is_sender:
            metas = source.metadata()
            # An anonymous file: engines open it through /proc, and it is freed when the last process closes it.
            self._file = os.memfd_create("weights")
            os.ftruncate(self._file, sum(map(padded_bytes, metas)))
            self._views = dict(views(mmap.mmap(self._file, 0), metas))
            names, shapes = [meta.name for meta in metas], [list(meta.shape) for meta in metas]
            dtypes = [str(meta.dtype).removeprefix("torch.") for meta in metas]
            client.init_weight_transfer_engine(asdict(SharedInit(f"/proc/{os.getpid()}/fd/{self._file}", names, dtypes, shapes)))

    @classmethod
    def trainer_init(cls, init_info: SharedTrainerInit, *, client: Any, source: Any = None) -> "SharedTrainer":
        return cls(client, source, init_info.is_sender)

    def send_weights(self) -> None:
        parameters = dict(self._source.parameters())
        for name, tensor in self._source:
            if self.is_sender and tensor.data_ptr() != self._views[name].data_ptr():
                self._views[name].copy_(tensor)
                if self._source.movable and tensor.data_ptr() == parameters[name].data_ptr():
                    parameters[name].data = self._views[name]
        if self.is_sender:
            self._engines.update_at_once()

    def shutdown(self) -> None:
        """Closes the file; the parameters keep the mapped memory."""
        if self.is_sender:
            os.close(self._file)


WeightTransferEngineFactory.register_engine("shared", SharedEngine)
WeightTransferTrainerFactory.register_engine("shared", SharedTrainer)
