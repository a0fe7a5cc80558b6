"""Benchmark sets on disk: fetched from the Hub, converted to one form, and checked against their record.

    benchmarks/<name>.parquet    the problems, columns as in `pipeline.domain.problems.Problem`
    benchmarks/<name>.json       the record: source, commit, number of problems, checksum; written last

A set without its record counts as not fetched: after an interruption only the set that was being fetched starts over.
"""

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi

from conf.errors import ConfigError
from conf.load import ROOT, resolve
from pipeline.domain.problems import Problem, checksum, to_problems
from pipeline.domain.rows import SUFFIXES, Row, read_rows
from pipeline.domain.sets import BenchmarkSet
from pipeline.errors import DamagedError
from pipeline.store.manifest import write_atomically
from pipeline.store.tables import read_table, write_table

FOLDER = ROOT / "benchmarks"


@dataclass(frozen=True, slots=True)
class Fetched:
    """The record of a fetched set. `revision` is the fetched commit, also if the definition names none."""

    set: str
    source: dict[str, object]
    revision: str
    files: list[str]
    problems: int
    sha256: str


def read_problems(definition: BenchmarkSet, folder: str | Path = FOLDER) -> list[Problem]:
    """The problems of a set, from a local file or as fetched into `folder`.

    Raises:
        ConfigError: the file cannot be read or does not fit, or the set was not fetched or differs from its record.
    """
    if definition.path is not None:
        return to_problems(definition, _read(definition, Path(definition.path)))
    stored = read_stored(definition, resolve(str(folder)))
    if stored is None:
        raise _not_fetched([definition.name], folder)
    return stored[1]


def refuse_missing(definitions: Sequence[BenchmarkSet], folder: str | Path = FOLDER) -> None:
    """Raises ConfigError if sets were not fetched, naming all of them, so that one command fetches what a run needs."""
    missing = [each.name for each in definitions if each.path is None and not _is_stored(each, resolve(str(folder)))]
    if missing:
        raise _not_fetched(missing, folder)


def _not_fetched(names: Sequence[str], folder: str | Path) -> ConfigError:
    sets, them = ("set", "it") if len(names) == 1 else ("sets", "them")
    chosen = shlex.quote(" ".join(names))
    return ConfigError(f"{sets} {', '.join(names)}: not in {folder}; fetch {them}: make benchmarks SETS={chosen}")


def _is_stored(definition: BenchmarkSet, folder: Path) -> bool:
    return _read_record(definition, folder) is not None and (folder / f"{definition.name}.parquet").exists()


def read_stored(definition: BenchmarkSet, folder: Path) -> tuple[Fetched, list[Problem]] | None:
    """The record and the problems of a fetched set; None if it has not been fetched.

    Raises:
        ConfigError: the record or the file is damaged, or the problems differ from the record.
    """
    fetched, path = _read_record(definition, folder), folder / f"{definition.name}.parquet"
    if fetched is None or not path.exists():
        return None
    try:
        problems = read_table(path, Problem)
    except DamagedError as error:
        raise ConfigError(f"set {fetched.set}: {error}") from error
    if checksum(problems) != fetched.sha256:
        raise ConfigError(
            f"set {fetched.set}: {path} does not hold what was fetched (sha256 {checksum(problems)[:12]}, recorded "
            f"{fetched.sha256[:12]}); delete it to fetch it again."
        )
    return fetched, problems


def fetch(definition: BenchmarkSet, folder: Path, hub: HfApi) -> Fetched:
    """Fetches a set of the Hub into `folder`.

    A set with a record is fetched from the recorded commit, and its problems must match the recorded checksum.

    Raises:
        ConfigError: the set does not fit its definition, or its problems differ from the record.
        HUB_ERRORS: the Hub cannot be reached, or refuses the set.
    """
    assert definition.hub is not None
    previous = _read_record(definition, folder)
    commit, files = _find_files(definition, previous.revision if previous else definition.revision, hub)
    paths = [hub.hf_hub_download(definition.hub, name, repo_type="dataset", revision=commit) for name in files]
    problems = to_problems(definition, (row for each in paths for row in _read(definition, Path(each))))
    fetched = Fetched(definition.name, _source(definition), commit, files, len(problems), checksum(problems))
    record = folder / f"{definition.name}.json"
    if previous and previous.sha256 != fetched.sha256:
        raise ConfigError(
            f"set {definition.name}: {definition.hub} now has different problems (sha256 {fetched.sha256[:12]}, "
            f"recorded {previous.sha256[:12]}); delete {record} to accept them."
        )
    write_table(folder / f"{definition.name}.parquet", Problem, problems)
    write_atomically(record, json.dumps(asdict(fetched), indent=1))
    return fetched


def _read_record(definition: BenchmarkSet, folder: Path) -> Fetched | None:
    """The record of a set; None if there is none or the definition has changed."""
    path = folder / f"{definition.name}.json"
    try:
        fetched = Fetched(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"set {definition.name}: {path} is damaged ({error}); delete it to fetch the set again.") from error
    return fetched if fetched.source == _source(definition) else None


def _source(definition: BenchmarkSet) -> dict[str, object]:
    """The fields of a definition that determine its problems, as in JSON."""
    kept = {"hub", "config", "split", "revision", "files", "columns"}
    return json.loads(json.dumps({name: value for name, value in asdict(definition).items() if name in kept}))


def _read(definition: BenchmarkSet, path: Path) -> list[Row]:
    try:
        return read_rows(path)
    except ValueError as error:
        raise ConfigError(f"set {definition.name}: {path} {error}.") from error


def _find_files(definition: BenchmarkSet, revision: str | None, hub: HfApi) -> tuple[str, list[str]]:
    """The commit of `revision`, the latest for None, and its files that contain the set."""
    assert definition.hub is not None
    info = hub.dataset_info(definition.hub, revision=revision)
    names = sorted(sibling.rfilename for sibling in info.siblings or [])
    chosen = split_files(names, definition)
    if not chosen:
        split = f"the split {definition.split!r}" + (f" of {definition.config!r}" if definition.config else "")
        data = ", ".join([name for name in names if PurePosixPath(name).suffix in SUFFIXES][:8]) or "no data file"
        raise ConfigError(
            f"set {definition.name}: {definition.hub} has no file for {definition.files or split}; it has {data}; "
            "valid: a pattern `files` that matches the set's files."
        )
    assert info.sha is not None
    return info.sha, chosen


def split_files(names: Iterable[str], definition: BenchmarkSet) -> list[str]:
    """The data files of a set among those of its repository: by pattern, or by the Hub's names for configs and splits.

    A set without a config is at the top or in `data/`. If a split exists in several formats, the first of `SUFFIXES` is taken.

    >>> names = ["README.md", "main/test-00000-of-00001.parquet", "main/train-00000-of-00001.parquet", "socratic/test.jsonl"]
    >>> split_files(names, BenchmarkSet("gsm8k", hub="openai/gsm8k", config="main"))
    ['main/test-00000-of-00001.parquet']
    """
    split = re.compile(rf"{re.escape(definition.split)}([-_.].*)?")
    by_suffix: dict[str, list[str]] = {suffix: [] for suffix in SUFFIXES}
    for name in names:
        *folders, last = PurePosixPath(name).parts
        if definition.files:
            fits = fnmatch(name, definition.files)
        else:
            in_config = definition.config in folders if definition.config else folders in ([], ["data"])
            fits = in_config and bool(split.fullmatch(last))
        if fits and PurePosixPath(name).suffix in SUFFIXES:
            by_suffix[PurePosixPath(name).suffix].append(name)
    return next((files for files in by_suffix.values() if files), [])
