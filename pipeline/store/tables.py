"""Tables on disk: Parquet files whose columns are derived from frozen records, so that there is one definition of each.

A record's fields become columns of the same name. A nested record is flattened into the columns of its own fields, a
`dict[str, float]` into a column per key (`parts.repetition`), and field metadata may rename a column (`{"column": "p_hat"}`).
Every file's metadata identifies it, `rzero.table` and `rzero.version`, and has a checksum of each column, `rzero.checksums`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.domain.problems import Problem
from pipeline.errors import DamagedError
from pipeline.store.atomic import replacing
from pipeline.store.checksums import ColumnChecksum, column_checksum
from pipeline.types import AnsweredQuestion, Sample, ScoredQuestion

VERSION = "3"  # of the layout of all tables


@dataclass(frozen=True, slots=True)
class SampleRow:
    """`samples-<step>.parquet`: a response of a GRPO step, its group, and its reward, null until it is scored."""

    group: int
    sample: Sample
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class CurriculumRow:
    """`curriculum.parquet`: the trained Challenger's questions, and whether the Solver trains on them.

    `agreement` is the share of the previous round's Solver's answers that equal the label, None where it was not asked.
    """

    answered: AnsweredQuestion
    kept: bool
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """`evaluation/<set>.parquet`: a held-out problem, the Solver's responses to it, and its accuracies.

    `answers` and `greedy_answer` are the answers that the grader extracts from the responses, null if there is none or the
    response was cut off. `sampled` is the share of right answers among k samples, `majority` whether their vote is right; both
    null for k = 0. A problem whose prompt leaves no room for an answer is `skipped`: not sampled, and counted as wrong.
    """

    id: str
    question: str
    subject: str | None
    band: str | None
    answer: str
    responses: tuple[str, ...]
    answers: tuple[str | None, ...]
    greedy_response: str
    greedy_answer: str | None
    sampled: float | None
    greedy: float
    majority: float | None
    truncated: int  # responses
    unboxed: int  # responses among those not cut off
    skipped: bool = False


TABLES: dict[type, str] = {
    Problem: "problems",
    SampleRow: "samples",
    ScoredQuestion: "questions",
    CurriculumRow: "curriculum",
    EvaluationRow: "evaluation",
}
COPY = "restore the file from a copy, or start a run under another NAME"
# What is lost where a table is damaged, and what to do.
REMEDIES: dict[type, str] = {
    Problem: "delete it to fetch it again",
    SampleRow: f"the samples of the step are lost; {COPY}",
    ScoredQuestion: f"the questions of the step and the votes on them are lost; {COPY}",
    CurriculumRow: f"the questions of the round and their labels are lost; {COPY}",
    EvaluationRow: "`make evaluate` measures the set again",
}
CHECKSUMS = b"rzero.checksums"
SCALARS = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
ITEMS = {**SCALARS, int: pa.int32(), float: pa.float32()}  # of lists: token ids and their log-probabilities
Row = TypeVar("Row")
_FIELDS: dict[type, tuple[tuple[Field[Any], Any], ...]] = {}


def record_fields(record: type) -> tuple[tuple[Field[Any], Any], ...]:
    """The fields of a record with their types resolved, cached, as resolving is too slow to repeat per row."""
    if record not in _FIELDS:
        hints = get_type_hints(record)
        _FIELDS[record] = tuple((each, hints[each.name]) for each in fields(record))
    return _FIELDS[record]


def column_name(each: Field[Any]) -> str:
    return str(each.metadata.get("column", each.name))


def arrow_type(hint: Any) -> pa.DataType:
    """
    >>> arrow_type(tuple[str | None, ...]), arrow_type(float | None)
    (ListType(list<item: string>), DataType(double))
    """
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return pa.list_(ITEMS[next(part for part in get_args(item) or (item,) if part is not type(None))])
    return SCALARS[hint]


def columns(record: type, keys: Sequence[str] = ()) -> Iterator[tuple[str, pa.DataType]]:
    """(name, Arrow type) of a record's columns; `keys` are those of its `dict[str, float]`, if it has one."""
    for each, hint in record_fields(record):
        if is_dataclass(hint):
            yield from columns(hint, keys)  # type: ignore[arg-type]
        elif get_origin(hint) is dict:
            yield from ((f"{each.name}.{key}", pa.float64()) for key in keys)
        else:
            yield column_name(each), arrow_type(hint)


def values(record: Any) -> Iterator[tuple[str, Any]]:
    """(column, value) of one record, in the order of `columns`."""
    for each, hint in record_fields(type(record)):
        value = getattr(record, each.name)
        if is_dataclass(hint):
            yield from values(value)
        elif get_origin(hint) is dict:
            yield from ((f"{each.name}.{key}", part) for key, part in value.items())
        else:
            yield column_name(each), value


def from_values(record: type[Row], row: dict[str, Any]) -> Row:
    """The record with these `values`; fields with init=False are recomputed."""
    arguments: dict[str, Any] = {}
    for each, hint in record_fields(record):
        if not each.init:
            continue
        if is_dataclass(hint):
            arguments[each.name] = from_values(hint, row)  # type: ignore[arg-type]
        elif get_origin(hint) is dict:
            prefix = f"{each.name}."
            arguments[each.name] = {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
        else:
            value = row[column_name(each)]
            arguments[each.name] = tuple(value) if isinstance(value, list) else value
    return record(**arguments)


def schema(record: type, keys: Sequence[str] = ()) -> pa.Schema:
    """The Arrow schema of a table of `record`s."""
    return pa.schema(list(columns(record, keys)), metadata={"rzero.table": TABLES[record], "rzero.version": VERSION})


def write_table(path: Path, record: type[Row], rows: Iterable[Row]) -> None:
    """Writes records as Parquet, atomically, see `replacing`."""
    listed = [dict(values(row)) for row in rows]
    keys = [name.partition(".")[2] for name in (listed[0] if listed else ()) if "." in name]
    table = pa.Table.from_pylist(listed, schema=schema(record, keys))
    checksums = json.dumps({name: column_checksum(table[name]) for name in table.column_names})
    with replacing(path) as partial:
        pq.write_table(table.replace_schema_metadata(table.schema.metadata | {CHECKSUMS: checksums.encode()}), partial)


def join_tables(parts: Sequence[Path], path: Path, record: type) -> None:
    """Concatenates files, reading one at a time.

    Raises:
        DamagedError: one of them is damaged.
    """
    checksums = {name: ColumnChecksum() for name, _ in columns(record)}
    with replacing(path) as partial, pq.ParquetWriter(partial, schema(record)) as writer:
        for part in parts:
            table = sound_table(part, record)
            for name, checksum in checksums.items():
                checksum.update(table[name])
            writer.write_table(table.replace_schema_metadata(schema(record).metadata))
        digests = {name: checksum.hexdigest() for name, checksum in checksums.items()}
        writer.add_key_value_metadata({CHECKSUMS.decode(): json.dumps(digests)})


def read_table(path: Path, record: type[Row]) -> list[Row]:
    """The records of a file that `write_table` wrote. Only the record's own columns are read.

    Raises:
        DamagedError: the file is missing, or not as it was written.
    """
    wanted = None if any(get_origin(hint) is dict for _, hint in record_fields(record)) else [name for name, _ in columns(record)]
    return [from_values(record, row) for row in sound_table(path, record, wanted).to_pylist()]


def kept_questions(folder: Path) -> list[AnsweredQuestion]:
    """The questions of a round's folder that the Solver trains on, in the order in which they were written."""
    return [row.answered for row in read_table(folder / "curriculum.parquet", CurriculumRow) if row.kept]


def agreements(folder: Path) -> list[tuple[AnsweredQuestion, float | None]]:
    """The questions of a round's folder with the previous Solver's agreement with their labels."""
    return [(row.answered, row.agreement) for row in read_table(folder / "curriculum.parquet", CurriculumRow)]


def read_column(path: Path, record: type, column: str) -> list[Any]:
    """One column of a table of `record`s, without reading the others; raises what `read_table` raises."""
    return sound_table(path, record, [column])[column].to_pylist()


def sound_table(path: Path, record: type, wanted: Sequence[str] | None = None) -> pa.Table:
    """The wanted columns of a file, compared with their checksums; raises what `read_table` raises."""
    remedy = REMEDIES.get(record, REMEDIES[EvaluationRow])
    try:
        with pq.ParquetFile(path) as file:
            checksums = json.loads(file.metadata.metadata[CHECKSUMS])
            table = file.read(columns=wanted)
        differing = [name for name in wanted or checksums if column_checksum(table[name]) != checksums[name]]
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing", remedy) from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DamagedError(f"{path} is damaged ({str(error).splitlines()[0]:.200})", remedy) from error
    if differing:
        raise DamagedError(f"{path} is damaged (the checksum of column {differing[0]!r} differs)", remedy)
    return table


def remove_damaged(paths: Iterable[Path], record: type) -> list[str]:
    """Removes those of the files that are damaged, so that they are written again; returns how they were damaged."""
    found = []
    for path in paths:
        try:
            if path.exists():
                sound_table(path, record)
        except DamagedError as error:
            found.append(error.damage)
            path.unlink()
    return found
