"""Fetching benchmark sets from a hub on loopback: what is converted, what is refused, what an interruption costs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from conf.errors import ConfigError
from conf.load import ROOT
from jobs.benchmarks import main
from pipeline.domain.sets import CATALOGUE, BenchmarkSet, read_sets
from pipeline.store.benchmarks import Fetched, fetch, read_problems, read_stored, refuse_missing
from tests.hub import TOKEN, Hub
from tests.raw_sets import LAYOUTS, MADE, jsonl, raw_files

SETS = {each.name: each for each in read_sets(CATALOGUE)}
SHARED = ROOT.parent / "shared" / "benchmarks"
SHARED_FILES = {"bbeh": "bbeh_mini", "mmlu_pro": "mmlu_pro_sample1400", "supergpqa": "supergpqa_subset468"}
LINES = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(3)]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def definition(**fields: Any) -> BenchmarkSet:
    return replace(BenchmarkSet("mine", hub="me/mine"), **fields)


def definitions(tmp_path: Path, *names: str) -> str:
    """A file of definitions of sets with the plainest columns."""
    path = tmp_path / "sets.yaml"
    path.write_text("".join(f"{name}: {{hub: me/{name}}}\n" for name in names))
    return str(path)


def expected(problems: list[dict[str, Any]]) -> list[tuple[str, str, tuple[str, ...]]]:
    answers = [p.get("answer_raw", [p["answer"]])[0].strip() for p in problems]
    return [(p["question"], answer, tuple(p.get("options", ()))) for p, answer in zip(problems, answers, strict=True)]


def fetched_from_raw(name: str, problems: list[dict[str, Any]], folder: Path, hub: Hub) -> BenchmarkSet:
    """Puts a set on the hub in its raw form, under a commit of the hub's own, and fetches it."""
    assert SETS[name].hub is not None
    commit = hub.dataset(str(SETS[name].hub), raw_files(name, problems))
    pinned = replace(SETS[name], problems=len(problems), revision=SETS[name].revision and commit)
    assert fetch(pinned, folder, HfApi()).revision == commit
    return pinned


@pytest.mark.parametrize("name", SETS)
def test_the_ten_sets_are_converted_from_their_raw_columns(name: str, tmp_path: Path, hub: Hub) -> None:
    pinned = fetched_from_raw(name, MADE[name], tmp_path, hub)
    stored = read_problems(pinned, tmp_path)
    assert [(p.question, p.answer, p.options) for p in stored] == expected(MADE[name])
    assert [p.id for p in stored] == [p.get("id", str(number)) for number, p in enumerate(MADE[name])]
    assert [(p.band, p.subject) for p in stored] == [(p.get("band"), p.get("subject")) for p in MADE[name]]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there: the problem texts are not the repository's to hold")
@pytest.mark.parametrize("name", SETS)
def test_the_ten_sets_as_they_are(name: str, tmp_path: Path, hub: Hub) -> None:
    text = (SHARED / f"{SHARED_FILES.get(name, name)}.jsonl").read_text()
    problems = [json.loads(line) for line in text.split("\n") if line]
    assert len(problems) == SETS[name].problems or name in SHARED_FILES
    pinned = fetched_from_raw(name, problems, tmp_path, hub)
    stored = read_problems(pinned, tmp_path)
    assert [(p.question, p.answer, p.options) for p in stored] == expected(problems)


def test_the_command_fetches_what_is_missing_and_then_nothing(
    tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.dataset("me/one", {"test.jsonl": jsonl(LINES)})
    hub.dataset("me/two", {"test.jsonl": jsonl(LINES[:1])})
    command = ["--sets", definitions(tmp_path, "one", "two"), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    assert "fetched: 3 problems" in capsys.readouterr().out
    hub.requests.clear()
    assert main(command) == 0
    again = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split(maxsplit=1) for line in again] == [["one", "already fetched"], ["two", "already fetched"]]
    assert not hub.requests
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.json", "one.parquet", "two.json", "two.parquet"]


def test_a_set_that_is_gone_or_gated_or_has_no_such_split_is_told_and_the_others_are_fetched(
    tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.dataset("me/gated", {"test.jsonl": jsonl(LINES)}, gated=True)
    hub.dataset("me/other", {"train.jsonl": jsonl(LINES)})
    hub.dataset("me/there", {"test.jsonl": jsonl(LINES)})
    sets = definitions(tmp_path, "gone", "gated", "other", "there")
    assert main(["--sets", sets, "--output", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert "there         fetched: 3 problems" in told.out
    gone, gated, other, summary = told.err.splitlines()
    assert gone.startswith("error: set gone: me/gone: not on http://127.0.0.1")
    assert gated.startswith("error: set gated: me/gated: gated; accept its terms")
    assert "me/other has no file for the split 'test'; it has train.jsonl" in other
    assert summary == "3 of 4 sets missing: gone, gated, other"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["there.json", "there.parquet"]


def test_a_token_opens_a_gated_set(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.dataset("me/gated", {"test.jsonl": jsonl(LINES)}, gated=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(["--sets", definitions(tmp_path, "gated"), "--output", str(tmp_path)]) == 0


def test_a_hub_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Hub() as ended:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", ended.url)
    assert main(["--sets", definitions(tmp_path, "one", "two"), "--output", str(tmp_path)]) == 1
    first, second, _ = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: set one: me/one: {ended.url} cannot be reached ([Errno 111] Connection refused); check")
    assert second.startswith("error: set two: ")


def test_a_revision_that_is_gone(tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.dataset("me/one", {"test.jsonl": jsonl(LINES)})
    sets = tmp_path / "sets.yaml"
    sets.write_text(f"one: {{hub: me/one, revision: {'a' * 40}}}\n")
    assert main(["--sets", str(sets), "--output", str(tmp_path)]) == 1
    assert "set one: me/one: the pinned revision does not exist; check `revision`." in capsys.readouterr().err


def test_offline_is_told(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["--sets", definitions(tmp_path, "one"), "--output", str(tmp_path)]) == 1
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert not hub.requests


def test_a_killed_fetch_goes_on_with_the_set_that_was_under_way(tmp_path: Path, hub: Hub) -> None:
    hub.dataset("me/one", {"test.jsonl": jsonl(LINES)})
    hub.dataset("me/two", {"test-00000-of-00002.jsonl": jsonl(LINES[:1]), "test-00001-of-00002.jsonl": jsonl(LINES[1:])})
    arguments = ["--sets", definitions(tmp_path, "one", "two"), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "jobs.benchmarks", *arguments]
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
    hub.stall = "test-00001-of-00002.jsonl"
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert hub.stalled.wait(60)
        process.send_signal(signal.SIGKILL)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.json", "one.parquet"]
    hub.stall = ""
    hub.requests.clear()
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "one           already fetched" in done.stdout
    assert "two           fetched: 3 problems" in done.stdout
    assert not [request for request in hub.requests if "me/one" in request]
    assert not [request for request in hub.requests if request.startswith("GET") and "test-00000" in request]  # it was whole


def test_without_a_pinned_revision_the_first_commit_stays(tmp_path: Path, hub: Hub) -> None:
    first = hub.dataset("me/mine", {"test.jsonl": jsonl(LINES)})
    before = fetch(definition(), tmp_path, HfApi())
    assert before.revision == first
    hub.dataset("me/mine", {"test.jsonl": jsonl(LINES[:1])})
    (tmp_path / "mine.parquet").unlink()
    assert read_stored(definition(), tmp_path) is None
    assert fetch(definition(), tmp_path, HfApi()) == before
    assert len(read_problems(definition(), tmp_path)) == 3


def test_a_commit_that_holds_other_problems_than_before_is_refused(tmp_path: Path, hub: Hub) -> None:
    commit = hub.dataset("me/mine", {"test.jsonl": jsonl(LINES)})
    record = asdict(fetch(definition(), tmp_path, HfApi()))
    (tmp_path / "mine.json").write_text(json.dumps(record | {"sha256": "0" * 64}))
    (tmp_path / "mine.parquet").unlink()
    assert hub.repositories["dataset", "me/mine"].resolve(commit)
    with pytest.raises(ConfigError, match=r"me/mine now has different problems .*; delete .*mine\.json"):
        fetch(definition(), tmp_path, HfApi())
    assert not (tmp_path / "mine.parquet").exists()


def test_another_definition_fetches_anew(tmp_path: Path, hub: Hub) -> None:
    hub.dataset("me/mine", {"test.jsonl": jsonl(LINES), "train.jsonl": jsonl(LINES[:2])})
    fetch(definition(), tmp_path, HfApi())
    assert read_stored(definition(samples=8, grader="exact"), tmp_path)  # how it is asked does not change the problems
    assert read_stored(definition(split="train"), tmp_path) is None
    assert fetch(definition(split="train"), tmp_path, HfApi()).problems == 2


@pytest.mark.parametrize("damage", ["edited", "cut", "empty"])
def test_a_file_that_was_changed_is_refused_until_it_is_deleted(damage: str, tmp_path: Path, hub: Hub) -> None:
    commit = hub.dataset("me/mine", {"test.jsonl": jsonl(LINES)})
    fetch(definition(), tmp_path, HfApi())
    path = tmp_path / "mine.parquet"
    if damage == "edited":
        hub.dataset("me/mine", {"test.jsonl": jsonl([LINES[0] | {"answer": "7"}, *LINES[1:]])})
        (tmp_path / "other").mkdir()
        fetch(definition(), tmp_path / "other", HfApi())
        (tmp_path / "other" / "mine.parquet").replace(path)
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "cut" else b"")
    with pytest.raises(ConfigError, match=r"set mine: .*mine\.parquet (is damaged|does not hold what was fetched).*delete it"):
        read_problems(definition(), tmp_path)
    path.unlink()
    assert fetch(definition(), tmp_path, HfApi()).revision == commit
    assert [problem.answer for problem in read_problems(definition(), tmp_path)] == ["1", "2", "3"]


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{")
    with pytest.raises(ConfigError, match=r"set mine: .*mine\.json is damaged"):
        read_problems(definition(), tmp_path)


def test_a_set_that_was_not_fetched_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sets mine, other: not in .*; fetch them: make benchmarks SETS='mine other'"):
        refuse_missing([definition(), replace(definition(), name="other")], tmp_path)
    with pytest.raises(ConfigError, match=r"set mine: not in .*; fetch it: make benchmarks SETS=mine"):
        read_problems(definition(), tmp_path)


def test_a_wrong_number_of_problems_is_refused(tmp_path: Path, hub: Hub) -> None:
    hub.dataset("me/mine", {"test.jsonl": jsonl(LINES)})
    with pytest.raises(ConfigError, match="set mine: has 3 problems; valid: 4"):
        fetch(definition(problems=4), tmp_path, HfApi())
    assert not list(tmp_path.glob("mine.*"))


def test_the_record_says_where_a_set_is_from(tmp_path: Path, hub: Hub) -> None:
    commit = hub.dataset("me/mine", {"data/test-0.jsonl": jsonl(LINES)})
    fetch(definition(), tmp_path, HfApi())
    record = Fetched(**json.loads((tmp_path / "mine.json").read_text()))
    assert (record.revision, record.files, record.problems) == (commit, ["data/test-0.jsonl"], 3)
    assert record.source["hub"] == "me/mine"


def test_a_local_file_needs_no_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.jsonl").write_bytes(jsonl(LINES))
    assert main(["--sets", str(tmp_path / "mine.jsonl"), "--output", str(tmp_path / "out")]) == 0
    assert "mine          3 problems in" in capsys.readouterr().out


def test_an_output_that_cannot_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--sets", "math500", "--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith(f"error: --output={tmp_path}/file: File exists; valid: a writable folder")


def test_the_layouts_are_those_of_the_catalogue() -> None:
    assert list(SETS) == list(LAYOUTS) == list(MADE)
