"""The reward actor in a real Ray cluster: its votes and grades, and its survival."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from actors.evidence import evidence_kept
from actors.reward.actor import RewardActor
from actors.reward.client import Overlapped
from actors.reward.supervisor import RewardSupervisor
from conf.load import ROOT
from conf.schema import RewardConfig
from pipeline.domain.graders.find import find_grader
from pipeline.errors import RewardError
from pipeline.types import Vote

ANSWERS: list[list[str | None]] = [
    ["x^2-1", "(x-1)(x+1)", "x", None],
    [None] * 4,
    ["5", "5.0", "5", "5"],
    [r"\frac{2}{\sqrt{2}}", r"\sqrt{2}", "x+9^{9^{9^9}}", "3"],
]
VOTES = [Vote("x^2-1", 2, 4), Vote(None, 0, 4), Vote("5", 4, 4), Vote(r"\sqrt{2}", 2, 4, undecided=3)]


@pytest.fixture(scope="module")
def actor(ray_cluster: None) -> Iterator[RewardSupervisor]:
    class Mortal(RewardActor):  # local, for a worker cannot import this module
        def pid(self) -> int:
            return os.getpid()

        def family(self) -> list[int]:
            return [child.pid for child in psutil.Process().children(recursive=True)]

    supervisor = RewardSupervisor(RewardConfig(workers=1), Mortal)
    yield supervisor
    ray.kill(supervisor._actor)


def call(actor: RewardSupervisor, method: str, *arguments: Any) -> Any:
    return actor.result(actor.send(method, *arguments))


def test_votes_are_those_of_the_sandbox(actor: RewardSupervisor) -> None:
    assert call(actor, "vote", ANSWERS) == VOTES


def test_votes_that_come_one_by_one_are_those_on_the_whole_batch(actor: RewardSupervisor) -> None:
    votes: Overlapped[Vote] = Overlapped(actor, "vote")
    for place in reversed(range(len(ANSWERS))):
        votes.add(place, ANSWERS[place])
    assert votes.results() == VOTES


def test_finished_results_are_given_again_and_are_those_at_the_end(actor: RewardSupervisor) -> None:
    grades: Overlapped[float] = Overlapped(actor, "grade")
    assert grades.finished() == []
    for place, answer in enumerate(["1", "2", "1"]):
        grades.add(place, answer, "1")
        ray.wait([call.reference for _, call in grades._calls], num_returns=len(grades._calls))
    assert grades.finished() == grades.finished() == [1.0, 0.0, 1.0]
    grades.add(3, None, "1")
    assert grades.results() == [1.0, 0.0, 1.0, 0.0]


def test_grades_are_1_for_the_label_and_0_for_everything_else(actor: RewardSupervisor) -> None:
    call(actor, "take_counts")
    answers = ["(x-1)(x+1)", "x^2", None, "", "9^{9^{9^9}}", "7.0"]
    labels = ["x^2-1", "x^2-1", "x^2-1", "x^2-1", "x^2-1", "7"]
    assert call(actor, "grade", answers, labels) == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    counts = call(actor, "take_counts")
    assert (counts["undecided"], counts["killed"]) == (1.0, 1.0)
    assert call(actor, "take_counts")["undecided"] == 0.0
    assert call(actor, "vote", [["7", "7.0", None]]) == [Vote("7", 2, 3)]


def test_a_grader_of_ones_own_reaches_the_actor_without_its_file(actor: RewardSupervisor, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text((ROOT / "examples" / "chemistry.py").read_text())
    grader = find_grader(f"{file}:FormulaGrader")
    file.unlink()
    votes: Overlapped[Vote] = Overlapped(actor, "vote", grader)
    votes.add(0, ["H2O", r"\ce{H2O}", "HO2", None])
    assert votes.results() == [Vote("H2O", 2, 4)]


def test_a_grader_that_raises_is_named_by_its_error(actor: RewardSupervisor, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from pipeline.domain.graders.exact import ExactGrader\n"
        "class Wrong(ExactGrader):\n"
        "    def canonical(self, answer):\n"
        "        return answer.spelled\n"
    )
    votes: Overlapped[Vote] = Overlapped(actor, "vote", find_grader(f"{file}:Wrong"))
    votes.add(0, ["H2O"])
    with pytest.raises(RewardError, match=r"failed to compare answers: AttributeError: 'str' object .* 'spelled'$"):
        votes.results()


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_an_actor_that_dies_or_hangs_is_replaced_and_its_calls_are_sent_again(
    actor: RewardSupervisor, fate: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("actors.reward.supervisor.PING_S", 1)
    monkeypatch.setattr("actors.reward.supervisor.SILENT_S", 4)
    pid, family = call(actor, "pid"), call(actor, "family")
    assert family
    actor._refuse_silence()  # has started
    under_way = [actor.send("vote", ANSWERS) for _ in range(2)]
    os.kill(pid, fate)
    assert [actor.result(each) for each in under_way] == [VOTES, VOTES]
    assert call(actor, "vote", ANSWERS) == VOTES
    assert call(actor, "pid") != pid
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"; the reward actor starts again from call \d+ \(restart 1 of 2\)", said)
    if fate == signal.SIGSTOP:
        assert f"the reward actor (pid={pid}) hung: no reply for 4 s" in said
    left = psutil.wait_procs([psutil.Process(child) for child in family if psutil.pid_exists(child)], timeout=60)[1]
    assert not left, "its sandbox went with it"


def test_an_actor_that_dies_again_and_again_is_an_error_and_leaves_its_last_words(
    ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import os\n"
        "from pipeline.domain.graders.exact import ExactGrader\n"
        "class Dying(ExactGrader):\n"
        "    def canonical(self, answer):\n"
        "        print('its last words')\n"
        "        os.abort()\n"
    )
    votes: Overlapped[Vote] = Overlapped(RewardSupervisor(RewardConfig(workers=1)), "vote", find_grader(f"{file}:Dying"))
    message = r"the reward actor failed 3 times in a row after call \d+, the last time: The actor is dead"
    votes.add(0, ["H2O"])
    with pytest.raises(RewardError, match=message), evidence_kept(tmp_path / "logs"):
        votes.results()
    (kept,) = (tmp_path / "logs").iterdir()
    assert [log.read_text().count("its last words") for log in kept.glob("RewardActor-*.out")].count(1) == 3
    shown = capsys.readouterr().out
    shown = shown[shown.index(str(kept)) :]
    assert "\n  its last words\n" in shown
    assert "Fatal Python error: Aborted" in shown
