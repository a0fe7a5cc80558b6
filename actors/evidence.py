"""What is kept of a run that failed: the logs of its actors, which a private cluster deletes and others hold on many machines."""

import re
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from ray.exceptions import RayTaskError
from rich.text import Text

from actors.cluster import LOGS_OF, failure_folder, private_folder
from actors.failures import chain, pids, reason
from conf.load import ConfigError
from pipeline.observe.terminal import console, printable, say

LINES = 20_000  # of each log, its last
SHOWN = 20
# worker-<Ray's id of it>-<job>-<process>.out or .err
WORKER_LOG = re.compile(r"worker-\w+-\w+-(?P<pid>\d+)(?P<stream>\.(?:out|err))$")
ACTOR_NAME = re.compile(r"^:actor_name:(\w+)")
# What Ray writes into an actor's log beside what the actor does: its own log lines, and frames of native code without a name.
BOILERPLATE = re.compile(
    r"^(:(job_id|actor_name|task_name):|\[[\d\-:, ]+ [IWE] \d+ \d+\] |\s*[\^~]*$|.* @ +0x.*\(unknown\)$|Extension modules: )"
)
CRASH = "Fatal Python error"  # a stack follows it, the innermost frame first
AFTER_CRASH = 15  # lines of those shown
LOOKS_LIKE_AN_ERROR = re.compile(
    r"Traceback|Error\b|Exception\b|\bCUDA\b|\bNCCL\b|\b[Kk]illed\b|Fatal|SIG[A-Z]{3}|[Oo]ut of memory"
)


@contextmanager
def evidence_kept(folder: Path) -> Iterator[None]:
    """Where its context ends with an error, copies the actors' logs to a subfolder of `folder` and prints the lines that matter.

    Nothing is copied where a setting cannot be used (ConfigError) or the run is interrupted. The cluster has to be there still. A
    driver that is killed copies nothing; its private cluster's logs are kept when the next run starts.
    """
    if private := private_folder():
        (private / LOGS_OF).write_text(str(folder.absolute()))
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        try:
            keep(error, failure_folder(folder, time.time()))
        except Exception as problem:  # of any kind: it must not take the place of the error that it is about
            say(f"the actors' logs could not be copied to {folder}: {type(problem).__name__}: {problem}")
        raise


def keep(error: Exception, folder: Path) -> None:
    """Writes the logs and the driver's traceback, and prints the lines that matter."""
    (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)))
    logs = {}
    for name, lines in cluster_logs() if (private := private_folder()) is None else private_logs(private):
        (folder / name).write_text("\n".join([*lines, ""]))
        logs[name] = lines
    say(f"the run failed; its traceback and the logs of its actors are in {folder}")
    for name, shown in groupby(last_lines(error, logs), key=lambda entry: entry[0]):
        console.print(Text(name), soft_wrap=True)
        for _, line in shown:
            indent = " " * min(len(line) - len(line.lstrip()), 16)
            console.print(Text(f"  {indent}{printable(line, 400)}", "dim"), soft_wrap=True)


def private_logs(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(name, last lines) of each log that the workers of a private cluster have written."""
    for path in sorted(folder.glob("session_latest/logs/worker-*")):
        with path.open(errors="replace") as file:
            yield named(path.name, list(deque((line.rstrip("\n") for line in file), LINES)))


def cluster_logs() -> Iterator[tuple[str, list[str]]]:
    """The same for this job's workers, on whichever nodes of a cluster; of a node that does not reply, one line says so."""
    import ray
    import requests
    from ray.util.state import get_log, list_logs
    from ray.util.state.exception import RayStateApiException

    mine = f"worker-*-{ray.get_runtime_context().get_job_id()}-*"
    for node in (node for node in ray.nodes() if node["Alive"]):
        address, id_ = node["NodeManagerAddress"], node["NodeID"]
        try:
            for path in sorted({path for paths in list_logs(node_id=id_, glob_filter=mine).values() for path in paths}):
                content = "".join(get_log(node_id=id_, filename=path, tail=LINES, errors="replace"))
                yield named(path, content.splitlines(), f"{address}-")
        except (RayStateApiException, requests.RequestException) as problem:
            say(f"no logs from node {address} ({reason(problem)}); they are there, in the folder logs of Ray's session")


def named(file: str, lines: list[str], node: str = "") -> tuple[str, list[str]]:
    """A worker's log under the name of its actor.

    >>> named("worker-0c49-01000000-13284.err", [":job_id:01000000", ":actor_name:Learner", "step 1"])[0]
    'Learner-13284.err'
    """
    parts = WORKER_LOG.search(file)
    actors = [found[1] for line in lines[:9] if (found := ACTOR_NAME.match(line))]
    return (f"{actors[0] if actors else 'worker'}-{node}{parts['pid']}{parts['stream']}" if parts else file), lines


def last_lines(error: Exception, logs: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """(file, line) of what tells most about an error.

    That is the traceback of the actor in which it was raised; else what the actors that it names wrote last; else the lines of
    all actors that look like errors.
    """
    for each in chain(error):
        if isinstance(each, RayTaskError):
            return [("traceback.txt", line) for line in str(each).splitlines() if not BOILERPLATE.match(line)][-SHOWN:]
    ended = tuple(f"-{pid}{stream}" for pid in pids(error) for stream in (".out", ".err"))
    errors_last = sorted(logs, key=lambda name: (name.endswith(".err"), name))
    written = [(name, line) for name in errors_last for line in logs[name] if not BOILERPLATE.match(line)]
    own = [(name, line) for name, line in written if name.endswith(ended)]
    for place, (_, line) in enumerate(own):
        if line.startswith(CRASH):
            own = own[: place + AFTER_CRASH]
            break
    return (own or [(name, line) for name, line in written if LOOKS_LIKE_AN_ERROR.search(line)])[-SHOWN:]
