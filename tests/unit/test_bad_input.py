"""Bad input, through the commands that people type: one line, the right exit status, no traceback, and nothing left on disk.

Faults of model folders are in `tests/unit/test_check.py`; details of rows and definitions in `test_sets.py` and `test_config.py`.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.cluster import init_ray
from conf.load import ROOT, ConfigError
from pipeline.store.manifest import StageName
from tests.made_runs import made_config, write_run

Prepare = Callable[[Path], object]


def case(
    name: str, command: str, arguments: str, *said: str, make: Prepare = lambda folder: None, status: int = 2
) -> tuple[object, ...]:
    """`arguments` are split at spaces; {here} is the test's folder. `said` are parts of the message, in order."""
    return pytest.param(command, arguments, said, make, status, id=name)  # type: ignore[return-value]


def setting(text: str, *said: str) -> tuple[object, ...]:
    """`make round SET=text`."""
    return case(text, "round", f"--set {text}", text.partition("=")[0], *said)


def holds(file: str, content: bytes | str) -> Prepare:
    return lambda folder: (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)


def parquet(file: str, **columns: list[object]) -> Prepare:
    return lambda folder: pq.write_table(pa.table(columns), folder / file)


def heldout(name: str, file: str, content: bytes | str, *said: str) -> tuple[object, ...]:
    """A data file of held-out problems that cannot be used."""
    return case(f"benchmark {name}", "round", f"--set evaluation.sets=[{{here}}/{file}]", *said, make=holds(file, content))


def prompts(name: str, content: bytes | str, *said: str) -> tuple[object, ...]:
    return case(f"prompts {name}", "round", "--set prompts={here}/mine.yaml", "prompts", *said, make=holds("mine.yaml", content))


def profile(name: str, content: bytes | str, *said: str) -> tuple[object, ...]:
    return case(f"profile {name}", "round", "--profile {here}/mine.yaml", "mine.yaml", *said, make=holds("mine.yaml", content))


def definition(name: str, content: bytes | str, *said: str) -> tuple[object, ...]:
    return case(
        f"definition {name}", "round", "--set evaluation.sets=[{here}/sets.yaml]", *said, make=holds("sets.yaml", content)
    )


PLACES = ["runs_dir={here}/runs", "tracking_uri=sqlite:///{here}/mlruns/m.db"]

CONFIGURATION = [
    setting("solver.lr=nan", "float at least 0 and finite"),
    setting("solver.lr=inf", "float at least 0 and finite"),
    setting("challenger.lr=-inf", "float at least 0 and finite"),
    setting("grpo.kl=1e999", "finite"),
    setting("reward.lambda=NaN", "finite"),
    setting("solver.steps=1e2", "int at least 0"),
    setting("solver.steps=2.5", "int at least 0"),
    setting("solver.steps=true", "int at least 0"),
    setting("solver.steps=", "int at least 0"),
    setting("solver.batch=0", "at least 1"),
    setting("solver.batch=7", "multiple of solver.group=5", "for example 5"),
    setting("solver.group=1", "at least 2"),
    setting("sampling.top_p=0", "at least 0.01 and at most 1"),
    setting("sampling.temperature=-1", "at least 0.01"),
    setting("seed=-1", "at least 0"),
    setting("learner.gradient_checkpointing=maybe", "bool"),
    setting("learner.zero_stage=4", "0 | 1 | 2 | 3"),
    setting("grpo.aggregation=sum", "token_mean | sequence_mean"),
    setting("evaluation.limit=0", "int or null at least 1"),
    setting("evaluation.sets=heldout", "a list such as [a,b]"),
    setting("reward.scorers=[nothing]", "nothing: no such scorer"),
    setting("reward.scorers=[{here}/none.py:mine]", "none.py"),
    setting("reward.grader=chemistry", "math, choice, exact"),
    setting("evaluation.oracle=no.such.module", "no.such.module"),
    setting("tracking_uri=mlruns", "sqlite:///PATH"),
    setting("tracking_uri=sqlite:///", "sqlite:///PATH"),
    setting("name=a/b", "letters, digits"),
    setting("name=", "letters, digits"),
    setting("name=-x", "letters, digits"),
    setting("prompts={here}/nowhere.yaml", "no such file"),
    setting("prompts={here}", "no such file"),
    setting("chalenger.steps=1", "no such setting", "challenger.steps"),
    setting("challenger=1", "no such setting", "challenger.steps"),
    setting("steps", "setting=value"),
    setting("=1", "setting=value"),
    setting("lora.targets=[", "not valid YAML"),
    setting("lora.targets=[a", "not valid YAML"),
    setting("rollout.transfer=nccl", "host or shared"),
    setting("rollout.tensor_parallel=2", "resources.device=cpu: 1"),
    case("a learner on no GPU", "round", "--set resources.device=cuda", "resources.learner_gpus=0", "needs a GPU"),
    setting("sampling.max_tokens=256", "less than model.max_length"),
    setting("learner.offload=all", "learner.zero_stage 1, 2 or 3"),
    case("profile unknown", "round", "--profile huge", "PROFILE=huge", "Valid:", "tiny"),
    case("profile a folder", "round", "--profile {here}/a.yaml", "a.yaml", make=lambda folder: (folder / "a.yaml").mkdir()),
    profile("a list", "- 1\n", "settings by name"),
    profile("not UTF-8", b"name: caf\xe9\n", "cannot be read as YAML"),
    profile("a binary", b"\x00\x01\x02", "cannot be read as YAML"),
    profile("a setting twice", "seed: 1\nseed: 2\n", "seed is given twice"),
    case("profile with NaN", "round", "--profile {here}/mine.yaml", "solver.lr=.nan", "mine.yaml", "finite",
         make=holds("mine.yaml", "solver: {lr: .nan}\n")),
    profile("a base of itself", "base: nowhere\n", "conf/presets"),
    case("ITER of 0", "round", "--iter 0", "ITER=0", "1 or more"),
    case("ITER no number", "round", "--iter two", "--iter", "'two'"),
    case("SEED no number", "round", "--seed 1.5", "--seed", "'1.5'"),
    case("NAME empty", "round", ["--name", ""], "name=", "letters, digits"),
    case("another option", "round", "--fast", "--fast"),
    case("submit", "submit", "--set solver.lr=nan", "solver.lr=nan", "finite"),
    case("evaluate with NaN", "evaluate", "--policy assets/tiny-base --set sampling.top_p=nan", "sampling.top_p=nan", "at most"),
    case("evaluate nothing", "evaluate", "--policy assets/tiny-base --set evaluation.sets=[]", "SETS", "no set is named"),
    case("evaluate no policy", "evaluate", "--policy {here}/none --sets math500", "POLICY={here}/none", "no such folder"),
]  # fmt: skip

FILES = [
    prompts("not UTF-8", b"challenger: \xff\n", "mine.yaml", "cannot be read"),
    prompts("a binary", b"PAR1\x00\x00", "mine.yaml"),
    prompts("broken YAML", "challenger: [\n", "mine.yaml", "cannot be read"),
    prompts("empty", "", "mine.yaml", "challenger"),
    prompts("a text", "hello\n", "mine.yaml", "challenger"),
    prompts("an unknown tag", "challenger: !!python/object:os.system {}\n", "mine.yaml", "cannot be read"),
    heldout("missing column", "a.jsonl", '{"question": "q"}\n', "set a, row 1", "no column 'answer'"),
    heldout("UTF-16", "a.jsonl", '{"question": "q", "answer": "1"}\n'.encode("utf-16"), "a.jsonl", "cannot be read as jsonl"),
    heldout("Latin-1", "a.csv", "question,answer\ncafé,1\n".encode("latin-1"), "a.csv", "cannot be read as csv"),
    heldout("semicolons", "a.csv", "question;answer\nq;1\n", "no column 'question'", "question;answer"),
    heldout("tabs", "a.csv", "question\tanswer\nq\t1\n", "no column 'question'"),
    heldout("a NUL", "a.csv", "question,answer\nq\x00,1\n", "row 1", "'question' holds a NUL", "UTF-8"),
    heldout("a missing cell", "a.csv", "question,answer\nq\n", "row 1", "'answer' is empty"),
    heldout("a cell too many", "a.csv", "question,answer\nq,1,2\n", "row 1 has more cells"),
    heldout("a null answer", "a.jsonl", '{"question": "q", "answer": null}\n', "row 1", "'answer' is empty"),
    heldout("a NaN answer", "a.jsonl", '{"question": "q", "answer": NaN}\n', "row 1", "'answer' is empty"),
    heldout("an infinite answer", "a.jsonl", '{"question": "q", "answer": Infinity}\n', "row 1", "a text or a number"),
    heldout("a huge number", "a.jsonl", '{"question": "q", "answer": ' + "9" * 5000 + "}\n", "a.jsonl"),
    heldout("half a pair", "a.jsonl", '{"question": "q", "answer": "\\ud800"}\n', "row 1", "surrogate"),
    heldout("an object as answer", "a.jsonl", '{"question": "q", "answer": {"a": 1}}\n', "row 1", "a text or a number"),
    heldout("empty JSONL", "a.jsonl", "", "set a: has 0 problems"),
    heldout("empty CSV", "a.csv", "", "set a: has 0 problems"),
    heldout("empty JSON", "a.json", "", "a.json", "cannot be read as json"),
    heldout("empty Parquet", "a.parquet", b"", "a.parquet", "cannot be read as parquet"),
    heldout("truncated Parquet", "a.parquet", b"PAR1" + bytes(100), "a.parquet", "cannot be read as parquet"),
    heldout("a line cut off", "a.jsonl", '{"question": "q", "answer": "1"}\n{"quest', "line 2"),
    heldout("a JSON object", "a.json", '{"question": "q"}', "one object for each problem"),
    heldout("another suffix", "a.txt", "q", "no such set", ".parquet"),
    heldout("a name for no file", "a+b.jsonl", '{"question": "q", "answer": "1"}\n', "set 'a+b'", "letters, digits"),
    case("benchmark that is not there", "round", "--set evaluation.sets=[{here}/none.jsonl]", "none.jsonl", "no such file"),
    case("benchmark a folder", "round", "--set evaluation.sets=[{here}/a.jsonl]", "a.jsonl", "no such file",
         make=lambda folder: (folder / "a.jsonl").mkdir()),
    case("benchmark of dates", "round", "--set evaluation.sets=[{here}/a.parquet]", "row 1", "a text or a number",
         make=parquet("a.parquet", question=["q"], answer=[date(2026, 1, 1)])),
    case("benchmark of bytes", "round", "--set evaluation.sets=[{here}/a.parquet]", "row 1", "a text or a number",
         make=parquet("a.parquet", question=["q"], answer=[b"\xff"])),
    case("benchmark of nulls", "round", "--set evaluation.sets=[{here}/a.parquet]", "row 1", "is empty",
         make=parquet("a.parquet", question=["q"], answer=[None])),
    definition("empty", "", "defines no sets"),
    definition("not UTF-8", b"mine: \xff\n", "cannot be read as YAML"),
    definition("named by a number", "1.10: {hub: me/mine}\n", "set 1.1", "its name is read as 1.1", "quotes"),
    definition("of a number", "mine: {hub: me/mine, config: 2.10}\n", "set mine", "config is read as 2.1", "quotes"),
    definition("with a column of a number", "mine: {hub: me/mine, columns: {question: 1.10}}\n", "columns.question", "quotes"),
    definition("no source", "mine: {grader: math}\n", "exactly one of the two"),
    definition("missing data", "mine: {path: none.jsonl}\n", "none.jsonl"),
    case("benchmark fetched by nobody", "round", "--set evaluation.sets=[math500] evaluation.folder={here}", "set math500",
         "make benchmarks"),
]  # fmt: skip


def made(damage: Prepare = lambda run: None, until: StageName = "evaluation") -> Prepare:
    """A run named made, with damage."""

    def make(folder: Path) -> None:
        damage(write_run(made_config(folder / "runs"), 2, until=until))

    return make


def damaged(name: str, change: Callable[[bytes], bytes] | None, file: str = "manifest.json") -> Prepare:
    """The file of a made run after a change, or without it."""

    def damage(run: Path) -> None:
        content = (run / file).read_bytes()
        (run / file).unlink() if change is None else (run / file).write_bytes(change(content))

    return made(damage)


def field(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A change of the manifest's content that leaves it without a checksum, as an earlier version wrote it."""

    def changed(content: bytes) -> bytes:
        data = json.loads(content)
        data.pop("checksum")
        change(data)
        return json.dumps(data).encode()

    return changed


MANIFESTS: dict[str, Callable[[bytes], bytes] | None] = {
    "that is missing": None,
    "that is empty": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-1],
    "of zeros": lambda content: bytes(len(content)),
    "with a changed digit": lambda content: content.replace(b"0.4", b"0.5", 1),
    "with a flipped bit": lambda content: content[:40] + bytes([content[40] ^ 128]) + content[41:],
    "that is a list": lambda content: b"[]",
    "of another file": lambda content: b"name: made\n",
    "short of its rounds": field(lambda data: data.pop("rounds")),
    "short of a stage": field(lambda data: data["rounds"]["1"].pop("solver")),
    "short of its schema": field(lambda data: data.pop("schema")),
    "with a round of no number": field(lambda data: data["rounds"].update(one=data["rounds"].pop("1"))),
    "with a field too many": field(lambda data: data.update(extra=1)),
}
OTHER_SCHEMA = damaged("", field(lambda data: data.update(schema=1)))
MADE = ["--name", "made", "--runs-dir", "{here}/runs"]
FLIPPED = lambda content: bytes(byte ^ (place % 50 == 20) for place, byte in enumerate(content))  # noqa: E731
CUT = lambda content: content[:-10]  # noqa: E731
QUESTIONS, KEPT = "round-2/challenger/questions-0002.parquet", "round-2/curriculum.parquet"
MEASURED = "round-2/evaluation/heldout.parquet"

RUNS = [
    *(case(f"manifest {name}, {command}", command, MADE, "manifest.json", "no previous one", make=damaged(name, change))
      for command in ("status", "report") for name, change in MANIFESTS.items()
      if name != "that is missing"),
    *(case(f"manifest of another schema, {command}", command, MADE, "manifest schema 1, this code reads 2", make=OTHER_SCHEMA)
      for command in ("status", "report")),
    case("manifest damaged, round", "round", "--name made --set", "manifest.json", "no previous one",
         make=damaged("", lambda content: b"")),
    case("manifest missing, round", "round", "--name made --set", "manifest.json is missing", "restore it",
         make=damaged("", None)),
    case("manifest damaged, evaluate", "evaluate", "--policy {here}/runs/made --sets math500", "manifest.json",
         make=damaged("", lambda content: b"{")),
    case("manifest damaged, push", "push", "--run made --round 1 --repo me/mine --dry --runs-dir {here}/runs", "manifest.json",
         make=damaged("", lambda content: b"{")),
    *(case(f"{Path(file).stem} {how}, report", "report", MADE, Path(file).name, "restore" if file != MEASURED else "delete it",
           make=damaged("", change, file))
      for file in (QUESTIONS, KEPT, MEASURED) for how, change in {"flipped": FLIPPED, "cut": CUT, "missing": None}.items()),
    case("a run of that name with other settings", "round", "--name made --set seed=1 reward.samples=4", "seed=1",
         "was started with seed=0",         "NAME=", make=made()),
    case("no such run", "status", ["--name", "other", "--runs-dir", "{here}/runs"], "NAME=other", "valid: made", make=made()),
    case("no run at all", "report", ["--runs-dir", "{here}/runs"], "holds no run yet"),
    case("no such round", "push", "--run made --round 9 --repo me/mine --dry --runs-dir {here}/runs", "ROUND=9", make=made()),
    case("no such round to measure", "evaluate", "--policy {here}/runs/made:9 --sets math500", "no such round", "0, 1, 2",
         make=made()),
]  # fmt: skip

TAKEN = socket.socket()
TAKEN.bind(("127.0.0.1", 0))
TAKEN.listen()


def full(run: Path) -> None:
    """A disk on which the manifest finds no space."""
    (run / "manifest.previous.json.partial").symlink_to("/dev/full")


ENVIRONMENT = [
    case("runs_dir on a disk without room", "round", "--set runs_dir=/proc/none", "0 MB free in /proc/none",
         "runs_dir on a larger disk"),
    case("runs_dir below a device", "round", "--set runs_dir=/dev/null/a", "runs_dir=/dev/null/a", "cannot be written"),
    case("runs_dir that is a file", "round", "--set runs_dir={here}/a", "runs_dir={here}/a", "cannot be written", "valid",
         make=holds("a", "")),
    case("output that is a file", "evaluate", "--policy assets/tiny-base --output {here}/a --sets assets/heldout.parquet",
         "OUTPUT", "{here}/a", "cannot be written", "valid", make=holds("a", "")),
    case("no space", "round", "--name made --set reward.samples=4", "No space left on device", "the same command resumes",
         make=made(full), status=1),
    case("store that cannot be written", "round", "--set tracking_uri=sqlite:////proc/none/m.db", "tracking_uri=", "/proc/none",
         "valid: a folder that can be written"),
    case("store below a file", "round", "--set tracking_uri=sqlite:///{here}/a/m.db", "tracking_uri=", "{here}/a", "valid",
         make=holds("a", "")),
    case("store that is a folder", "round", "--set tracking_uri=sqlite:///{here}", "tracking_uri=", "{here}", "valid: a file"),
    case("store that is no database", "best", "--tracking-uri sqlite:///{here}/m.db", "sqlite:///{here}/m.db",
         make=holds("m.db", "hello, this is no database")),
    case("store that is not there", "best", "--tracking-uri sqlite:///{here}/m.db", "m.db", "there is no store yet"),
    case("port in use", "dashboard", f"--port {TAKEN.getsockname()[1]} --tracking-uri sqlite:///{{here}}/m.db",
         f"--port={TAKEN.getsockname()[1]}", "Address already in use", "valid: a port that is free"),
    case("port of no kind", "dashboard", "--port 99999 --tracking-uri sqlite:///{here}/m.db", "--port=99999", "valid: a port"),
    case("dashboard of a server", "dashboard", "--tracking-uri http://127.0.0.1:1", "--tracking-uri", "sqlite:///<file>"),
    case("address of no dashboard", "submit", "", "RAY_ADDRESS=127.0.0.1:", "http://head:8265"),
    case("watch without a terminal", "watch", MADE, "needs a terminal", "make status", make=made()),
    case("stacks of a run at rest", "stacks", MADE, "NAME=made", "no process", make=made()),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bad input is not found, the test fails before it starts Ray."""

    def started(*arguments: object) -> None:
        raise AssertionError("Ray was started")

    # Ray reads its environment when it is imported, which other tests have done: it is that of a cluster, joined later.
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{TAKEN.getsockname()[1]}")
    for command in ("round", "evaluate"):
        monkeypatch.setattr(f"jobs.{command}.ray_cluster", started)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file with its content and every folder; a lock is no trace."""
    found = sorted(path for path in folder.rglob("*") if path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def run(command: str, arguments: list[str]) -> int:
    try:
        return int(import_module(f"jobs.{command}").main(arguments))
    except SystemExit as ended:  # argparse
        return int(ended.code or 0)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("command", "arguments", "said", "make", "status"), [*CONFIGURATION, *FILES, *RUNS, *ENVIRONMENT])
def test_bad_input_is_told_in_a_line(
    command: str,
    arguments: str | list[str],
    said: tuple[str, ...],
    make: Prepare,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path)
    words = arguments.split() if isinstance(arguments, str) else arguments
    if command == "round":
        words += [] if "--set" in words else ["--set"]
        words += [each for each in PLACES if each.partition("=")[0] not in "".join(words)]
    words = [word.replace("{here}", str(tmp_path)) for word in words]
    before = tree(tmp_path)
    assert run(command, words) == status
    shown = capfd.readouterr()
    told = shown.err.strip().splitlines()[-1]
    assert "error: " in told
    assert "Traceback" not in shown.err + shown.out
    assert len([line for line in shown.err.splitlines() if "error: " in line]) == 1
    place = 0
    for part in said:
        place = told.index(part.replace("{here}", str(tmp_path)), place)
    assert tree(tmp_path) == before


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "solver.lr=nan"], "solver.lr=nan: valid: float at least 0 and finite"),
        (["--profile", "one-gpu", "--set", "model.path=assets/tiny-base"], "reserve 1 GPUs, and PyTorch sees 0 here"),
    ],
)
def test_a_process_ends_as_the_command_does(arguments: list[str], said: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "CUDA_VISIBLE_DEVICES": ""
    }
    places = [each.replace("{here}", str(tmp_path)) for each in PLACES]
    command = [sys.executable, "-m", "jobs.round", *arguments, "model.max_length=256", "sampling.max_tokens=96", *places]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private.utils import check_version_info

    def init(**options: object) -> None:
        check_version_info({"ray_version": "2.9.0", "python_version": "3.8.1"}, "10.0.0.1:6379")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        ConfigError, match=r"RAY_ADDRESS=127\.0\.0\.1:\d+: Version mismatch: .* Ray: 2\.9\.0 .*valid: a cluster with"
    ):
        init_ray()


def test_a_cluster_that_is_not_there_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert run("round", ["--set", *(each.replace("{here}", str(tmp_path)) for each in PLACES)]) == 2
    assert capfd.readouterr().err.startswith("error: RAY_ADDRESS=127.0.0.1:1: no Ray cluster responds there ([Errno 111]")
    assert list(tmp_path.iterdir()) == []
