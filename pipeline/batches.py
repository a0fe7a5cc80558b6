"""The batches of a GRPO phase, sampled on demand or, with `rollout.ahead`, while the learner trains on the previous one.

A batch sampled ahead is drawn by the policy before the running update: it is one update stale when the learner trains on it.
Which batches are stale does not depend on timing, and a pending batch is saved with the checkpoint, so that a resumed run
continues with the same batch.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.store.tables import SampleRow, read_table, write_table
from pipeline.types import Policy, Request, Role, Sample

if TYPE_CHECKING:
    from pipeline.run import Run

Group = list[Sample]


class Batches:
    """Samples for the steps of one phase; `requests(step)` gives the requests of a step, one per group."""

    def __init__(self, run: "Run", role: Role, requests: Callable[[int], list[Request]]) -> None:
        self._run, self._role, self._requests = run, role, requests
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._ahead: dict[int, Future[list[Group]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None and not issubclass(kind, Exception):  # the process is to end at once
            self._run.fleets[self._role].stop()
        self._thread.shutdown()  # waits for running sampling: no two threads may use the engines

    def arriving(self, step: int, policy: Policy) -> Iterator[tuple[int, Group]]:
        """(index of the request, its samples) as they finish: drawn under `policy`, or sampled ahead."""
        if step in self._ahead:
            with self._run.clock.part("sampling"):
                return enumerate(self._ahead.pop(step).result())
        return self._run.stream(self._role, self._requests(step), policy, self._run.config.sampling)

    def sample_ahead(self, step: int, policy: Policy) -> None:
        """Starts sampling the batch of `step` under `policy` in the background."""
        fleet = self._run.fleets[self._role]
        with self._run.clock.part("transfer"):
            fleet.load(policy)  # before the learner updates these weights
        self._ahead[step] = self._thread.submit(fleet.sample, self._requests(step), policy, self._run.config.sampling)

    def save(self, step: int, path: Path) -> bool:
        """Waits for the batch of `step` and writes it; False if it was not sampled ahead."""
        if step not in self._ahead:
            return False
        with self._run.clock.part("sampling"):
            groups = self._ahead[step].result()
        write_table(path, SampleRow, [SampleRow(place, sample) for place, group in enumerate(groups) for sample in group])
        return True

    def restore(self, step: int, path: Path) -> None:
        """Restores the batch of `step` from a file written by `save`."""
        groups: dict[int, Group] = {}
        for row in read_table(path, SampleRow):
            groups.setdefault(row.group, []).append(row.sample)
        self._ahead[step] = Future()
        self._ahead[step].set_result([groups[place] for place in sorted(groups)])
