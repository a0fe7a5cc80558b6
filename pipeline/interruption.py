"""Ctrl-C and SIGTERM: the first ends the run after its current step, once that is saved; the second ends it at once."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []


@contextmanager
def steps_finished() -> Iterator[None]:
    """Within this context a first signal is only noted, for `leave_if_requested`; outside it ends the process at once."""
    _received.clear()
    handlers = {number: signal.signal(number, _note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _note(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if len(_received) > 1:
        leave(number)
    text = f"\n{signal.Signals(number).name}: the run ends after this step; once more, and it ends at once\n"
    os.write(sys.stderr.fileno(), text.encode())  # printing is not safe in a signal handler


def requested() -> bool:
    return bool(_received)


def leave_if_requested() -> None:
    """Call it where everything is saved. Raises KeyboardInterrupt, or SystemExit with status 143 after a SIGTERM."""
    if _received:
        leave(_received[0])


def leave(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
