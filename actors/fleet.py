"""The rollout fleet: several engines behind one `sample`, with work spread by queue and dead engines replaced."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from actors.rollout import rollout_actor
from actors.weights import Policy
from conf.schema import Config, SamplingConfig
from pipeline.errors import RolloutError
from pipeline.types import Request, Sample

MOST_DEATHS_IN_A_ROW = 3


class RolloutFleet:
    """Engines that hold one policy at a time. They start in the background: `wait_ready` waits for them."""

    def __init__(self, config: Config, model_path: str) -> None:
        self._config = config
        self._model_path = model_path
        self._actor_class = rollout_actor(config)
        self._chunk = config.rollout.chunk  # independent of the number of engines, so that the shape of each computation is too
        self._workers = [self._start() for _ in range(config.rollout.engines)]
        self._versions: dict[Any, str] = {}
        self.replaced = 0
        self.tokens = 0  # drawn since the start

    def _start(self) -> Any:
        return self._actor_class.remote(self._config, self._model_path)

    def wait_ready(self) -> None:
        """Raises what stopped an engine from starting, if anything did."""
        ray.get([worker.ready.remote() for worker in self._workers])

    def load(self, policy: Policy) -> None:
        """Gives every engine the weights of `policy`; those that hold them already are left alone.

        Raises:
            RolloutError: several workers died in a row.
        """
        for _ in range(MOST_DEATHS_IN_A_ROW):
            stale = [worker for worker in self._workers if self._versions.get(worker) != policy.version]
            loading = [(worker, worker.load.remote(policy.version, policy.weights)) for worker in stale]
            for worker, done in loading:
                try:
                    ray.get(done)
                    self._versions[worker] = policy.version
                except RayActorError as error:
                    last = error
                    self._replace(worker)
            if all(self._versions.get(worker) == policy.version for worker in self._workers):
                return
        raise RolloutError(f"rollout workers died {MOST_DEATHS_IN_A_ROW} times taking on {policy.version}: {last}") from last

    def sample(self, requests: Sequence[Request], policy: Policy, sampling: SamplingConfig) -> list[Sample]:
        """One sample per request, in order, drawn under `policy`.

        A worker that dies is replaced, gets the policy's weights, and its chunk is drawn again with the same seeds.

        Raises:
            RolloutError: several workers died in a row with no chunk finished in between.
        """
        self.load(policy)
        chunks = [requests[start : start + self._chunk] for start in range(0, len(requests), self._chunk)]
        waiting = deque(range(len(chunks)))
        results: dict[int, list[Sample]] = {}
        idle = deque(self._workers)
        running: dict[Any, tuple[Any, int]] = {}
        deaths = 0
        while len(results) < len(chunks):
            while idle and waiting:
                worker, chunk = idle.popleft(), waiting.popleft()
                running[worker.sample.remote(chunks[chunk], sampling, policy.version)] = (worker, chunk)
            (done,), _ = ray.wait(list(running), num_returns=1)
            worker, chunk = running.pop(done)
            try:
                results[chunk] = ray.get(done)
                deaths = 0
            except RayActorError as error:
                deaths += 1
                if deaths >= MOST_DEATHS_IN_A_ROW:
                    raise RolloutError(f"{deaths} rollout workers died in a row, the last of: {error}") from error
                waiting.appendleft(chunk)
                worker = self._replace(worker)
                self.load(policy)
            idle.append(worker)
        samples = [sample for chunk in range(len(chunks)) for sample in results[chunk]]
        self.tokens += sum(len(sample.token_ids) for sample in samples)
        return samples

    def _replace(self, dead: Any) -> Any:
        self._versions.pop(dead, None)
        worker = self._start()
        self._workers[self._workers.index(dead)] = worker
        self.replaced += 1
        return worker

    def shutdown(self) -> None:
        for worker in self._workers:
            ray.kill(worker)
