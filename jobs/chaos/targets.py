"""The processes of a run on this machine, found from outside by the environment that they share."""

from collections.abc import Iterable

import psutil

# After a SIGKILL of their driver these stay for 60 s, which no setting of Ray 2.60 changes: they try to tell the GCS, which is
# gone as well, of the raylet's end (`report_raylet_error_logs` in ray/_private/process_watcher.py). They hold nothing of a run.
RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
TITLES = {"rollout worker": "ray::RolloutWorker", "learner rank": "ray::Learner", "reward actor": "ray::RewardActor"}


def processes_of(session: str, driver: int = -1) -> dict[int, str]:
    """Processes with `session` in the path of their Ray token, and their titles; Ray's agents and `driver` are left out."""
    found = {}
    for process in psutil.process_iter():
        try:
            if session in process.environ().get("RAY_AUTH_TOKEN_PATH", "") and process.pid != driver:
                found[process.pid] = " ".join(process.cmdline()).strip()
        except psutil.Error:
            continue
    return {pid: name for pid, name in found.items() if not name.startswith(RAY_AGENTS)}


def actors_of(processes: dict[int, str], target: str) -> list[int]:
    """Process ids of the actors of a kind."""
    return sorted(pid for pid, name in processes.items() if name.startswith(TITLES[target]))


def sandbox_of(reward_actors: Iterable[int]) -> list[psutil.Process]:
    """The sandboxed processes and their fork servers."""
    children = []
    for pid in reward_actors:
        try:
            children += psutil.Process(pid).children(recursive=True)
        except psutil.Error:
            continue
    return children
