"""Reading responses, which are hostile, and the prompts file, which a person may get wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from conf.errors import ConfigError
from conf.load import load_config
from pipeline.domain.codec import PromptCodec
from pipeline.domain.prompt_file import load_prompts
from pipeline.domain.prompts import Prompts, extract_boxed, parse_question

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
        (r"\boxed{1} \boxed{}", "1"),
        (r"\boxed{5}. Question: 2+2? Put your final answer within \boxed{}.", "5"),
        (r"\boxed{}", None),
        (r"\boxed{5}. Now write \boxed{...} or \boxed{\text{your final answer}}.", "5"),
        (r"\boxed{5}, \boxed{\ldots}, \boxed{___}, \boxed{?}, \boxed{\square}, \boxed{N/A}, \boxed{final_answer}", "5"),
        (r"\boxed{[answer here]} \boxed{答案}", None),
        (r"\boxed{the answer is 5}", "the answer is 5"),
        (r"\boxed{1, 2, \ldots}", r"1, 2, \ldots"),
        (r"\boxed{here}", "here"),
        (r"\boxed{<}", "<"),
        (r"\boxed{42}, so \boxed{a/n}", "a/n"),
        (r"\boxed{\text{Answer: }\pi}", r"\text{Answer: }\pi"),
        (r"\boxed{5} \boxed{\boxed{...}} \boxed{\_\_\_} \boxed{\underline{\quad}}", "5"),
        (r"\boxed{-}", "-"),
        (r"\boxed{[]}", "[]"),
        (r"\boxed{ }", None),
        (r"\boxed", None),
        (r"\boxed 5", "5"),
        (r"so $\boxed -12$.", "-12"),
        (r"\boxed 42.", "42"),
        (r"\boxed 1,000, as asked", "1,000"),
        (r"\boxed \frac{1}{ 2 } cm", r"\frac{1}{ 2 }"),
        (r"\boxed\frac12", r"\frac12"),
        (r"\boxed (1, 2]", "(1, 2]"),
        (r"\boxed x", "x"),
        (r"\boxed x=5$", "x=5"),
        (r"(that is \boxed 5)", "5"),
        (r"\(\boxed 7\)", "7"),
        (r"\boxed{3} is what I put in \boxed as asked", "3"),
        (r"\boxed{3}, in `\boxed`.", "3"),
        (r"\boxed{3} in \boxed" + "\n2. Next", "3"),
        (r"\boxed " + "7" * 200, None),
        (r"\boxed (1", None),
        (r"\boxedtext{5}", None),
        (r"\fbox{42}", "42"),
        (r"\boxed{1} \fbox{ $x + 1$ }", "$x + 1$"),
        (r"\fbox 42", "42"),
        (r"\boxed \boxed{4}", "4"),
        (r"\boxed{{1}", None),
        ("boxed{5}", None),
        ("", None),
    ],
)
def test_the_last_box_is_the_answer(text: str, inside: str | None) -> None:
    assert extract_boxed(text) == inside


SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


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
        (r"<question>Q</question> \boxed{5} <|im_end|>", None),
        (r"<question>Solve |x-1|<|x+2|.</question> \boxed{x>-1/2}", "Solve |x-1|<|x+2|."),
        (r"<question>Is <|a|> so?</question> \fbox{5}", "Is <|a|> so?"),
        (r"<question>Q</question> \boxed 5", "Q"),
        (r"<question>Q</question> \boxed{5} or \fbox{6}", None),
        (r"<question>Q</question> \boxed{5} or \boxed 6", None),
    ],
)
def test_a_question_counts_only_in_a_well_formed_response(text: str, question: str | None) -> None:
    assert parse_question(text, SPECIAL_TOKENS) == question


def test_the_marks_of_the_format_may_be_special_tokens() -> None:
    assert parse_question(r"<question>Q</question> \boxed{5}", ["<question>", "</question>"]) == "Q"


@pytest.mark.parametrize(
    ("question", "is_echo"),
    [
        ("the full text of the problem", True),
        ("The full text of the problem.", True),
        ("[the full text\nof the problem]", True),
        ("{question}", True),
        ("Write ONE new problem.", True),
        ("In the full text of the problem, how many letters are there?", False),
        ("What is 2 + 3?", False),
        ("e", False),
        ("∑", False),
    ],
)
def test_an_echo_of_the_prompts_is_no_question(question: str, is_echo: bool) -> None:
    prompts = load_prompts("conf/prompts/reasoning.yaml")
    response = f"<question>{question}</question> \\boxed{{5}}"
    assert parse_question(response, prompts=prompts.text) == (None if is_echo else question)
    assert parse_question(response) == question


@given(marked_text)
@example("\\boxed{" * 100_000)
@example("{" * 1_000_000)
@example("<question>" * 100_000)
@example("\\boxed" * 100_000)
@example("\\boxed 1(" * 100_000)
@example("\\fbox" + " " * 1_000_000)
def test_no_text_breaks_the_parsers_and_what_they_return_is_in_the_text(text: str) -> None:
    boxed, question = extract_boxed(text), parse_question(text, SPECIAL_TOKENS, "x 7")
    assert boxed is None or (boxed in text and boxed == boxed.strip() != "")
    assert question is None or (question in text and question == question.strip() != "" and boxed is not None)
    assert question is None or "<|im_end|>" not in text


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


def tiny_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained("assets/tiny-base")


def test_the_codec_refuses_every_special_token_of_the_tokenizer_and_no_other_text() -> None:
    codec = PromptCodec(load_config(), load_prompts("conf/prompts/tiny.yaml"), tiny_tokenizer())
    response = "<question>Is {} so?</question> \\boxed{{5}}"
    for token in SPECIAL_TOKENS:
        assert codec.question(response.format(token)) is None
    assert codec.question(response.format("|x-1|<|x+2|")) == "Is |x-1|<|x+2| so?"
    assert codec.question("<question>Write a problem.</question> \\boxed{5}") is None


@pytest.mark.parametrize("role", ["challenger", "solver"])
def test_a_chat_template_without_a_system_role_is_told(role: str, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    system = {name: "Be brief." if name == role else "null" for name in ("challenger", "solver", "validity")}
    text = "\n".join(f"{name}: {{system: {value}, user: 'Go {{question}}'}}" for name, value in system.items())
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=r"prompts=.*: the model's chat template rejects them: no system role; valid:"):
        PromptCodec(load_config(overrides=[f"prompts={path}"]), load_prompts(path), tokenizer).check()


def test_a_missing_prompts_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.yaml"):
        load_prompts("nowhere.yaml")
