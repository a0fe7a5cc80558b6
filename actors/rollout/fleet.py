"""The rollout fleet: several engines behind one `sample`, fed from one queue, with dead engines replaced."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectLostError

from actors.bundles import engines_of_a_gpu
from actors.failures import DEATHS, reason
from actors.placement import ANYWHERE, Placement
from actors.restarts import Restarts
from actors.rollout.count import engine_count
from actors.rollout.drawing import LOST, Drawing
from actors.rollout.pings import Pings
from actors.rollout.sleep import put_to_sleep
from actors.rollout.worker import rollout_actor
from conf.schema import Config, SamplingConfig
from pipeline.errors import LearnerLostError, MismatchError, RolloutError
from pipeline.observe.terminal import say
from pipeline.store.model_folder import read_json
from pipeline.types import Policy, Request, Role, Sample

START_TIMEOUT_S = {"cuda": 1800, "cpu": 300}  # reading a large model and capturing its graphs takes minutes


class RolloutFleet:
    """Engines that hold one policy at a time. They start in the background: `wait_usable` waits for them.

    On CPU the first starts alone, or several would start more slowly; the others join when they have started, between or
    within calls. On GPUs that hold several, one starts after another: vLLM takes what others allocate meanwhile for its own.
    Roles may share a fleet: the requested policy is swapped in.
    """

    def __init__(self, config: Config, model_path: str, placement: Placement = ANYWHERE, number: int = 0) -> None:
        """`number` is the fleet's in the placement."""
        self._config, self._model_path = config, model_path
        self._placement, self._number = placement, number
        self._start_timeout = START_TIMEOUT_S[config.resources.device]
        self._actor_class = rollout_actor(config)
        self._ready: set[Any] = set()
        self._versions: dict[Any, str] = {}
        self._places: dict[Any, int] = {}
        self._size = engine_count(config, read_json(Path(model_path) / "config.json", {}))
        self._in_turn = not self._on_cpu and engines_of_a_gpu(config) > 1
        self._workers = [self._start() for _ in range(1 if self._on_cpu or self._in_turn else self._size)]
        # Engines that start while others work, by the call that returns when they have started; failures in a row.
        self._joining: dict[Any, Any] = {}
        self._restarts = Restarts("a rollout worker", "request", RolloutError)
        self._joining_again = Restarts("a rollout worker that joins", "engine", RolloutError)
        self._joins = 0
        self._stopped = False
        self._pings = Pings(config.rollout.transfer_timeout_s)
        self._finished = 0  # requests
        self._counts: dict[str, float] = defaultdict(float)

    @property
    def _on_cpu(self) -> bool:
        return self._config.resources.device == "cpu"

    def _start(self) -> Any:
        """A new engine, in the first place of the placement that no other has: that of the engine it replaces, if any."""
        place = min(set(range(len(self._places) + 1)) - set(self._places.values()))
        worker = self._actor_class.options(**self._placement.engine(self._number, place)).remote(self._config, self._model_path)
        self._places[worker] = place
        return worker

    def wait_usable(self) -> None:
        """Waits until samples can be drawn: for all engines on GPUs, for the first on CPU. One that is killed is replaced.

        Raises:
            RolloutError: one did not start, with the reason.
        """
        while failed := self._failed(self._workers):
            for failure in failed.values():
                if not isinstance(failure, DEATHS) or getattr(failure, "actor_init_failed", False):
                    raise RolloutError(f"a rollout worker could not start: {reason(failure)}") from failure
            self._replace(failed)
        self._join()
        if self._in_turn:
            self._await_joining()

    def wait_ready(self) -> None:
        """Waits until all engines have started; raises as `wait_usable` does."""
        self.wait_usable()
        self._await_joining()

    def _await_joining(self) -> None:
        while self._joining:
            if not ray.wait(list(self._joining), num_returns=1, timeout=self._start_timeout)[0]:
                raise RolloutError(f"a rollout worker did not start; free in the cluster: {ray.available_resources()}")
            self._join()

    def _join(self) -> None:
        """Adds the engines that have started since the last call, and starts missing ones once the first has started.

        Raises:
            RolloutError: several in a row did not start, and `rollout.engines` requests them; else no more are started.
        """
        done, _ = ray.wait(list(self._joining), num_returns=len(self._joining), timeout=0) if self._joining else ([], [])
        for call in done:
            worker = self._joining.pop(call)
            try:
                ray.get(call)
            except DEATHS as error:
                self._kill(worker)
                del self._places[worker]
                self._counts["replaced"] += 1
                try:
                    self._joining_again.after(error, self._joins)
                except RolloutError as failure:
                    if self._config.rollout.engines is not None:
                        raise RolloutError(f"a rollout worker could not start: {failure}") from error
                    self._size = len(self._workers) + len(self._joining)
                    say(f"warning: at most {self._size} of a fleet's engines sample; another could not start: {failure}")
            else:
                self._joins += 1
                self._ready.add(worker)
                self._workers = sorted([*self._workers, worker], key=lambda each: self._places[each])
        most = len(self._workers) + 1 if self._in_turn else self._size
        while self._ready and len(self._workers) + len(self._joining) < min(most, self._size):
            worker = self._start()
            self._joining[worker.ready.remote()] = worker

    def _failed(self, workers: Sequence[Any]) -> dict[Any, Exception]:
        """Those of `workers` that are dead, do not start within `START_TIMEOUT_S` or do not reply, with the error."""
        calls = {worker.ready.remote(): worker for worker in workers}
        if starting := [call for call, worker in calls.items() if worker not in self._ready]:
            ray.wait(starting, num_returns=len(starting), timeout=self._start_timeout)
        done, late = ray.wait(list(calls), num_returns=len(calls), timeout=self._config.rollout.transfer_timeout_s)
        failed: dict[Any, Exception] = {
            calls[call]: TimeoutError(f"no reply; free in the cluster: {ray.available_resources()}") for call in late
        }
        for call in done:
            try:
                ray.get(call)
                self._ready.add(calls[call])
            except DEATHS as error:
                failed[calls[call]] = error
        return failed

    def load(self, policy: Policy) -> None:
        """Gives the weights of `policy` to every engine that does not hold them yet.

        An engine that fails, or has not received them within `rollout.transfer_timeout_s`, is killed and replaced.

        Raises:
            MismatchError: an engine does not hold what was sent.
            RolloutError: see `_replace`.
            LearnerLostError: a learner rank that sends died.
            DamagedError: the files of a stored policy are not as they were written.
        """
        self._join()
        while stale := [worker for worker in self._workers if self._versions.get(worker) != policy.version]:
            # Checked before the transfer: a collective with a dead engine fails in the learner too.
            if failed := self._failed(stale) or self._transfer(policy, stale):
                self._replace(failed)

    def _transfer(self, policy: Policy, stale: list[Any]) -> dict[Any, Exception]:
        """Sends weights to the `stale` engines; returns those that failed or did not receive them in time, with the error."""
        started, failed = time.monotonic(), dict[Any, Exception]()
        for worker in stale:  # a transfer that ends half way leaves them with neither version
            self._versions.pop(worker, None)
        checksums = policy.weights.send(stale)
        loading = {worker.accept.remote(policy.version, checksums): worker for worker in stale}
        limit = self._config.rollout.transfer_timeout_s
        done, late = ray.wait(list(loading), num_returns=len(loading), timeout=limit)
        for transfer in done:
            try:
                if wrong := ray.get(transfer):
                    raise MismatchError(
                        f"a rollout worker does not hold the weights of {policy.version} that were sent to it: the checksums of "
                        f"{len(wrong)} parameters differ, e.g. {wrong[0]}"
                    )
                self._versions[loading[transfer]] = policy.version
            except ObjectLostError as error:  # with the rank that held them: other engines would fail as well
                raise LearnerLostError(f"the weights of {policy.version} are lost: {reason(error)}") from error
            except LOST as error:
                failed[loading[transfer]] = error
        self._counts["swaps"] += 1
        self._counts["swap_seconds"] += time.monotonic() - started
        for transfer in late:
            failed[loading[transfer]] = TimeoutError(
                f"an engine did not receive the weights of {policy.version} within rollout.transfer_timeout_s={limit:g}"
            )
        return failed

    def sleep(self, keep_policy: bool) -> None:
        """Leaves the GPUs to the learner until the next `load`, which has to send weights unless the policy is kept.

        Raises:
            RolloutError: an engine that takes a failed one's place does not start.
        """
        self._await_joining()  # an engine takes its memory while it starts
        put_to_sleep(self._workers, keep_policy, self._config.rollout.transfer_timeout_s)
        self._versions = self._versions if keep_policy else {}

    def forget_policy(self) -> None:
        """Makes the next `load` send weights even if the version is unchanged: policies of different runs share names."""
        self._versions.clear()

    def sample(self, requests: Sequence[Request], policy: Policy, sampling: SamplingConfig) -> list[list[Sample]]:
        """The samples of each request, in order, drawn under `policy`; see `stream`."""
        drawn = dict(self.stream(requests, policy, sampling))
        return [drawn[place] for place in range(len(requests))]

    def stream(
        self, requests: Sequence[Request], policy: Policy, sampling: SamplingConfig, for_learning: bool = True
    ) -> Iterator[tuple[int, list[Sample]]]:
        """The same as they finish: (index of the request, its samples), in any order. Samples that are not `for_learning` have no
        log-probabilities, which cost time.

        Chunks of requests wait in one queue, from which each engine with room takes the next; engines that have started
        meanwhile get the policy's weights and join. What an engine that dies or fails had not finished is drawn again with the
        same seeds, by the others while a new engine starts. So it is with one that does not reply to a ping within
        `rollout.transfer_timeout_s`.

        Raises:
            RolloutError: see `_replace`.
            MismatchError, LearnerLostError, DamagedError: see `load`.
        """
        self.load(policy)
        clock = time.monotonic()

        def start(worker: Any, chunk: list[Request]) -> Any:
            call = worker.sample.options(num_returns="streaming")
            return call.remote(chunk, sampling, policy.version, for_learning)

        drawing = Drawing(requests, self._config.rollout, start)
        while drawing.unfinished:
            if self._stopped:
                raise RolloutError("sampling was stopped")
            if drawing.waiting and len(self._workers) < self._size:
                self.load(policy)  # into those that join
            drawing.feed(self._workers)
            arrived, failed = drawing.arrived(self._joining if drawing.waiting else ())
            for place, drawn in arrived:
                self._finished += 1
                self._counts["tokens"] += sum(len(sample.token_ids) for sample in drawn.samples)
                self._counts["prompt_tokens"] += sum(len(sample.prompt_ids) for sample in drawn.samples)
                self._counts["cached_tokens"] += drawn.cached_tokens
                self._counts["sampling_seconds"] += time.monotonic() - clock
                yield place, drawn.samples
                clock = time.monotonic()
            if failed:
                failed = {**self._failed(self._workers), **failed}  # a failed node loses all its engines
            failed |= self._pings.hung(engine for engine in drawing.busy if engine not in failed)
            if failed:
                drawing.put_back(failed)
                self._replace(failed)
                self.load(policy)

    def _replace(self, failed: dict[Any, Exception]) -> None:
        """Kills dead, failed or hung engines and starts new ones in their places, which join when they have started.

        Raises:
            RolloutError: that happened several times in a row without a finished request in between.
        """
        for worker in failed:
            self._kill(worker)
        self._restarts.after(next(reversed(failed.values())), self._finished)
        for worker in failed:
            self._versions.pop(worker, None)
            self._ready.discard(worker)
            del self._places[worker]
            self._workers.remove(worker)
            self._counts["replaced"] += 1
        if self._workers:
            self._join()
        else:
            self._workers = [self._start() for _ in failed]

    def _kill(self, worker: Any) -> None:
        ray.kill(worker)

    def take_counts(self) -> dict[str, float]:
        """Since the last call: "tokens" drawn in "sampling_seconds", their "prompt_tokens", "cached_tokens" of these from the
        prefix cache, "swaps" of weights and their total "swap_seconds", engines "replaced"."""
        taken, self._counts = self._counts, defaultdict(float)
        return dict(taken)

    def stop(self) -> None:
        """Ends what another thread draws, at its next result or ping; nothing more can be drawn."""
        self._stopped = True

    def shutdown(self) -> None:
        for worker in [*self._workers, *self._joining.values()]:
            self._kill(worker)


@contextmanager
def rollout_fleets(config: Config, model_path: str, placement: Placement = ANYWHERE) -> Iterator[dict[Role, RolloutFleet]]:
    """The fleet of each role, shared or not by `rollout.fleets`; the engines start in the background.

    Raises:
        RolloutError: an engine did not start, where another has to wait for it.
    """
    fleet = other = RolloutFleet(config, model_path, placement)
    try:
        if config.rollout.fleets == "per_role":
            if 0 < config.resources.rollout_gpus < 1:
                # vLLM takes what another engine allocates on its GPU while it starts for its own.
                fleet.wait_usable()
            other = RolloutFleet(config, model_path, placement, 1)
        yield {"challenger": fleet, "solver": other}
    finally:
        for each in {fleet, other}:
            each.shutdown()
