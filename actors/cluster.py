"""The Ray cluster a run lives on: a private one on this machine, closed to the network, or one that is already there."""

import atexit
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from actors.processes import write_stacks_on_signal
from conf.load import ROOT, ConfigError
from conf.schema import Config

FOLDER_PREFIX = "rzero-"
FAILURES_KEPT = 5  # of a run
LOGS_OF = "logs-of"  # file in a cluster's folder that says where the run it belongs to keeps its logs


def loopback_environment(token_path: Path) -> dict[str, str]:
    """Settings under which every process of Ray listens on loopback alone and asks for a token, which `token_path` holds."""
    return {
        # Ray binds its services to the address it believes the node has; without cluster support that is 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Workers would run at nice 15 and starve beside anything else.
        "RAY_worker_niceness": "0",
        # Workers started in advance would not have an actor's environment: four seconds of work for nothing.
        "RAY_prestart_worker_first_driver": "false",
    }


def prepare_environment() -> None:
    """Call before anything imports `ray`, which reads these settings while it is imported; every entry point does.

    Where RAY_ADDRESS names a cluster, that cluster's settings hold and nothing is set.

    Raises:
        RuntimeError: ray has been imported already.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    if "ray" in sys.modules:
        raise RuntimeError("prepare_environment() was called after ray had been imported, which is too late for its settings")
    remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))  # short: a Unix socket's path ends at 107 characters
    atexit.register(remove_cluster_folder, folder)
    token_path = folder / "token"
    token_path.touch(mode=0o600)
    token_path.write_text(secrets.token_hex(32))
    os.environ.update(loopback_environment(token_path))


def private_folder() -> Path | None:
    """Where a private cluster keeps all it writes; None where a cluster was joined."""
    return None if os.environ.get("RAY_ADDRESS") else Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent


def remove_cluster_folder(folder: Path) -> None:
    """Removes the folder, into which Ray's last processes may still be writing as they end."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)


def remove_orphans() -> None:
    """Removes what runs that were killed left in the temporary folder: each folder is named after the process it belongs to."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            with suppress(OSError):  # another user's, or no room
                keep_orphaned_logs(folder)
            shutil.rmtree(folder, ignore_errors=True)


def keep_orphaned_logs(folder: Path) -> None:
    """Moves the logs of a driver that was killed, and could keep nothing (`actors/evidence.py`), to its run, if that is left."""
    if (folder / LOGS_OF).is_file() and (logs := Path((folder / LOGS_OF).read_text())).parent.is_dir():
        kept = failure_folder(logs, (folder / LOGS_OF).stat().st_mtime)
        for log in [*folder.glob("session_latest/logs/*.out"), *folder.glob("session_latest/logs/*.err")]:
            shutil.move(log, kept)


def failure_folder(logs: Path, when: float) -> Path:
    """A new folder in `logs` for a failure at `when` (seconds since the epoch); of those beside it the oldest are removed."""
    folder = logs / time.strftime("%Y%m%d-%H%M%S", time.localtime(when))
    folder.mkdir(parents=True)
    for oldest in sorted(logs.glob("[0-9]*-[0-9]*"))[:-FAILURES_KEPT]:
        shutil.rmtree(oldest)
    return folder


def worker_environment() -> dict[str, str]:
    """Environment of every actor. A model is read from disk; nothing asks a hub whether there is a newer one."""
    return {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}


@contextmanager
def ray_cluster(config: Config, say: Callable[[str], None]) -> Iterator[None]:
    """Joins the cluster named by RAY_ADDRESS, which Ray sets inside a job, or starts a private one that ends with this context.

    Args:
        say: called with a line for the user where the run has to wait for more GPUs.

    Raises:
        ConfigError: this machine has not the GPUs that the settings ask for.

    A private cluster also ends when this process is killed; Ray's agents, which hold nothing of the run, a minute later.
    """
    import ray

    write_stacks_on_signal()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    hook = {"worker_process_setup_hook": f"{write_stacks_on_signal.__module__}.{write_stacks_on_signal.__name__}"}
    folder = private_folder()
    if folder is None:
        ray.init(runtime_env={"env_vars": worker_environment(), **hook}, **quiet)
        try:
            present = ray.cluster_resources().get("GPU", 0)
            if (wanted := gpus(config)) > present:  # a cluster may grow
                say(f"learner and engines reserve {wanted:g} GPUs; the cluster has {present:g} now, and the run waits for more")
            yield
        finally:
            ray.shutdown()
        return
    ray.init(
        address="local",
        # Logical slots, not cores: the actors of one run take turns rather than compete.
        num_cpus=max(os.cpu_count() or 1, 2 * config.rollout.engines + config.learner.ranks + 2),
        include_dashboard=False,
        object_store_memory=(1 << 30) if config.resources.device == "cpu" else None,
        # What the actors leave in their temporary folder goes with this one.
        runtime_env={"env_vars": worker_environment() | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}, **hook},
        _temp_dir=str(folder),
        **quiet,
    )
    try:
        present = ray.cluster_resources().get("GPU", 0)
        if (wanted := gpus(config)) > present:
            raise ConfigError(
                f"resources.device={config.resources.device}: learner and engines reserve {wanted:g} GPUs, and this machine has "
                f"{present:g}; valid: fewer learner.ranks or rollout.engines, a profile that needs none (tiny), or a cluster."
            )
        yield
    finally:
        ray.shutdown()


def gpus(config: Config) -> float:
    """GPUs that a run reserves in all."""
    if config.resources.device == "cpu":
        return 0
    engines = config.rollout.engines * (2 if config.rollout.fleets == "per_role" else 1)
    an_engine = config.resources.rollout_gpus * config.rollout.tensor_parallel
    return config.resources.learner_gpus * config.learner.ranks + an_engine * engines
