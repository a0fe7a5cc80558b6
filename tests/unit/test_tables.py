"""Tables on disk: columns derived from records, and records read back as they were."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.store.tables import CurriculumRow, EvaluationRow, SampleRow, read_column, read_table, schema, write_table
from pipeline.types import AnsweredQuestion, Sample, ScoredQuestion, Vote

ANSWERED = AnsweredQuestion("What is 2 + 3?", ("5", None, "5", "6"), Vote("5", 2, 4, 1), 0.25)
SAMPLE = Sample((1, 2), (3,), (-0.5,), "5", "stop", "solver-r1-s0", 2**62 + 1)
ROWS = [
    SampleRow(0, SAMPLE, 1.0),
    SampleRow(1, SAMPLE),
    CurriculumRow(ANSWERED, True),
    CurriculumRow(AnsweredQuestion(None), False),
    EvaluationRow("0", "q", None, None, "1", (), (), "one", "1", None, 1.0, None, 0, 0),
    EvaluationRow("1", "q", "algebra", "hard", "1", ("one", ""), ("1", None), "", None, 0.5, 0.0, 1.0, 1, 1, True),
    ScoredQuestion(ANSWERED, 3, 0.5, {"triangular": 0.75, "a scorer of mine": -0.25}, "solver-r1-s0"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_what_is_read_is_what_was_written(tmp_path: Path, row: object) -> None:
    write_table(tmp_path / "t.parquet", type(row), [row, row])
    assert read_table(tmp_path / "t.parquet", type(row)) == [row, row]
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize("record", [SampleRow, CurriculumRow, EvaluationRow, ScoredQuestion])
def test_a_table_without_rows_has_its_columns(tmp_path: Path, record: type) -> None:
    write_table(tmp_path / "t.parquet", record, [])
    assert read_table(tmp_path / "t.parquet", record) == []
    assert pq.read_schema(tmp_path / "t.parquet") == schema(record)


def test_columns_are_named_as_a_reader_of_the_files_knows_them(tmp_path: Path) -> None:
    scored = ROWS[-1]
    write_table(tmp_path / "questions.parquet", ScoredQuestion, [scored])
    table = pq.read_table(tmp_path / "questions.parquet")
    assert table.to_pylist() == [
        {
            "question": "What is 2 + 3?", "answers": ["5", None, "5", "6"], "majority": "5", "count": 2, "total": 4,
            "undecided": 1, "p_hat": 0.5, "invalid": 0.25, "confidence": None, "cluster": 3, "reward": 0.5,
            "parts.triangular": 0.75, "parts.a scorer of mine": -0.25, "labelled_by": "solver-r1-s0",
        }
    ]  # fmt: skip
    metadata = table.schema.metadata
    assert set(json.loads(metadata.pop(b"rzero.checksums"))) == set(table.column_names)
    assert metadata == {b"rzero.table": b"questions", b"rzero.version": b"3"}
    assert read_column(tmp_path / "questions.parquet", ScoredQuestion, "p_hat") == [0.5]
