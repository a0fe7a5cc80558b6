"""A way of vLLM's weight-transfer API that needs no GPU: tensors travel inside the calls. Imports vLLM; for use in actors."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from vllm.distributed.weight_transfer.base import (
    TrainerInitInfo,
    TrainerWeightTransferEngine,
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from actors import device_transfer
from actors.weights import pack, unpack


@dataclass
class Init(WeightTransferInitInfo):
    rank_offset: int
    world_size: int


@dataclass
class Update(WeightTransferUpdateInfo):
    tensors: dict[str, np.ndarray]


class LoopbackEngine(WeightTransferEngine[Init, Update]):
    """The engine's end: loads as vLLM's NCCL and IPC engines do."""

    init_info_cls, update_info_cls = Init, Update

    def init_transfer_engine(self, init_info: Init) -> None:
        self.model.loopback_ranks = (init_info.rank_offset, init_info.world_size)

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: Update) -> None:
        self.model.load_weights(unpack(update_info.tensors))

    def shutdown(self) -> None:
        pass


@dataclass
class TrainerInit(TrainerInitInfo):
    backend: ClassVar[str] = "loopback"
    world_size: int


class LoopbackTrainer(TrainerWeightTransferEngine[TrainerInit]):
    """The learner's end: a call for each parameter, checked against what the source says of it."""

    init_info_cls = TrainerInit

    @classmethod
    def trainer_init(cls, init_info: TrainerInit, *, client: Any, source: Any = None) -> "LoopbackTrainer":
        if init_info.is_sender:
            client.init_weight_transfer_engine(asdict(Init(rank_offset=1, world_size=init_info.world_size)))
        return cls(client=client, source=source, is_sender=init_info.is_sender)

    def send_weights(self) -> None:
        if self.is_sender:
            self.client.start_weight_update()
        for meta, (name, tensor) in zip(self.source.metadata(), self.source, strict=True):
            assert (meta.name, meta.dtype, meta.shape) == (name, tensor.dtype, tuple(tensor.shape))
            if self.is_sender:
                self.client.update_weights({"tensors": pack([(name, tensor)])})
        if self.is_sender:
            self.client.finish_weight_update()


def register() -> None:
    """Makes `rollout.transfer=loopback` known in this process."""
    if "loopback" not in device_transfer.WAYS:
        device_transfer.WAYS["loopback"] = lambda rank, world_size: TrainerInit(world_size, rank=rank)
        WeightTransferEngineFactory.register_engine("loopback", LoopbackEngine)
        WeightTransferTrainerFactory.register_engine("loopback", LoopbackTrainer)
