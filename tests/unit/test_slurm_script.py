"""`jobs/slurm.sh` with stand-ins for Slurm, Ray and the driver: a signal to it, and the address of its head.

tests/ray/test_slurm.py has Ray itself.
"""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from conf.load import ROOT

STAND_INS = {
    # Slurm's own ends its step with SIGKILL when it is told to end.
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\n"$@" &\ntrap "kill -KILL $!" TERM\nwait',
    "scontrol": "echo one",
    "hostname": "echo 127.0.0.1",
    # Holds none of the script's pipes: what its srun leaves, ended before its trap was set, keeps nobody waiting.
    "ray": 'case "$1" in start) exec sleep 60 >/dev/null 2>&1 ;; esac',
    # Finishes its step after the signal, as the driver does.
    "python": "trap 'echo finishing; sleep 1; echo saved; exit 143' TERM\necho started\nsleep 20 >/dev/null 2>&1 &\nwait $!",
}


def started(folder: Path, **stand_ins: str) -> subprocess.Popen[str]:
    """The script, with those of STAND_INS and these in place of the programs."""
    for name, lines in (STAND_INS | stand_ins).items():
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_JOB_NODELIST": "one",
        "SLURM_JOB_ID": "1",
    }
    command = ["bash", str(ROOT / "jobs" / "slurm.sh")]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_a_signal_to_the_script_reaches_the_driver_which_ends_its_step(tmp_path: Path) -> None:
    with started(tmp_path) as script:
        try:
            assert script.stdout is not None
            assert script.stdout.readline() == "started\n"
            script.send_signal(signal.SIGTERM)
            assert script.stdout.read() == "finishing\nsaved\n"
            assert script.wait(timeout=60) == 143
        finally:
            os.killpg(script.pid, signal.SIGKILL)  # also of the stand-ins: the driver's sleep is left


@pytest.mark.parametrize(
    ("own", "every", "address"),
    [
        ("10.0.0.5", "10.1.0.5 10.0.0.5", "10.0.0.5"),
        ("127.0.1.1", "10.0.0.5 172.17.0.1 fd00::5", "10.0.0.5"),  # Debian
        ("fd00::5 fe80::1%eth0 10.0.0.5", "", "10.0.0.5"),
        ("::1 127.0.0.1", "fd00::5 192.168.0.5", "192.168.0.5"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.1.1", "fd00::5", "127.0.1.1"),
    ],
)
def test_the_head_listens_where_other_nodes_reach_it(own: str, every: str, address: str, tmp_path: Path) -> None:
    hostname = f'case "$1" in --ip-address) echo {own} ;; *) echo "{every} " ;; esac'
    with started(tmp_path, hostname=hostname, python='echo "$RAY_ADDRESS"') as script:
        try:
            assert script.communicate(timeout=60)[0] == f"{address}:20001\n"
            assert script.returncode == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)
