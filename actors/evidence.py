"""The actors' logs of a failed run, copied before a private cluster deletes them, or collected from a cluster's nodes."""

import re
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.text import Text

from actors.cluster import LOGS_OF, failure_folder, private_folder
from actors.failures import pids, reason
from conf.errors import ConfigError
from pipeline.errors import NoSignalError, chain
from pipeline.observe.terminal import console, printable, say

SERVICES = ("gcs_server", "raylet")  # of Ray, without which nothing can go on
LINES = 20_000  # last lines kept of each log
REPLY_S = 60.0  # for the nodes of a cluster to reply with their logs
SHOWN = 20  # lines printed
# worker-<worker id>-<job>-<pid>.out or .err
WORKER_LOG = re.compile(r"worker-\w+-\w+-(?P<pid>\d+)(?P<stream>\.(?:out|err))$")
NO_JOB = "ffffffff"  # in the name of a worker that Ray started in advance; its log says later which job it got
ACTOR_NAME = re.compile(r"^:actor_name:(\w+)")
# What is not the actor's own in its log: lines of Ray itself, and frames of native code without a name.
BOILERPLATE = re.compile(
    r"^(:(job_id|actor_name|task_name):|\[[\d\-:, ]+ [IWE] \d+ \d+\] |\s*[\^~]*$|.* @ +0x.*\(unknown\)$|Extension modules: )"
)
CRASH = "Fatal Python error"  # a stack follows it, the innermost frame first
AFTER_CRASH = 15  # lines of those shown
LOOKS_LIKE_AN_ERROR = re.compile(
    r"Traceback|Error\b|Check failed|Exception\b|\bCUDA\b|\bNCCL\b|\b[Kk]illed\b|Fatal|SIG[A-Z]{3}|[Oo]ut of memory"
)


@contextmanager
def evidence_kept(folder: Path) -> Iterator[None]:
    """If its context raises, copies the actors' logs to a subfolder of `folder` and prints the relevant lines.

    Nothing is copied for an interruption, or for an error that no actor has a part in. The cluster must still be running. A
    killed driver copies nothing; the next run recovers its private cluster's logs.
    """
    if private := private_folder():
        (private / LOGS_OF).write_text(str(folder.absolute()))
    try:
        yield
    except (ConfigError, NoSignalError):
        raise
    except Exception as error:
        try:
            keep(error, failure_folder(folder, time.time()))
        except Exception as problem:  # of any kind: it must not mask the original error
            say(f"the actors' logs could not be copied to {folder}: {type(problem).__name__}: {problem}")
        raise


def keep(error: Exception, folder: Path) -> None:
    """Writes the logs and the driver's traceback, and prints the relevant lines."""
    (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)))
    logs = {}
    for name, lines in cluster_logs() if (private := private_folder()) is None else private_logs(private, lost_services(error)):
        (folder / name).write_text("\n".join([*lines, ""]))
        logs[name] = lines
    say(f"the run failed; its traceback and the logs of its actors are in {folder}")
    for name, shown in groupby(last_lines(error, logs), key=lambda entry: entry[0]):
        console.print(Text(name), soft_wrap=True)
        for _, line in shown:
            indent = " " * min(len(line) - len(line.lstrip()), 16)
            console.print(Text(f"  {indent}{printable(line, 400)}", "dim"), soft_wrap=True)


def lost_services(error: BaseException) -> list[str]:
    return [service for service in SERVICES if f"Ray's {service} " in str(error)]


def private_logs(folder: Path, services: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(name, last lines) of each log of a private cluster's workers and of those services."""
    for file, lines in read_logs(folder / "session_latest" / "logs", ["worker-*", *(f"{service}.*" for service in services)]):
        yield named(file, lines)


def cluster_logs() -> Iterator[tuple[str, list[str]]]:
    """The same for this job's workers on all nodes of a cluster; prints a line for each node that does not reply.

    Each node's logs are read by a task there: Ray's own API for them needs a dashboard, and an agent on each node.
    """
    import ray

    job = ray.get_runtime_context().get_job_id()
    workers = [f"worker-*-{job}-*", f"worker-*-{NO_JOB}-*"]
    read: Any = ray.remote(num_cpus=0, max_retries=0)(read_logs)
    calls = {}
    for node in (node for node in ray.nodes() if node["Alive"]):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        calls[read.options(scheduling_strategy=there).remote(logs_of(node), workers, job)] = node
    replied, _ = ray.wait(list(calls), num_returns=len(calls), timeout=REPLY_S)
    for call, node in calls.items():
        address = node["NodeManagerAddress"]
        try:
            if call not in replied:
                raise GetTimeoutError(f"no reply in {REPLY_S:.0f} s")
            for file, lines in ray.get(call):
                yield named(file, lines, f"{address}-")
        except RayError as problem:
            say(f"no logs from node {address} ({reason(problem)}); they remain on that node, in {logs_of(node)}")


def logs_of(node: Mapping[str, Any]) -> Path:
    """The folder of a node's logs, from its entry in `ray.nodes()`; nodes may have folders of their own (`--temp-dir`)."""
    return Path(node["RayletSocketName"]).parent.parent / "logs"


def read_logs(folder: Path, patterns: Sequence[str], job: str = "") -> list[tuple[str, list[str]]]:
    """(file, last lines) of each log in the folder whose name matches a pattern; of this job alone, if one is given."""
    logs = []
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        lines, mine = deque[str](maxlen=LINES), job in path.name
        with path.open(errors="replace") as file:
            for line in file:
                lines.append(line.rstrip("\n"))
                mine = mine or lines[-1] == f":job_id:{job}"
        if mine:
            logs.append((path.name, list(lines)))
    return logs


def named(file: str, lines: list[str], node: str = "") -> tuple[str, list[str]]:
    """A worker's log, named after its actor.

    >>> named("worker-0c49-01000000-13284.err", [":job_id:01000000", ":actor_name:Learner", "step 1"])[0]
    'Learner-13284.err'
    """
    parts = WORKER_LOG.search(file)
    actors = [match[1] for line in lines[:9] if (match := ACTOR_NAME.match(line))]
    return (f"{actors[0] if actors else 'worker'}-{node}{parts['pid']}{parts['stream']}" if parts else file), lines


def last_lines(error: Exception, logs: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """(file, line) of the most informative log lines.

    These are the traceback of the actor that raised the error; else the last lines of the actors it names; else lines of any
    log that look like errors.
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
