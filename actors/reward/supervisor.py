"""The driver's reward actor, which is replaced where it dies or hangs, and whose unfinished calls are sent again."""

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayTaskError

from actors.failures import DEATHS, reason
from actors.restarts import Restarts
from actors.reward.actor import RewardActor, reward_actor
from conf.schema import RewardConfig
from pipeline.errors import RewardError

PING_S = 5.0  # between pings, while a result is awaited
SILENT_S = 15.0  # without a reply to a ping, after which the actor is hung
START_TIMEOUT_S = 300.0  # until the first reply: the actor is scheduled, and imports


@dataclass(eq=False, slots=True)
class Call:
    """A call of the actor, and the reference to its result."""

    method: str
    arguments: tuple[Any, ...]
    reference: Any = None


class RewardSupervisor:
    """Sends calls to a reward actor, started on construction, and gives their results, whatever happens to the actor.

    Any call may be sent again, since its result depends on its arguments alone, except for counts, which are lost.
    """

    def __init__(self, config: RewardConfig, actor_class: type[RewardActor] = RewardActor) -> None:
        self._config, self._actor_class = config, actor_class
        self._restarts = Restarts("the reward actor", "call", RewardError)
        self._unfinished: list[Call] = []
        self._finished = 0
        self._start()

    def _start(self) -> None:
        self._actor = reward_actor(self._config, self._actor_class)
        self._pid: int | None = None
        self._ping()

    def _ping(self) -> None:
        self._reply, self._pinged = self._actor.alive.remote(), time.monotonic()

    def send(self, method: str, *arguments: Any) -> Call:
        call = Call(method, arguments)
        self._unfinished.append(call)
        self._submit(call)
        return call

    def _submit(self, call: Call) -> None:
        call.reference = getattr(self._actor, call.method).remote(*call.arguments)

    def is_finished(self, call: Call) -> bool:
        """Whether `result` returns, or raises, at once; also True for one that was lost with its actor."""
        return bool(ray.wait([call.reference], timeout=0)[0])

    def result(self, call: Call) -> Any:
        """The result of a call, once. It is awaited as long as the actor is alive.

        Raises:
            RewardError: the actor died or hung several times without a result in between, or a grader failed in it.
        """
        while True:
            try:
                if ray.wait([call.reference], timeout=PING_S)[0]:
                    result = ray.get(call.reference)
                    self._unfinished.remove(call)
                    self._finished += 1
                    return result
                self._refuse_silence()
            except RayTaskError as error:
                raise RewardError(f"the reward actor failed to compare answers: {reason(error)}") from error
            except (*DEATHS, TimeoutError) as error:
                self._replace(error)

    def _refuse_silence(self) -> None:
        """Raises TimeoutError where the actor does not reply, one of `DEATHS` where it has died."""
        if ray.wait([self._reply], timeout=1)[0]:
            self._pid = ray.get(self._reply)
            self._ping()
            return
        if self._pid is None and time.monotonic() - self._pinged > START_TIMEOUT_S:
            free = ray.available_resources()
            raise TimeoutError(f"the reward actor did not start within {START_TIMEOUT_S:.0f} s; free in the cluster: {free}")
        if self._pid is not None and time.monotonic() - self._pinged > SILENT_S:
            raise TimeoutError(f"the reward actor (pid={self._pid}) hung: no reply for {SILENT_S:.0f} s")

    def _replace(self, failure: Exception) -> None:
        ray.kill(self._actor)
        self._restarts.after(failure, self._finished)
        self._start()
        for call in self._unfinished:
            self._submit(call)
