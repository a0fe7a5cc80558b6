"""Signals: one ends a run after its step, two end it at once, and SIGINT counts also in a shell's background."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.load import ROOT
from conf.schema import Config
from pipeline.batches import Batches
from pipeline.interruption import leave_if_requested, requested, steps_finished
from pipeline.observe.clock import Clock
from pipeline.types import Policy, Sample


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_the_first_waits_for_the_step_and_the_second_does_not(number: signal.Signals, error: type[BaseException]) -> None:
    before = signal.getsignal(number)
    with steps_finished():
        leave_if_requested()  # nothing was received
        os.kill(os.getpid(), number)
        assert requested()
        with pytest.raises(error) as left:
            leave_if_requested()
        with pytest.raises(error):
            os.kill(os.getpid(), signal.SIGTERM if number == signal.SIGTERM else number)
    assert signal.getsignal(number) == before
    assert getattr(left.value, "code", 143) == 143
    with steps_finished():
        assert not requested()


def test_an_end_at_once_does_not_wait_for_a_batch_that_is_sampled_ahead() -> None:
    class Fleet:
        """Draws until it is stopped."""

        def __init__(self) -> None:
            self.stopped = threading.Event()

        def load(self, policy: object) -> None:
            pass

        def sample(self, *arguments: object) -> list[list[Sample]]:
            assert self.stopped.wait(60)
            return []

        def stop(self) -> None:
            self.stopped.set()

    fleet: Any = Fleet()
    run: Any = SimpleNamespace(fleets={"solver": fleet}, clock=Clock(), config=Config())
    batches = Batches(run, "solver", lambda step: [])
    batches.sample_ahead(2, Policy("first", fleet))
    with pytest.raises(KeyboardInterrupt), batches:
        raise KeyboardInterrupt
    assert fleet.stopped.is_set()


STEPS = """
import sys, time
from pathlib import Path
from jobs.cli import command
from pipeline.interruption import leave_if_requested, steps_finished

@command
def main(arguments):
    with steps_finished():
        for step in range(1000):
            Path(arguments[0], f"begun-{step}").touch()
            time.sleep(float(arguments[1]))
            Path(arguments[0], f"done-{step}").touch()
            leave_if_requested()

sys.exit(main(sys.argv[1:]))
"""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # polls


@pytest.mark.timeout(120)
def test_a_job_in_a_scripts_background_hears_sigint(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    script = f"{sys.executable} {tmp_path}/steps.py {tmp_path} 3 & echo $!; wait $!; echo status $?"
    shell = subprocess.Popen(
        ["sh", "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    wait_for(tmp_path / "begun-0")
    os.kill(pid, signal.SIGINT)
    output = shell.communicate(timeout=60)[0]
    assert "SIGINT: the run ends after this step" in output
    assert output.endswith("interrupted; the same command resumes\nstatus 130\n")
    assert len(list(tmp_path.glob("begun-*"))) == len(list(tmp_path.glob("done-*"))) <= 2


@pytest.mark.timeout(120)
def test_two_signals_end_a_long_step(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "steps.py", tmp_path, "50"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stderr=subprocess.PIPE,
    )
    wait_for(tmp_path / "begun-0")
    process.terminate()
    assert process.stderr is not None
    while "once more" not in process.stderr.readline():
        assert process.poll() is None
    process.terminate()
    assert process.stderr.read() == "terminated; the same command resumes\n"
    assert process.wait(30) == 143
    assert not (tmp_path / "done-0").exists()
