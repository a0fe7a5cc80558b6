"""What Ray says of an actor that failed, cut down to what people need."""

import re
from collections.abc import Iterator
from itertools import dropwhile

LONGEST = 600  # characters of a reason
COMMON_CAUSES = " Some common causes include"  # Ray lists them after what it knows of a death
PID = re.compile(r"\bpid[:=]\s*(\d+)")


def reason(error: BaseException) -> str:
    """One line: the exception that ended a call or the start of an actor, without its traceback, or what Ray knows of a death.

    >>> reason(ValueError('ray::Engine.draw() (pid=7, ip=::1)\\n  File "a.py", line 2, in draw\\n    add()\\nMemoryError: 3 GiB'))
    'MemoryError: 3 GiB'
    """
    lines = str(error).strip().splitlines()
    # A traceback's exception follows its last frame; a death is explained below what identifies the actor, indented by tabs.
    place = max((place for place, line in enumerate(lines) if line.startswith(("  File ", "\t"))), default=0)
    explained = list(dropwhile(lambda line: line.startswith((" ", "\t")), lines[place + 1 :]))
    text = " ".join(" ".join(explained or lines).split()).partition(COMMON_CAUSES)[0]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what caused it, and so on."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def pids(error: BaseException) -> set[int]:
    """Processes of the actors that an error and its causes name."""
    return {int(pid) for each in chain(error) for pid in PID.findall(str(each))}
