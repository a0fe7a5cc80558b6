"""Files of held-out problems: what is in a text stays in it, and what is no problem is named with its row."""

import codecs
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conf.errors import ConfigError
from pipeline.domain.sets import of_file
from pipeline.store.benchmarks import read_problems

GOOD = {"question": "What is 2 + 3?", "answer": "5"}
PROBLEM = GOOD | {"id": "0", "band": None, "subject": None, "options": ()}
LINE_ENDS = ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"]


def written(folder: Path, content: bytes, name: str = "set.jsonl") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def read(path: str) -> list[dict[str, Any]]:
    return [asdict(problem) for problem in read_problems(of_file(Path(path), "mine"))]


def lines(*rows: object) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_a_line_of_jsonl_ends_with_a_line_feed_alone(line_end: str, tmp_path: Path) -> None:
    question = f"What is 2{line_end}+ 3?"
    content = lines({"question": question, "answer": "5"}, GOOD)
    assert [row["question"] for row in read(written(tmp_path, content))] == [question, GOOD["question"]]


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + lines(GOOD),
        lines(GOOD) + b"\n",
        b"\n\n" + lines(GOOD) + b"\r\n \r\n",
        b'{"question": "What is 2 + 3?", "answer": 5}',
    ],
)
def test_files_that_hold_one_problem(content: bytes, tmp_path: Path) -> None:
    assert read(written(tmp_path, content)) == [PROBLEM]


@pytest.mark.parametrize(
    ("answer", "text"), [(5, "5"), (-2.5, "-2.5"), ("005", "005"), (10**400, "1" + "0" * 400), ("null", "null")]
)
def test_a_number_is_an_answer_as_text(answer: object, text: str, tmp_path: Path) -> None:
    (row,) = read(written(tmp_path, lines(GOOD | {"answer": answer})))
    assert row["answer"] == text


def test_columns_that_mean_something_are_read_as_texts(tmp_path: Path) -> None:
    rows = [GOOD | {"band": band, "id": 7 + index, "source": "mine"} for index, band in enumerate(("easy", 3, None))]
    rows_read = read(written(tmp_path, lines(*rows)))
    assert [(row["band"], row["id"]) for row in rows_read] == [("easy", "7"), ("3", "8"), (None, "9")]
    (choice,) = read(written(tmp_path, lines(GOOD | {"answer": "B", "options": [4, "5"]})))
    assert choice["options"] == ("4", "5")


WRONG: list[tuple[bytes, list[str]]] = [
    (b"", ["has 0 problems; valid: at least one"]),
    (b"\n \n", ["has 0 problems; valid: at least one"]),
    (lines(GOOD, {"question": "Q"}), ["row 2: has no column 'answer'; there are question"]),
    (lines({"Question": "Q", "answer": "5"}), ["row 1: has no column 'question'; there are Question, answer"]),
    (lines({}), ["row 1: has no column 'question'; there are none"]),
    (lines(GOOD, ["Q", "5"]), ["row 2 is ['Q', '5']; valid: one object for each problem"]),
    (lines(GOOD, None), ["row 2 is None; valid"]),
    (lines(GOOD, GOOD | {"answer": None}), ["row 2: column 'answer' is empty; valid: a text or a number"]),
    (lines(GOOD | {"question": None}), ["row 1: column 'question' is empty; valid"]),
    (lines(GOOD | {"answer": ["5", "6"]}), ["row 1: column 'answer' holds \"['5', '6']\"; valid: a text or a number"]),
    (lines(GOOD | {"answer": {"value": 5}}), ["row 1: column 'answer' holds \"{'value': 5}\"; valid"]),
    (lines(GOOD | {"answer": float("nan")}), ["row 1: column 'answer' is empty; valid"]),
    (lines(GOOD | {"answer": float("inf")}), ["row 1: column 'answer' holds 'inf'; valid"]),
    (lines(GOOD | {"answer": " "}), ["row 1: column 'answer' is empty; valid"]),
    (lines(GOOD | {"question": ""}), ["row 1: column 'question' is empty; valid"]),
    (lines(GOOD | {"band": ["easy"]}), ["row 1: column 'band' holds \"['easy']\"; valid"]),
    (lines(GOOD | {"band": "b" * 101}), ["row 1: its band has 101 characters", "valid: at most 100"]),
    (lines(GOOD | {"id": "a"}, GOOD | {"id": "a"}), ["row 2: its id 'a' is also that of row 1; valid: unique ids"]),
    (b"\n" + lines(GOOD) + b'\n{"question": "Q", "answer"', ["cannot be read as jsonl: line 3"]),
    (b'{"question": "\\ud800", "answer": "5"}', ["row 1: column 'question' holds half a surrogate pair; valid: Unicode"]),
    (lines(GOOD) + b'\n{"question": "caf\xe9", "answer": "5"}', ["cannot be read as jsonl: 'utf-8'"]),
    (json.dumps(GOOD).encode("utf-16"), ["cannot be read as jsonl: 'utf-8'"]),
    (json.dumps([GOOD], indent=1).encode(), ["cannot be read as jsonl: line 1"]),
    (b"[" * 100_000, ["cannot be read as jsonl"]),
    (b"\x00\xff", ["cannot be read as jsonl: 'utf-8'"]),
]


@pytest.mark.parametrize(("content", "said"), WRONG)
def test_what_is_no_problem_is_told_in_one_line(content: bytes, said: list[str], tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        read(path)
    for words in ["set" if "row" in said[0] or "problems" in said[0] else path, *said]:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"question": ["Q", None], "answer": ["5", "6"]}, "row 2: column 'question' is empty"),
        ({"question": ["Q", "R"], "answer": [["5"], ["6"]]}, "row 1: column 'answer' holds \"['5']\""),
        ({"question": ["Q"], "answer": [float("nan")]}, "row 1: column 'answer' is empty"),
        ({"question": [b"Q"], "answer": ["5"]}, "row 1: column 'question' holds \"b'Q'\""),
        ({"problem": ["Q"], "answer": ["5"]}, "row 1: has no column 'question'; there are problem, answer"),
        ({"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())}, "has 0 problems"),
    ],
)
def test_rows_of_parquet_are_checked_alike(columns: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ConfigError) as caught:
        read(str(path))
    assert said in str(caught.value)
    assert "set" in str(caught.value)


@pytest.mark.parametrize("name", ["set.parquet", "set.json", "set.txt"])
def test_a_file_that_is_not_what_its_name_says_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"mine=.*{name}: .*(cannot be read as|is no data file; valid: \.parquet, \.jsonl)"):
        read(written(tmp_path, b"question,answer\nQ,5\n", name))
