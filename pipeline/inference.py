"""What it takes to ask a policy and to judge its answers: rollout workers, the reward actor, and the prompts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conf.schema import Config, SamplingConfig
from pipeline.observe.clock import Clock
from pipeline.types import Policy, Request, Role, Sample

if TYPE_CHECKING:
    from actors.reward.client import RewardClient
    from actors.rollout.fleet import RolloutFleet
    from pipeline.domain.codec import PromptCodec


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used since the last `take_usage`: wall-clock seconds by part, and counts (see `take_counts` of the actors)."""

    seconds: dict[str, float] = field(default_factory=dict)
    rollout: dict[str, float] = field(default_factory=dict)
    sandbox: dict[str, float] = field(default_factory=dict)

    def counts(self) -> dict[str, float]:
        return {**self.rollout, **self.sandbox}


@dataclass
class Inference:
    """`fleets` holds the rollout workers of each role, which may be one and the same."""

    config: Config
    codec: "PromptCodec"
    fleets: "dict[Role, RolloutFleet]"
    reward: "RewardClient"
    clock: Clock

    def take_usage(self) -> Usage:
        """What was used since the last call; every stage, and every step of a phase, takes its own."""
        rollout: Counter[str] = Counter()
        for fleet in set(self.fleets.values()):
            rollout.update(fleet.take_counts())
        sandbox = self.reward.take_counts()
        return Usage(self.clock.take(), dict(rollout), sandbox)

    def stream(
        self, role: Role, requests: Sequence[Request], policy: Policy, sampling: SamplingConfig
    ) -> Iterator[tuple[int, list[Sample]]]:
        """(index of the request, its samples) from a role's fleet as they are finished, drawn under `policy`."""
        with self.clock.part("transfer"):
            self.fleets[role].load(policy)
        return self.clock.during("sampling", self.fleets[role].stream(requests, policy, sampling))
