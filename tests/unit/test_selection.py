"""What each rule of the curriculum keeps, and what is made of a question whose verdict is known by construction."""

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipeline.curriculum
from conf.errors import ConfigError
from conf.load import load_config
from conf.schema import CurriculumConfig, RewardConfig
from pipeline.algorithm.rewards import QuestionBatch, zone
from pipeline.algorithm.selection import keeps, surest
from pipeline.algorithm.verdicts import constructed_verdicts, ill_posed, sentences
from pipeline.curriculum import Part, label_questions
from pipeline.domain.tiny.read import true_answer
from pipeline.store.tables import CurriculumRow, write_table
from pipeline.types import AnsweredQuestion, Vote

FIRST = "Start with 23. Increase it by 15. Next subtract 6. What number is it now?"
SECOND = "Zoe owns 32 cards. Later she buys 11 more. She finds 5 more. How many cards does Zoe have now?"


def item(count: int, *, question: str = "q", invalid: float = 0.0, confidence: float | None = None) -> AnsweredQuestion:
    return AnsweredQuestion(question, (), Vote("7" if count else None, count, 8), invalid, confidence)


@pytest.mark.parametrize(("peak", "best"), [(0.75, 6), (0.5, 4)])
def test_the_zone_is_worth_most_at_its_peak(peak: float, best: int) -> None:
    counts = range(1, 9)
    batch = QuestionBatch(tuple(item(count) for count in counts), tuple(counts), RewardConfig(peak=peak))
    rewards = zone(batch, [9.0] * 8)
    assert max(rewards) == rewards[best - 1] == 1.0
    assert rewards[7] == pytest.approx(max(0, 1 - (1 - peak) / 0.4))
    assert rewards[0] == 0.0 or peak == 0.5


def test_votes_are_kept_in_place_of_a_distance_from_a_half() -> None:
    settings = CurriculumConfig(keep=[4, 7], delta=0.0)
    assert [count for count in range(9) if keeps(item(count), settings)] == [4, 5, 6, 7]
    assert not keeps(item(5, invalid=0.75), settings)


def test_the_gate_ranks_confidence_and_verdicts() -> None:
    sure, unsure, doubted = item(4, confidence=-0.1), item(4, confidence=-3.0), item(4, confidence=-0.2, invalid=0.4)
    assert surest([unsure, doubted, sure], 0.3) == [False, False, True]
    assert surest([unsure, doubted, sure], 0.5) == [True, False, True]  # of two with equal ranks the first
    assert surest([unsure, doubted, sure], 1.0) == [True] * 3
    assert surest([item(4, confidence=None), sure], 0.5) == [False, True]
    assert surest([], 0.5) == []


@pytest.mark.parametrize(
    ("round_", "agreement", "confident", "kept"),
    [(1, 2, 1.0, [0, 1, 3]), (2, 2, 1.0, [1, 3]), (2, 3, 1.0, [3]), (2, 0, 0.6, [0, 1]), (2, 2, 0.6, [1])],
)
def test_a_label_is_kept_where_the_previous_solver_agrees(
    round_: int, agreement: int, confident: float, kept: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the first round there is no previous Solver; the gate comes first, so that fewer answers are drawn."""
    settings = CurriculumConfig(agreement=agreement, confident=confident)
    items = [item(4, confidence=-0.1), item(3, confidence=-0.2), item(8, confidence=-0.1), item(5, confidence=-2.0)]
    shares = {"a": 1 / 8, "b": 2 / 8, "d": 3 / 8}
    items = [AnsweredQuestion(name, (), each.vote, 0.0, each.confidence) for name, each in zip("abcd", items, strict=True)]
    asked: list[int] = []

    def agreed(run: Any, parts: dict[Any, list[tuple[str, str]]], policy: int) -> Iterator[tuple[Any, list[float]]]:
        asked.append(policy)
        for path, pairs in parts.items():
            assert {label for _, label in pairs} <= {"7"}
            yield path, [shares[question] for question, _ in pairs]

    part = Part(0, 4, tmp_path)
    write_table(part.written, CurriculumRow, [CurriculumRow(AnsweredQuestion(name), False) for name in "abcd"])
    monkeypatch.setattr(pipeline.curriculum, "answer_parts", lambda run, parts, *arguments: ((path, items) for path in parts))
    monkeypatch.setattr(pipeline.curriculum, "draw_agreement", agreed)
    config = SimpleNamespace(curriculum=settings, reward=RewardConfig(samples=8))
    run: Any = SimpleNamespace(config=config, needs=frozenset(), labelling_policy=lambda number: number)
    ((_, rows),) = label_questions(run, round_, [part])
    assert [place for place, row in enumerate(rows) if row.kept] == kept
    assert asked == ([1] if agreement and round_ > 1 else [])
    assert all((row.agreement is None) == (not asked or row.answered.question not in shares) for row in rows if row.kept)


@pytest.mark.parametrize(
    "setting", ["curriculum.keep=[4]", "curriculum.keep=[5,4]", "curriculum.keep=[1,11]", "curriculum.keep=[0,4]"]
)
def test_votes_that_cannot_be_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"curriculum\.keep=.*fewest and the most votes of reward\.samples=10"):
        load_config("tiny", [setting])
    with pytest.raises(ConfigError, match=r"curriculum\.agreement=11: valid: at most"):
        load_config("tiny", ["curriculum.agreement=11"])


def test_every_rule_is_off_by_default_and_in_the_papers_preset() -> None:
    for config in (load_config(), load_config("tiny", ["preset=paper"])):
        rules = config.curriculum
        assert (rules.keep, rules.confident, rules.agreement, rules.replay) == ([], 1.0, 0, 0)
        assert (config.solver.resample, config.solver.verdicts, config.solver.schedule) == (0, 0.0, "constant")
        assert config.solver.average == 0
        assert config.grpo.reference == "start"
        assert "zone" not in config.reward.scorers


def test_verdicts_by_construction_are_balanced_and_right() -> None:
    items = [item(8, question=FIRST), item(7, question=SECOND), item(4, question=FIRST), item(8, question="What is 2 + 3?")]
    assert all(true_answer(question) for question in (FIRST, SECOND))
    pairs = constructed_verdicts(items, 0)
    assert pairs == constructed_verdicts(items, 0) != constructed_verdicts(items, 1)
    assert [question for question, verdict in pairs if verdict == "valid"] == [FIRST, SECOND]
    assert [verdict for _, verdict in pairs] == ["valid", "invalid"] * 2
    for seed in range(40):
        assert all(true_answer(text) is None for text, verdict in constructed_verdicts(items, seed) if verdict == "invalid")


def test_a_question_is_made_ill_posed_in_each_way() -> None:
    made = {ill_posed(FIRST, [SECOND], random.Random(seed)) for seed in range(40)}
    parts = sentences(FIRST)
    assert made == {" ".join(each) for each in (parts[1:], parts[:-1], [parts[0], "Zoe owns 32 cards.", *parts[1:]])}
