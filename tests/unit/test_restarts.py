"""How often a part of a run is started again."""

import pytest
from ray.exceptions import OutOfMemoryError

from actors.failures import reason
from actors.learner.group import is_death
from actors.restarts import Restarts
from pipeline.errors import LearnerError, LearnerLostError


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


def test_failures_at_the_same_step_end_the_run_with_the_last_of_them(waits: list[float]) -> None:
    restarts = Restarts("the learner", "step", LearnerError)
    restarts.after(LearnerLostError("rank 0 died"), 4)
    restarts.after(LearnerLostError("rank 1 died"), 4)
    with pytest.raises(LearnerError, match="the learner failed 3 times in a row after step 4, the last time: rank 2 died"):
        restarts.after(LearnerLostError("rank 2 died"), 4)
    assert waits == [2.0, 4.0]


def test_progress_in_between_starts_the_count_anew(waits: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    restarts = Restarts("the learner", "step", LearnerError)
    for reached in (0, 1, 1, 2, 5, 5):
        restarts.after(LearnerLostError("rank 0 died"), reached)
    assert waits == [2.0, 2.0, 4.0, 2.0, 2.0, 4.0]
    assert "the learner starts again from step 5 (restart 2 of 2)" in " ".join(capsys.readouterr().out.split())


def test_a_node_without_the_project_is_a_line_that_says_what_to_do() -> None:
    trace = (
        "System error: No module named 'conf'\ntraceback: Traceback (most recent call last):\n  File \"a.py\", line 1\n    ^^^\n"
    )
    line = reason(RuntimeError(f"{trace}ModuleNotFoundError: No module named 'conf'"))
    assert line.startswith("a node of the cluster cannot import this project (No module named 'conf'): ")
    assert "make submit" in line
    assert "\n" not in line


def test_an_actor_ended_for_want_of_memory_names_the_largest_process() -> None:
    said = (
        "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: ::1) was 22.65GB used / "
        "23.54GB limit (0.962189)\nOOM kill reason: Memory usage exceeded threshold\n"
        "Top 10 memory users: PID\tMEM(GB)\tCOMMAND\n8185\t14.11\tpython other.py\n8013\t1.54\tray::RolloutWorker\nRefer to"
    )
    words = "Ray ended it for want of memory on its node: 22.65GB of 23.54GB were in use"
    assert reason(OutOfMemoryError(said)) == f"{words}; the most, 14.11 GB, by process 8185 (python other.py)"
    assert reason(OutOfMemoryError(said.partition("Top")[0])) == words
    assert is_death(OutOfMemoryError(said))
