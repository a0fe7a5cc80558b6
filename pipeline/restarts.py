"""How often a part of a run is started again before the run stops."""

import time
from dataclasses import dataclass

from pipeline.errors import RunError
from pipeline.observe.terminal import say

MOST_IN_A_ROW = 3
BACK_OFF_S = 2.0


@dataclass
class Restarts:
    """Restarts of a part without progress in between; each waits twice as long as the previous."""

    part: str
    in_a_row: int = 0
    reached: int = -1  # progress at the last failure, e.g. steps

    def after(self, failure: RunError, reached: int) -> None:
        """Returns when the part may be started again after `failure`, which happened with `reached` steps behind it.

        Raises:
            RunError: of the failure's type, when the part failed `MOST_IN_A_ROW` times at the same step.
        """
        self.in_a_row = self.in_a_row + 1 if reached <= self.reached else 1
        self.reached = reached
        if self.in_a_row == MOST_IN_A_ROW:
            raise type(failure)(
                f"{self.part} failed {MOST_IN_A_ROW} times in a row after step {reached}, the last time: {failure}"
            ) from failure
        say(f"{failure}; {self.part} starts again from step {reached} (restart {self.in_a_row} of {MOST_IN_A_ROW - 1})")
        time.sleep(BACK_OFF_S * 2 ** (self.in_a_row - 1))
