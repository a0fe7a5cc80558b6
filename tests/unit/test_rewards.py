"""The reward equations, what must hold of them for any batch, and what each scorer beyond the paper changes."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import cloudpickle

from conf.schema import RewardConfig
from pipeline.algorithm.rewards import (
    QuestionBatch,
    Scorer,
    band,
    find_scorer,
    memory,
    needs,
    needs_of,
    official,
    question_clusters,
    repetition,
    score,
    score_questions,
    triangular,
    uncertainty,
    validity,
    variance,
)
from pipeline.errors import ScorerError
from pipeline.types import AnsweredQuestion, Vote

counts = st.integers(0, 10)
questions = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8).map(" ".join)
batches = st.lists(st.tuples(st.none() | questions, counts), max_size=10)

SAME = "how many ways are there to seat five people"
OTHER = "find the last digit of two to the ninth power"


def make_batch(
    asked: Sequence[str | None],
    agreeing: Sequence[int],
    m: int = 10,
    weight: float = 1.0,
    invalid: Sequence[float] | None = None,
    earlier: Sequence[str] = (),
) -> QuestionBatch:
    """A batch in which `agreeing[i]` of the m answers to question i are the majority."""
    votes = [
        Vote("7", count, m) if question is not None and count else Vote(None, 0, m if question is not None else 0)
        for question, count in zip(asked, agreeing, strict=True)
    ]
    answered = [
        AnsweredQuestion(question, ("7",) * vote.count + (None,) * (vote.total - vote.count), vote, share)
        for question, vote, share in zip(asked, votes, invalid or [0.0] * len(asked), strict=True)
    ]
    clusters = tuple(question_clusters(asked))
    return QuestionBatch(tuple(answered), clusters, RewardConfig(lambda_=weight), tuple(earlier), invalid is not None)


def rewards(batch: QuestionBatch, scorers: Sequence[Scorer]) -> list[float]:
    return score(batch, scorers)[0]


def paper(batch: QuestionBatch) -> list[float]:
    return rewards(batch, [triangular, repetition])


@given(st.floats(0, 1))
def test_uncertainty_is_symmetric_about_one_half_and_within_0_and_1(p_hat: float) -> None:
    assert 0 <= uncertainty(p_hat) <= 1
    assert uncertainty(p_hat) == pytest.approx(uncertainty(1 - p_hat), abs=1e-12)


def test_uncertainty_at_the_points_of_the_paper() -> None:
    assert [uncertainty(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match=r"p_hat=1\.1: a share of answers; valid: 0 to 1"):
        uncertainty(1.1)


@given(batches, st.floats(0, 3))
def test_rewards_are_within_0_and_1_and_never_above_the_uncertainty(batch: list[tuple[str | None, int]], weight: float) -> None:
    earned = paper(make_batch([q for q, _ in batch], [count for _, count in batch], weight=weight))
    assert len(earned) == len(batch)
    for (question, count), reward in zip(batch, earned, strict=True):
        assert 0 <= reward <= uncertainty(count / 10)
        assert question is not None or reward == 0


def test_the_equation_on_a_batch_worked_by_hand() -> None:
    asked = [SAME, SAME, OTHER, None]
    # r_unc is 1, 0.5, 0.75, and the clusters are 2, 2 and 1 of a batch of 4: the malformed one counts in B alone.
    assert paper(make_batch(asked, [4, 2, 5, 4], m=8)) == pytest.approx([0.5, 0.0, 0.5, 0.0])
    assert paper(make_batch(asked, [4, 2, 5, 4], m=8, weight=0.0)) == pytest.approx([1.0, 0.5, 0.75, 0.0])


@given(st.integers(1, 30), counts, st.sampled_from(["what is one plus one equal to", "Compute 2+3.", "x"]) | st.text(max_size=8))
def test_a_batch_of_copies_is_worth_nothing(size: int, count: int, question: str) -> None:
    assert paper(make_batch([question] * size, [count] * size)) == [0.0] * size


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
def test_posing_a_question_once_more_never_raises_its_reward(families: list[int], data: st.DataObject) -> None:
    # Questions of different families share no word, so that a copy joins one cluster and changes no other. Without that it
    # can: a copy moves the averages of average linkage, and about one random batch in 4000 falls apart into smaller clusters.
    rng = random.Random(0)
    form = "{0} is what {0}1 has when {0}2 leaves {0}3 for {0}4 and {0}5"
    asked = [form.format(f"w{family}") for family in families]
    index = data.draw(st.integers(0, len(asked) - 1))
    before = paper(make_batch(asked, [5] * len(asked)))[index]
    place = rng.randint(0, len(asked))
    copied = [*asked[:place], asked[index], *asked[place:]]
    after = paper(make_batch(copied, [5] * len(copied)))
    assert max(reward for question, reward in zip(copied, after, strict=True) if question == asked[index]) <= before + 1e-12


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (triangular, [0.0, 0.2, 1.0, 0.4, 0.0]),
        (band, [0.0, 1.0, 1.0, 1.0, 0.0]),
        (variance, [0.0, 0.36, 1.0, 0.64, 0.0]),
    ],
)
def test_the_shapes_of_the_reward_differ_between_the_ends_and_agree_at_them(shape: Scorer, expected: list[float]) -> None:
    asked: list[str | None] = [f"q{index}" for index in range(5)]
    assert rewards(make_batch(asked, [0, 1, 5, 8, 10]), [shape]) == pytest.approx(expected)


def test_the_validity_vote_drops_what_most_verdicts_call_ill_posed() -> None:
    batch = make_batch(["a", "b", "c"], [5, 5, 5], invalid=[0.6, 0.5, 0.0])
    assert rewards(batch, [triangular, validity]) == [0.0, 1.0, 1.0]


def test_memory_takes_off_the_similarity_to_earlier_questions_which_repetition_does_not_see() -> None:
    near = SAME.replace("five", "nine")
    batch = make_batch([SAME, OTHER, near], [5, 5, 5], earlier=[SAME])
    without, with_memory = rewards(batch, [triangular]), rewards(batch, [triangular, memory])
    assert without == [1.0, 1.0, 1.0]
    assert with_memory[0] == 0.0, "posed before, word for word"
    assert with_memory[1] == 1.0, "new"
    assert 0.0 < with_memory[2] < 0.5, "BLEU with one word changed"
    assert rewards(make_batch([SAME, OTHER], [5, 5]), [triangular, memory]) == [1.0, 1.0]


def test_the_public_codes_reward_is_half_as_high_not_clipped_and_minus_one_for_a_malformed_response() -> None:
    batch = make_batch([SAME, SAME, OTHER, None], [4, 8, 2, 0], m=8)
    assert rewards(batch, [official]) == pytest.approx([0.5 - 0.5, 0.0 - 0.5, 0.25 - 0.25, -1.0])


def test_a_malformed_response_is_worth_nothing_whatever_a_scorer_says() -> None:
    assert rewards(make_batch([None, "a"], [0, 5]), [lambda batch, rewards: [0.7, 0.7]]) == [0.0, 0.7]


def test_a_scorer_of_ones_own_is_a_function_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def short(batch, rewards):\n    return [r / max(1, len(q) - 2) for q, r in zip(batch.questions, rewards)]\n")
    scorers = [find_scorer("triangular"), find_scorer(f"{file}:short")]
    assert rewards(make_batch(["abc", "abcd"], [5, 5]), scorers) == [1.0, 0.5]


def test_a_users_file_may_have_dataclasses_and_the_name_of_a_module(tmp_path: Path) -> None:
    file = tmp_path / "json.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
        "@dataclass\nclass Share:\n    whole: float\n\n\n"
        "def half(batch, rewards):\n    return [r / Share(2).whole for r in rewards]\n"
    )
    sent = cloudpickle.loads(cloudpickle.dumps(find_scorer(f"{file}:half")))
    assert rewards(make_batch(["abc"], [5]), [find_scorer("triangular"), sent]) == [0.5]


def test_the_example_of_a_scorer_halves_the_reward_of_long_questions() -> None:
    scorers = [find_scorer("triangular"), find_scorer("examples/length_scorer.py:short")]
    asked = ["word " * 20, "word " * 21, None]
    assert rewards(make_batch(asked, [5, 5, 5]), scorers) == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("text", "function", "said"),
    [
        ("def f(): pass", "g", "has no function g"),
        ("1 +", "f", "fails to run: SyntaxError"),
        ("import sys\nsys.exit(0)", "f", "fails to run: SystemExit"),
        (None, "f", "no such scorer; valid: triangular, zone, band, variance, official, repetition, memory, validity, or path"),
    ],
)
def test_a_scorer_that_cannot_be_had_is_named(tmp_path: Path, text: str | None, function: str, said: str) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=said):
        find_scorer(f"{file}:{function}")


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        (lambda batch, rewards: [float("inf")], r"returned a reward of inf; valid: 1 numbers of at most 1e\+09"),
        (lambda batch, rewards: [-1e200], r"returned a reward of -1e\+200"),
        (lambda batch, rewards: [float("nan")], "returned a reward of nan"),
        (lambda batch, rewards: [], "returned 0 rewards"),
        (lambda batch, rewards: batch.nothing, r"AttributeError.*test_rewards.py, line \d+"),
    ],
)
def test_what_is_no_reward_stops_the_run_and_names_the_scorer(scorer: Callable, said: str) -> None:
    with pytest.raises(ScorerError, match=said):
        rewards(make_batch(["a"], [5]), [scorer])


def test_what_each_scorer_added_is_recorded_and_adds_up_to_the_reward() -> None:
    batch = make_batch([SAME, SAME, OTHER, None], [4, 2, 5, 4], m=8)

    def mine(batch: QuestionBatch, rewards: list[float]) -> list[float]:
        return [reward + 0.25 for reward in rewards]

    scored = score_questions(batch.answered, [triangular, mine, repetition, mine], batch.config, "solver-r1-s0")
    assert [question.parts for question in scored] == [
        pytest.approx({"triangular": 1.0, "mine": 0.5, "repetition": -0.5}),
        pytest.approx({"triangular": 0.5, "mine": 0.5, "repetition": -0.5}),
        pytest.approx({"triangular": 0.75, "mine": 0.5, "repetition": -0.25}),
        pytest.approx({"triangular": 0.0, "mine": 0.0, "repetition": 0.0}),
    ]
    assert [question.reward for question in scored] == pytest.approx([sum(question.parts.values()) for question in scored])
    assert {question.labelled_by for question in scored} == {"solver-r1-s0"}


def test_scorers_get_what_they_declare_and_no_scorer_reads_what_none_declared() -> None:
    @needs("earlier", "verdicts")
    def mine(batch: QuestionBatch, rewards: list[float]) -> list[float]:
        return [float(len(batch.earlier) + share) for share in batch.invalid]

    assert needs_of([triangular, repetition]) == frozenset()
    assert needs_of([triangular, memory, validity]) == {"earlier", "verdicts"}
    answered = [AnsweredQuestion("a", ("7", "8"), Vote("7", 1, 2), 0.5)]
    (scored,) = score_questions(answered, [mine], RewardConfig(), "v", earlier=["b", "c"])
    assert scored.reward == 2.5
    undeclared = [lambda batch, rewards: batch.earlier, lambda batch, rewards: batch.invalid]
    for scorer, need in zip(undeclared, ("earlier", "verdicts"), strict=True):
        with pytest.raises(ScorerError, match=rf"@needs\('{need}'\)"):
            score_questions(answered, [scorer], RewardConfig(), "v")
    with pytest.raises(ValueError, match=r"needs\(answers\): valid: verdicts, earlier"):
        needs("answers")  # type: ignore[arg-type]
