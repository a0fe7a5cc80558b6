"""A run: the settings, state and actors that every stage needs, opened and closed in one place."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

import torch

from actors.learner.group import LearnerGroup
from actors.placement import Placement
from actors.rollout.fleet import RolloutFleet
from actors.weights.host import stored_weights
from conf.schema import Config
from pipeline.algorithm.rewards import Need, Scorer, needs_of
from pipeline.curriculum import Relabel, as_labelled
from pipeline.inference import Inference, start_inference
from pipeline.inputs import Inputs
from pipeline.observe.clock import Clock
from pipeline.observe.journal import Record
from pipeline.observe.sender import recorder
from pipeline.observe.terminal import STARTED, say
from pipeline.store.reads import Trained, phase_start
from pipeline.store.state import RunState
from pipeline.types import Policy, Role, policy_version


@dataclass
class Run(Inference):
    """Settings, state and actors of a run."""

    state: RunState
    tracker: Record
    learner: LearnerGroup
    scorers: Sequence[Scorer]
    base_path: str
    relabel: Relabel = as_labelled

    @property
    def needs(self) -> frozenset[Need]:
        """What the scorers look at beside questions and votes."""
        return needs_of(self.scorers)

    def policy_path(self, role: Role, round_: int) -> str:
        """HF-format folder of a role's weights at the end of a round; round 0 is the base model for both roles."""
        policy = self.state.manifest.round(round_).phase(role).policy
        return self.base_path if round_ == 0 or policy is None else str(self.state.folder / policy)

    def phase_start(self, role: Role, round_: int) -> Trained:
        """The weights that a role's phase starts from, see `pipeline.store.reads`."""
        return phase_start(role, round_, self.config.policies, self.config.challenger.start)

    def labelling_policy(self, round_: int) -> Policy:
        """The policy that answers and labels a round's curriculum: the Solver at the start of the round, or the shared model."""
        return self.stored_policy(*self.phase_start("solver", round_))

    def stored_policy(self, role: Role, round_: int) -> Policy:
        """A role's weights at the end of a round, read when rollout workers first need them."""
        steps = self.config.role(role).total_steps if round_ else 0
        dtype: torch.dtype = getattr(torch, self.config.model.dtype)
        weights = stored_weights(self.policy_path(role, round_), dtype, self.config.rollout.transfer_timeout_s)
        return Policy(policy_version(role, round_, steps), weights)

    def free_gpus(self, role: Role) -> None:
        """Colocated: puts engines to sleep before the learner works on `role`; `RolloutFleet.load` wakes them.

        Only that role's policy is about to change: another fleet keeps its own, such as the frozen Solver's.
        """
        if self.config.colocated:
            with self.clock.part("transfer"):
                for fleet in set(self.fleets.values()):
                    fleet.sleep(keep_policy=fleet is not self.fleets[role])


@contextmanager
def open_run(
    config: Config,
    inputs: Inputs,
    state: RunState,
    fleets: dict[Role, RolloutFleet],
    placement: Placement,
    started: float = STARTED,
) -> Iterator[Run]:
    """Starts a run's remaining parts while its engines start, and closes them at the end.

    `started` is when the run's start-up began, by the monotonic clock.

    Raises:
        ConfigError: the tracking store cannot be used, or a prompt leaves no room for a response.
        RolloutError: an engine did not start.
    """
    clock = Clock(**{"start-up": time.monotonic() - started})
    with ExitStack() as stack, clock.part("start-up"):
        say(f"run {config.name}: starting the reward actor and the tracker")
        inference = start_inference(config, inputs, fleets, clock)
        learner = LearnerGroup(config, placement)
        stack.callback(learner.shutdown)
        tracker = stack.enter_context(recorder(config, state.folder, state.tracking_id()))
        tracker.log_config(asdict(config))
        for fleet in fleets.values():
            fleet.wait_usable()
        learner.launch()
        state.adopt(config, inputs.code)
        run = Run(
            config, inference.codec, fleets, inference.reward, clock, state, tracker, learner, inputs.scorers, inputs.base_path
        )
        clock_stopped = stack.pop_all()
    with clock_stopped:
        yield run
