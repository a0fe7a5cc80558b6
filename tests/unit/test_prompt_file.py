"""What is wrong in a prompts file, or in a file of questions that it names, is told in one line."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.prompt_file import load_prompts
from tests.prompt_files import POSED, write


@pytest.mark.parametrize(
    ("role", "keys", "said"),
    [
        ("challenger", {"prefil": "x"}, "challenger must have exactly the keys ['system', 'user'] and any of ['examples',"),
        ("challenger", {"prefill": 3}, "challenger.prefill must be a text, with which each response begins, not 3"),
        ("solver", {"prefill": ["a"]}, "solver.prefill must be a text"),
        ("challenger", {"template": "jinja"}, "challenger.template must be chat or plain, not 'jinja'"),
        ("validity", {"template": True}, "validity.template must be chat or plain, not True"),
        ("solver", {"template_arguments": "enable_thinking"}, "solver.template_arguments must be arguments of the chat"),
        ("solver", {"template_arguments": {"a b": 1}}, "solver.template_arguments must be arguments of the chat"),
        ("solver", {"template_arguments": {1: 1}}, "solver.template_arguments must be arguments of the chat"),
        ("solver", {"template_arguments": {"a": [1]}}, "a must be true, false, a number or a text, not [1]"),
        ("solver", {"template_arguments": {"a": None}}, "a must be true, false, a number or a text, not None"),
        ("solver", {"template": "plain", "template_arguments": {"a": 1}}, "are for a chat template, and solver.template is"),
        ("solver", {"stop": "\n\n"}, 'solver.stop must be a list of non-empty texts, such as ["\\n\\n"], not \'\\n\\n\''),
        ("solver", {"stop": [""]}, "solver.stop must be a list of non-empty texts"),
        ("solver", {"stop": ["a", 3]}, "solver.stop must be a list of non-empty texts"),
        ("solver", {"stop": {"a": "b"}}, "solver.stop must be a list of non-empty texts"),
        ("challenger", {"stop": ["</question>"]}, "a response ends before '</question>'"),
        ("challenger", {"stop": ["<question>"]}, "a response ends before '<question>'"),
        ("challenger", {"stop": ["\n", "}"]}, "a response ends before '}'"),
        ("challenger", {"examples": "a"}, "examples must be a list, or a mapping with the keys file and per_prompt, not 'a'"),
        ("challenger", {"examples": ["What is 1 + 1?"]}, "challenger.examples: number 1 must be a well-formed response"),
        ("challenger", {"examples": [POSED.format(1, 1), 7]}, "challenger.examples: number 2 must be a well-formed response"),
        ("challenger", {"examples": [POSED.format("1\n\n2", 1)], "stop": ["\n\n"]}, "number 1 contains '\\n\\n', before which"),
        ("solver", {"examples": ["a"]}, "number 1 must have exactly the keys ['answer', 'question'], found 'a'"),
        ("solver", {"examples": [{"question": "a"}]}, "examples: number 1 must have exactly the keys ['answer', 'question']"),
        ("solver", {"examples": [{"question": "a", "answer": " "}]}, "number 1: answer must be a non-empty text, not ' '"),
        ("solver", {"examples": [{"question": 1, "answer": "a"}]}, "number 1: question must be a non-empty text, not 1"),
        ("solver", {"examples": {"file": "own", "per_prompt": 1}}, "solver.examples must be a list, not {'file': 'own'"),
        ("challenger", {"examples": {"file": "own"}}, "challenger.examples must have exactly the keys ['file',"),
        ("challenger", {"examples": {"file": "own", "per_prompt": 0}}, "per_prompt must be the number of questions in"),
        ("challenger", {"examples": {"file": "own", "per_prompt": True}}, "per_prompt must be the number of questions in"),
        ("challenger", {"examples": {"file": "own", "per_prompt": "3"}}, "1 or more, not '3'"),
        ("challenger", {"examples": {"file": 3, "per_prompt": 1}}, "examples.file must be a file of questions, or own, not 3"),
        ("challenger", {"examples": {"file": "none.jsonl", "per_prompt": 1}}, "none.jsonl is no file"),
        ("challenger", {"examples": {"file": "prompts.yaml", "per_prompt": 1}}, "prompts.yaml is no file of questions; valid:"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_told_in_one_line(tmp_path: Path, role: str, keys: dict[str, Any], said: str) -> None:
    path = write(tmp_path, role, **keys)
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        load_prompts(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("formula", ["${n}$", "${\\frac{1}{2}}$", "${a b}$", "${", "???", "{examples} {0}"])
def test_formulas_are_taken_as_they_are(tmp_path: Path, formula: str) -> None:
    example = f"<question>{formula} a?</question>\n\\boxed{{1}}"
    prompt = load_prompts(write(tmp_path, system=formula, user=formula, prefill=formula, examples=[example])).challenger
    assert (prompt.system, prompt.user, prompt.prefill, prompt.examples[0].answer) == (formula, formula, formula, example)


NO_YAML = [
    "challenger: [",
    "challenger: {a: b\n  c: d",
    "? [1]\n: 2",
    "a: 1\na: 2",
    "\0",
    "a: !!python/object:os.system x",
    "[" * 999,
]


@pytest.mark.parametrize("text", NO_YAML, ids=range(len(NO_YAML)))
def test_a_file_that_is_no_yaml_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "prompts.yaml").write_text(text)
    with pytest.raises(ValueError, match="cannot be read: ") as raised:
        load_prompts(tmp_path / "prompts.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"answer": 1}', "row 1: column question must be a non-empty text, not None"),
        ('{"question": " "}', "row 1: column question must be a non-empty text"),
        ('{"question": "a?", "answer": true}', "row 1: column answer must be a text or number, not True"),
        ('{"question": "a?", "answer": "\\\\boxed{1}"}', "row 1 cannot be written as <question>...</question>"),
        ('{"question": "<question>a?", "answer": 1}', "row 1 cannot be written as <question>...</question>"),
        ('{"question": "a?"}', "per_prompt=2: "),
        ("", "has 0 questions; valid: at most that"),
        ("[", "cannot be read as jsonl: line 1"),
    ],
)
def test_a_wrong_file_of_questions_is_told_in_one_line(tmp_path: Path, content: str, said: str) -> None:
    path = write(tmp_path, examples={"file": "questions.jsonl", "per_prompt": 2})
    (tmp_path / "questions.jsonl").write_text(content)
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        load_prompts(path)
    assert "\n" not in str(raised.value)
