"""`make status` and `make watch`: what they say of a run in any state, and that looking costs and disturbs nothing."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from conf.errors import ConfigError
from conf.load import ROOT
from conf.schema import Config
from jobs.status import main
from pipeline.store.manifest import read_manifest, write_manifest
from pipeline.store.progress import read_progress
from pipeline.store.runs import held_for
from pipeline.store.state import RunState
from tests.made_runs import made_config, write_run


def unfinished(folder: Path, round_: int) -> None:
    """Takes the Challenger's policy of a round out of a manifest."""
    manifest = read_manifest(folder)
    manifest.rounds[round_].challenger.policy = None
    write_manifest(folder, manifest)


@contextmanager
def worked_on(folder: Path) -> Iterator[None]:
    """Holds the lock of a run, as `RunState` does."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def small(folder: Path) -> Config:
    config = made_config(folder)
    config.challenger.steps, config.solver.steps = 4, 8
    config.curriculum.questions, config.curriculum.part = 100, 30
    return config


def write_steps(folder: Path, stage: str, count: int, every: float, last_ago: float, name: str = "samples") -> None:
    """Files of the first `count` steps, `every` seconds apart."""
    place = folder / stage
    place.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        path = place / f"{name}-{index:04d}.parquet"
        path.touch()
        at = time.time() - last_ago - every * (count - 1 - index)
        os.utime(path, (at, at))


def long_ago(folder: Path) -> None:
    """Two files that are written one after the other may well have the same time."""
    os.utime(folder / "manifest.json", (0, 0))


def test_a_finished_run_and_the_round_after_it(tmp_path: Path) -> None:
    folder = write_run(small(tmp_path), 2)
    progress = read_progress(folder)
    assert (progress.round, progress.stage, progress.working) == (2, None, False)
    assert progress.rewards == [0.4, 0.5]
    assert [number for number, _ in progress.accuracy] == [0, 1, 2]
    assert progress.seconds == 2 * (12 + 3 + 1) + 1
    with worked_on(folder):
        progress = read_progress(folder)
        assert (progress.round, progress.stage, progress.done, progress.total) == (3, "challenger", 0, 4)


def test_a_run_that_is_evaluated_stays_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(tmp_path)
    write_run(config, 2)
    with RunState(config, "evaluate") as state:
        progress = read_progress(state.folder)
        assert (progress.round, progress.stage, progress.working, progress.evaluated) == (2, None, True, True)
        assert progress.stage_left is None
        assert main(["--runs-dir", str(tmp_path)]) == 0
        assert "being evaluated" in capsys.readouterr().out
        assert main(["--runs-dir", str(tmp_path), "--name", "made"]) == 0
        shown = capsys.readouterr().out
        assert "being evaluated" in shown
        assert "round 2, finished" in shown
    assert not read_progress(state.folder).evaluated
    unfinished(state.folder, 2)
    with RunState(config, "evaluate") as state:
        progress = read_progress(state.folder)
        assert (progress.round, progress.stage, progress.stage_left) == (2, "challenger", None)


def test_time_left_follows_the_last_steps_and_the_round_before(tmp_path: Path) -> None:
    folder = write_run(small(tmp_path), 2, until="challenger")
    unfinished(folder, 2)
    write_steps(folder, "round-2/challenger", 3, every=20, last_ago=0)
    with worked_on(folder):
        progress = read_progress(folder)
    assert (progress.stage, progress.done, progress.total) == ("challenger", 3, 4)  # two in the manifest, one written since
    assert progress.stage_left == pytest.approx(20, abs=3)
    assert progress.round_left == pytest.approx(20 + 3 + 6 + 1, abs=3)  # curriculum, solver and evaluation of round 1
    assert read_progress(folder).stage_left is None  # nobody works on it


def test_steps_after_the_last_checkpoint_of_a_stopped_run_do_not_count(tmp_path: Path) -> None:
    folder = write_run(small(tmp_path), 1, until="challenger")
    write_steps(folder, "round-1/challenger", 4, every=20, last_ago=30)
    unfinished(folder, 1)
    assert read_progress(folder).done == 2


def test_a_curriculum_in_the_making(tmp_path: Path) -> None:
    folder = write_run(small(tmp_path), 1, until="challenger")
    write_steps(folder, "round-1/curriculum", 2, every=30, last_ago=10, name="part")
    with worked_on(folder):
        progress = read_progress(folder)
    assert (progress.stage, progress.done, progress.total) == ("curriculum", 2, 4)
    assert progress.stage_left == pytest.approx(50, abs=3)
    assert progress.round_left is None  # no round before it tells how long the rest takes


def test_looking_does_not_hold_the_lock(tmp_path: Path) -> None:
    config = small(tmp_path)
    with RunState(config) as state:
        assert held_for(state.folder) == "round"
        assert read_progress(state.folder).working
        with pytest.raises(ConfigError, match="another process"):
            RunState(config)
    assert held_for(tmp_path / "made") is None
    with RunState(config):
        pass


def test_status_of_all_runs_and_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long_ago(write_run(made_config(tmp_path, "first"), 2))
    second = made_config(tmp_path, "second")
    second.solver.steps = 15
    write_run(second, 1, until="curriculum")
    assert main(["--runs-dir", str(tmp_path)]) == 0
    newest, oldest = (line for line in capsys.readouterr().out.splitlines() if "tiny" in line)
    assert oldest.split() == ["first", "tiny", "2", "finished", "0.50", "0.55", "25", "50", "75", "0:33"]
    assert newest.split() == ["second", "tiny", "1", "solver", "0/15", "0.50", "0.60", "25", "0:10"]
    assert main(["--runs-dir", str(tmp_path), "--name", "first"]) == 0
    assert "round 2, finished" in capsys.readouterr().out
    assert main(["--runs-dir", str(tmp_path), "--name", "third"]) == 2
    assert "valid: second, first" in capsys.readouterr().err


def test_a_row_has_the_accuracies_of_one_set_in_one_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(made_config(tmp_path), 3)
    manifest = read_manifest(folder)
    for number, accuracies in {
        0: {"a": {"sampled": 0.10, "greedy": 0.11}, "b": {"sampled": 0.20, "greedy": 0.21}},
        1: {"a": {"sampled": 0.12, "greedy": 0.13}},  # not on b
        2: {"b": {"greedy": 0.22}},  # not sampled
        3: {"b": {"sampled": 0.24, "greedy": 0.25}, "a": {"sampled": 0.14, "greedy": 0.15}},
    }.items():
        manifest.round(number).evaluation.accuracies = accuracies
    write_manifest(folder, manifest)
    assert [(number, ways["greedy"]) for number, ways in read_progress(folder).accuracy] == [(0, 0.21), (2, 0.22), (3, 0.25)]
    assert main(["--runs-dir", str(tmp_path)]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "made" in line)
    assert row.split()[-3:-1] == ["20", "24"]


def test_neither_command_loads_what_takes_seconds(tmp_path: Path) -> None:
    write_run(made_config(tmp_path), 1)
    script = (
        "import sys; from jobs import status, watch; status.main(['--runs-dir', sys.argv[1], '--name', 'made']);"
        "print(sorted({'ray', 'torch', 'vllm', 'mlflow', 'transformers'} & sys.modules.keys()))"
    )
    output = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert output.stdout.endswith("[]\n")


@pytest.mark.timeout(60)
def test_watch_follows_a_run_and_ends_quietly(tmp_path: Path) -> None:
    folder = write_run(small(tmp_path), 1, until="challenger")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "jobs.watch", "--runs-dir", str(tmp_path)]
    environment = os.environ | {"TERM": "xterm"}
    # As in a terminal: where the tests run in the background, an ignored SIGINT would be handed down.
    interruptible = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    watch = subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, preexec_fn=interruptible
    )
    os.close(theirs)
    try:
        shown = until(ours, b"curriculum 0/4")
        write_steps(folder, "round-1/curriculum", 3, every=1, last_ago=0, name="part")
        shown += until(ours, b"curriculum 3/4")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(20) == 0
        assert b"Traceback" not in shown + rest(ours)
    finally:
        watch.kill()


def until(terminal: int, words: bytes) -> bytes:
    """What a terminal shows up to `words`; ends by the test's time-out if they never come."""
    shown = b""
    while words not in shown:
        shown += os.read(terminal, 65536)
    return shown


def rest(terminal: int) -> bytes:
    """What is left on a terminal that no process writes to any more."""
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            return shown
