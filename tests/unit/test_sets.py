"""Definitions of benchmark sets, the rows of their files, the problems in them, and how those are put to a Solver."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conf.errors import ConfigError
from conf.load import ROOT, resolve
from pipeline.domain.problems import Problem, checksum, to_problems
from pipeline.domain.prompt_file import load_prompts
from pipeline.domain.rows import read_rows
from pipeline.domain.set_prompts import BOXED, LETTER, set_messages
from pipeline.domain.sets import CATALOGUE, BenchmarkSet, Column, find_sets, parse_set, read_sets
from pipeline.store.benchmarks import read_problems, split_files

SETS = {each.name: each for each in read_sets(CATALOGUE)}
PROMPTS = load_prompts(ROOT / "conf" / "prompts" / "reasoning.yaml")


def parsed(**fields: Any) -> BenchmarkSet:
    return parse_set("mine", {"path": "mine.jsonl"} | fields, Path())


def problem(row: dict[str, object], **fields: Any) -> Problem:
    return to_problems(parsed(**fields), [row])[0]


# --- definitions


def test_the_ten_sets_are_asked_and_graded_as_in_the_paper() -> None:
    groups = {group: [name for name, each in SETS.items() if each.group == group] for group in ("math", "general")}
    assert groups == {
        "math": ["math500", "gsm8k", "amc23", "minerva_math", "olympiadbench", "aime24", "aime25"],
        "general": ["supergpqa", "mmlu_pro", "bbeh"],
    }
    assert {name: each.samples for name, each in SETS.items() if each.samples} == {"amc23": 32, "aime24": 32, "aime25": 32}
    assert {each.max_tokens for each in SETS.values() if each.group == "math"} == {4096}
    assert {each.max_tokens for each in SETS.values() if each.group == "general"} == {8192}
    assert [SETS[name].grader for name in groups["general"]] == ["choice", "choice", "exact"]
    assert {SETS[name].prompt for name in groups["math"]} == {"solver"}
    assert SETS["gsm8k"].columns.answer == Column("answer", after="#### ")
    assert SETS["olympiadbench"].columns.answer == Column("final_answer", index=0)


def test_a_set_of_ones_own_takes_a_few_lines(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.jsonl").write_text('{"q": "1 + 1?", "a": "2"}\n')
    (tmp_path / "sets.yaml").write_text(
        "mine:\n  path: data/mine.jsonl\n  columns: {question: q, answer: a}\nhub-set:\n  hub: me/mine\n  grader: exact\n"
    )
    mine, hub_set = find_sets([str(tmp_path / "sets.yaml")])
    assert read_problems(mine) == [Problem("1 + 1?", "2", "0")]
    assert (hub_set.grader, hub_set.prompt, hub_set.split) == ("exact", "boxed", "test")


def test_the_example_of_the_documentation_can_be_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    (tmp_path / "sets.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    chemistry, capitals = read_sets(tmp_path / "sets.yaml")
    assert (chemistry.path, chemistry.grader) == (str(tmp_path / "chemistry.csv"), "exact")
    assert (capitals.split, capitals.prompt) == ("validation", "choice")


def test_a_selection_mixes_names_definitions_and_data_files(tmp_path: Path) -> None:
    (tmp_path / "sets.yaml").write_text("mine: {hub: me/mine}\n")
    (tmp_path / "held.csv").write_text("question,answer\n1 + 1?,2\n")
    chosen = find_sets(["aime24", str(tmp_path / "sets.yaml"), str(tmp_path / "held.csv")])
    assert [each.name for each in chosen] == ["aime24", "mine", "held"]
    assert read_problems(chosen[2]) == [Problem("1 + 1?", "2", "0")]
    assert find_sets([]) == []


def test_a_file_named_after_a_set_is_asked_and_graded_as_that_set(tmp_path: Path) -> None:
    (tmp_path / "bbeh.jsonl").write_text('{"question": "Yes or no?", "answer": "yes", "subject": "words"}\n')
    (tmp_path / "quiz.jsonl").write_text('{"question": "1 + 1?", "answer": "B", "options": ["1", "2"]}\n')
    known, quiz = find_sets([str(tmp_path / "bbeh.jsonl"), str(tmp_path / "quiz.jsonl")])
    assert (known.name, known.grader, known.prompt, known.group, known.hub) == ("bbeh", "exact", "boxed", "general", None)
    assert read_problems(known) == [Problem("Yes or no?", "yes", "0", subject="words")]
    assert (quiz.grader, quiz.prompt) == ("choice", "choice")
    assert read_problems(quiz) == [Problem("1 + 1?", "B", "0", options=("1", "2"))]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["math50"], r"SETS=math50: no such set; valid: math500, .*, a \.yaml file"),
        (["aime24", "amc23", "aime24"], "SETS: aime24 is named more than once"),
        (["nowhere.yaml"], r"nowhere\.yaml: cannot be read as YAML"),
    ],
)
def test_a_selection_that_does_not_fit_is_told(chosen: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_sets(chosen)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hub": "me/mine"}, "set mine: hub=me/mine, path=mine.jsonl; valid: exactly one"),
        ({"path": None}, "set mine: hub=None, path=None; valid: exactly one"),
        ({"path": None, "hub": "mine"}, "set mine: hub=mine; valid: owner/name"),
        ({"path": None, "hub": "me/mine", "revision": "main"}, "set mine: revision=main; valid: a commit of 40 hex digits"),
        ({"gradr": "exact"}, "set mine: no field 'gradr'; valid: grader"),
        ({"grader": "regex"}, "set mine: grader=regex: no such grader; valid: math, choice, exact, or path/to"),
        ({"samples": "many"}, "set mine: samples: Value 'many'"),
        ({"samples": -1}, "set mine: samples=-1; valid: 0 or more"),
        ({"max_tokens": 0}, "set mine: max_tokens=0; valid: 1 or more"),
        ({"columns": 3}, "set mine: columns: "),
        ({"columns": {"anser": "a"}}, "set mine: columns.anser: Key 'anser' not in 'Columns'"),
        ({"columns": {"id": {"index": 0}}}, "set mine: columns.id.name: "),
        ({"grader": "choice"}, "set mine: a choice needs its options; valid: columns.options"),
        ({"prompt": "choice"}, "set mine: a choice needs its options"),
        ({"system": "${HOME}"}, "set mine: system: "),
    ],
)
def test_a_definition_that_does_not_fit_is_told(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        parsed(**fields)
    assert str(told.value).startswith(message)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "mine:\n", "mine: 3\n", "a/b: {hub: me/mine}\n", "mine: {\n", "a: {hub: m/m}\na: {hub: m/m}\n"]
)
def test_a_file_of_definitions_that_does_not_fit_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "sets.yaml").write_text(text)
    with pytest.raises(ConfigError):
        read_sets(tmp_path / "sets.yaml")


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ({}, ["data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet"]),
        ({"split": "train"}, ["train.jsonl"]),
        ({"config": "hard"}, ["hard/test.csv"]),
        ({"files": "*/testing.json"}, ["data/testing.json"]),
        ({"split": "dev"}, []),
    ],
)
def test_the_files_of_a_split(fields: dict[str, object], files: list[str]) -> None:
    names = ["README.md", "data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet", "data/testing.json", "dev.txt",
             "hard/test.csv", "hard/train.csv", "test.jsonl", "train.jsonl"]  # fmt: skip
    assert split_files(names, parsed(path=None, hub="me/mine", **fields)) == files


# --- rows


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{"question": 'a\u2028b "c",\nd', "answer": "1"}, {"question": "é", "answer": "2"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.json").write_text("\ufeff" + json.dumps(rows, ensure_ascii=False))
    (tmp_path / "rows.jsonl").write_text("\ufeff" + "\r\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    for path in tmp_path.iterdir():
        assert read_rows(path) == rows, path.name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"question": "q"}\n{"question"\n', "cannot be read as jsonl: line 2: "),
        ("a.jsonl", b'{"question": "\xff"}', "cannot be read as jsonl: 'utf-8' codec"),
        ("a.jsonl", b"3\n", "row 1 is 3; valid: one object"),
        ("a.jsonl", b"[" * 100_000, "cannot be read as jsonl: "),
        ("a.json", b'{"question": "q"}', "holds {'question': 'q'}; valid: one object"),
        ("a.csv", b'question,answer\n"q', "cannot be read as csv: "),
        ("a.parquet", b"PAR1", "cannot be read as parquet: "),
        ("a.txt", b"q", "is no data file; valid: .parquet, .jsonl"),
        ("missing.jsonl", None, "cannot be read as jsonl: [Errno 2]"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as told:  # noqa: PT011  # the message is checked below
        read_rows(tmp_path / name)
    assert str(told.value).startswith(message)


# --- problems


def test_values_are_read_where_they_stand() -> None:
    columns = {"question": "q", "answer": {"name": "a", "after": "=> "}, "id": "n", "band": "level", "subject": "list[1]"}
    row: dict[str, object] = {"q": " 1? ", "a": "0 => 1 => 2,000 ", "n": 7, "level": 3.0, "list": ["x", " Law "]}
    assert problem(row, columns=columns) == Problem(" 1? ", "2,000", "7", "3", "Law")


@pytest.mark.parametrize(("written", "read"), [(27.0, "27"), (0.5, "0.5"), (True, "True"), (10**20, str(10**20)), ("025", "025")])
def test_answers_are_texts(written: object, read: str) -> None:
    assert problem({"question": "q", "answer": written}).answer == read


@pytest.mark.parametrize(
    ("row", "fields", "message"),
    [
        ({"question": "q"}, {}, "has no column 'answer'; there are question"),
        ({"question": "q", "answer": None}, {}, "column 'answer' is empty"),
        ({"question": "q", "answer": float("nan")}, {}, "column 'answer' is empty"),
        ({"question": " \n", "answer": "1"}, {}, "column 'question' is empty"),
        ({"question": "q", "answer": ["1"]}, {}, "column 'answer' holds \"['1']\"; valid: a text or a number"),
        ({"question": "q", "answer": "\ud800"}, {}, "column 'answer' holds half a surrogate pair"),
        ({"question": "q", "answer": "1"}, {"columns": {"answer": "answer[0]"}}, "column 'answer' holds '1'; valid: a list with"),
        ({"question": "q", "answer": []}, {"columns": {"answer": "answer[0]"}}, "column 'answer' holds '[]'; valid: a list with"),
        ({"question": "q", "answer": "1"}, {"columns": {"answer": {"after": "#"}}}, "column 'answer' has no '#'"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit_is_told(row: dict[str, object], fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        problem(row, **fields)
    assert str(told.value).startswith(f"set mine, row 1: {message}")


@pytest.mark.parametrize(
    ("answer", "options", "message"),
    [
        ("D", ["1", "2", "3"], "the answer 'D' is not a letter of its options; valid: one of ABC"),
        ("a", ["1", "2"], "the answer 'a' is not a letter of its options; valid: one of AB"),
        ("A", ["1"], "column 'options' holds \"['1']\"; valid: a list of 2 to 26 options"),
        ("A", "12", "column 'options' holds '12'; valid: a list"),
    ],
)
def test_a_choice_that_does_not_fit_is_told(answer: str, options: object, message: str) -> None:
    with pytest.raises(ConfigError) as told:
        problem({"question": "q", "answer": answer, "options": options}, grader="choice", columns={"options": "options"})
    assert str(told.value).startswith(f"set mine, row 1: {message}")


def test_two_problems_with_one_id_are_told() -> None:
    rows = [{"question": "q", "answer": "1", "n": name} for name in "aba"]
    with pytest.raises(ConfigError, match="set mine, row 3: its id 'a' is also that of row 1"):
        to_problems(parsed(columns={"id": "n"}), rows)
    assert [each.id for each in to_problems(parsed(), rows)] == ["0", "1", "2"]


def test_a_set_without_problems_is_told() -> None:
    with pytest.raises(ConfigError, match="set mine: has 0 problems; valid: at least one"):
        to_problems(parsed(), [])


def test_the_checksum_is_that_of_every_field() -> None:
    whole = Problem("q", "1", "0", "b", "s", ("x", "y"))
    others = [Problem("Q", "1", "0", "b", "s", ("x", "y")), Problem("q", "1", "0", "b", "s", ("y", "x")), Problem("q", "1", "0")]
    assert checksum([whole]) == checksum([Problem("q", "1", "0", "b", "s", ("x", "y"))])
    assert len({checksum([each]) for each in [whole, *others]} | {checksum([whole, whole])}) == 5


# --- prompts


def test_mathematics_is_asked_with_the_solvers_prompt_and_the_sets_system_message() -> None:
    asked = set_messages(SETS["math500"], Problem("What is {1} + 1?", "2", "0"), PROMPTS)
    assert asked == [
        {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
        {"role": "user", "content": "What is {1} + 1?"},
    ]


def test_without_a_system_message_of_its_own_a_set_is_asked_with_the_runs() -> None:
    assert set_messages(parsed(), Problem("1 + 1?", "2", "0"), PROMPTS) == PROMPTS.solver_messages("1 + 1?")
    tiny = load_prompts(resolve("conf/prompts/tiny.yaml"))
    assert set_messages(parsed(), Problem("1 + 1?", "2", "0"), tiny) == [{"role": "user", "content": "Solve:\n1 + 1?"}]


def test_a_choice_is_asked_with_its_options_and_the_letter_rule() -> None:
    asked = set_messages(SETS["mmlu_pro"], Problem("Which is prime?", "B", "0", options=("4", "5")), PROMPTS)
    assert asked == [{"role": "user", "content": f"Which is prime?\nOptions are:\n(A): 4\n(B): 5\n{LETTER}"}]


def test_bbeh_is_never_asked_for_a_letter() -> None:
    asked = set_messages(SETS["bbeh"], Problem("Options: (A) yes (B) no", "(a)", "0"), PROMPTS)
    assert asked == [{"role": "user", "content": f"Options: (A) yes (B) no\n{BOXED}"}]
    assert "letter" not in asked[0]["content"]
