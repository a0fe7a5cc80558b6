"""`python -m jobs.stacks` on a run whose driver is this process, with a real actor that waits."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from actors.processes import run_processes
from conf.schema import Config
from jobs import stacks
from pipeline.store.state import RunState


@pytest.fixture
def stuck(ray_cluster: None, tmp_path: Path) -> Iterator[list[str]]:
    """The arguments that name a run which waits for an actor, which waits."""
    reached = tmp_path / "reached"

    class Waiting:  # local, for a worker cannot import this module
        def wait_for_nothing(self) -> None:
            reached.touch()
            while True:
                time.sleep(3600)

    actor = ray.remote(num_cpus=0)(Waiting).remote()
    actor.wait_for_nothing.remote()
    while not reached.exists():
        time.sleep(0.05)  # polls for the file
    with RunState(Config(name="stuck", runs_dir=str(tmp_path))):
        yield ["--runs-dir", str(tmp_path), "--name", "stuck"]
    ray.kill(actor)


def test_where_the_processes_of_a_run_stand(stuck: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert stacks.main(stuck) == 0
    output = capsys.readouterr().out
    driver, actor = output[: output.index("Waiting (process ")], output[output.index("Waiting (process ") :]
    assert driver.startswith(f"driver (process {os.getpid()}, ")
    assert "main (jobs/stacks.py:" in driver
    assert "wait_for_nothing (tests/ray/test_stacks.py:" in actor
    assert "(/" not in output  # every file is shown from its package, the repository or Python's own library
    assert "raylet" not in output


def test_where_no_debugger_may_attach_they_are_asked_by_signal(
    stuck: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.stacks.PY_SPY", "false")
    assert stacks.main(stuck) == 0
    output = capsys.readouterr().out
    assert "in wait_for_nothing" in output[output.index("Waiting (process ") :]


def test_the_processes_of_a_run_have_roles(stuck: list[str]) -> None:
    found = run_processes(Path(stuck[1]) / "stuck")
    assert found[0].role == "driver"
    assert "Waiting" in [each.role for each in found if not each.of_ray]
    assert {"gcs_server", "raylet"} <= {each.role for each in found if each.of_ray}


def test_a_run_on_which_nothing_works_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunState(Config(name="done", runs_dir=str(tmp_path))):
        pass
    assert stacks.main(["--runs-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: NAME=done: no process on this machine works on ")
