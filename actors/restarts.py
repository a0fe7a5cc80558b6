"""How often a part of a run, an engine, the reward actor or the learner, is started again before the run stops."""

import time
from dataclasses import dataclass

from actors.failures import reason
from pipeline.errors import RunError
from pipeline.observe.terminal import say

MOST_IN_A_ROW = 3
BACK_OFF_S = 2.0


@dataclass
class Restarts:
    """Restarts of a part without progress in between; each waits twice as long as the previous.

    Progress is a number that grows while the part works: of steps, requests or calls, as `unit` says.
    """

    part: str
    unit: str
    error: type[RunError]
    in_a_row: int = 0
    reached: int = -1  # progress at the last failure

    def after(self, failure: BaseException, reached: int) -> None:
        """Returns when the part may be started again after `failure`, which happened with `reached` units behind it.

        Raises:
            RunError: `error`, when the part failed `MOST_IN_A_ROW` times without progress.
        """
        self.in_a_row = self.in_a_row + 1 if reached <= self.reached else 1
        self.reached = reached
        what = reason(failure)
        if self.in_a_row >= MOST_IN_A_ROW:
            raise self.error(
                f"{self.part} failed {MOST_IN_A_ROW} times in a row after {self.unit} {reached}, the last time: {what}"
            ) from failure
        say(f"{what}; {self.part} starts again from {self.unit} {reached} (restart {self.in_a_row} of {MOST_IN_A_ROW - 1})")
        time.sleep(BACK_OFF_S * 2 ** (self.in_a_row - 1))
