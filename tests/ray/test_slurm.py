"""`jobs/slurm.sh` on two raylets of this machine: stand-ins for Slurm's commands run each step here, the rest is real."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from conf.load import ROOT
from tests.ray.test_submit import free_ports, started_in

# Each node has one logical GPU.
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
case "$*" in
    "ray start --head"*) shift 2; set -- ray start --num-gpus 1 --num-cpus 2 --object-store-memory 80000000 "$@" ;;
    "ray start"*) set -- "$@" --num-gpus 1 --num-cpus 2 --object-store-memory 80000000 --node-ip-address 127.0.0.1 ;;
esac
exec "$@"
"""
# The repository's Python, which runs this before the job itself, on the same cluster.
PYTHON = f"""#!/bin/sh
{sys.executable} "$FAILING" || true
exec {sys.executable} "$@"
"""
FAILING = """
import os
from pathlib import Path

import ray

from actors.cluster import init_ray
from actors.evidence import evidence_kept


@ray.remote(num_gpus=1)
class Engine:
    def node(self):
        print("an engine draws")
        return ray.get_runtime_context().get_node_id()


init_ray()
engines = [Engine.remote() for _ in range(2)]
with evidence_kept(Path(os.environ["FAILING"]).parent / "logs"):
    assert len(set(ray.get([engine.node.remote() for engine in engines]))) == 2
    raise RuntimeError("CUDA out of memory")
"""
STAND_INS = {"srun": SRUN, "scontrol": "#!/bin/sh\nprintf 'one\\ntwo\\n'\n", "hostname": "#!/bin/sh\necho 127.0.0.1\n"}


def test_a_job_has_the_exit_status_and_the_raylets_of_all_nodes_and_their_logs() -> None:
    """The job needs one GPU more than the two nodes have, and says so. Before it, another fails that has an actor on each."""
    with tempfile.TemporaryDirectory(prefix="rzero-", ignore_cleanup_errors=True) as folder:
        for name, script in STAND_INS.items():
            (Path(folder) / name).write_text(script)
            (Path(folder) / name).chmod(0o755)
        python = Path(folder) / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        python.chmod(0o755)
        failing = Path(folder) / "failing.py"
        failing.write_text(FAILING)
        (port,) = free_ports(1)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {
            "PATH": f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_TMPDIR": folder,
            "FAILING": str(failing),
            "RAY_AUTH_TOKEN_PATH": str(Path(folder) / "token"),  # unused beside RAY_AUTH_TOKEN; tells the processes of this test
            "SLURM_SUBMIT_DIR": folder,
            "PYTHONPATH": str(ROOT),  # in place of being there
            "SLURM_JOB_NODELIST": "one,two",
            "SLURM_JOB_ID": str(port - 20_000),
        }
        gpus = ["resources.learner_gpus=1", "resources.rollout_gpus=1", "rollout.engines=2", "resources.wait_s=8"]
        files = [f"runs_dir={folder}/runs", f"tracking_uri=sqlite:///{folder}/m.db"]
        command = ["bash", str(ROOT / "jobs" / "slurm.sh"), "--set", *gpus, *files]
        try:
            run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
            left = started_in(Path(folder))
            logs = [log.read_text() for log in Path(folder).glob("logs/*/Engine-*.out")]
        finally:
            for process in started_in(Path(folder)):
                process.kill()
        assert run.returncode == 2, run.stdout + run.stderr
        assert re.search(r"free GPUs: 1 of 1 on \S+, 1 of 1 on \S+; valid", run.stderr), run.stderr
        assert not left
        assert [log.count("an engine draws") for log in logs] == [1, 1], run.stdout + run.stderr
