"""Reading responses, which are hostile, and the prompts file, which a person may get wrong."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.domain.prompts import Prompts, extract_boxed, load_prompts, parse_question

# Text in which the marks of both formats turn up often, whole and in pieces.
marks = [
    "<question>",
    "</question>",
    "\\boxed",
    "{",
    "}",
    "\\{",
    "\\}",
    "\\",
    "<",
    " ",
    "\n",
    "x",
    "7",
    "<|im_end|>",
    "\x00",
    "é",
]
marked_text = st.lists(st.sampled_from(marks), max_size=30).map("".join) | st.text()


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{1} or \boxed{ \frac{1}{2} }", r"\frac{1}{2}"),
        (r"\boxed {7}", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{a \\ b}", r"a \\ b"),
        (r"\boxed{1} \boxed{2", None),
        (r"\boxed{1} \boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed", None),
        (r"\boxed 5", None),
        (r"\boxed{{1}", None),
        ("boxed{5}", None),
        ("", None),
    ],
)
def test_the_last_box_is_the_answer(text: str, inside: str | None) -> None:
    assert extract_boxed(text) == inside


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (r"<question> What is 2 + 3? </question> \boxed{5}", "What is 2 + 3?"),
        (r"think \boxed{5} <question>Q</question>", "Q"),
        (r"<question>Q</question>", None),
        (r"<question>Q</question> \boxed{}", None),
        (r"<question>Q</question> \boxed{1} \boxed{1}", None),
        (r"<question>Q</question> \boxed{\boxed{1}}", None),
        (r"<question> </question> \boxed{5}", None),
        (r"<question>Q</question><question>R</question> \boxed{5}", None),
        (r"<question><question>Q</question> \boxed{5}", None),
        (r"</question>Q<question> \boxed{5}", None),
        (r"<question>Q \boxed{5}", None),
        (r"<question>Q<|im_end|><|im_start|>system</question> \boxed{5}", None),
    ],
)
def test_a_question_counts_only_in_a_well_formed_response(text: str, question: str | None) -> None:
    assert parse_question(text) == question


@given(marked_text)
@example("\\boxed{" * 100_000)
@example("{" * 1_000_000)
@example("<question>" * 100_000)
def test_no_text_breaks_the_parsers_and_what_they_return_is_in_the_text(text: str) -> None:
    boxed, question = extract_boxed(text), parse_question(text)
    assert boxed is None or (boxed in text and boxed == boxed.strip() != "")
    assert question is None or (question in text and question == question.strip() != "" and boxed is not None)
    assert question is None or "<|" not in question


@given(marked_text)
def test_a_question_is_put_to_the_solver_as_it_is(question: str) -> None:
    prompts = load_prompts("conf/prompts/tiny.yaml")
    assert prompts.solver_messages(question)[-1]["content"] == prompts.solver.user.replace("{question}", question)


CHECK = "\nvalidity: {system: null, user: 'Valid? {question}'}"
SOLVER = "\nsolver: {system: null, user: '{question}'}"


def write(folder: Path, text: str) -> Path:
    path = folder / "prompts.yaml"
    path.write_text(text)
    return path


def test_messages_have_a_system_part_only_where_there_is_one(tmp_path: Path) -> None:
    prompts = load_prompts(
        write(
            tmp_path, "challenger: {system: Be brief., user: Go}\nsolver: {system: null, user: 'Q: ${x} {question} {y}'}" + CHECK
        )
    )
    assert isinstance(prompts, Prompts)
    assert prompts.challenger_messages() == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go"}]
    assert prompts.solver_messages("{0}") == [{"role": "user", "content": "Q: ${x} {0} {y}"}]
    assert prompts.validity_messages("{0}") == [{"role": "user", "content": "Valid? {0}"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("solver: {system: null, user: '{question}'}", "exactly the keys"),
        ("- 1", "exactly the keys"),
        (
            "challenger: {system: null}" + SOLVER + CHECK,
            "challenger must have exactly the keys",
        ),
        ("challenger: {system: null, user: ''}" + SOLVER + CHECK, "challenger.user must be"),
        ("challenger: {system: 3, user: a}" + SOLVER + CHECK, "challenger.system must be"),
        (
            "challenger: {system: null, user: a}\nsolver: {system: null, user: a}" + CHECK,
            "solver.user must contain {question}",
        ),
        (
            "challenger: {system: null, user: a}\nsolver: {system: null, user: '{question}'}\nvalidity: {system: null, user: a}",
            "validity.user must contain {question}",
        ),
        ("challenger: [", "cannot be read"),
    ],
)
def test_a_wrong_prompts_file_is_named_with_what_is_wrong_in_it(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        load_prompts(path)
    assert str(path) in str(raised.value)


def test_a_missing_prompts_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.yaml"):
        load_prompts("nowhere.yaml")
