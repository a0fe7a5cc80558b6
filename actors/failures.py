"""Ray's errors about failed actors, reduced to the reason."""

import re
from itertools import dropwhile

from pipeline.errors import chain

MAX_CHARS = 600  # of a reason
COMMON_CAUSES = " Some common causes include"  # Ray appends this generic list to the cause of a death
NOT_INSTALLED = re.compile(r"No module named '(actors|conf|pipeline)'")
PID = re.compile(r"\bpid[:=]\s*(\d+)")


def reason(error: BaseException) -> str:
    """One line: the exception of an actor's call or constructor, without its traceback, or the cause of an actor's death.

    >>> reason(ValueError('ray::Engine.draw() (pid=7, ip=::1)\\n  File "a.py", line 2, in draw\\n    add()\\nMemoryError: 3 GiB'))
    'MemoryError: 3 GiB'
    """
    if missing := NOT_INSTALLED.search(str(error)):
        return (
            f"a node of the cluster cannot import this project ({missing[0]}): start its Ray with the project's folder in "
            "PYTHONPATH, or send the run as a job, which takes the project along (make submit)"
        )
    lines = str(error).strip().splitlines()
    # A traceback's exception follows its last frame; a death's cause follows the tab-indented lines that identify the actor.
    place = max((place for place, line in enumerate(lines) if line.startswith(("  File ", "\t"))), default=0)
    explained = list(dropwhile(lambda line: line.startswith((" ", "\t")), lines[place + 1 :]))
    text = " ".join(" ".join(explained or lines).split()).partition(COMMON_CAUSES)[0]
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."


def pids(error: BaseException) -> set[int]:
    """Process ids of the actors named by an error and its causes."""
    return {int(pid) for each in chain(error) for pid in PID.findall(str(each))}
