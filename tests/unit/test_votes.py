"""Canonical keys and the vote's logic, with a judge that is a table: no parser, no process."""

import random
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.algorithm.votes import Judge, by_rule, canonical, compare, majority
from pipeline.types import Vote


def finish(task: Generator[Any, Any, Any]) -> Any:
    """The result of a task that asks for nothing."""
    with pytest.raises(StopIteration) as stop:
        next(task)
    return stop.value.value


def table(verdicts: dict[frozenset[str], bool | None]) -> Judge:
    def judge(a: str, b: str) -> Generator[Any, Any, bool | None]:
        return verdicts.get(frozenset((a, b)), False)
        yield

    return judge


def vote(answers: list[str | None], verdicts: dict[frozenset[str], bool | None] | None = None) -> Vote:
    return finish(majority(answers, table(verdicts or {})))


def rule(a: str, b: str) -> bool | None:
    return by_rule(canonical(a), canonical(b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("5", "5.0"),
        ("5", " 5. "),
        ("5", "$5$"),
        ("5", "+5"),
        ("05", "5"),
        ("1,000", "1000"),
        ("1{,}000", "1000"),
        ("\u22125", "-5"),
        ("1/2", "0.5"),
        ("1/2", r"\frac{1}{2}"),
        (r"\frac12", r"\dfrac{2}{4}"),
        (r"-\frac{1}{2}", r"\frac{-1}{2}"),
        ("-.5", "-1/2"),
        (r"1\frac{1}{2}", "1.5"),
        ("1/3", "0.333333"),
        ("50%", r"50\%"),
        ("50%", "50"),
        ("50%", "1/2"),
        ("12.5%", "1/8"),
        (r"\$5", "5"),
        (r"5\text{ cm}", "5"),
        (r"5\text{ cm}^2", "5"),
        ("5 cm", "5"),
        (r"90^\circ", "90"),
        ("2^{10}", "1024"),
        ("x=5", "5"),
        ("x = 5", "x=5.0"),
        ("yes", r"\text{Yes}"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        (r"\sqrt 9", "3"),
        (r"\frac{\pi}{6}", r"\pi/6"),
        (r"\frac{\sqrt{12}}{4}", r"\frac{\sqrt{3}}{2}"),
        (r"\{1,2,3\}", r"\left\{3, 1,2\right\}"),
        ("(1,2)", "(1, 2.0)"),
        ("[0,1)", r"\left[0,\frac{2}{2}\right)"),
        (r"(-\infty,3]", r"(-\infty, 3]"),
    ],
)
def test_rules_know_these_to_be_the_same(a: str, b: str) -> None:
    assert rule(a, b) is True
    assert rule(b, a) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("5", "6"),
        ("5", "-5"),
        ("1/2", "2"),
        ("1/3", "0.33"),
        ("1", "1.0000004"),
        ("50%", "5"),
        ("yes", "maybe"),
        ("yes", "5"),
        ("listen", "silent"),
        (r"\sqrt{8}", r"\sqrt{2}"),
        (r"-\sqrt{2}", r"\sqrt{2}"),
        (r"\pi", "3"),
        (r"\pi", r"\sqrt{2}"),
        (r"\{1,2\}", r"\{1,2,3\}"),
        ("(1,2)", "(2,1)"),
        ("[0,1)", "[0,1]"),
        ("(1,2)", "5"),
        ("x=5", "6"),
        ("9" * 2000, "5"),
        ("9" * 2000, "9" * 2001),
        ("(" * 40 + "1" + ")" * 40, "1"),
    ],
)
def test_rules_know_these_to_be_different(a: str, b: str) -> None:
    assert rule(a, b) is False
    assert rule(b, a) is False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("x+1", "1+x"),
        (r"\sqrt{2}", "1.414214"),
        ("x=5", "y=5"),
        ("1,2", "(1,2)"),
        (r"\{1,2\}", "(1,2)"),
        ("1/0", "1"),
        ("3 + 4", "7"),
        ("infinity", r"\infty"),
    ],
)
def test_the_rest_is_for_a_judge(a: str, b: str) -> None:
    assert rule(a, b) is None
    assert rule(b, a) is None


@given(st.text(), st.text())
def test_rules_are_total_reflexive_and_symmetric_on_any_text(a: str, b: str) -> None:
    assert rule(a, a) is True
    assert rule(a, b) is rule(b, a)


def test_answers_that_are_none_or_blank_cannot_win_but_count_in_the_total() -> None:
    assert vote([None] * 6 + ["", " "] + ["7", "7.0"]) == Vote("7", 2, 10)
    assert vote([None, "", None]) == Vote(None, 0, 3)
    assert vote([]).share == 0.0
    assert vote(["None", "None", "3"]).answer == "None", "the word is an answer like any other"


def test_equivalence_is_closed_over_the_judges_verdicts() -> None:
    chain = {frozenset(("p+q", "q+p")): True, frozenset(("q+p", "p + q")): True}
    assert vote(["p+q", "q+p", "p + q", "1", "1"], chain) == Vote("p+q", 3, 5)


def test_an_undecided_pair_is_counted_unless_it_ends_up_in_one_class() -> None:
    unsure: dict[frozenset[str], bool | None] = {frozenset(("p+q", "q+p")): None}
    assert vote(["p+q", "p+q", "q+p"], unsure) == Vote("p+q", 2, 3, undecided=1)
    joined = unsure | {frozenset(("p+q", "p + q")): True, frozenset(("q+p", "p + q")): True}
    assert vote(["p+q", "q+p", "p + q"], joined).undecided == 0
    assert finish(compare("p+q", "q+p", table(unsure))) is None


def test_ties_go_to_the_shortest_representative_then_to_the_first() -> None:
    assert vote(["12", "7", "30"]).answer == "7"
    assert vote(["30", "12"]).answer == "12"
    assert vote(["0.5", r"\frac{1}{2}", r"\frac{1}{2}"]).answer == r"\frac{1}{2}", "the spelling that most used"


answers = st.lists(
    st.none() | st.sampled_from(["1", "1.0", "2", "p", "q", "r", "p+q", "1/2", "50%", "50", "yes", ""]), max_size=10
)
pairs = st.dictionaries(
    st.frozensets(st.sampled_from(["p", "q", "r", "p+q"]), min_size=2, max_size=2), st.sampled_from([True, False, None])
)


@settings(max_examples=300)
@given(answers, pairs, st.randoms())
def test_the_vote_does_not_depend_on_the_order_of_the_answers(
    given_answers: list[str | None], verdicts: dict[frozenset[str], bool | None], rng: random.Random
) -> None:
    first = vote(given_answers, verdicts)
    shuffled = given_answers[:]
    rng.shuffle(shuffled)
    assert vote(shuffled, verdicts) == first
    assert first.total == len(given_answers)
    assert first.count <= sum(bool(answer and answer.strip()) for answer in given_answers)
