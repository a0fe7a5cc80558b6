"""The vote's logic, with a judge that is a table: no parser, no process."""

import random
from collections.abc import Generator, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.algorithm.votes import Judge, compare, majority
from pipeline.domain.graders.math.grader import MathGrader
from pipeline.domain.graders.protocol import Grader, Verdict
from pipeline.types import Vote

Table = dict[frozenset[str], bool | None]


class Open:
    """Leaves every pair of different texts to the judge."""

    def extract(self, response: str, options: Sequence[str] = ()) -> str | None:
        return response

    def canonical(self, answer: str) -> str:
        return answer.strip()

    def equivalent(self, a: str, b: str) -> Verdict:
        return ((a, b),)


def finish(task: Generator[Any, Any, Any]) -> Any:
    """The result of a task that asks for nothing."""
    with pytest.raises(StopIteration) as stop:
        next(task)
    return stop.value.value


def table(verdicts: Table) -> Judge:
    def judge(a: str, b: str) -> Generator[Any, Any, bool | None]:
        return verdicts.get(frozenset((a, b)), False)
        yield

    return judge


def vote(answers: Sequence[str | None], verdicts: Table | None = None, grader: Grader | None = None) -> Vote:
    return finish(majority(answers, grader or MathGrader(), table(verdicts or {})))


def pairs(verdict: bool | None, *given: tuple[str, str]) -> Table:
    return {frozenset(pair): verdict for pair in given}


def test_answers_that_are_none_or_blank_cannot_win_but_count_in_the_total() -> None:
    assert vote([None] * 6 + ["", " ", r"\text{ }"] + ["7", "7.0"]) == Vote("7", 2, 11)
    assert vote([None, "", None]) == Vote(None, 0, 3)
    assert vote([]).share == 0.0
    assert vote(["None", "None", "3"]).answer == "None", "the word is an answer like any other"


@pytest.mark.parametrize(
    ("answers", "counts"),
    [
        (["50", "50", "0.5", "0.5", r"50\%"], {3}),
        (["50", "0.5", "0.5", r"50\%"], {3}),
        ([r"50\%", r"50\%", r"50\%", "50", "0.5"], {4}),
        (["(5,7)", "(7,5)", "5,7"], {2}),
        (["x=5", "y=5", "5"], {2}),
        ([r"5\text{ cm}", r"5\text{ m}", "5", "5"], {3}),
        (["5", "5.0", r"\frac{10}{2}", r"5\text{ cm}"], {4}),
        (["0.333333", r"\frac{1}{3}", "0.33333333", "0.333"], {3}),
    ],
)
def test_an_ambiguous_answer_joins_one_class_and_never_two(answers: list[str], counts: set[int]) -> None:
    rng = random.Random(0)
    orders = list(permutations(answers)) if len(answers) < 5 else [rng.sample(answers, len(answers)) for _ in range(40)]
    votes = {vote(order) for order in orders}
    assert {found.count for found in votes} == counts
    assert len(votes) == 1, "whatever the order"


def test_an_ambiguous_answer_joins_the_larger_class() -> None:
    equal = pairs(True, ("a", "c"), ("b", "c"))
    assert vote(["a", "b", "b", "c"], equal, Open()) == Vote("b", 3, 4)
    assert vote(["a", "a", "b", "c"], equal, Open()) == Vote("a", 3, 4)
    assert vote(["aa", "b", "c"], pairs(True, ("aa", "c"), ("b", "c")), Open()) == Vote("b", 2, 3), "a tie: the shorter one"


def test_what_could_not_be_decided_counts_as_different() -> None:
    assert vote(["a", "a", "b"], pairs(None, ("a", "b")), Open()) == Vote("a", 2, 3, undecided=1)
    chain = pairs(True, ("a", "b"), ("b", "c")) | pairs(None, ("a", "c"))
    assert vote(["a", "b", "c"], chain, Open()) == Vote("a", 2, 3, undecided=1)
    assert vote(["a", "b", "b", "b", "c"], chain, Open()) == Vote("b", 4, 5, undecided=1), "whichever is the most frequent"
    assert finish(compare("a", "b", Open(), table(pairs(None, ("a", "b"))))) is None


def test_all_pairs_that_a_grader_leaves_open_have_to_be_equal() -> None:
    one, other = r"(\ln a^2,\ln b^2)", r"(2\ln a,2\ln b)"
    known = pairs(True, (r"\ln a^2", r"2\ln a"))
    assert finish(compare(one, other, MathGrader(), table(known | pairs(True, (r"\ln b^2", r"2\ln b"))))) is True
    assert finish(compare(one, other, MathGrader(), table(known | pairs(None, (r"\ln b^2", r"2\ln b"))))) is None
    assert finish(compare(one, other, MathGrader(), table(known))) is False


class Says(Open):
    """A grader of a user's, which returns these."""

    def __init__(self, canonical: Any = "a", equivalent: Any = True) -> None:
        self._form, self._verdict = canonical, equivalent

    def canonical(self, answer: str) -> str:
        return self._form if answer == "nonsense" else answer

    def equivalent(self, a: str, b: str) -> Verdict:
        return self._verdict


def test_the_truth_values_of_numpy_are_verdicts() -> None:
    assert vote(["1", "2", "1"], grader=Says(equivalent=np.bool_(True))) == Vote("1", 3, 3)
    assert vote(["1", "2", "1"], grader=Says(equivalent=np.bool_(False))) == Vote("1", 2, 3)


@pytest.mark.parametrize(
    ("grader", "said"),
    [
        (Says(equivalent=None), "Says.equivalent returned None; valid: True, False or pairs of texts"),
        (Says(equivalent="yes"), "Says.equivalent returned 'yes'; valid"),
        (Says(equivalent=0.9), "Says.equivalent returned 0.9; valid"),
        (Says(canonical=float("nan")), "Says.canonical returned nan for 'nonsense'; valid: a text"),
        (Says(canonical=["a"]), r"Says.canonical returned \['a'\]"),
    ],
)
def test_what_is_no_verdict_and_no_form_names_the_grader(grader: Grader, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        vote(["nonsense", "b"], grader=grader)


def test_ties_go_to_the_shortest_representative_then_to_the_first() -> None:
    assert vote(["12", "7", "30"]).answer == "7"
    assert vote(["30", "12"]).answer == "12"
    assert vote(["0.5", r"\frac{1}{2}", r"\frac{1}{2}"]).answer == r"\frac{1}{2}", "the spelling that most used"


LETTERS = "abcdef"
answers = st.lists(st.none() | st.sampled_from(["", *LETTERS]), max_size=12)
verdicts = st.dictionaries(
    st.frozensets(st.sampled_from(LETTERS), min_size=2, max_size=2), st.sampled_from([True, True, False, None])
)


@settings(max_examples=300)
@given(answers, verdicts, st.randoms())
def test_the_vote_does_not_depend_on_the_order_of_the_answers(
    given_answers: list[str | None], known: Table, rng: random.Random
) -> None:
    first = vote(given_answers, known, Open())
    shuffled = given_answers[:]
    rng.shuffle(shuffled)
    assert vote(shuffled, known, Open()) == first
    assert first.total == len(given_answers)


@settings(max_examples=300)
@given(answers, verdicts)
def test_no_two_answers_of_the_majority_differ_and_each_is_equal_to_another(
    given_answers: list[str | None], known: Table
) -> None:
    found = vote(given_answers, known, Open())
    given = [answer for answer in given_answers if answer]
    if not given:
        assert found.answer is None
        return

    def fits(keys: tuple[str, ...]) -> bool:
        apart = any(known.get(frozenset(pair), False) is False for pair in combinations(keys, 2))
        alone = len(keys) > 1 and any(
            not any(known.get(frozenset((key, other))) for other in keys if other != key) for key in keys
        )
        return not apart and not alone

    distinct = sorted(set(given))
    classes = [keys for size in range(1, len(distinct) + 1) for keys in combinations(distinct, size) if fits(keys)]
    sizes = [sum(map(given.count, keys)) for keys in classes if found.answer in keys]
    assert found.count in sizes
    assert found.count >= max(map(given.count, distinct))


mathematical = st.lists(
    st.sampled_from(
        ["50", "0.5", r"50\%", "1/2", "(5,7)", "(7,5)", "5,7", r"\{5,7\}", "x=5", "y=5", "5", r"5\text{ cm}", r"5\text{ m}"]
    ),
    max_size=10,
)


@settings(max_examples=200)
@given(mathematical, st.randoms())
def test_nor_does_it_for_mathematics(given_answers: list[str], rng: random.Random) -> None:
    first = vote(given_answers)
    assert vote(rng.sample(given_answers, len(given_answers))) == first
