"""A fault that was inflicted, and when the run has recovered from it."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from jobs.chaos.damage import Damage
from jobs.chaos.faults import Fault
from jobs.chaos.lives import Life
from jobs.chaos.moments import MARKS, passed_since
from jobs.chaos.targets import TITLES

# What a fault takes from the run, where that is an actor: another one has to be seen in its place.
ACTORS = {target: target for target in TITLES} | {"raylet of a second node": "rollout worker"}


@dataclass
class Struck:
    """A fault, where and when (seconds since 1970) it struck, and what is known of its outcome.

    The run has recovered once it has passed a mark behind `place`, with another process for one that the fault took: the step or
    stage in which it struck is then complete. By itself, if no life of the run has ended by the fault; else `ends` says how many.
    """

    fault: Fault
    place: int  # in MARKS
    at: float
    victims: list[int]
    damage: Damage | None = None
    ends: int = 0
    replaced_at: float | None = None  # when another process was there in the victim's place, or the fault was undone
    recovered_at: float | None = None
    line: str = ""  # the last one of a life that ended
    repaired: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def stage(self) -> str:
        return MARKS[self.place][0]

    @property
    def waits_for_an_actor(self) -> bool:
        return self.replaced_at is None and self.ends == 0 and self.fault.target in ACTORS

    def look_for_recovery(self, folder: Path, life: Life, under_repair: bool) -> None:
        """Whether the run in `folder`, now in `life`, has recovered; `under_repair`: what the fault took has yet to come back."""
        if self.replaced_at is None:
            if self.ends == 0 and (under_repair or not self._is_replaced(life)):
                return
            self.replaced_at = time.time()
        if passed_since(folder, self.place, self.replaced_at):
            self.recovered_at = time.time()

    def _is_replaced(self, life: Life) -> bool:
        """In the life in which the fault struck."""
        if self.fault.target == "GCS":  # nothing replaces it
            return False
        actor = ACTORS.get(self.fault.target)
        return actor is None or bool(set(life.pids(actor)) - set(self.victims))

    def ended(self, line: str) -> None:
        """A life has ended by this fault, with a line where it wrote one: the run has to recover in another."""
        self.ends += 1
        self.line = line or self.line
        self.replaced_at = self.recovered_at = None

    def is_named(self, line: str) -> bool:
        """Whether a line names the file that this fault has damaged."""
        return self.damage is not None and str(self.damage.path) in line
