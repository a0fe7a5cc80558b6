"""The definitions of benchmark sets: a set's location, columns, prompt and grader.

`conf/benchmarks.yaml` holds those of the paper; a user's own YAML file has the same format. No problem is read here.
"""

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Literal, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.errors import ConfigError
from conf.files import read_text
from conf.load import ROOT, resolve
from conf.settings import LARGEST
from pipeline.domain.graders.find import find_grader
from pipeline.domain.rows import SUFFIXES, read_rows

PromptKind = Literal["solver", "choice", "boxed"]
Group = Literal["math", "general"]

TEXTS = ("hub", "path", "config", "split", "revision", "files", "group", "grader", "prompt", "system")
CATALOGUE = ROOT / "conf" / "benchmarks.yaml"
_PROMPT_OF: dict[str, PromptKind] = {"math": "solver", "choice": "choice", "exact": "boxed"}
_INDEXED = re.compile(r"(.+)\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Column:
    """A value's place in a raw row: in column `name`, at `index` if it is a list, after the last `after` if it is a text."""

    name: str
    index: int | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a problem's parts in a raw row; without `id` the problems are numbered."""

    question: Column = Column("question")
    answer: Column = Column("answer")
    id: Column | None = None
    band: Column | None = None
    subject: Column | None = None
    options: Column | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkSet:
    """One set; conf/benchmarks.yaml explains the fields. Exactly one of `hub` and `path` is given."""

    name: str
    hub: str | None = None
    path: str | None = None
    config: str | None = None
    split: str = "test"
    revision: str | None = None
    files: str | None = None
    problems: int | None = None
    columns: Columns = Columns()
    group: Group = "math"
    grader: str = "math"  # math, choice, exact, or path/to/file.py:Class
    prompt: PromptKind = "solver"
    system: str | None = None
    samples: int = 0
    max_tokens: int | None = None

    @property
    def protocol(self) -> str:
        """A hash of how the set is asked and graded: its grader, prompt, system message and longest answer."""
        parts = (self.grader, self.prompt, self.system, self.max_tokens)
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    def drawn(self, samples: int | None) -> int:
        """Sampled answers to each problem, where the setting `evaluation.samples` is `samples`."""
        return self.samples if samples is None else samples


def find_sets(chosen: Sequence[str], setting: str = "SETS") -> list[BenchmarkSet]:
    """The sets of a selection: names of conf/benchmarks.yaml, YAML files of definitions, data files.

    A data file (Parquet, JSONL, JSON, CSV) is a set with the file's name; see `of_file`.

    Raises:
        ConfigError: there is no such set or file, a definition is invalid, or two sets share a name.
    """
    sets: list[BenchmarkSet] = []
    for name in chosen:
        path = resolve(name)
        if path.suffix in (".yaml", ".yml"):
            sets += read_sets(path)
        elif path.suffix in SUFFIXES:
            sets.append(of_file(path, setting))
        elif name in catalogue():
            sets.append(catalogue()[name])
        else:
            raise ConfigError(
                f"{setting}={name}: no such set; valid: {', '.join(catalogue())}, a .yaml file of definitions, or a data file "
                f"({', '.join(SUFFIXES)})."
            )
    names = [each.name for each in sets]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{setting}: {', '.join(sorted(repeated))} is named more than once; valid: each set once.")
    return sets


def of_file(path: Path, setting: str) -> BenchmarkSet:
    """The set of a data file in the project's format: columns `question` and `answer`, optionally `id`, `band`, `subject` and
    `options`.

    A file named after a set of the catalogue has that set's prompt and grader, any other those of mathematics, or of a choice if
    it has options.
    """
    if not path.is_file():
        raise ConfigError(f"{setting}={path}: no such file.")
    try:
        rows = read_rows(path)
    except ValueError as error:
        raise ConfigError(f"{setting}={path}: {error}.") from error
    known_columns = [field.name for field in fields(Columns)]
    names = [name for name in known_columns if name in ("question", "answer") or any(name in row for row in rows)]
    columns = Columns(**{name: Column(name) for name in names})
    if (definition := catalogue().get(path.stem)) is not None:
        return replace(definition, hub=None, revision=None, files=None, problems=None, path=str(path.absolute()), columns=columns)
    kind = {"grader": "choice", "prompt": "choice"} if columns.options else {}
    node = {"path": path.name, "columns": {name: name for name in names}, **kind}
    return parse_set(path.stem, node, path.parent)


@cache  # reading it takes a tenth of a second
def catalogue() -> dict[str, BenchmarkSet]:
    """The sets of conf/benchmarks.yaml by name, in order."""
    return {each.name: each for each in read_sets(CATALOGUE)}


def read_sets(path: Path) -> list[BenchmarkSet]:
    """The definitions of a YAML file, in order.

    Raises:
        ConfigError: the file cannot be read, or a definition is invalid.
    """
    try:
        document = OmegaConf.to_container(OmegaConf.load(StringIO(read_text(path))), resolve=False)
    except Exception as error:  # PyYAML and OmegaConf raise unrelated types for a file that cannot be read
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(document, dict) or not document:
        raise ConfigError(f"{path}: defines no sets; valid: names of sets, each with its definition.")
    for name, node in document.items():
        _refuse_number(name, name, "its name")
        if "${" in str(node) or "???" in str(node):  # OmegaConf would fill them in, with variables of the environment too
            raise ConfigError(f"set {name!s}: its definition holds ${{...}} or ???; valid: the value itself.")
    return [parse_set(str(name), node, path.parent) for name, node in document.items()]


def parse_set(name: str, node: object, folder: Path) -> BenchmarkSet:
    """One definition; a relative `path` in it starts from `folder`.

    Raises:
        ConfigError: names the set, the field and what would be valid.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(f"set {name!r}: names a file; valid: letters, digits, '.', '_', '-', first a letter or digit.")
    if not isinstance(node, dict):
        raise ConfigError(f"set {name}: its definition is {node!r}; valid: fields such as hub, path, columns.")
    valid = [field.name for field in fields(BenchmarkSet) if field.name != "name"]
    for key in node:
        if key not in valid:
            close = difflib.get_close_matches(str(key), valid, n=1) or valid
            raise ConfigError(f"set {name}: no field {key!r}; valid: {', '.join(close)}.")
    if (node.get("hub") is None) == (node.get("path") is None):
        raise ConfigError(f"set {name}: hub={node.get('hub')}, path={node.get('path')}; valid: exactly one of the two.")
    columns = node.get("columns", {})
    for field in TEXTS:
        _refuse_number(name, node.get(field), field)
    for part, column in columns.items() if isinstance(columns, dict) else ():
        _refuse_number(name, column.get("name") if isinstance(column, dict) else column, f"columns.{part}")
    written = node | {
        "name": name,
        "prompt": node.get("prompt", _PROMPT_OF.get(str(node.get("grader", "math")), "solver")),
        "columns": {part: _column(value) for part, value in columns.items()} if isinstance(columns, dict) else columns,
    }
    if node.get("path") is not None:
        written["path"] = str((folder / str(node["path"])).absolute())
    schema = OmegaConf.structured(BenchmarkSet)
    OmegaConf.set_readonly(schema, False)  # it is a frozen dataclass
    try:
        merged = cast(DictConfig, OmegaConf.merge(schema, {key: value for key, value in written.items() if value is not None}))
        parsed = cast(BenchmarkSet, OmegaConf.to_object(merged))
    except (OmegaConfBaseException, ValueError) as error:
        field = getattr(error, "full_key", None) or "columns"
        raise ConfigError(f"set {name}: {field}: {str(error).splitlines()[0]}; valid: see conf/benchmarks.yaml.") from error
    _check(parsed)
    return parsed


def _refuse_number(name: object, value: object, field: str) -> None:
    """Raises ConfigError for a value that YAML reads as a number, a date or a truth value where a text is meant."""
    if value is not None and not isinstance(value, str | dict | list):
        raise ConfigError(
            f"set {name}: {field} is read as {value!r}, which may not be how it was written; valid: quotes around it."
        )


def _column(written: object) -> object:
    """The mapping that `name[0]` or `name` stands for; mappings are returned unchanged."""
    if not isinstance(written, str):
        return written
    match = _INDEXED.fullmatch(written)
    return {"name": match[1], "index": int(match[2])} if match else {"name": written}


def _check(parsed: BenchmarkSet) -> None:
    """Raises ConfigError for invalid values that the types allow."""
    bounds: dict[str, tuple[int | None, int]] = {
        "samples": (parsed.samples, 0),
        "max_tokens": (parsed.max_tokens, 1),
        "problems": (parsed.problems, 1),
    }
    for field, (value, low) in bounds.items():
        if value is not None and not low <= value <= LARGEST:
            raise ConfigError(f"set {parsed.name}: {field}={value}; valid: {low} or more, at most {LARGEST}.")
    if parsed.hub is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", parsed.hub):
        raise ConfigError(f"set {parsed.name}: hub={parsed.hub}; valid: owner/name, for example openai/gsm8k.")
    if parsed.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", parsed.revision):
        raise ConfigError(
            f"set {parsed.name}: revision={parsed.revision}; valid: a commit of 40 hex digits, or null for the latest at the "
            "first fetch. A branch could change during a run."
        )
    try:
        find_grader(parsed.grader)
    except ValueError as error:
        raise ConfigError(f"set {parsed.name}: grader={error}.") from error
    needs_options = "choice" in (parsed.grader, parsed.prompt)
    if needs_options and parsed.columns.options is None:
        raise ConfigError(f"set {parsed.name}: a choice needs its options; valid: columns.options, a column that holds a list.")
