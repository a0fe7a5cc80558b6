"""Two Ray nodes on this machine, for as long as standard input is open: `python -m jobs.chaos.nodes FOLDER`.

The head has no CPUs, so that actors run on the second node. When its raylet dies or stops, another node takes its place, as in a
cluster that heals itself. FOLDER/nodes.json has the head's address and the process id of the second node's raylet.
"""

import json
import os
import select
import sys
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

STORE = 256 << 20  # bytes
STOPPED_CHECKS = 10  # in a row, half a second each


def main(folder: Path) -> None:
    os.environ["RAY_TMPDIR"] = str(folder)
    (folder / "ray").mkdir()
    head: dict[str, Any] = {"num_cpus": 0, "temp_dir": str(folder), "include_dashboard": False, "object_store_memory": STORE}
    # A dead node is soon noticed.
    head["_system_config"] = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        node, raylet = add(cluster, folder)
        stopped = 0
        while not select.select([sys.stdin], [], [], 0.5)[0]:
            stopped = stopped + 1 if raylet.is_running() and raylet.status() == psutil.STATUS_STOPPED else 0
            if stopped >= STOPPED_CHECKS or not raylet.is_running() or raylet.status() == psutil.STATUS_ZOMBIE:
                cluster.remove_node(node, allow_graceful=False)
                node, raylet = add(cluster, folder)
                stopped = 0
    finally:
        cluster.shutdown()


def add(cluster: Cluster, folder: Path) -> tuple[Any, psutil.Process]:
    """A second node and its raylet."""
    node = cluster.add_node(num_cpus=8, object_store_memory=STORE)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    partial = folder / "nodes.json.partial"
    partial.write_text(json.dumps({"address": cluster.address, "raylet": raylet.pid}))
    partial.replace(folder / "nodes.json")
    return node, raylet


if __name__ == "__main__":
    main(Path(sys.argv[1]))
