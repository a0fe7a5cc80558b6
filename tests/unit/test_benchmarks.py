"""Files of held-out problems: what is in a text stays in it, and what is no problem is named with its row."""

import codecs
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conf.load import ConfigError
from pipeline.domain.benchmarks import read_benchmark

GOOD = {"question": "What is 2 + 3?", "answer": "5"}
LINE_ENDS = ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"]


def written(folder: Path, content: bytes, name: str = "set.jsonl") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def lines(*rows: object) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_a_line_of_jsonl_ends_with_a_line_feed_alone(line_end: str, tmp_path: Path) -> None:
    question = f"What is 2{line_end}+ 3?"
    content = lines({"question": question, "answer": "5"}, GOOD)
    assert [row["question"] for row in read_benchmark("x", written(tmp_path, content))] == [question, GOOD["question"]]


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
    assert read_benchmark("x", written(tmp_path, content)) == [GOOD]


@pytest.mark.parametrize(
    ("answer", "text"), [(5, "5"), (-2.5, "-2.5"), ("005", "005"), (10**400, "1" + "0" * 400), ("null", "null")]
)
def test_a_number_is_an_answer_as_text(answer: object, text: str, tmp_path: Path) -> None:
    (row,) = read_benchmark("x", written(tmp_path, lines(GOOD | {"answer": answer})))
    assert row["answer"] == text


def test_other_columns_stay_and_a_band_is_a_text(tmp_path: Path) -> None:
    rows = [GOOD | {"band": band, "id": 7, "options": ["a"]} for band in ("easy", 3, None)]
    assert [row["band"] for row in read_benchmark("x", written(tmp_path, lines(*rows)))] == ["easy", "3", None]
    assert read_benchmark("x", written(tmp_path, lines(*rows)))[0] == rows[0]


WRONG: list[tuple[bytes, list[str]]] = [
    (b"", ["holds no rows", "one row for each problem"]),
    (b"\n \n", ["holds no rows"]),
    (lines(GOOD, {"question": "Q"}), ["row 2 has no column `answer` but question"]),
    (lines({"Question": "Q", "answer": "5"}), ["row 1 has no column `question` but Question, answer"]),
    (lines({}), ["row 1 has no column `question` but none"]),
    (lines(GOOD, ["Q", "5"]), ["row 2 is ['Q', '5']", "an object with `question` and `answer`"]),
    (lines(GOOD, None), ["row 2 is None"]),
    (lines(GOOD, GOOD | {"answer": None}), ["row 2: `answer` is null", "a text that is not empty or a number"]),
    (lines(GOOD | {"question": None}), ["row 1: `question` is null", "valid: a text that is not empty."]),
    (lines(GOOD | {"answer": ["5", "6"]}), ["row 1: `answer` is ['5', '6']"]),
    (lines(GOOD | {"answer": {"value": 5}}), ["row 1: `answer` is {'value': 5}"]),
    (lines(GOOD | {"answer": True}), ["row 1: `answer` is True"]),
    (lines(GOOD | {"answer": float("nan")}), ["row 1: `answer` is nan"]),
    (lines(GOOD | {"answer": float("inf")}), ["row 1: `answer` is inf"]),
    (lines(GOOD | {"answer": " "}), ["row 1: `answer` is empty"]),
    (lines(GOOD | {"question": ""}), ["row 1: `question` is empty"]),
    (lines(GOOD | {"question": 5}), ["row 1: `question` is 5"]),
    (lines(GOOD | {"band": ["easy"]}), ["row 1: `band` is ['easy']"]),
    (b"\n" + lines(GOOD) + b'\n{"question": "Q", "answer"', ["row 3 is not JSON", "one object a line"]),
    (b'{"question": "\\ud800", "answer": "5"}', ["row 1: `question` holds half a character"]),
    (lines(GOOD) + b'\n{"question": "caf\xe9", "answer": "5"}', ["row 2 is not UTF-8"]),
    (json.dumps(GOOD).encode("utf-16"), ["row 1 is not UTF-8", "a JSONL file in UTF-8"]),
    (json.dumps([GOOD], indent=1).encode(), ["row 1 is not JSON"]),
    (b"[" * 100_000, ["row 1 is not JSON"]),
    (b"\x00\xff", ["row 1 is not UTF-8"]),
]


@pytest.mark.parametrize(("content", "said"), WRONG)
def test_what_is_no_problem_is_told_in_one_line(content: bytes, said: list[str], tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        read_benchmark("mine", path)
    for words in [f"evaluation.benchmarks.mine.path={path}: ", "; valid: ", *said]:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"question": ["Q", None], "answer": ["5", "6"]}, "row 2: `question` is null"),
        ({"question": ["Q", "R"], "answer": [["5"], ["6"]]}, "row 1: `answer` is ['5']"),
        ({"question": ["Q"], "answer": [float("nan")]}, "row 1: `answer` is nan"),
        ({"question": [b"Q"], "answer": ["5"]}, "row 1: `question` is b'Q'"),
        ({"problem": ["Q"], "answer": ["5"]}, "row 1 has no column `question` but problem, answer"),
        ({"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())}, "holds no rows"),
    ],
)
def test_rows_of_parquet_are_checked_alike(columns: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ConfigError) as caught:
        read_benchmark("mine", str(path))
    assert f"evaluation.benchmarks.mine.path={path}: {said}" in str(caught.value)


@pytest.mark.parametrize("name", ["set.parquet", "set.csv", "set.json"])
def test_a_file_of_another_kind_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no Parquet file that can be read .*; valid: Parquet, or JSONL named \*\.jsonl\.$"):
        read_benchmark("mine", written(tmp_path, b"question,answer\nQ,5\n", name))
