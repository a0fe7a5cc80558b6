"""Environment variables of the learner's ranks: threads, devices and network interfaces."""

import os

from conf.schema import Config

LOOPBACK = "127.0.0.1"


def rank_environment(config: Config) -> dict[str, str]:
    """Environment of a rank's process."""
    # With offload the optimizer's step runs on the host: a thread per core of this rank's share.
    stepping = config.resources.device == "cuda" and config.learner.offload != "none"
    threads = max(1, len(os.sched_getaffinity(0)) // config.learner.ranks) if stepping else 1
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    return environment | ({"DS_ACCELERATOR": "cpu"} if config.resources.device == "cpu" else {})


def socket_interfaces(host: str, node_ip: str) -> dict[str, str]:
    """Environment that keeps collectives on loopback where they can be: gloo's if all ranks are on one node (`host` is loopback).

    NCCL also connects a rank to the engines (`rollout.transfer=nccl`), which may be on other nodes unless this node's own address
    is loopback, as in a private cluster.
    """
    lo = {"GLOO_SOCKET_IFNAME": "lo"} if host == LOOPBACK else {}
    return lo | ({"NCCL_SOCKET_IFNAME": "lo"} if node_ip == LOOPBACK else {})
