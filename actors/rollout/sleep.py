"""Sleep of engines that share their GPUs with learner ranks (`resources.placement=colocated`).

vLLM's sleep mode frees what its CUDA allocator holds, KV cache and weights, and keeps the process, kernels and CUDA graphs. On a
CPU it has no such allocator and refuses `enable_sleep_mode`; the calls below stop its scheduler, drop its prefix cache and record
what is asleep, as on a GPU, but its CPU worker frees nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import ray
from ray.exceptions import RayTaskError

from actors.failures import DEATHS, reason
from pipeline.observe.terminal import say

if TYPE_CHECKING:
    from vllm import LLM

Part = Literal["weights", "kv_cache"]  # vLLM's tags


class Sleep:
    """Puts an engine to sleep and wakes it part by part: new weights can be received before the KV cache takes its memory."""

    def __init__(self, llm: "LLM") -> None:
        self._llm = llm
        self._asleep: list[Part] = []

    def begin(self, keep_weights: bool) -> None:
        """Frees KV cache and weights. Weights to be kept are copied to host memory (vLLM's level 1), others are lost (level 2).

        Raises:
            RuntimeError: the engine is drawing samples, which vLLM would abort.
        """
        if self._llm.llm_engine.has_unfinished_requests():
            raise RuntimeError("the engine cannot sleep while it draws samples")
        if "weights" not in self._asleep:
            self._llm.sleep(level=1 if keep_weights else 2)
            self._asleep = ["weights", "kv_cache"]

    def wake_weights(self) -> None:
        """Allocates the weights, if they are asleep; those that were not kept have to be loaded next."""
        self._wake("weights")

    def end(self) -> None:
        """Allocates what is still asleep."""
        self._wake("weights", "kv_cache")

    def _wake(self, *parts: Part) -> None:
        for part in parts:
            if part in self._asleep:
                self._llm.wake_up(tags=[part])
                self._asleep.remove(part)


def put_to_sleep(engines: Sequence[Any], keep_policy: bool, timeout: float) -> None:
    """Returns when none of the engines (Ray handles of rollout workers) holds GPU memory that it can free.

    One that fails, or does not sleep within `timeout` seconds, is killed. The fleet replaces it when it needs it, since a new
    engine takes its memory when it starts.
    """
    calls = {engine.sleep.remote(keep_policy): engine for engine in engines}
    done, late = ray.wait(list(calls), num_returns=len(calls), timeout=timeout)
    awake: dict[Any, Exception] = {calls[call]: TimeoutError(f"no reply in {timeout:g} s") for call in late}
    for call in done:
        try:
            ray.get(call)
        except RayTaskError as error:
            awake[calls[call]] = error
        except DEATHS:
            pass  # a dead process holds no memory
    for engine, failure in awake.items():
        say(f"warning: an engine that does not sleep is replaced: {reason(failure)}")
        ray.kill(engine)
    gone = [engine.ready.remote() for engine in awake]
    if gone:
        ray.wait(gone, num_returns=len(gone), timeout=timeout)
