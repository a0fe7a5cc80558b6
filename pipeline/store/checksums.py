"""Checksums of what a run leaves: of a table's columns, kept in its metadata, and of a folder's files, kept in the folder."""

import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

SUFFIX = ".blake2b"  # of a folder's lists of checksums: no suffix of a model's or a tokenizer's file
LARGE_BYTES = 10 * 10**9  # more take over ten seconds to read


def blake2b() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


class ColumnChecksum:
    """The checksum of a column's values, however they are divided into chunks.

    Nulls, lengths and values are hashed as streams of their own, since only those concatenate.
    """

    def __init__(self) -> None:
        self._streams: dict[str, hashlib.blake2b] = defaultdict(blake2b)

    def update(self, column: pa.ChunkedArray) -> None:
        for chunk in column.chunks:
            self._add("", chunk)

    def _add(self, level: str, array: pa.Array) -> None:
        self._numbers(f"{level}valid", array.is_valid())
        if pa.types.is_list(array.type):
            self._numbers(f"{level}lengths", pc.list_value_length(array).fill_null(0))
            self._add(f"{level}items.", array.flatten())
        elif pa.types.is_string(array.type):
            self._numbers(f"{level}lengths", pc.binary_length(array).fill_null(0))
            self._streams[f"{level}text"].update("".join(text or "" for text in array.to_pylist()).encode())
        else:
            self._numbers(f"{level}values", array.fill_null(False if pa.types.is_boolean(array.type) else 0))

    def _numbers(self, stream: str, array: pa.Array) -> None:
        self._streams[stream].update(array.to_numpy(zero_copy_only=False).tobytes())

    def hexdigest(self) -> str:
        whole = blake2b()
        for name, stream in sorted(self._streams.items()):
            whole.update(name.encode() + stream.digest())
        return whole.hexdigest()


def column_checksum(column: pa.ChunkedArray) -> str:
    checksum = ColumnChecksum()
    checksum.update(column)
    return checksum.hexdigest()


def write_checksums(folder: Path, rank: int = 0, ranks: int = 1) -> None:
    """Lists the checksums of this rank's share of a folder's files, in the format of `b2sum`; large models take many ranks."""
    files = list(_files(folder))[rank::ranks]
    lines = [f"{checksum}  {path.relative_to(folder)}\n" for path, checksum in zip(files, _checksums(files), strict=True)]
    (folder / f"checksums-{rank}{SUFFIX}").write_text("".join(lines))


def damaged_file(folder: Path) -> str | None:
    """The first file of a folder that is missing or differs from its checksum, and how; None if all are as they were written.

    A base model has no checksums: only its presence is checked. A line on standard error says so where it takes long.
    """
    listed: dict[str, str] = {}
    try:
        for path in folder.glob(f"*{SUFFIX}"):
            listed |= {name: checksum for checksum, _, name in (line.partition("  ") for line in path.read_text().splitlines())}
        if not folder.is_dir():
            return f"{folder} is missing"
        names = sorted(listed)
        for name in names:
            if not (folder / name).is_file():
                return f"{folder / name} is missing"
        if (size := sum((folder / name).stat().st_size for name in names)) > LARGE_BYTES:
            print(f"comparing the checksums of {folder}, {size / 1e9:.0f} GB", file=sys.stderr)
        found = _checksums([folder / name for name in names])
    except (OSError, ValueError) as error:
        return f"{folder} cannot be read ({error})"
    differing = [name for name, checksum in zip(names, found, strict=True) if checksum != listed[name]]
    return f"{folder / differing[0]} is not as it was written (its checksum differs)" if differing else None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != SUFFIX)


def _checksums(files: Sequence[Path]) -> list[str]:
    """Of each file; several at a time, since hashing releases Python's lock."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_checksum, files))


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, blake2b).hexdigest()
