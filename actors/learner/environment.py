"""Environment variables of the learner's ranks: threads, devices and network interfaces."""

import os

from actors.machine import EXACT_PRODUCTS, IN_JOB
from conf.schema import Config

LOOPBACK = "127.0.0.1"


def threads_told() -> str:
    """The number of threads that the user has set, empty for none."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return "" if told == "1" and IN_JOB in os.environ else told  # Ray sets 1 for what reserves no cores, as a job's command


def computes_on_cores(config: Config) -> bool:
    """Whether ranks divide their node's cores: on CPU, where engines are idle meanwhile, and for AdamW's step on the host."""
    return config.resources.device == "cpu" or config.learner.offload != "none"


def rank_environment(config: Config) -> dict[str, str]:
    """Environment of a rank's process. Where it has a share of the cores, it finds out how many once ranks know their nodes."""
    on_cpu = config.resources.device == "cpu"
    environment = {
        "OMP_NUM_THREADS": threads_told() or "1",
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
