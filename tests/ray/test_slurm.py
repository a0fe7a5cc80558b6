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
STAND_INS = {"srun": SRUN, "scontrol": "#!/bin/sh\nprintf 'one\\ntwo\\n'\n", "hostname": "#!/bin/sh\necho 127.0.0.1\n"}


def test_a_job_has_the_exit_status_and_the_raylets_of_all_nodes() -> None:
    """The job needs one GPU more than the two nodes have, and says so."""
    with tempfile.TemporaryDirectory(prefix="rzero-", ignore_cleanup_errors=True) as folder:
        for name, script in STAND_INS.items():
            (Path(folder) / name).write_text(script)
            (Path(folder) / name).chmod(0o755)
        (port,) = free_ports(1)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {
            "PATH": f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_TMPDIR": folder,
            "RAY_AUTH_TOKEN_PATH": str(Path(folder) / "token"),  # unused beside RAY_AUTH_TOKEN; tells the processes of this test
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SLURM_JOB_NODELIST": "one,two",
            "SLURM_JOB_ID": str(port - 20_000),
        }
        gpus = ["resources.learner_gpus=1", "resources.rollout_gpus=1", "rollout.engines=2", "resources.wait_s=8"]
        files = [f"runs_dir={folder}/runs", f"tracking_uri=sqlite:///{folder}/m.db"]
        command = ["bash", "jobs/slurm.sh", "--set", *gpus, *files]
        try:
            run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
            left = started_in(Path(folder))
        finally:
            for process in started_in(Path(folder)):
                process.kill()
        assert run.returncode == 2, run.stdout + run.stderr
        assert re.search(r"free GPUs: 1 of 1 on \S+, 1 of 1 on \S+; valid", run.stderr), run.stderr
        assert not left
