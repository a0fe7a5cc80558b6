"""A signal to `jobs/slurm.sh`, with stand-ins for Slurm, Ray and the driver; tests/ray/test_slurm.py has Ray itself."""

import os
import signal
import subprocess
from pathlib import Path

from conf.load import ROOT

STAND_INS = {
    # Slurm's own ends its step with SIGKILL when it is told to end.
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\n"$@" &\ntrap "kill -KILL $!" TERM\nwait',
    "scontrol": "echo one",
    "hostname": "echo 127.0.0.1",
    "ray": 'case "$1" in start) exec sleep 60 ;; esac',
    # Finishes its step after the signal, as the driver does.
    "python": "trap 'echo finishing; sleep 1; echo saved; exit 143' TERM\necho started\nsleep 20 >/dev/null 2>&1 &\nwait $!",
}


def test_a_signal_to_the_script_reaches_the_driver_which_ends_its_step(tmp_path: Path) -> None:
    for name, lines in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NODELIST": "one",
        "SLURM_JOB_ID": "1",
    }
    command = ["bash", str(ROOT / "jobs" / "slurm.sh")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as script:
        try:
            assert script.stdout is not None
            assert script.stdout.readline() == "started\n"
            script.send_signal(signal.SIGTERM)
            assert script.stdout.read() == "finishing\nsaved\n"
            assert script.wait(timeout=10) == 143
        finally:
            os.killpg(script.pid, signal.SIGKILL)  # also of the stand-ins: the driver's sleep is left
