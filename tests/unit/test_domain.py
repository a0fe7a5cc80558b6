"""The oracle knows the answers of hand-worked questions, refuses ill-posed ones, and reads back whatever the writers write."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from pipeline.domain.tiny import read as domain
from pipeline.domain.tiny.words import FORMS, LIMIT, TRANSFER_FORM, run
from pipeline.domain.tiny.write import write

SOLVED = [  # question, right answer, difficulty: worked by hand
    ("Compute 12 + 7 - 3.", "16", 2),
    ("What is 5 + 3 * 4?", "17", 3),  # products bind more tightly than sums
    ("Find 2 * 3 * 4 - 30.", "-6", 6),  # bare numbers may go below zero
    ("Calculate 3 + 45.", "48", 2),  # a large number is a harder step
    ("Start with 10. Double it. Then subtract 6. Add 2 times 9. What do you get?", "32", 6),
    ("Take 2 * 6 - 5. Subtract 9. Where do you end?", "-2", 4),
    ("Mia has 14 pens. She buys 3 bags of 4. Later she gives away 6. How many pens does Mia have now?", "20", 4),
    ("Tom owns 8 eggs. The number triples. Count the eggs.", "24", 2),
    ("Machine A adds 7. Machine B doubles. Send 5 through A B A. What comes out?", "31", 4),
    ("Mia has 12 pens. Leo has 7 more than Mia. Ben owns 5 fewer than Mia. How many pens does Ben own?", "7", 2),
    ("Mia has 12 pens. Leo has twice as many as Mia. How many pens do they have together?", "36", 4),
    ("Ruth hides a number. She adds 5. Then she takes away 11. She gets 30. What was the number?", "36", 2),
]

ILL_POSED = [
    "",
    "Compute 12 +.",
    "Compute 12.",  # nothing to work out
    "Compute 012 + 3.",
    "Compute 9^9^9^9.",
    "How many pens does Mia have now?",
    "Mia has 3 pens. She loses 5. How many pens are left?",  # fewer than none
    "Mia has 3 pens. He finds 5 more. How many pens are left?",  # who is he?
    "Mia has 3 pens. She finds 5 more. How many eggs are left?",
    "Mia has 3 pens. She finds 5 more. How many pens does Leo have now?",
    "Mia has 3 pens. Leo has 2 more than Tom. How many pens does Leo have?",  # Tom is unknown
    "Take 2 * 6 -. Subtract 9. Where do you end?",
    "Machine A adds 7. Send 5 through A B. What comes out?",  # so is machine B
    "Machine A adds 7. Machine A doubles. Send 5 through A. What comes out?",
    "Start with 10. Add 7.",
    "Start with 10. Add 7.  What do you get? What do you get?",
    "Prove that there are infinitely many primes.",
    "Compute 1" + " + 1" * 5000 + ".",  # longer than any problem of the domain
    "long " * 50_000,
]


@pytest.mark.parametrize(("question", "answer", "difficulty"), SOLVED)
def test_oracle_agrees_with_hand_worked_answers(question: str, answer: str, difficulty: int) -> None:
    assert domain.true_answer(question) == answer
    assert domain.true_answer(f"  {question}\n") == answer
    assert domain.difficulty(question) == difficulty


@pytest.mark.parametrize("question", ILL_POSED)
def test_oracle_refuses_what_is_not_well_posed(question: str) -> None:
    assert domain.true_answer(question) is None
    assert domain.difficulty(question) is None


@pytest.mark.parametrize("form", [*FORMS, TRANSFER_FORM])
def test_every_written_question_reads_back_as_its_program(form: str) -> None:
    rng = Random(form)
    for _ in range(300):
        question, problem = write(rng, form, rng.randint(1, 9), large=0.2)
        assert domain.parse(question) == problem, question
        assert domain.form_of(question) == form
        values = run(problem)
        lowest = 0 if form in ("story", "compare") else -99  # what is counted or owned is never fewer than none
        assert form == TRANSFER_FORM or lowest <= min(values)
        assert form == TRANSFER_FORM or max(values) <= LIMIT or "together" in question or "in all" in question


def test_solution_without_slips_ends_in_the_true_answer() -> None:
    question = "Mia has 12 pens. Leo has 7 more than Mia. Ben has 5 fewer than Leo. How many pens does Ben have?"
    problem = domain.parse(question)
    assert problem is not None
    assert domain.solution(problem) == "12+7=19\n19-5=14\n\\boxed{14}"


def test_slips_are_carried_on_and_voting_sees_through_them() -> None:
    problem = domain.parse("Start with 12. Add 7. Subtract 5. Add 9. What is the result?")
    assert problem is not None
    rng = Random(0)
    texts = [domain.solution(problem, rng, slip=0.03) for _ in range(400)]
    answers = Counter(text.splitlines()[-1] for text in texts)
    assert answers.most_common(1)[0][0] == "\\boxed{23}"
    assert 0.5 < answers["\\boxed{23}"] / 400 < 0.75  # 0.97 * 0.88 * 0.73 = 0.62: chances grow with the square
    for text in texts:
        steps = [line.partition("=")[::2] for line in text.splitlines()[:-1]]
        assert all(after[0].startswith(before[1]) for before, after in pairwise(steps))


def test_held_out_set_is_seeded_disjoint_and_banded() -> None:
    rows = list(domain.held_out(seed=0))
    assert rows == list(domain.held_out(seed=0)) != list(domain.held_out(seed=1))
    assert Counter(row["band"] for row in rows) == {"easy": 80, "medium": 80, "hard": 80, "transfer": 60}
    assert len({row["question"] for row in rows}) == len(rows)
    for row in rows:
        question = str(row["question"])
        assert domain.is_held_out(question)
        assert (domain.true_answer(question), domain.form_of(question), domain.difficulty(question)) == (
            row["answer"],
            row["form"],
            row["difficulty"],
        )
        if row["band"] in domain.BANDS:
            low, high = domain.BANDS[str(row["band"])]
            assert low <= int(row["difficulty"]) <= high
