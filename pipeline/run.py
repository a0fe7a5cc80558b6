"""A run and its parts: what every phase needs, opened in one place and closed in one place."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError

from actors.failures import reason
from actors.learner.group import LearnerGroup
from actors.reward.actor import RAY_OPTIONS, RewardActor
from actors.rollout.fleet import RolloutFleet
from actors.weights.buckets import in_buckets, publish, read_checkpoint
from conf.load import ConfigError
from conf.schema import Config, SamplingConfig
from pipeline.domain.benchmarks import read_benchmark
from pipeline.domain.codec import PromptCodec
from pipeline.errors import RewardError
from pipeline.inputs import Inputs
from pipeline.observe.clock import Clock
from pipeline.observe.terminal import STARTED, say
from pipeline.observe.tracking import Tracker
from pipeline.store.manifest import RunState
from pipeline.types import Policy, Request, Role, Sample, policy_version


@dataclass
class Run:
    """Settings, state and actors of a run.

    `fleets` holds the rollout workers of each role, which may be one and the same; `reward` is the handle of a `RewardActor`.
    """

    config: Config
    state: RunState
    tracker: Tracker
    codec: PromptCodec
    fleets: dict[Role, RolloutFleet]
    learner: LearnerGroup
    reward: Any
    base_path: str
    clock: Clock

    def policy_path(self, role: Role, round_: int) -> str:
        """HF-format folder of a role's weights at the end of a round; round 0 is the base model for both roles."""
        if round_ == 0:
            return self.base_path
        return str(self.state.folder / self.state.stage(round_, role)["policy"])

    def take_counts(self) -> dict[str, float]:
        """What all fleets counted since the last call; see `RolloutFleet.take_counts`."""
        counts: Counter[str] = Counter()
        for fleet in set(self.fleets.values()):
            counts.update(fleet.take_counts())
        return dict(counts)

    def stream(
        self, role: Role, requests: Sequence[Request], policy: Policy, sampling: SamplingConfig
    ) -> Iterator[tuple[int, list[Sample]]]:
        """(index of the request, its samples) from a role's fleet as they are finished, drawn under `policy`."""
        with self.clock.part("transfer"):
            self.fleets[role].load(policy)
        return self.clock.during("sampling", self.fleets[role].stream(requests, policy, sampling))

    def start_of(self, role: Role, round_: int) -> tuple[Role, int]:
        """Whose weights, and of which round's end, a role's phase starts from: its own last ones, or the one model's."""
        if self.config.policies == "separate":
            return role, round_ - 1
        return ("solver", round_ - 1) if role == "challenger" else ("challenger", round_)

    def answering(self, round_: int) -> Policy:
        """The policy that answers and labels a round's curriculum: the Solver as the round began, or the one model as it is."""
        return self.finished_policy(*self.start_of("solver", round_))

    def finished_policy(self, role: Role, round_: int) -> Policy:
        """A role's weights at the end of a round, in memory, for the rollout workers."""
        with self.clock.part("transfer"):
            tensors = read_checkpoint(self.policy_path(role, round_), getattr(torch, self.config.model.dtype))
            steps = getattr(self.config, role).steps if round_ else 0
            return Policy(policy_version(role, round_, steps), publish(in_buckets(tensors)))


@contextmanager
def open_run(
    config: Config, inputs: Inputs, state: RunState, fleets: dict[Role, RolloutFleet], since: float = STARTED
) -> Iterator[Run]:
    """Starts what a run needs beside its engines, which are starting already; all of it is closed again at the end.

    `since` is when the run's start-up began, by the monotonic clock.

    Raises:
        ConfigError: the tracking store cannot be used, or a prompt leaves no room for a response.
        RolloutError: an engine did not start.
        RewardError: the reward actor died, and died again when Ray had started it anew.
    """
    from transformers import AutoTokenizer

    clock = Clock(**{"start-up": time.monotonic() - since})
    with ExitStack() as stack, clock.part("start-up"):
        say(f"run {config.name}: starting the reward actor and the tracker")
        reward = ray.remote(RewardActor).options(num_cpus=1, **RAY_OPTIONS).remote(config.reward, inputs.scorers)
        learner = LearnerGroup(config)
        stack.callback(learner.shutdown)
        try:
            tracker = stack.enter_context(Tracker(config, parent_id=state.data["tracking_id"]))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        state.track(tracker.parent_id)
        tracker.log_config(config)
        codec = PromptCodec(config, inputs.prompts, AutoTokenizer.from_pretrained(inputs.base_path))
        for name, benchmark in config.evaluation.benchmarks.items():
            codec.check(row["question"] for row in read_benchmark(name, benchmark.path))
        for fleet in fleets.values():
            fleet.wait_ready()
        learner.launch()
        run = Run(config, state, tracker, codec, fleets, learner, reward, inputs.base_path, clock)
        clock_stopped = stack.pop_all()
    with clock_stopped:
        try:
            yield run
        except RayActorError as error:  # of the reward actor, since the fleets and the learner raise errors of their own
            raise RewardError(
                f"the reward actor died, and Ray starts it again {RAY_OPTIONS['max_restarts']} times at most: {reason(error)}"
            ) from error
