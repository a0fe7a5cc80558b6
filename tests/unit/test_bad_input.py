"""Bad input, through the commands that people type: one line, the right exit status, no traceback, and nothing left on disk.

Faults of model folders are in `tests/unit/test_model_folder.py`; details of rows and
definitions in `test_sets.py` and `test_config.py`.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from actors.cluster import init_ray
from conf.errors import ConfigError
from conf.load import ROOT
from pipeline.store.manifest import StageName, as_text
from tests.bad_input import CONFIGURATION, FILES, PLACES, Prepare, case, holds
from tests.made_runs import made_config, write_run


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
    """A change of the manifest's content that leaves its checksum as it was."""

    def changed(content: bytes) -> bytes:
        data = json.loads(content)
        change(data)
        return json.dumps(data, indent=1).encode()

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
    "short of its checksum": field(lambda data: data.pop("checksum")),
    "with a round of no number": field(lambda data: data["rounds"].update(one=data["rounds"].pop("1"))),
    "with a field too many": field(lambda data: data.update(extra=1)),
    "with metrics of text": field(lambda data: data["rounds"]["1"]["solver"].update(metrics="none")),
    "with a metric of text": field(lambda data: data["rounds"]["1"]["solver"].update(metrics=[{"reward_mean": "high"}])),
    "with accuracies in a list": field(lambda data: data["rounds"]["1"]["evaluation"].update(accuracies=[0.5])),
    "with a policy that is a number": field(lambda data: data["rounds"]["1"]["solver"].update(policy=5)),
    "with a round before the first": field(lambda data: data["rounds"].update({"-1": data["rounds"]["1"]})),
    "without settings": field(lambda data: data.update(config=None)),
    "with a section of text": field(lambda data: data["config"].update(model="tiny")),
    "with a name that is a number": field(lambda data: data.update(name=5)),
}


def of_schema(number: int) -> Prepare:
    """A sound manifest of another version."""

    def changed(content: bytes) -> bytes:
        data = json.loads(content) | {"schema": number}
        del data["checksum"]
        return as_text(data).encode()

    return damaged("", changed)


MADE = ["--name", "made", "--runs-dir", "{here}/runs"]

RUNS = [
    *(case(f"manifest {name}, {command}", command, MADE, "manifest.json", "no previous one", make=damaged(name, change))
      for command in ("status", "report") for name, change in MANIFESTS.items()
      if name != "that is missing"),
    *(case(f"manifest of another schema, {command}", command, MADE, "manifest schema 1, this code reads 2", make=of_schema(1))
      for command in ("status", "report")),
    case("manifest damaged, round", "round", "--name made --set", "manifest.json", "no previous one",
         make=damaged("", lambda content: b"")),
    case("manifest missing, round", "round", "--name made --set", "manifest.json is missing", "restore it",
         make=damaged("", None)),
    case("manifest damaged, evaluate", "evaluate", "--policy {here}/runs/made --sets math500", "manifest.json",
         make=damaged("", lambda content: b"{")),
    case("manifest damaged, push", "push", "--run made --round 1 --repo me/mine --dry --runs-dir {here}/runs", "manifest.json",
         make=damaged("", lambda content: b"{")),
    case("manifest a folder", "report", MADE, "manifest.json", "Is a directory", "restore it",
         make=made(lambda run: ((run / "manifest.json").unlink(), (run / "manifest.json").mkdir()))),
    case("manifest a pipe", "status", MADE, "manifest.json", "it is a pipe or a device", "restore it",
         make=made(lambda run: ((run / "manifest.json").unlink(), os.mkfifo(run / "manifest.json")))),
    case("manifest of a later version", "evaluate", "--policy {here}/runs/made --sets math500", "schema 3, this code reads 2",
         make=of_schema(3)),
    case("a lock that is a folder", "round", "--name made --set reward.samples=4", "cannot be written", "Is a directory",
         make=made(lambda run: (run / ".lock").mkdir())),
    case("a page that is a folder", "report", MADE, "report.html", "Is a directory", "valid: another path",
         make=made(lambda run: (run / "report.html").mkdir())),
    case("a round by no number", "evaluate", "--policy {here}/runs/made:-1 --sets math500", "no such round", "valid: 0, 1, 2",
         make=made()),
    case("definitions in a pipe", "round", "--set evaluation.sets=[{here}/sets.yaml]", "sets.yaml", "it is a pipe or a device",
         make=lambda here: os.mkfifo(here / "sets.yaml")),
    case("problems in a pipe", "evaluate", "--policy assets/tiny-base --sets {here}/mine.yaml", "a.jsonl", "a pipe or a device",
         make=lambda here: ((here / "mine.yaml").write_text("mine: {path: a.jsonl}"), os.mkfifo(here / "a.jsonl"))),
    case("a quote that is not closed", "evaluate", "--policy assets/tiny-base --sets 'a.jsonl", "SETS='a.jsonl", "in quotes"),
    case("settings missing, evaluate", "evaluate", "--policy {here}/runs/made --sets math500", "config.yaml is missing",
         "NAME=made", make=made()),
    case("the folder of no run", "limits", "{here}", "not the folder of a run", "manifest.json"),
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

AVERAGE = "--policy assets/tiny-base assets/tiny-base --output"
FULL = Path("/dev/full")


def full(run: Path) -> None:
    """A disk on which the manifest finds no space."""
    (run / f"manifest.previous.json.{socket.gethostname()}-{os.getpid()}.partial").symlink_to(FULL)


ENVIRONMENT = [
    case("runs_dir that takes no folders", "round", "--set runs_dir=/proc/none", "runs_dir=/proc/none", "cannot be written"),
    case("runs_dir below a device", "round", "--set runs_dir=/dev/null/a", "runs_dir=/dev/null/a", "cannot be written"),
    case("runs_dir that is a file", "round", "--set runs_dir={here}/a", "runs_dir={here}/a", "cannot be written", "valid",
         make=holds("a", "")),
    case("output that is a file", "evaluate", "--policy assets/tiny-base --output {here}/a --sets assets/heldout.parquet",
         "OUTPUT", "{here}/a", "cannot be written", "valid", make=holds("a", "")),
    case("mean below a file", "average", f"{AVERAGE} {{here}}/a/b", "--output {here}/a/b", "cannot be written", "valid",
         make=holds("a", "")),
    case("mean where no folder can be", "average", f"{AVERAGE} /proc/b", "--output /proc/b", "cannot be written", "valid"),
    case("mean over a link to nowhere", "average", f"{AVERAGE} {{here}}/a", "exists", "valid: a new folder",
         make=lambda folder: (folder / "a").symlink_to("/nowhere")),
    case("mean of a damaged policy", "average", "--policy assets/tiny-base {here}/a --output {here}/b", "{here}/a",
         "is damaged or incomplete", "valid", make=lambda folder: [(folder / "a").mkdir(), *(
             (folder / "a" / name).write_text("{}") for name in ("config.json", "model.safetensors"))]),
    case("no space", "round", "--name made --set reward.samples=4", "No space left on device", "the same command resumes",
         make=made(full), status=1),
    case("store that cannot be written", "round", "--set tracking_uri=sqlite:////proc/none/m.db", "tracking_uri=", "/proc/none",
         "valid: a folder that can be written"),
    case("store below a file", "round", "--set tracking_uri=sqlite:///{here}/a/m.db", "tracking_uri=", "{here}/a", "valid",
         make=holds("a", "")),
    case("store without a host", "round", "--set tracking_uri=http://[", "tracking_uri=http://[", "valid: sqlite:///PATH"),
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
    case("status of a folder that is a file", "status", "--runs-dir {here}/a", "runs_dir={here}/a", "holds no run",
         make=holds("a", "")),
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
    """Every file with its content and every folder; a lock is no trace, nor is what stands for a full disk."""
    found = sorted(path for path in folder.rglob("*") if not path.name.endswith(".lock") and path.resolve() != FULL)
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
