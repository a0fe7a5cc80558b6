"""The faults of a campaign: each is drawn from its seed and its number alone, so that one can be repeated."""

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from jobs.chaos.moments import MARKS

Signalled = Literal[
    "driver",
    "rollout worker",
    "learner rank",
    "reward actor",
    "sandbox process",
    "raylet of a second node",
    "GCS",
    "MLflow server",
]
Target = Literal[Signalled, "disk", "file"]
Action = Literal["SIGKILL", "SIGSTOP", "full", "truncated", "a byte flipped", "removed"]
SIGNALLED: tuple[Signalled, ...] = get_args(Signalled)
KINDS: tuple[tuple[Target, Action], ...] = (
    *((target, "SIGKILL") for target in SIGNALLED),
    *((target, "SIGSTOP") for target in SIGNALLED),
    ("disk", "full"),
    ("file", "truncated"),
    ("file", "a byte flipped"),
    ("file", "removed"),
)
LONGEST_DELAY_S = 1.0  # after a mark: about as long as a step of the tiny round


@dataclass(frozen=True, slots=True)
class Fault:
    """`target` suffers `action`, `delay` seconds after the run has passed MARKS[mark].

    `choice` in [0, 1) picks one of several files, or processes, and the byte. One that `cuts` kills the driver and then
    damages the file, as a power cut does.
    """

    number: int
    target: Target
    action: Action
    mark: int
    delay: float
    choice: float
    cuts: bool

    @property
    def kind(self) -> str:
        return f"{self.target}, {self.action}"


def draw(seed: int, number: int) -> Fault:
    """The fault `number` of a seed. Every len(KINDS) faults in a row have each kind once."""
    turn, place = divmod(number, len(KINDS))
    kinds = list(KINDS)
    Random(f"{seed}/{turn}").shuffle(kinds)
    draws = Random(f"{seed}/{turn}/{place}")
    target, action = kinds[place]
    mark, delay = draws.randrange(len(MARKS)), draws.uniform(0, LONGEST_DELAY_S)
    return Fault(number, target, action, mark, delay, draws.random(), target == "file" and draws.random() < 0.5)
