"""Ray's errors about failed actors, reduced to the reason."""

import re
from itertools import dropwhile

from ray.exceptions import (
    ActorUnschedulableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)

from pipeline.errors import chain

# What a call of an actor raises where the actor, or the node with its result, is gone, or could not start. Not all of it is a
# RayActorError: where Ray's memory monitor ends an actor, where no process for it starts in time, or its node is lost.
DEATHS = (
    RayActorError,
    OutOfMemoryError,
    ActorUnschedulableError,
    RuntimeEnvSetupError,
    NodeDiedError,
    WorkerCrashedError,
    ObjectLostError,
)

MAX_CHARS = 600  # of a reason
COMMON_CAUSES = " Some common causes include"  # Ray appends this generic list to the cause of a death
NOT_INSTALLED = re.compile(r"No module named '(actors|conf|pipeline)'")
MEMORY = re.compile(r"killed due to the node running low on memory.*?was (\S+) used / (\S+) limit", re.DOTALL)
LARGEST = re.compile(r"Top \d+ memory users:.*\n(\d+)\t(\S+)\t(.*)")
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
    if memory := MEMORY.search(str(error)):
        largest = LARGEST.search(str(error))
        most = f"; the most, {largest[2]} GB, by process {largest[1]} ({largest[3][:80].strip()})" if largest else ""
        return f"Ray ended it for want of memory on its node: {memory[1]} of {memory[2]} were in use{most}"
    lines = str(error).strip().splitlines()
    # A traceback's exception follows its last frame; a death's cause follows the tab-indented lines that identify the actor.
    place = max((place for place, line in enumerate(lines) if line.startswith(("  File ", "\t"))), default=0)
    explained = list(dropwhile(lambda line: line.startswith((" ", "\t")), lines[place + 1 :]))
    text = " ".join(" ".join(explained or lines).split()).partition(COMMON_CAUSES)[0]
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."


def pids(error: BaseException) -> set[int]:
    """Process ids of the actors named by an error and its causes."""
    return {int(pid) for each in chain(error) for pid in PID.findall(str(each))}
