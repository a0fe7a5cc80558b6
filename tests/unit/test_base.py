"""The text that the tiny base learns from: what it may show, and what it must not."""

from random import Random

import pytest

from jobs.base import examples, spoiled
from pipeline.domain.tiny import read as domain
from pipeline.domain.tiny.words import TRANSFER_FORM

Examples = list[tuple[str, str]]


@pytest.fixture(scope="module")
def shown() -> Examples:
    """(what is asked, the reply) of some thousand examples."""
    return [(chat[-1]["content"], reply) for chat, reply in examples(Random(0), 4000)]


def test_no_question_of_the_held_out_eighth_is_shown(shown: Examples) -> None:
    solved = [asked.removeprefix("Solve:\n") for asked, _ in shown if asked.startswith("Solve:")]
    posed = [reply.partition("</question>")[0].removeprefix("<question>") for _, reply in shown if reply.startswith("<question>")]
    assert min(len(solved), len(posed)) > 1000
    assert not any(map(domain.is_held_out, solved + posed))
    assert {domain.form_of(question) for question in solved} == {domain.form_of(question) for question in posed} | {TRANSFER_FORM}


def test_verdicts_are_the_oracles(shown: Examples) -> None:
    verdicts = [(asked.removeprefix("Check:\n"), reply) for asked, reply in shown if asked.startswith("Check:")]
    assert {reply for _, reply in verdicts} == {"\\boxed{valid}", "\\boxed{invalid}"}
    for question, reply in verdicts:
        assert reply == f"\\boxed{{{'invalid' if domain.true_answer(question) is None else 'valid'}}}"


def test_most_spoiled_questions_have_no_answer() -> None:
    question = "Mia has 12 pens. She finds 7 more. Later she loses 5. How many pens does Mia have now?"
    other = "Machine A adds 7. Machine B doubles. Send 5 through A B A. What comes out?"
    texts = [spoiled(question, other, Random(seed)) for seed in range(200)]
    assert len(set(texts)) > 30
    assert 0.5 < sum(domain.parse(text) is None for text in texts) / 200 < 0.95
