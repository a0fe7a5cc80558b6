"""Sampling from policies and grading the answers: rollout workers, the reward actor, and the prompts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from actors.reward.client import RewardClient
from actors.rollout.fleet import RolloutFleet
from conf.errors import ConfigError
from conf.schema import Config, SamplingConfig
from pipeline.algorithm.rewards import needs_of
from pipeline.domain.codec import PromptCodec
from pipeline.inputs import Inputs
from pipeline.observe.clock import Clock
from pipeline.observe.terminal import PhaseProgress
from pipeline.types import Policy, Request, Role, Sample


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage since the last `take_usage`: wall-clock seconds by part, and counts (see `take_counts` of the actors)."""

    seconds: dict[str, float] = field(default_factory=dict)
    rollout: dict[str, float] = field(default_factory=dict)
    sandbox: dict[str, float] = field(default_factory=dict)

    def counts(self) -> dict[str, float]:
        return {**self.rollout, **self.sandbox}


@dataclass
class Inference:
    """`fleets` holds each role's rollout workers, which may be shared; `progress` is told of the samples that are drawn."""

    config: Config
    codec: PromptCodec
    fleets: dict[Role, RolloutFleet]
    reward: RewardClient
    clock: Clock
    progress: PhaseProgress | None = field(default=None, init=False)

    def take_usage(self) -> Usage:
        """Usage since the last call; each stage, and each step of a phase, takes its own."""
        rollout: Counter[str] = Counter()
        for fleet in set(self.fleets.values()):
            rollout.update(fleet.take_counts())
        sandbox = self.reward.take_counts()
        return Usage(self.clock.take(), dict(rollout), sandbox)

    def stream(
        self, role: Role, requests: Sequence[Request], policy: Policy, sampling: SamplingConfig, for_learning: bool = True
    ) -> Iterator[tuple[int, list[Sample]]]:
        """(index of the request, its samples) from a role's fleet as they are finished; see `RolloutFleet.stream`."""
        with self.clock.part("transfer"):
            self.fleets[role].load(policy)
        drawn = self.clock.during("sampling", self.fleets[role].stream(requests, policy, sampling, for_learning))
        return drawn if self.progress is None else reported(drawn, self.progress, sum(len(request.seeds) for request in requests))

    @contextmanager
    def watched_by(self, progress: PhaseProgress) -> Iterator[PhaseProgress]:
        """Shows `progress`, which is told of the samples drawn in this context."""
        with progress:
            self.progress = progress
            try:
                yield progress
            finally:
                self.progress = None


def reported(
    drawn: Iterator[tuple[int, list[Sample]]], progress: PhaseProgress, total: int
) -> Iterator[tuple[int, list[Sample]]]:
    """The same, of `total` samples, of which `progress` is told."""
    progress.drawing(total)
    for place, samples in drawn:
        progress.drawn(len(samples), sum(len(sample.token_ids) for sample in samples))
        yield place, samples


def start_inference(config: Config, inputs: Inputs, fleets: dict[Role, RolloutFleet], clock: Clock) -> Inference:
    """Starts the reward actor while the engines start; `RolloutFleet.wait_usable` waits for those.

    Raises:
        ConfigError: a prompt leaves no room for a response.
    """
    reward = RewardClient(config.reward)
    return Inference(config, prompt_codec(config, inputs), fleets, reward, clock)


def prompt_codec(config: Config, inputs: Inputs) -> PromptCodec:
    """The prompts in the base model's tokens.

    Raises:
        ConfigError: the tokenizer cannot be loaded, its chat template rejects a prompt, or one leaves no room for a response.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(inputs.base_path, trust_remote_code=False)
    except Exception as error:  # transformers raises many types, all with one meaning for the user
        raise ConfigError(
            f"model.path={config.model.path}: its tokenizer cannot be loaded: {str(error).splitlines()[0]}; valid: a folder with "
            "the model's tokenizer.json and tokenizer_config.json."
        ) from error
    verdicts = "verdicts" in needs_of(inputs.scorers) or config.curriculum.confident < 1 or config.solver.verdicts > 0
    codec = PromptCodec(config, inputs.prompts, tokenizer, verdicts)
    codec.check()
    return codec
