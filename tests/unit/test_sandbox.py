"""The sandbox on real math-verify: right on honest answers, unharmed by hostile ones, never without a reply."""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import actors.reward.sandbox as sandbox_module
from actors.reward.sandbox import AnswerSandbox
from jobs.bench.reward import PublicVote, mixed_answers
from pipeline.types import Vote
from tests.hostile_answers import HOSTILE


@pytest.fixture(scope="module")
def sandbox() -> Iterator[AnswerSandbox]:
    with AnswerSandbox(workers=2, timeout_s=5.0) as made:
        yield made


def judged(n: int, equal: bool = True) -> tuple[str, str]:
    """A pair that no rule decides; math-verify does not take the root of a square for its base, which may be negative."""
    return (rf"\sin({2 * n}x)", rf"2\sin({n}x)\cos({n}x)") if equal else (rf"\sqrt{{(x+{n})^2}}", f"x+{n}")


def children(sandbox: AnswerSandbox) -> list[psutil.Process]:
    """The processes that read answers, once each fork server has one."""
    sandbox.equivalents([judged(2), judged(3), judged(5)])
    return [child for worker in sandbox._workers for child in psutil.Process(worker._process.pid).children()]


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (r"(x-1)(x+1)", r"x^2-1", True),
        (r"\sqrt{2}", "1.414214", True),
        (r"\{1,2\}", "1,2", True),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", True),
        (r"1 < x < 2", r"x \in (1,2)", True),
        (r"\sin 2x", r"2\sin x\cos x", True),
        (r"\frac{e^x+e^{-x}}{2}", r"\cosh x", True),
        (r"\sqrt{x^2}", "x", False),
        (r"\{\sin 2x, 1\}", r"1, 2\sin x\cos x", True),
        (r"x+1", r"x+2", False),
        (r"\text{two words}", r"x+2", False),
        ("", "", False),
        ("5", "", False),
    ],
)
def test_equivalence_is_symmetric_by_rule_and_by_math_verify(sandbox: AnswerSandbox, a: str, b: str, equal: bool) -> None:
    assert sandbox.equivalent(a, b) is equal
    assert sandbox.equivalent(b, a) is equal


def test_a_vote_gathers_what_is_equivalent_in_any_order(sandbox: AnswerSandbox) -> None:
    answers = ["x^2-1", "(x-1)(x+1)", "x^2+1", None]
    votes = sandbox.votes([list(order) for order in permutations(answers)])
    assert set(votes) == {Vote("x^2-1", 2, 4)}


def test_votes_agree_with_exhaustive_verify_wherever_that_is_consistent(sandbox: AnswerSandbox) -> None:
    rng, public = random.Random(7), PublicVote()
    batch = [mixed_answers(rng) for _ in range(10)]
    expected = [public.exhaustive_count(answers) for answers in batch]
    pairs = [(vote.count, count) for vote, count in zip(sandbox.votes(batch), expected, strict=True) if count is not None]
    assert len(pairs) > 4
    assert all(ours == theirs for ours, theirs in pairs)


def test_an_answer_that_hangs_costs_its_own_pairs_alone(sandbox: AnswerSandbox) -> None:
    sandbox.take_counts()
    tower = "9^{9^{9^9}}"
    votes = sandbox.votes([["x+1", "1+x", tower], ["y+2", "2+y", "y+3"], ["7", "7.0", "8", None]])
    assert [(vote.answer, vote.count) for vote in votes] == [("1+x", 2), ("2+y", 2), ("7", 2)]
    assert [vote.undecided for vote in votes] == [2, 0, 0]
    assert sandbox.vote(["z+1", "1+z", tower]).count == 2
    stats = sandbox.take_counts()
    assert stats["killed"] == 1, "found out once, not once for every answer beside it, nor again in the next call of the batch"
    assert stats["undecided"] == 4
    assert sandbox.equivalent(tower, tower) is True, "the same string needs no parser"
    assert sandbox.take_counts()["killed"] == 0


@pytest.mark.parametrize("first", [0, 1])
def test_a_verdict_does_not_depend_on_what_was_compared_before_it(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Beside one answer a comparison takes too long, as does trying the other by itself; beside a third it does not."""
    monkeypatch.setattr(sandbox_module, "_HEAVY", re.compile("(?!)"))
    hangs = {frozenset(("a", "b")), frozenset(("a", "7919"))}
    judge = AnswerSandbox(workers=0)._judge

    def ask(one: str, other: str) -> bool | None:
        verdicts, reply = judge()(one, other), None
        try:
            while True:
                request = verdicts.send(reply)
                reply = None if frozenset((request.a, request.b)) in hangs else request.b != "7919"
        except StopIteration as stop:
            return stop.value

    pairs = [("a", "b"), ("a", "c")]
    verdicts = {pair: ask(*pair) for pair in (pairs[first:] + pairs[:first])}
    assert verdicts == {("a", "b"): None, ("a", "c"): True}


def test_the_hostile_corpus_ends_with_every_honest_vote_right() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 300
    rng = random.Random(0)
    honest = [
        (["12", "12.0", r"\frac{24}{2}", r"12\text{ cm}"], "13"),
        ([r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2", r"\frac{\sqrt{12}}{4}", r"\frac{\sqrt{3}}{2}"], r"\frac{1}{5}"),
        (["x^3-8", "(x-2)(x^2+2x+4)", "-8+x^3", "x^{3} - 8"], "x^3+8"),
        ([r"\{2,3\}", r"\{3,2\}", r"\left\{2, 3\right\}", r"\{3, 2\}"], r"\{2\}"),
    ]
    batch: list[list[str | None]] = []
    for index, bad in enumerate(HOSTILE):
        good, wrong = honest[index % len(honest)]
        answers: list[str | None] = [*good, wrong, bad, None]
        rng.shuffle(answers)
        batch.append(answers)
    with AnswerSandbox(workers=2, timeout_s=0.5) as sandbox:
        assert len(children(sandbox)) == 2
        sandbox.take_counts()
        votes = sandbox.votes(batch)
        stats = sandbox.take_counts()
    for index, (vote, bad) in enumerate(zip(votes, HOSTILE, strict=True)):
        good = honest[index % len(honest)][0]
        assert (vote.count, vote.total) == (4, 7), ascii(bad[:200])
        assert vote.answer in good
    assert stats["killed"] > 20
    assert 0 < stats["undecided"] < 5 * len(batch)


@settings(max_examples=150)
@given(st.lists(st.text(max_size=40) | st.text("0123456789x^{}()\\,.!+-/=<>%|sqrtfacpi ", max_size=16), min_size=2, max_size=2))
def test_any_two_texts_get_a_symmetric_verdict(sandbox: AnswerSandbox, texts: list[str]) -> None:
    one, other = sandbox.equivalents([(texts[0], texts[1]), (texts[1], texts[0])])
    assert one is other or None in (one, other)


def test_memory_beyond_the_limit_ends_in_undecided() -> None:
    with AnswerSandbox(workers=1, timeout_s=20.0, memory_mb=256) as sandbox:
        assert sandbox.equivalent("(x+1)^{100000}", "x+1") is None
        stats = sandbox.take_counts()
        assert (stats["died"], stats["killed"]) == (1, 0), "gone at once, not at the deadline"
        assert sandbox.equivalent(*judged(7)) is True


def test_a_child_that_uses_no_time_at_all_is_killed_all_the_same() -> None:
    with AnswerSandbox(workers=1, timeout_s=0.3) as sandbox:
        (child,) = children(sandbox)
        sandbox.take_counts()
        child.suspend()
        assert sandbox.equivalent(*judged(7)) is True, "by the child that replaces it"
        assert sandbox.equivalent(*judged(11)) is True
        assert sandbox.take_counts()["killed"] == 1


def test_a_child_that_is_killed_in_a_comparison_costs_no_verdict_but_two_do() -> None:
    with AnswerSandbox(workers=1, timeout_s=5.0) as sandbox:
        (worker,) = sandbox._workers
        kept = worker._send

        def lose_first(times: int) -> None:
            left = [times]

            def send(request: object) -> None:
                if left[0]:
                    left[0] -= 1
                    (child,) = psutil.Process(worker._process.pid).children()
                    child.kill()
                kept(request)  # type: ignore[arg-type]

            worker._send = send  # type: ignore[method-assign]

        sandbox.take_counts()
        lose_first(1)
        assert sandbox.equivalent(*judged(7)) is True
        lose_first(2)
        assert sandbox.equivalent(*judged(11)) is None
        lose_first(0)
        assert sandbox.equivalent(*judged(13)) is True
        counts = sandbox.take_counts()
        assert (counts["died"], counts["killed"], counts["undecided"]) == (3, 0, 1)


def test_children_and_fork_servers_that_are_killed_are_replaced() -> None:
    with AnswerSandbox(workers=2, timeout_s=5.0) as sandbox:
        for round_, processes in enumerate((children(sandbox), [psutil.Process(w._process.pid) for w in sandbox._workers])):
            for process in processes:
                process.send_signal(signal.SIGKILL)
            pairs = [judged(n, equal=bool(n % 2)) for n in range(40 * round_ + 12, 40 * round_ + 32)]
            verdicts = sandbox.equivalents(pairs)
            # A request that was under way is sent once more, and none gets the reply to another.
            assert verdicts == [bool(n % 2) for n in range(len(verdicts))]
            assert sandbox.equivalent(*judged(7)) is True


def test_a_child_has_no_files_no_environment_and_limits(sandbox: AnswerSandbox) -> None:
    os.environ["SECRET_OF_THE_TEST"] = "1"
    for child in children(sandbox):
        assert "SECRET_OF_THE_TEST" not in child.environ()
        assert child.cwd() == "/"
        assert child.rlimit(psutil.RLIMIT_AS) == (1 << 30, 1 << 30)
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        opened = {os.readlink(f"/proc/{child.pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{child.pid}/fd")}
        assert opened <= {"/dev/null", "pipe", f"/proc/{child.pid}/status"}
        maps = Path(f"/proc/{child.pid}/maps").read_text()
        assert not {"torch", "ray"} & set(re.findall(r"/site-packages/([^/]+)/", maps))


def test_nothing_is_left_after_close_or_after_the_parent_is_killed() -> None:
    with AnswerSandbox(workers=1) as sandbox:
        family = [psutil.Process(sandbox._workers[0]._process.pid), *children(sandbox)]
    assert not psutil.wait_procs(family, timeout=60)[1]

    code = (
        "from actors.reward.sandbox import AnswerSandbox as S; s = S(); s.equivalent(r'\\sin 2x', r'2\\sin x\\cos x'); "
        "print(1, flush=True); input()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 3
    psutil.Process(parent.pid).children()[0].suspend()  # a fork server
    parent.kill()
    parent.communicate()
    assert not psutil.wait_procs(family, timeout=60)[1]
