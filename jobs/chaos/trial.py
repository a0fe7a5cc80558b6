"""A tiny round under several faults, one after the other, to its end: what became of each, and what differs at the end."""

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.chaos.damage import Damage
from jobs.chaos.faults import Fault
from jobs.chaos.lives import Life
from jobs.chaos.moments import NAME, is_reached, stage_of, written_since
from jobs.chaos.strikes import Surroundings, strike
from jobs.chaos.targets import TITLES
from pipeline.observe.journal import has_unsent

POLL_S = 0.1
LOOK_S = 1.0  # between two looks at all processes, which take as long as a step of a small model
HANG_S = 420.0  # without a mark passed, or an end
MOST_ENDS = 3  # after one fault


class LostError(Exception):
    """The round cannot go on, although it should."""


@dataclass
class Struck:
    """A fault that was inflicted, when (seconds since 1970), in which life, and what is known of its outcome."""

    fault: Fault
    stage: str
    life: int
    at: float
    victims: list[int]
    damage: Damage | None = None
    replaced_at: float | None = None  # when another process was seen in the victim's place
    recovered_at: float | None = None
    recovered_in: int = 0  # which life
    line: str = ""  # the last one of a life that ended
    repaired: bool = False
    problem: str = ""


class Trial:
    """One round in `runs`, whose progress says when each of the faults strikes; its lives' outputs go to `logs`."""

    def __init__(self, runs: Path, logs: Path, seed: int, surroundings: Surroundings, say: Callable[[str], None]) -> None:
        self.runs, self.folder = runs, runs / NAME
        self._logs, self._seed, self._surroundings, self._say = logs, seed, surroundings, say
        logs.mkdir(parents=True, exist_ok=True)
        self.lives: list[Life] = []
        self.struck: list[Struck] = []
        self._moved = time.time()
        self._looked = 0.0

    def run(self, faults: Sequence[Fault], until: float = math.inf) -> float:
        """Runs the round to its end; returns its seconds. Faults whose moment did not come in time are not in `struck`.

        No fault strikes after `until`, by the monotonic clock.

        Raises:
            LostError: it does not end, or ends again and again.
        """
        waiting, started = deque(sorted(faults, key=lambda fault: fault.mark)), time.monotonic()
        due: float | None = None
        try:
            self.start()
            while (code := self.lives[-1].ended()) != 0:
                if code is not None:
                    self._after_an_end(code)
                    self.start()
                time.sleep(POLL_S)  # polls files and processes
                self._surroundings.repair_what_is_due()
                self._refuse_a_hang()
                self._look_for_recovery()
                if time.monotonic() > until:
                    waiting.clear()
                if waiting and not self._unsettled() and is_reached(self.folder, waiting[0].mark):
                    due = due or time.monotonic() + waiting[0].delay
                    if time.monotonic() >= due:
                        due = None if self._strike(waiting[0]) else time.monotonic() + LOOK_S
                        if due is None:
                            waiting.popleft()
            for each in self.struck:
                if each.recovered_at is None:
                    each.recovered_at, each.recovered_in = time.time(), len(self.lives) - 1
            seconds = time.monotonic() - started
            self._surroundings.repair_what_is_due(at_once=True)
            self._send_the_rest()
            return seconds
        finally:
            self._surroundings.repair_what_is_due(at_once=True)
            if self.lives[-1].ended() is None:
                self.lives[-1].kill()

    def _send_the_rest(self) -> None:
        """Starts the finished round once more where MLflow was away at its end, which sends the records that are left."""
        if has_unsent(self.folder, self._surroundings.tracking_uri):
            self.start()
            while self.lives[-1].ended() is None and time.time() - self._moved < HANG_S:
                time.sleep(POLL_S)  # polls
            if has_unsent(self.folder, self._surroundings.tracking_uri):
                raise LostError(f"MLflow did not get all records; see {self.lives[-1].log}")

    def start(self) -> None:
        """The next life."""
        log = self._logs / f"life-{len(self.lives):02d}.log"
        self.lives.append(self._surroundings.life(self.runs, log, self._seed))
        self._moved = time.time()

    def _unsettled(self) -> Struck | None:
        """The last fault, until the run has recovered from it."""
        return self.struck[-1] if self.struck and self.struck[-1].recovered_at is None else None

    def _strike(self, fault: Fault) -> bool:
        """Inflicts a fault; False where its victim is not there yet."""
        victims = strike(fault, self.lives[-1], self.folder, self._surroundings)
        if victims is None:
            return False
        struck = Struck(fault, stage_of(self.folder), len(self.lives) - 1, time.time(), victims.pids, victims.damage)
        self.struck.append(struck)
        what = f" {victims.damage.path.relative_to(self.folder)}" if victims.damage else ""
        self._say(f"fault {fault.number}: {fault.kind}{what}, in {struck.stage}{' and the driver' if fault.cuts else ''}")
        return True

    def _look_for_recovery(self) -> None:
        """The run has recovered once it has come further, with another actor in the victim's place where that was one."""
        if (struck := self._unsettled()) is None:
            return
        if struck.replaced_at is None:
            if time.monotonic() - self._looked < LOOK_S:
                return
            self._looked = time.monotonic()
            target, same_life = struck.fault.target, struck.life == len(self.lives) - 1
            if target in TITLES and same_life and not set(self.lives[-1].pids(target)) - set(struck.victims):
                return
            struck.replaced_at = time.time()
        if written_since(self.folder, struck.replaced_at):
            struck.recovered_at, struck.recovered_in = time.time(), len(self.lives) - 1

    def _refuse_a_hang(self) -> None:
        if written_since(self.folder, self._moved):
            self._moved = time.time()
        if time.time() - self._moved > HANG_S:
            raise LostError(f"the round has not moved for {HANG_S:.0f} s; see {self.lives[-1].log}")

    def _after_an_end(self, code: int) -> None:
        """Judges the end of a life in which the round did not end."""
        life = self.lives[-1]
        if (struck := self._unsettled()) is None:
            raise LostError(f"status {code} without a fault; see {life.log}")
        if len(self.lives) - struck.life > MOST_ENDS:
            raise LostError(f"the round ended {MOST_ENDS} times in a row; see {life.log}")
        struck.replaced_at = None
        if code == -signal.SIGKILL and (struck.fault.target == "driver" or struck.fault.cuts):
            return
        text = life.log.read_text(errors="replace")
        struck.line = next((line for line in reversed(text.splitlines()) if "error: " in line), "")
        if code not in (1, 2) or not struck.line or "Traceback (most recent call last)" in text:
            struck.problem = struck.problem or f"status {code} without one clear line; see {life.log}"
        if len(self.lives) - 1 > struck.life and struck.damage is not None and str(struck.damage.path) in struck.line:
            struck.damage.repair()  # from a copy, as the line says: the run cannot survive it
            struck.repaired = True
