"""The reward equations, and what must hold of them for any batch."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rewards import challenger_rewards, uncertainty

probabilities = st.floats(0, 1)
questions = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8).map(" ".join)


@given(probabilities)
def test_uncertainty_is_symmetric_about_one_half_and_within_0_and_1(p_hat: float) -> None:
    assert 0 <= uncertainty(p_hat) <= 1
    assert uncertainty(p_hat) == pytest.approx(uncertainty(1 - p_hat), abs=1e-12)


def test_uncertainty_at_the_points_of_the_paper() -> None:
    assert [uncertainty(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match="between 0 and 1"):
        uncertainty(1.1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | questions, probabilities), max_size=10), st.floats(0, 3))
def test_rewards_are_within_0_and_1_and_never_above_the_uncertainty(batch: list[tuple[str | None, float]], weight: float) -> None:
    rewards = challenger_rewards([q for q, _ in batch], [p for _, p in batch], weight=weight)
    assert len(rewards) == len(batch)
    for (question, p_hat), reward in zip(batch, rewards, strict=True):
        assert 0 <= reward <= uncertainty(p_hat)
        assert question is not None or reward == 0


def test_the_equation_on_a_batch_worked_by_hand() -> None:
    same = "how many ways are there to seat five people"
    batch = [same, same, "find the last digit of two to the ninth power", None]
    # r_unc is 1, 0.5, 0.75, and the clusters are 2, 2 and 1 of a batch of 4: the malformed one counts in B alone.
    assert challenger_rewards(batch, [0.5, 0.25, 0.625, 0.5]) == pytest.approx([0.5, 0.0, 0.5, 0.0])
    assert challenger_rewards(batch, [0.5, 0.25, 0.625, 0.5], weight=0.0) == pytest.approx([1.0, 0.5, 0.75, 0.0])


@given(st.integers(1, 30), probabilities)
def test_a_batch_of_copies_is_worth_nothing(size: int, p_hat: float) -> None:
    assert challenger_rewards(["what is one plus one equal to"] * size, [p_hat] * size) == [0.0] * size


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
def test_posing_a_question_once_more_never_raises_its_reward(families: list[int], data: st.DataObject) -> None:
    # Questions of different families share no word, so that a copy joins one cluster and changes no other.
    rng = random.Random(0)
    forms = ["{0} is what {0}1 has when {0}2 leaves {0}3 for {0}4 and {0}5"] * 6
    batch = [form.format(f"w{family}") for family, form in zip(families, forms * 2, strict=False)]
    index = data.draw(st.integers(0, len(batch) - 1))
    before = challenger_rewards(batch, [0.5] * len(batch))[index]
    place = rng.randint(0, len(batch))
    copied = [*batch[:place], batch[index], *batch[place:]]
    after = challenger_rewards(copied, [0.5] * len(copied))
    assert max(reward for question, reward in zip(copied, after, strict=True) if question == batch[index]) <= before + 1e-12


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 questions but 1"):
        challenger_rewards(["a", "b"], [0.5])
