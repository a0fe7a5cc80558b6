"""A tiny round under several faults, one after the other, to its end: what became of each, and what differs at the end."""

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.chaos.faults import Fault
from jobs.chaos.lives import Life
from jobs.chaos.moments import NAME, is_reached, passed_since, place_of
from jobs.chaos.strikes import Surroundings, strike
from jobs.chaos.struck import Struck
from pipeline.observe.journal import has_unsent

POLL_S = 0.1
LOOK_S = 1.0  # between two looks at all processes, which take as long as a step of a small model
HANG_S = 420.0  # without a mark passed, or an end
MOST_ENDS = 3  # by one fault
MOST_SENDS = 5  # starts of a finished round, which take 20 seconds at most to send what is left


class LostError(Exception):
    """The round cannot go on, although it should. `culprit` is the fault by which it could not, where that is known."""

    def __init__(self, message: str, culprit: Struck | None) -> None:
        super().__init__(message)
        self.culprit = culprit


class Trial:
    """One round in `runs`, whose progress says when each of the faults strikes; its lives' outputs go to `logs`."""

    def __init__(self, runs: Path, logs: Path, seed: int, surroundings: Surroundings, say: Callable[[str], None]) -> None:
        self.runs, self.folder, self.logs = runs, runs / NAME, logs
        self._seed, self._surroundings, self._say = seed, surroundings, say
        logs.mkdir(parents=True, exist_ok=True)
        self.lives: list[Life] = []
        self.struck: list[Struck] = []
        self._moved = time.time()
        self._looked = 0.0

    def run(self, faults: Sequence[Fault], until: float = math.inf) -> float:
        """Runs the round to its end; returns its seconds. Faults whose moment did not come in time are not in `struck`.

        No fault strikes before the run has recovered from the previous one, nor after `until`, by the monotonic clock.

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
            for each in self._unsettled():
                each.recovered_at = time.time()
            seconds = time.monotonic() - started
            self._surroundings.repair_what_is_due(at_once=True)
            self._send_the_rest()
            return seconds
        finally:
            self._surroundings.repair_what_is_due(at_once=True)
            if self.lives[-1].ended() is None:
                self.lives[-1].kill()

    def _send_the_rest(self) -> None:
        """Starts the finished round again where MLflow was away or slow at its end, which sends the records that are left."""
        for _ in range(MOST_SENDS):
            if not has_unsent(self.folder, self._surroundings.tracking_uri):
                return
            if self._surroundings.server is not None:
                self._surroundings.server.wait()
            self.start()
            while self.lives[-1].ended() is None and time.time() - self._moved < HANG_S:
                time.sleep(POLL_S)  # polls
        if has_unsent(self.folder, self._surroundings.tracking_uri):
            culprit = next((each for each in reversed(self.struck) if each.fault.target == "MLflow server"), None)
            raise LostError(f"MLflow did not get all records; see {self.lives[-1].log}", culprit)

    def start(self) -> None:
        """The next life."""
        log = self.logs / f"life-{len(self.lives):02d}.log"
        self.lives.append(self._surroundings.life(self.runs, log, self._seed))
        self._moved = time.time()

    def _unsettled(self) -> list[Struck]:
        """The faults from which the run has not recovered."""
        return [each for each in self.struck if each.recovered_at is None]

    def _strike(self, fault: Fault) -> bool:
        """Inflicts a fault; False where its victim is not there yet."""
        place = place_of(self.folder)
        victims = strike(fault, self.lives[-1], self.folder, self._surroundings)
        if victims is None:
            return False
        struck = Struck(fault, place, time.time(), victims.pids, victims.damage)
        self.struck.append(struck)
        what = f" {victims.damage.path.relative_to(self.folder)}" if victims.damage else ""
        self._say(f"fault {fault.number}: {fault.kind}{what}, in {struck.stage}{' and the driver' if fault.cuts else ''}")
        return True

    def _look_for_recovery(self) -> None:
        if look := time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
        for each in self._unsettled():
            if look or not each.waits_for_an_actor:
                each.look_for_recovery(self.folder, self.lives[-1], self._surroundings.is_under_repair(each.fault))

    def _refuse_a_hang(self) -> None:
        if passed_since(self.folder, 0, self._moved):
            self._moved = time.time()
        if time.time() - self._moved > HANG_S:
            raise LostError(f"the round has not moved for {HANG_S:.0f} s; see {self.lives[-1].log}", self._culprit(""))

    def _culprit(self, line: str) -> Struck | None:
        """The fault that a life with this last line has ended by: whose file it names, else the last one that is not settled."""
        named = [each for each in self.struck if each.is_named(line)]
        return next(reversed(named or self._unsettled()), None)

    def _after_an_end(self, code: int) -> None:
        """Judges the end of a life in which the round did not end."""
        kills = [each for each in self._unsettled() if each.ends == 0 and (each.fault.target == "driver" or each.fault.cuts)]
        if code == -signal.SIGKILL and kills:
            kills[-1].ended("")
            return
        text = self.lives[-1].log.read_text(errors="replace")
        line = (text.strip().splitlines() or [""])[-1]
        if (struck := self._culprit(line)) is None:
            raise LostError(f"status {code} without a fault; see {self.lives[-1].log}", None)
        struck.ended(line)
        if code not in (1, 2) or "error: " not in line or "Traceback (most recent call last)" in text:
            struck.problems.append(f"status {code} without one clear line; see {self.lives[-1].log}")
        if struck.ends > MOST_ENDS:
            raise LostError(f"the round ended {struck.ends} times by it; see {self.lives[-1].log}", struck)
        if struck.ends > 1 and struck.is_named(line) and struck.damage is not None:
            struck.damage.repair()  # from a copy, as the line says: the run cannot survive it
            struck.repaired = True
        self._surroundings.before_a_start()
