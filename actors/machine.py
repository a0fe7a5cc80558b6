"""What this machine, or this container's share of it, has for the processes of a run."""

import os
from pathlib import Path

import psutil

IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for a job's command alone, unlike RAY_ADDRESS, which names any cluster
CGROUP = Path("/sys/fs/cgroup")
# Environment under which MKL computes a product to the same last bit wherever its factors are in memory, and with any number of
# threads. Without it engines differed on an AMD EPYC, learners on an Intel Xeon.
EXACT_PRODUCTS = {"MKL_CBWR": "AUTO,STRICT"}


def cores() -> int:
    """Cores that this process may use."""
    allowed = len(os.sched_getaffinity(0))
    quota, _, period = cgroup_value("cpu.max").partition(" ")
    return max(1, min(allowed, int(quota) // int(period))) if quota.isdigit() and period.isdigit() else allowed


def total_memory() -> int:
    """Bytes that all processes here may take together."""
    whole, limit = psutil.virtual_memory().total, cgroup_value("memory.max")
    return min(whole, int(limit)) if limit.isdigit() else whole


def free_memory() -> int:
    """Bytes that new processes may take."""
    free = psutil.virtual_memory().available
    limit, used = cgroup_value("memory.max"), cgroup_value("memory.current")
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def cgroup_value(name: str) -> str:
    """A file of the container's control group (version 2); empty without one, where nothing is limited."""
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""
