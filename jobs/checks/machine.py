"""The machine against a run's settings. Each finding is a function of values, which `jobs/checks/probe.py` reads."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from actors.bundles import gpus as reserved
from actors.cluster import reach
from actors.machine import cores
from conf.schema import Config
from jobs.checks import probe
from jobs.checks.finding import Finding, compared, gb
from jobs.checks.probe import Gpu
from pipeline.algorithm.memory import DiskNeed

LEAST_DRIVER = 580  # of NVIDIA, for CUDA 13
LEAST_CAPABILITY = {"float32": (7, 5), "bfloat16": (8, 0)}  # CUDA 13 has 7.5 and newer; bfloat16 is in hardware from 8.0 on


def machine_findings(config: Config, gpus: Sequence[Gpu], starts_ray: bool) -> Iterator[Finding]:
    """Everything about this machine but memory and disk, which depend on the model.

    Args:
        starts_ray: whether to start a private Ray, unless RAY_ADDRESS names a cluster, which has the GPUs then.
    """
    address = os.environ.get("RAY_ADDRESS")
    if config.resources.device == "cuda" and not address:
        yield from gpu_findings(gpus, reserved(config), config)
        yield build_finding(probe.installed_vllm())
        yield compiler_finding(probe.find_compiler(), probe.find_header())
    yield core_finding(cores(), config)
    yield port_finding(probe.port_error())
    if address:
        yield from cluster_findings(address, reserved(config))
    elif starts_ray:
        seconds, error = probe.timed(lambda: probe.start_ray(config))
        yield reached_finding("Ray", "a private cluster", seconds, error, "see the error; docs/debugging.md")
    seconds, error = probe.timed(lambda: probe.reach_tracking(config.tracking_uri))
    yield reached_finding("MLflow", config.tracking_uri, seconds, error, "start the server, or another tracking_uri")


def cluster_findings(address: str, wanted: float) -> Iterator[Finding]:
    """Whether a cluster replies, and whether it has the GPUs now."""
    nodes: list[dict[str, float]] = []

    def look() -> None:
        reach(address)
        nodes.extend(probe.read_nodes(address))

    seconds, error = probe.timed(look)
    yield reached_finding(
        "Ray", address, seconds, error, "start the cluster, forward its port, or set its token (docs/cluster.md)"
    )
    if error is None:
        yield node_finding(nodes, wanted)


def node_finding(nodes: Sequence[Mapping[str, float]], wanted: float) -> Finding:
    """The GPUs of a cluster's nodes, given each node's resources; a run waits for those that are missing."""
    present = sum(node.get("GPU", 0) for node in nodes)
    found = f"{len(nodes)} nodes with {present:g} GPUs, {sum(node.get('CPU', 0) for node in nodes):g} CPU cores"
    return compared(
        "cluster", found, f"{wanted:g} GPUs", "start nodes with more; the run waits for them", warning=present < wanted
    )


def gpu_findings(gpus: Sequence[Gpu], wanted: float, config: Config) -> list[Finding]:
    """Number, driver and compute capability of the GPUs that a profile for CUDA needs."""
    none = "none on this machine (nvidia-smi lists none, or CUDA_VISIBLE_DEVICES hides them)"
    alike = Counter((gpu.name, gpu.memory) for gpu in gpus)
    counted = compared(
        "GPUs",
        ", ".join(f"{count} x {name}, {gb(size)} each" for (name, size), count in alike.items()) or none,
        f"{wanted:g}: {config.learner.ranks} learner ranks, {(config.rollout.engines or 1) * config.fleet_count} engines",
        "fewer learner.ranks or rollout.engines, a machine or Ray cluster with more, or PROFILE=tiny, which needs none",
        fault=len(gpus) < wanted,
    )
    if not gpus:
        return [counted]
    driver, least = min((each.driver for each in gpus), key=driver_branch), LEAST_CAPABILITY[config.model.dtype]
    weakest = min(each.capability for each in gpus)
    return [
        counted,
        compared(
            "driver",
            f"NVIDIA {driver}",
            f"r{LEAST_DRIVER} or newer, for CUDA 13",
            "install a newer NVIDIA driver, of the host if this is a container",
            fault=driver_branch(driver) < LEAST_DRIVER,
        ),
        compared(
            "compute capability",
            ".".join(map(str, weakest)),
            f"{'.'.join(map(str, least))} for model.dtype={config.model.dtype}",
            "model.dtype=float32, if the GPU has 7.5 at least" if weakest < (8, 0) else "",
            fault=weakest < least,
        ),
    ]


def driver_branch(version: str) -> int:
    """
    >>> driver_branch("580.65.06"), driver_branch("unknown")
    (580, 0)
    """
    branch = version.partition(".")[0]
    return int(branch) if branch.isdigit() else 0


def build_finding(installed: str | None) -> Finding:
    """Whether the installed vLLM is the one for CUDA: the distribution's name, None if there is none."""
    return compared(
        "vLLM",
        installed or "not installed",
        "vllm, for CUDA",
        "in a fresh checkout: make setup EXTRA=gpu",
        fault=installed != "vllm",
    )


def compiler_finding(compiler: str | None, header: str | None) -> Finding:
    """Triton compiles a launcher for its kernels at run time: the paths of a C compiler and of Python.h, None if missing."""
    missing = [name for name, path in (("a C compiler", compiler), ("Python.h", header)) if path is None]
    found = f"no {' and no '.join(missing)}" if missing else f"{compiler}, {header}"
    return compared(
        "C compiler",
        found,
        "a C compiler and Python's headers, for Triton",
        "e.g. apt install gcc python3-dev",
        fault=bool(missing),
    )


def store_finding(weights: int, needed: int, store: int, device: str) -> Finding:
    """Ray's object store against the versions of the weights that it holds at a time; what does not fit is spilled to disk.

    Args:
        weights: bytes of one version. needed: of all of them. store: the store's size, which /dev/shm bounds.
    """
    return compared(
        "object store",
        f"{gb(store)} in /dev/shm",
        f"{gb(needed)} for 3 versions of the weights, {gb(weights)} each",
        "rollout.transfer=shared keeps the learner's out of it"
        if device == "cpu"
        else "a larger /dev/shm (in Docker --shm-size), or Ray spills to disk, which is slow",
        warning=store < needed,
    )


def disk_finding(need: DiskNeed, free: int, folder: str) -> Finding:
    """Free space of the disk of runs_dir against checkpoints and policies."""
    return compared(
        "disk",
        f"{gb(free)} free in {folder}",
        f"{gb(need.peak)} for a round's checkpoints and policies, of which {gb(need.kept)} stay per round",
        "runs_dir on a larger disk, or fewer checkpoints: learner.checkpoint_every",
        fault=free < need.least,
        warning=free < need.peak,
    )


def host_finding(parts: dict[str, int], total: int, available: int, device: str) -> Finding:
    """Host memory of all processes against the machine's, in bytes. On a GPU machine each rank reads the whole model at first."""
    needed = sum(parts.values())
    return compared(
        "host memory",
        f"{gb(total)}, {gb(available)} available",
        f"about {gb(needed)}: {', '.join(f'{name} {gb(size)}' for name, size in parts.items())}",
        f"{'learner.gradient_checkpointing=true, ' if device == 'cpu' else ''}fewer learner.ranks or rollout.engines on this "
        "machine, or more memory",
        fault=needed > 1.2 * total,  # an estimate: only what is clearly too much is a fault
        warning=needed > available,
    )


def core_finding(cores: int, config: Config) -> Finding:
    """CPU cores against the processes that work at the same time."""
    engines, ranks = config.rollout.engines or 1, 0 if config.resources.device == "cpu" else config.learner.ranks
    wanted = max(engines, ranks) if config.colocated else engines + ranks
    return compared(
        "CPU cores", str(cores), f"{wanted}, one per engine or GPU process", "fewer rollout.engines", warning=cores < wanted
    )


def port_finding(error: str | None) -> Finding:
    """Whether a port of the loopback interface can be opened, as all processes of a run do."""
    return compared(
        "ports",
        error or "can be opened",
        "ports of 127.0.0.1",
        "allow sockets on 127.0.0.1",
        fault=error is not None,
    )


def reached_finding(name: str, address: str, seconds: float, error: str | None, do: str) -> Finding:
    """A service, by its address: reached after so many seconds, or not, with the reason."""
    found = f"{address}: {error}" if error else f"{address}, in {seconds:.1f} s"
    return compared(name, found, "a reply within seconds", do, fault=error is not None)
