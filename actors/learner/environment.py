"""Environment variables of the learner's ranks: threads, devices and network interfaces."""

import os

from actors.machine import EXACT_PRODUCTS, cores
from conf.schema import Config

LOOPBACK = "127.0.0.1"


def rank_environment(config: Config) -> dict[str, str]:
    """Environment of a rank's process."""
    # On CPU engines are idle while the learner works; with offload the optimizer's step runs on the host.
    on_cpu = config.resources.device == "cpu"
    threads = max(1, cores() // config.learner.ranks) if on_cpu or config.learner.offload != "none" else 1
    environment = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        # Checkpoints are read as data: DeepSpeed would unpickle whatever they hold.
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    }
    if not on_cpu:
        return environment
    return environment | {
        "OMP_WAIT_POLICY": "passive",  # spinning threads would take the cores from the engines afterwards
        "GOMP_SPINCOUNT": "0",
        "DS_ACCELERATOR": "cpu",
        **EXACT_PRODUCTS,
    }


def socket_interfaces(host: str, node_ip: str) -> dict[str, str]:
    """Environment that keeps collectives on loopback where they can be: gloo's if all ranks are on one node (`host` is loopback).

    NCCL also connects a rank to the engines (`rollout.transfer=nccl`), which may be on other nodes unless this node's own address
    is loopback, as in a private cluster.
    """
    lo = {"GLOO_SOCKET_IFNAME": "lo"} if host == LOOPBACK else {}
    return lo | ({"NCCL_SOCKET_IFNAME": "lo"} if node_ip == LOOPBACK else {})
