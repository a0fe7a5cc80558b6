"""The reward actor in a real Ray cluster: its votes and grades, and its survival."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.actor import ActorHandle

from actors.reward.actor import RAY_OPTIONS, RewardActor
from actors.reward.client import Overlapped
from conf.load import ROOT
from conf.schema import RewardConfig
from pipeline.domain.graders.find import find_grader
from pipeline.errors import RewardError
from pipeline.types import Vote

ANSWERS: list[list[str | None]] = [
    ["x^2-1", "(x-1)(x+1)", "x", None],
    [None] * 4,
    ["5", "5.0", "5", "5"],
    [r"\frac{2}{\sqrt{2}}", r"\sqrt{2}", "9^{9^{9^9}}", "3"],
]
VOTES = [Vote("x^2-1", 2, 4), Vote(None, 0, 4), Vote("5", 4, 4), Vote(r"\sqrt{2}", 2, 4, undecided=3)]


@pytest.fixture(scope="module")
def actor(ray_cluster: None) -> Iterator[ActorHandle]:
    class Mortal(RewardActor):  # local, for a worker cannot import this module
        def pid(self) -> int:
            return os.getpid()

        def family(self) -> list[int]:
            return [child.pid for child in psutil.Process().children(recursive=True)]

    handle = ray.remote(Mortal).options(num_cpus=0, **RAY_OPTIONS).remote(RewardConfig(workers=1))
    yield handle
    ray.kill(handle)


def test_votes_are_those_of_the_sandbox(actor: ActorHandle) -> None:
    assert ray.get(actor.vote.remote(ANSWERS)) == VOTES


def test_votes_that_come_one_by_one_are_those_on_the_whole_batch(actor: ActorHandle) -> None:
    votes: Overlapped[Vote] = Overlapped(actor.vote)
    for place in reversed(range(len(ANSWERS))):
        votes.add(place, ANSWERS[place])
    assert votes.results() == VOTES


def test_finished_results_are_given_again_and_are_those_at_the_end(actor: ActorHandle) -> None:
    grades: Overlapped[float] = Overlapped(actor.grade)
    assert grades.finished() == []
    for place, answer in enumerate(["1", "2", "1"]):
        grades.add(place, answer, "1")
        ray.wait([call for _, call in grades._calls], num_returns=len(grades._calls))
    assert grades.finished() == grades.finished() == [1.0, 0.0, 1.0]
    grades.add(3, None, "1")
    assert grades.results() == [1.0, 0.0, 1.0, 0.0]


def test_grades_are_1_for_the_label_and_0_for_everything_else(actor: ActorHandle) -> None:
    ray.get(actor.take_counts.remote())
    answers = ["(x-1)(x+1)", "x^2", None, "", "9^{9^{9^9}}", "7.0"]
    labels = ["x^2-1", "x^2-1", "x^2-1", "x^2-1", "x^2-1", "7"]
    assert ray.get(actor.grade.remote(answers, labels)) == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    counts = ray.get(actor.take_counts.remote())
    assert (counts["undecided"], counts["killed"]) == (1.0, 1.0)
    assert ray.get(actor.take_counts.remote())["undecided"] == 0.0
    assert ray.get(actor.vote.remote([["7", "7.0", None]])) == [Vote("7", 2, 3)]


def test_a_grader_of_ones_own_reaches_the_actor_without_its_file(actor: ActorHandle, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text((ROOT / "examples" / "chemistry.py").read_text())
    grader = find_grader(f"{file}:FormulaGrader")
    file.unlink()
    votes: Overlapped[Vote] = Overlapped(actor.vote, grader)
    votes.add(0, ["H2O", r"\ce{H2O}", "HO2", None])
    assert votes.results() == [Vote("H2O", 2, 4)]


def test_a_grader_that_raises_is_named_by_its_error(actor: ActorHandle, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from pipeline.domain.graders.exact import ExactGrader\n"
        "class Wrong(ExactGrader):\n"
        "    def canonical(self, answer):\n"
        "        return answer.spelled\n"
    )
    votes: Overlapped[Vote] = Overlapped(actor.vote, find_grader(f"{file}:Wrong"))
    votes.add(0, ["H2O"])
    with pytest.raises(RewardError, match=r"failed to compare answers: AttributeError: 'str' object .* 'spelled'$"):
        votes.results()


def test_the_actor_comes_back_from_sigkill_and_a_lost_request_is_run_again(actor: ActorHandle) -> None:
    pid, family = ray.get(actor.pid.remote()), ray.get(actor.family.remote())
    assert family
    under_way = actor.vote.remote(ANSWERS)
    os.kill(pid, signal.SIGKILL)
    assert ray.get(under_way, timeout=120) == VOTES
    assert ray.get(actor.vote.remote(ANSWERS)) == VOTES
    assert ray.get(actor.pid.remote()) != pid
    left = psutil.wait_procs([psutil.Process(child) for child in family if psutil.pid_exists(child)], timeout=60)[1]
    assert not left, "its sandbox went with it"
