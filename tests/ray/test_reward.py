"""The reward actor in a real Ray cluster: its scores, and its survival."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
import ray
from ray.actor import ActorHandle

from actors.reward.actor import RAY_OPTIONS, RewardActor
from conf.schema import RewardConfig
from pipeline.algorithm.rewards import repetition, triangular
from pipeline.answers import AsTheyCome
from pipeline.types import ScoredQuestion, Vote

QUESTIONS = ["what is one half of x squared minus one", None, "what is one half of x squared minus one", "name a surd below 2"]
ANSWERS: list[list[str | None]] = [
    ["x^2-1", "(x-1)(x+1)", "x", None],
    [None] * 4,
    ["5", "5.0", "5", "5"],
    [r"\frac{2}{\sqrt{2}}", r"\sqrt{2}", "9^{9^{9^9}}", "3"],
]
NO_VERDICTS: list[list[str | None]] = [[]] * len(QUESTIONS)


@pytest.fixture(scope="module")
def actor(ray_cluster: None) -> Iterator[ActorHandle]:
    class Mortal(RewardActor):  # local, for a worker cannot import this module
        def pid(self) -> int:
            return os.getpid()

        def family(self) -> list[int]:
            return [child.pid for child in psutil.Process().children(recursive=True)]

    handle = ray.remote(Mortal).options(num_cpus=0, **RAY_OPTIONS).remote(RewardConfig(workers=1), [triangular, repetition])
    yield handle
    ray.kill(handle)


def scored_by(actor: ActorHandle) -> list[ScoredQuestion]:
    return ray.get(actor.score_questions.remote(QUESTIONS, ANSWERS, ray.get(actor.vote.remote(ANSWERS)), NO_VERDICTS, []))


def test_a_batch_is_scored_as_the_paper_says(actor: ActorHandle) -> None:
    scored = scored_by(actor)
    assert [row.question for row in scored] == QUESTIONS
    assert [row.answers for row in scored] == [tuple(answers) for answers in ANSWERS]
    assert [row.vote for row in scored] == [
        Vote("x^2-1", 2, 4),
        Vote(None, 0, 4),
        Vote("5", 4, 4),
        Vote(r"\sqrt{2}", 2, 4, undecided=3),
    ]
    assert [row.cluster for row in scored] == [0, -1, 0, 1]
    assert [row.reward for row in scored] == [0.5, 0.0, 0.0, 0.75]


def test_votes_that_come_one_by_one_are_those_on_the_whole_batch(actor: ActorHandle) -> None:
    votes = AsTheyCome(actor.vote)
    for place in reversed(range(len(ANSWERS))):
        votes.add(place, ANSWERS[place])
    assert votes.results() == ray.get(actor.vote.remote(ANSWERS))


def test_grades_are_1_for_the_label_and_0_for_everything_else(actor: ActorHandle) -> None:
    ray.get(actor.stats.remote())
    answers = ["(x-1)(x+1)", "x^2", None, "", "9^{9^{9^9}}", "7.0"]
    labels = ["x^2-1", "x^2-1", "x^2-1", "x^2-1", "x^2-1", "7"]
    assert ray.get(actor.grade.remote(answers, labels)) == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    stats = ray.get(actor.stats.remote())
    assert (stats["undecided"], stats["killed"]) == (1.0, 1.0)
    assert ray.get(actor.stats.remote())["undecided"] == 0.0
    assert ray.get(actor.vote.remote([["7", "7.0", None]])) == [Vote("7", 2, 3)]


def test_the_actor_comes_back_from_sigkill_and_a_lost_request_is_run_again(actor: ActorHandle) -> None:
    before = scored_by(actor)
    pid, family = ray.get(actor.pid.remote()), ray.get(actor.family.remote())
    assert family
    under_way = actor.vote.remote(ANSWERS)
    os.kill(pid, signal.SIGKILL)
    assert ray.get(under_way, timeout=120) == [row.vote for row in before]
    assert scored_by(actor) == before
    assert ray.get(actor.pid.remote()) != pid
    left = psutil.wait_procs([psutil.Process(child) for child in family if psutil.pid_exists(child)], timeout=60)[1]
    assert not left, "its sandbox went with it"
