"""Weights through host memory: from Ray's object store into engines, with a time-out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import torch

from actors.failures import DEATHS
from actors.weights.buckets import Published, in_buckets, publish, read_checkpoint
from pipeline.store.damage import refuse_damage
from pipeline.types import Checksums


class HostWeights:
    """A policy that is put into Ray's object store when engines first need it, and kept there for replacement engines.

    An engine has `timeout` seconds to load it.
    """

    def __init__(self, make: Callable[[], Published], timeout: float) -> None:
        self._make, self._timeout = make, timeout
        self._published: Published | None = None

    def send(self, engines: Sequence[Any]) -> Checksums:
        """See `pipeline.types.Weights`."""
        if self._published is None:
            self._published = self._make()
        await_engines({engine.load.remote(self._published.buckets): engine for engine in engines}, self._timeout)
        return self._published.checksums


def stored_weights(path: str, dtype: torch.dtype, timeout: float) -> HostWeights:
    """The weights of a HF-format folder, read when engines first need them; that raises DamagedError where they are damaged."""

    def read() -> Published:
        refuse_damage(Path(path))
        return publish(in_buckets(read_checkpoint(path, dtype)))

    return HostWeights(read, timeout)


def await_engines(calls: Mapping[ray.ObjectRef[Any], Any], timeout: float) -> None:
    """Waits for `calls`, a mapping from call to engine. Dead engines are ignored, those that exceed `timeout` are killed.

    The fleet checks next whether the weights have arrived, and replaces both.

    Raises:
        RayTaskError: an engine raised an exception.
    """
    done, late = ray.wait(list(calls), num_returns=len(calls), timeout=timeout)
    for call in late:
        ray.kill(calls[call])
    for call in done:
        with suppress(*DEATHS):
            ray.get(call)
