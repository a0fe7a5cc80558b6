"""The reward actor: the part of R-Zero's rewards (arXiv 2508.05004) that compares answers, in the sandbox."""

import os
from collections.abc import Sequence
from typing import Any

import ray

from actors.reward.sandbox import AnswerSandbox
from conf.schema import RewardConfig
from pipeline.domain.graders.protocol import Grader
from pipeline.types import Vote


class RewardActor:
    """Votes on answers and grades them; model output reaches math-verify only in the sandbox's processes.

    `pipeline.algorithm.rewards` scores questions by these votes, in the driver, which calls this through `client.RewardClient`.
    Counts are its only state between calls, so a new actor that is sent a lost call once more gives the same result.
    """

    def __init__(self, config: RewardConfig) -> None:
        self._sandbox = AnswerSandbox(config.workers, config.timeout_s, config.memory_mb)

    def vote(self, answers: Sequence[Sequence[str | None]], grader: str | Grader = "math") -> list[Vote]:
        """The majority among the answers to each question."""
        return self._sandbox.votes(answers, grader)

    def grade(self, answers: Sequence[str | None], labels: Sequence[str], grader: str | Grader = "math") -> list[float]:
        """The Solver's reward: 1.0 where an answer is equivalent to its pseudo-label, else 0.0, undecided ones included."""
        pairs = [(answer or "", label) for answer, label in zip(answers, labels, strict=True)]
        return [1.0 if verdict else 0.0 for verdict in self._sandbox.equivalents(pairs, grader)]

    def take_counts(self) -> dict[str, float]:
        """Counts since the last call; see `AnswerSandbox.take_counts`."""
        return self._sandbox.take_counts()

    @ray.method(concurrency_group="alive")
    def alive(self) -> int:
        """The process id, in a thread of its own, so that it is returned while answers are compared."""
        return os.getpid()


def reward_actor(config: RewardConfig, actor_class: type[RewardActor] = RewardActor) -> Any:
    """A new actor. Ray neither restarts it nor retries a call: `actors/reward/supervisor.py` does."""
    remote: Any = ray.remote  # its types lack concurrency groups
    return remote(num_cpus=1, max_restarts=0, max_task_retries=0, concurrency_groups={"alive": 1})(actor_class).remote(config)
