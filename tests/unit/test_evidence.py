"""What is kept of a run that failed, from files as Ray's workers leave them (real ones: test_round.py, test_submit.py)."""

import subprocess
from pathlib import Path

import pytest
from ray.exceptions import RayActorError, RayTaskError

from actors.cluster import FAILURES_KEPT, FOLDER_PREFIX, OWNER, parent_folder, remove_orphans, this_machine
from actors.evidence import evidence_kept, read_logs
from conf.errors import ConfigError
from pipeline.errors import ClusterLostError, LearnerError, RolloutError

HEADER = ":job_id:01000000\n:actor_name:{}\n"
ENGINE_OUT = HEADER.format("RolloutWorker") + "loading\n"
ENGINE_ERR = HEADER.format("RolloutWorker") + (
    "[2026-11-25 18:12:00,467 I 71 71] core_worker.cc:872: Constructing CoreWorkerProcess. pid: 71\n"
    "drawing \x1b[2Ja hostile question\n"
    "    File 'engine'\n"
    "           ^^^^^^\n"
    "torch.OutOfMemoryError: CUDA out of memory\n"
)
LEARNER_ERR = HEADER.format("Learner") + "a step\n" * 30 + "RuntimeError: connection closed by peer\n"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private cluster's folder with the logs of two actors, processes 71 and 72."""
    logs = tmp_path / "cluster" / "session_latest" / "logs"
    logs.mkdir(parents=True)
    for name, content in {"71.out": ENGINE_OUT, "71.err": ENGINE_ERR, "72.err": LEARNER_ERR}.items():
        (logs / f"worker-0c495d0a-01000000-{name}").write_text(content)
    (logs / "raylet.out").write_text("Error: of the raylet\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "cluster" / "token"))


def death(pid: int) -> RayActorError:
    return RayActorError("d78a", f"The actor died unexpectedly before finishing this task.\n\tpid: {pid}\nThe worker has died.")


def fail(folder: Path, error: BaseException) -> None:
    """Raises the error, as from a death where it names none, where evidence is kept."""
    with pytest.raises(type(error), match=str(error)), evidence_kept(folder):
        raise error


def test_the_logs_of_all_actors_are_kept_under_their_names(cluster: None, tmp_path: Path) -> None:
    fail(tmp_path / "logs", LearnerError("rank 0 died"))
    (kept,) = (tmp_path / "logs").iterdir()
    assert {path.name for path in kept.iterdir()} == {
        "traceback.txt",
        "RolloutWorker-71.out",
        "RolloutWorker-71.err",
        "Learner-72.err",
    }
    assert (kept / "RolloutWorker-71.err").read_text() == ENGINE_ERR
    assert "LearnerError: rank 0 died" in (kept / "traceback.txt").read_text()


def test_the_last_lines_of_the_actor_that_died_are_shown(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RolloutError), evidence_kept(tmp_path / "logs"):
        raise RolloutError("workers died") from death(71)
    first, *lines = capsys.readouterr().out.splitlines()
    (kept,) = (tmp_path / "logs").iterdir()
    assert first.endswith(f"its traceback and the logs of its actors are in {kept}")
    assert lines == [
        "RolloutWorker-71.out",
        "  loading",
        "RolloutWorker-71.err",
        "  drawing a hostile question",
        "      File 'engine'",
        "  torch.OutOfMemoryError: CUDA out of memory",
    ]


def test_of_a_crash_the_innermost_frames_are_shown(cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "cluster" / "session_latest" / "logs" / "worker-0c495d0a-01000000-71.err"
    frames = "".join(f'  File "deep.py", line {depth} in f\n' for depth in range(60))
    native = "    @     0x7f2f9d65a050   94562064  (unknown)\n"
    log.write_text(
        f"{ENGINE_ERR}{native}Fatal Python error: Aborted\n\nStack (most recent call first):\n{frames}Extension modules: a\n"
    )
    with pytest.raises(RolloutError), evidence_kept(tmp_path / "logs"):
        raise RolloutError("workers died") from death(71)
    lines = capsys.readouterr().out.splitlines()
    crash = lines.index("  Fatal Python error: Aborted")
    assert lines[crash - 1 : crash + 4] == [
        "  torch.OutOfMemoryError: CUDA out of memory",
        "  Fatal Python error: Aborted",
        "  Stack (most recent call first):",
        '    File "deep.py", line 0 in f',
        '    File "deep.py", line 1 in f',
    ]
    assert not [line for line in lines if "(unknown)" in line or "Extension" in line]


def test_of_an_error_that_names_no_actor_the_lines_that_look_like_errors_are_shown(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(tmp_path / "logs", ValueError("of the driver"))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "Learner-72.err",
        "  RuntimeError: connection closed by peer",
        "RolloutWorker-71.err",
        "  torch.OutOfMemoryError: CUDA out of memory",
    ]


def test_of_a_lost_service_of_ray_its_own_log_is_kept_and_shown(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(tmp_path / "logs", ClusterLostError("Ray's raylet died"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("raylet.out") + 1] == "  Error: of the raylet"
    assert (next((tmp_path / "logs").iterdir()) / "raylet.out").exists()


def test_of_an_error_in_an_actor_its_traceback_is_shown(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = 'Traceback (most recent call last):\n  File "rank.py", line 7, in update\nMemoryError: 3 GiB'
    with pytest.raises(LearnerError), evidence_kept(tmp_path / "logs"):
        raise LearnerError("rank 0 failed") from RayTaskError("update", trace, MemoryError("3 GiB"), "ray::Learner", 72, "::1")
    assert capsys.readouterr().out.splitlines()[-2:] == ['    File "rank.py", line 7, in update', "  MemoryError: 3 GiB"]


@pytest.mark.parametrize("error", [ConfigError("a setting"), KeyboardInterrupt("Ctrl-C"), SystemExit(143)])
def test_nothing_is_kept_of_a_mistake_in_the_settings_or_an_interruption(
    cluster: None, tmp_path: Path, error: BaseException
) -> None:
    fail(tmp_path / "logs", error)
    assert not (tmp_path / "logs").exists()


def test_of_a_node_the_logs_of_one_job_are_read_also_those_of_workers_started_before_it(cluster: None, tmp_path: Path) -> None:
    logs = tmp_path / "cluster" / "session_latest" / "logs"
    (logs / "worker-1a-ffffffff-73.err").write_text("early\n" + LEARNER_ERR)
    (logs / "worker-1b-ffffffff-74.err").write_text(":job_id:02000000\n:actor_name:Other\n")
    (logs / "worker-1c-ffffffff-75.err").write_text("")
    (logs / "worker-1d-02000000-76.err").write_text(":job_id:02000000\n")
    read = read_logs(logs, ["worker-*-01000000-*", "worker-*-ffffffff-*"], "01000000")
    assert [(file.rpartition("-")[2], lines[-1]) for file, lines in read] == [
        ("71.err", "torch.OutOfMemoryError: CUDA out of memory"),
        ("71.out", "loading"),
        ("72.err", "RuntimeError: connection closed by peer"),
        ("73.err", "RuntimeError: connection closed by peer"),
    ]


def test_nothing_is_kept_of_a_success(cluster: None, tmp_path: Path) -> None:
    with evidence_kept(tmp_path / "logs"):
        pass
    assert not (tmp_path / "logs").exists()


def test_only_the_newest_failures_are_kept(cluster: None, tmp_path: Path) -> None:
    for day in range(10, 20):
        (tmp_path / "logs" / f"202001{day}-120000").mkdir(parents=True)
    (tmp_path / "logs" / "my notes").mkdir()
    fail(tmp_path / "logs", ValueError("another"))
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names[-1] == "my notes"
    assert len(names) == FAILURES_KEPT + 1
    assert names[0] == "20200116-120000"


def test_logs_that_cannot_be_kept_do_not_hide_the_error(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    fail(tmp_path / "logs", ValueError("the error itself"))
    assert "the actors' logs could not be copied" in capsys.readouterr().out


def test_the_logs_of_a_driver_that_was_killed_are_kept_when_the_next_run_starts(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with evidence_kept(tmp_path / "small" / "logs"):
        pass  # as far as the killed driver got
    (tmp_path / "small").mkdir()
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    orphan = (tmp_path / "cluster").rename(tmp_path / f"{FOLDER_PREFIX}{ended}-x")
    monkeypatch.setattr("actors.cluster.parent_folder", lambda: tmp_path)
    remove_orphans()
    assert orphan.exists()  # nothing says that its driver was one of this machine
    for owner in (f"elsewhere {this_machine()}", this_machine()):
        assert orphan.exists()
        (orphan / OWNER).write_text(owner)
        remove_orphans()
    assert not orphan.exists()
    (kept,) = (tmp_path / "small" / "logs").iterdir()
    assert (kept / "worker-0c495d0a-01000000-71.err").read_text() == ENGINE_ERR
    assert (kept / "raylet.out").is_file()


def test_a_long_folder_of_temporary_files_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's sockets lie in it, and the path of one has at most 107 characters."""
    for usual, chosen in (("/tmp/pbs.1234567.head", "/tmp"), ("/scratch/user", "/scratch/user")):
        monkeypatch.setattr("tempfile.tempdir", usual)
        assert str(parent_folder()) == chosen
