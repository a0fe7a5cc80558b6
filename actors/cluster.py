"""The Ray cluster a run lives on: a private one on this machine, closed to the network, or one that is already there."""

import atexit
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from actors.bundles import gpus
from actors.processes import stacks_on_signal
from conf.errors import ConfigError
from conf.load import ROOT
from conf.schema import Config
from pipeline.errors import ClusterLostError

if TYPE_CHECKING:
    from actors.placement import Placement

FOLDER_PREFIX = "rzero-"
CONNECT_S = 10
STORE_ON_CPU = 1 << 30  # bytes of a private cluster's object store; on a GPU machine Ray takes 30 % of the memory
FAILURES_KEPT = 5  # of a run
LOGS_OF = "logs-of"  # file in a cluster's folder that holds the path of its run's logs
OWNER = "owner"  # file in a cluster's folder that says where its driver runs
# A socket's path ends at 107 characters, of which Ray and the name of the folder take up to 87.
LONGEST_PARENT = 20


def loopback_environment(token_path: Path) -> dict[str, str]:
    """Settings under which every Ray process listens on loopback alone and requires the token in the file `token_path`."""
    return {
        # Ray binds its services to the address it believes the node has; without cluster support that is 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        "RAY_USAGE_STATS_ENABLED": "0",
        # By default workers run at nice 15 and starve beside any other process.
        "RAY_worker_niceness": "0",
        # Workers started in advance lack the actors' environment: four seconds wasted.
        "RAY_prestart_worker_first_driver": "false",
        # The GCS would keep a record of each of the last 100,000 calls, for a dashboard that a private cluster does not have.
        "RAY_task_events_report_interval_ms": "0",
        # Ray would print what it collects of repeated messages at the very end, after the run's own last line.
        "RAY_DEDUP_LOGS": "0",
    }


def prepare_environment() -> None:
    """Sets the environment that `ray` reads when it is imported; every entry point calls this first.

    Does nothing if RAY_ADDRESS names a cluster, which has settings of its own.

    Raises:
        RuntimeError: ray is imported already.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    if "ray" in sys.modules:
        raise RuntimeError("prepare_environment() has to be called before ray is imported")
    remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=parent_folder()))
    atexit.register(remove_cluster_folder, folder)
    (folder / OWNER).write_text(this_machine())
    os.environ.update(loopback_environment(write_token(folder)))


def parent_folder() -> Path:
    """Where the folders of private clusters are: that of temporary files, or /tmp where paths of sockets in it were too long."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= LONGEST_PARENT else Path("/tmp")


def this_machine() -> str:
    """Where numbers of processes mean the same: host, and namespace of the container."""
    return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"


def write_token(folder: Path) -> Path:
    """The file in `folder` with a new token of a private cluster, which no other user can read."""
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def private_folder() -> Path | None:
    """Folder of a private cluster's files; None when connected to an existing cluster."""
    return None if os.environ.get("RAY_ADDRESS") else Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent


def remove_cluster_folder(folder: Path) -> None:
    """Removes the folder, retrying because Ray's last processes may still write to it as they exit."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)


def remove_orphans() -> None:
    """Removes the temporary folders of runs that were killed here; each folder is named after its driver's process.

    Others may share the folder of temporary files: another host's, or another container's, are left to it.
    """
    for folder in parent_folder().glob(f"{FOLDER_PREFIX}*-*"):
        driver = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        with suppress(OSError):  # another user's, or gone by now
            if driver.isdigit() and (folder / OWNER).read_text() == this_machine() and not Path(f"/proc/{driver}").exists():
                with suppress(OSError):  # the disk is full
                    keep_orphaned_logs(folder)
                shutil.rmtree(folder, ignore_errors=True)


def keep_orphaned_logs(folder: Path) -> None:
    """Moves the actors' logs of a killed driver, which could not copy them itself (`actors/evidence.py`), to its run's folder."""
    if (folder / LOGS_OF).is_file() and (logs := Path((folder / LOGS_OF).read_text())).parent.is_dir():
        kept = failure_folder(logs, (folder / LOGS_OF).stat().st_mtime)
        for log in [*folder.glob("session_latest/logs/*.out"), *folder.glob("session_latest/logs/*.err")]:
            shutil.move(log, kept)


def failure_folder(logs: Path, when: float) -> Path:
    """A new folder in `logs` for a failure at `when` (seconds since the epoch); keeps the latest `FAILURES_KEPT`."""
    folder = logs / time.strftime("%Y%m%d-%H%M%S", time.localtime(when))
    folder.mkdir(parents=True)
    for oldest in sorted(logs.glob("[0-9]*-[0-9]*"))[:-FAILURES_KEPT]:
        shutil.rmtree(oldest)
    return folder


def worker_environment() -> dict[str, str]:
    """Environment of every actor. Models are read from disk; no hub is queried for a newer revision."""
    return {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}


@contextmanager
def ray_cluster(
    config: Config,
    say: Callable[[str], None],
    learner: bool = True,
    watch: AbstractContextManager[None] | None = None,
) -> Iterator["Placement"]:
    """Connects to the cluster of RAY_ADDRESS, which Ray sets inside a job, or starts a private one for this context.

    Yields the places of the engines and, unless False, of the `learner`; they are reserved.

    Args:
        say: called with a status line if the run has to wait for more GPUs.
        watch: entered before a private cluster starts, or once another is joined, and left first, such as `services_watched`.

    Raises:
        ConfigError: the cluster cannot be joined, or fewer GPUs are free than the settings require.
        ClusterLostError: a private cluster did not start.

    A private cluster also ends if this process is killed; Ray's agents, which hold no data of the run, exit a minute later.
    """
    import ray

    from actors.placement import reserved

    write_stacks = stacks_on_signal()
    write_stacks()
    hook = {"worker_process_setup_hook": write_stacks}
    folder = private_folder()
    with ExitStack() as stack:
        stack.callback(ray.shutdown)
        if folder is None:
            init_ray(runtime_env={"env_vars": worker_environment(), **hook})
            stack.enter_context(watch or nullcontext())
        else:
            stack.enter_context(watch or nullcontext())
            init_ray(
                address="local",
                # Logical slots, not cores: the actors of one run alternate rather than compete.
                num_cpus=max(os.cpu_count() or 1, 2 * (config.rollout.engines or os.cpu_count() or 1) + config.learner.ranks + 2),
                include_dashboard=False,
                object_store_memory=STORE_ON_CPU if config.resources.device == "cpu" else None,
                # The actors' temporary files are removed with this folder.
                runtime_env={"env_vars": worker_environment() | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}, **hook},
                _temp_dir=str(folder),
            )
        wait_s = config.resources.wait_s if folder is None else 0  # this machine gets no more GPUs
        yield stack.enter_context(reserved(config, wait_s, say, learner))


def check_cluster(config: Config, learner: bool = True) -> None:
    """Checks the cluster for engines and, unless False, the `learner`, before anything is made.

    Raises:
        ConfigError: nothing responds at RAY_ADDRESS, or a private cluster on this machine would lack GPUs; one that is already
            there may grow.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        check_head(address)
        return
    if config.resources.device == "cpu":
        return
    wanted = gpus(config, learner)
    import torch  # sees the GPUs that Ray will count, if it is a build with CUDA

    if wanted > (present := torch.cuda.device_count()):
        raise ConfigError(
            f"resources.device={config.resources.device}: learner and engines reserve {wanted:g} GPUs, and PyTorch sees "
            f"{present} here; valid: fewer learner.ranks or rollout.engines, a profile that needs none (tiny), a cluster, or "
            "`make setup EXTRA=gpu` where there are GPUs."
        )


def check_head(address: str) -> None:
    """
    Raises:
        ConfigError: a process cannot join a cluster at this address.
    """
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"RAY_ADDRESS={address}: a dashboard's address, to which jobs are sent; valid here: that of the cluster's head, on "
            "one of its nodes, for example head:6379, or none for this machine."
        )
    try:
        reach(address)
    except OSError as error:
        raise ConfigError(f"RAY_ADDRESS={address}: {refusal(error)}") from error


def reach(address: str) -> None:
    """Connects to a cluster's address, such as head:6379 or http://head:8265, and ends the connection: Ray would try for minutes.

    Does nothing for `auto` and `local`, which Ray resolves.

    Raises:
        OSError: nothing listens there, or it is no address.
    """
    if address in ("auto", "local"):
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError as error:
        raise OSError(str(error)) from error
    if not (host and port):
        raise OSError("it names no host and port")
    socket.create_connection((host, port), timeout=CONNECT_S).close()


def init_ray(**options: Any) -> None:
    """`ray.init`, after which SIGTERM ends this process as its caller had determined, and not as Ray would, with an abort.

    Raises:
        ConfigError: the cluster of RAY_ADDRESS does not respond, or has another version of Ray or Python.
        ClusterLostError: a private cluster did not start, e.g. because one of its processes was killed.
    """
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
    except Exception as error:  # Ray raises that very type where a service does not start
        if (address := os.environ.get("RAY_ADDRESS")) is None:
            raise ClusterLostError(f"Ray did not start: {' '.join(str(error).split())}; the same command tries again") from error
        raise ConfigError(f"RAY_ADDRESS={address}: {refusal(error)}") from error
    if callable(on_sigterm):
        signal.signal(signal.SIGTERM, on_sigterm)


def refusal(error: Exception) -> str:
    """Why a cluster cannot be joined, and what would be valid, from what Ray raised.

    >>> refusal(RuntimeError("Version mismatch: The cluster was started with:\\n    Ray: 2.9.0\\n"))
    'Version mismatch: The cluster was started with: Ray: 2.9.0; valid: a cluster with the versions that are installed here.'
    """
    reason = " ".join(str(error).split())
    if "ersion mismatch" in reason:
        return f"{reason}; valid: a cluster with the versions that are installed here."
    return f"no Ray cluster responds there ({reason:.200}); valid: the address of a cluster's head, or none for this machine."
