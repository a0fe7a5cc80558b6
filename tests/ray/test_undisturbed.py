"""A round that nothing disturbs: what it prints, leaves and hides. One of many faults (`make chaos` in short) ends the same."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM

from actors.cluster import FOLDER_PREFIX, ROOT, parent_folder
from jobs.chaos.faults import Action, Fault, Target
from jobs.chaos.judge import problems, records
from jobs.chaos.moments import MARKS
from jobs.chaos.strikes import Surroundings
from jobs.chaos.trial import Trial
from pipeline.store.manifest import FILE, USED
from tests.rounds import SMALL, finish, manifest, small_set, start, wait_until_gone
from tests.watch import SECRETS, Watch, files_with_secrets

pytestmark = pytest.mark.timeout(3600)  # several runs a test; `ended` and the like bound each of them


def results(folder: Path) -> dict[str, list]:
    """What a run leaves that a reader would compare: the curriculum and every answer of the evaluation."""
    files = ["round-1/curriculum.parquet", "round-1/evaluation/heldout.parquet", "round-1/solver/samples-0002.parquet"]
    return {name: pq.read_table(folder / "small" / name).to_pylist() for name in files}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Watch]:
    """A run that nothing disturbs, watched all the time."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(folder)
    with Watch(process.pid) as watch:
        output = finish(process)
    wait_until_gone(process.pid)
    assert not list(parent_folder().glob(f"{FOLDER_PREFIX}{process.pid}-*"))
    return folder, output, watch


@pytest.fixture(scope="module")
def undisturbed(watched: tuple[Path, str, Watch]) -> tuple[Path, str]:
    return watched[:2]


def test_every_socket_of_a_run_is_on_loopback(watched: tuple[Path, str, Watch]) -> None:
    watch = watched[2]
    assert {"raylet", "gcs_server", "ray::RolloutWorker", "ray::Learner", "ray::RewardActor"} <= watch.listening.keys()
    for name, addresses in watch.listening.items():
        assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, name


def test_no_secret_of_the_environment_is_kept(watched: tuple[Path, str, Watch]) -> None:
    folder, output, watch = watched
    assert watch.searched > 20  # files of the cluster, which are gone by now
    assert not watch.secrets
    assert not files_with_secrets(folder)
    assert not any(secret in output for secret in SECRETS.values())


def test_a_round_prints_what_changed(undisturbed: tuple[Path, str]) -> None:
    folder, output = undisturbed
    assert not (folder / "small" / "logs").exists()
    for words in ("challenger 2/2", "solver 2/2", "Held-out accuracy", "pseudo-labels are right", "make round ITER=2 NAME=small"):
        assert words in output
    assert "Traceback" not in output


def test_a_round_leaves_what_the_next_one_needs(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    round_ = manifest(folder)["rounds"]["1"]
    for role in ("challenger", "solver"):
        assert len(round_[role]["metrics"]) == 2
        # vLLM and the learner held the same weights at each step.
        assert all(step.get("mismatch_max", 0.0) < 1e-4 for step in round_[role]["metrics"])
        policy = folder / "small" / round_[role]["policy"]
        AutoModelForCausalLM.from_pretrained(policy)
        card = (policy / "README.md").read_text()
        assert f"# small, round 1: {role.capitalize()}" in card
        assert "| heldout | 12 | mean@2 |" in card
    assert not list((folder / "small").rglob("checkpoint-*"))
    questions = pq.read_table(folder / "small" / "round-1" / "challenger" / "questions-0001.parquet")
    assert questions.schema.metadata[b"rzero.table"] == b"questions"
    assert questions.num_rows == 16


def test_counts_belong_to_the_stage_that_made_them(undisturbed: tuple[Path, str]) -> None:
    """A phase's first step used to carry the counts of the whole stage before it."""
    folder, _ = undisturbed
    rounds = manifest(folder)["rounds"]
    for step in (1, 2):
        samples = pq.read_table(folder / "small" / "round-1" / "solver" / f"samples-{step:04d}.parquet")
        drawn = sum(len(ids) for ids in samples["token_ids"].to_pylist())
        assert rounds["1"]["solver"]["metrics"][step - 1]["sampled_tokens"] == drawn
    most = 80 * (16 + 16 * 4)  # a Challenger step: its own responses, and four answers to each
    assert all(0 < step["sampled_tokens"] <= most for step in rounds["1"]["challenger"]["metrics"])
    for stage in (rounds["0"]["evaluation"], rounds["1"]["curriculum"], rounds["1"]["evaluation"]):
        assert stage["counts"]["tokens"] > 0
        assert {"verify_calls", "killed"} <= stage["counts"].keys()
        assert stage["seconds"]["sampling"] > 0


def test_a_round_ends_with_a_report_and_a_registered_solver(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    report = (folder / "small" / "report.html").read_text()
    assert "1 round finished" in report
    assert [path.read_text() for path in folder.glob("artifacts/*/artifacts/report.html")] == [report]
    with sqlite3.connect(folder / "mlflow.db") as store:
        versions = store.execute("SELECT name, version, source FROM model_versions").fetchall()
    assert versions == [("small-solver", 1, str(folder / "small" / manifest(folder)["rounds"]["1"]["solver"]["policy"]))]


def fault(target: Target, action: Action, after: str, cuts: bool = False) -> Fault:
    mark = next(place for place, (_, file) in enumerate(MARKS) if file == f"round-1/{after}")
    return Fault(mark, target, action, mark, 0.3, 0.5, cuts)


def test_a_round_that_is_killed_stopped_and_damaged_ends_as_the_undisturbed_one(
    undisturbed: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How many files there are, of which `choice` picks one, depends on how fast a checkpoint is written.
    monkeypatch.setattr("jobs.chaos.damage.files_of", lambda folder: [folder / FILE])
    settings = [*SMALL, f"evaluation.sets=[{small_set(tmp_path)}]"]
    trial = Trial(tmp_path / "runs", tmp_path / "lives", 0, Surroundings(settings, f"sqlite:///{tmp_path}/mlflow.db"), print)
    trial.run(
        [
            fault("learner rank", "SIGKILL", "challenger/samples-0001.parquet"),
            fault("sandbox process", "SIGKILL", "challenger/policy/config.json"),
            fault("reward actor", "SIGKILL", "curriculum/part-0001.parquet"),
            # With the driver, and last: near the end of the round nothing has time to strike after it.
            fault("file", "a byte flipped", "solver/samples-0001.parquet", cuts=True),
        ]
    )
    assert not list(problems(trial, undisturbed[0] / "small"))
    assert {each.damage.path.name for each in trial.struck if each.damage} == {FILE}
    assert USED in " ".join(trial.lives[-1].log.read_text().split())
    outcomes = {each.kind: (each.outcome, each.restarts) for each in records(trial, 0, 0.0, {})}
    assert outcomes == {
        "learner rank, SIGKILL": ("by itself", 0),
        "sandbox process, SIGKILL": ("by itself", 0),
        "reward actor, SIGKILL": ("by itself", 0),
        "file, a byte flipped": ("after a restart", 1),
    }


def test_a_finished_run_gets_another_set_for_all_its_rounds(undisturbed: tuple[Path, str]) -> None:
    """After the others, which compare the run with what it is before that."""
    folder, _ = undisturbed
    asked = [{"question": f"Start with {10 + k}. Add {k}. What number is it now?", "answer": 10 + 2 * k} for k in range(8)]
    asked.append({"question": "How many words? " + "word " * 400, "answer": "400"})  # does not fit
    extra = folder / "extra.jsonl"
    extra.write_text("".join(json.dumps(problem) + "\n" for problem in asked))
    longer = folder / "longer.yaml"  # needs a longer context than the run has, so that its figures are no figures of the run
    longer.write_text("longer: {path: extra.jsonl, columns: {question: question, answer: answer}, max_tokens: 200}")
    run, output = folder / "small", folder / "evaluations"

    def evaluate(*more: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        command = [
            sys.executable,
            "-m",
            "jobs.evaluate",
            "--policy",
            str(run),
            "--sets",
            f"{extra} {longer}",
            "--output",
            str(output),
            *more,
        ]
        return finish(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=PIPE, stderr=subprocess.STDOUT))

    before = results(folder)
    first = evaluate()
    assert "extra: 1 prompts left no room for an answer" in first
    summaries = [json.loads((output / f"small-{number}" / "summary.json").read_text()) for number in (0, 1)]
    assert [each["sets"]["extra"]["n"] for each in summaries] == [9, 9]
    assert [each["sets"]["extra"]["samples"] for each in summaries] == [2, 2]  # as the run's settings say
    assert [each["sets"]["extra"]["skipped"] for each in summaries] == [1, 1]
    assert [each["sets"]["longer"]["n"] for each in summaries] == [9, 9]
    assert len(list(output.glob("small-*/longer-*.parquet"))) == 2
    for number, each in enumerate(summaries):
        stage = manifest(folder)["rounds"][str(number)]["evaluation"]
        assert set(stage["sets"]) == {"heldout", "extra"}
        assert stage["accuracies"]["extra"]["greedy"] == each["sets"]["extra"]["greedy"]
        table = pq.read_table(run / f"round-{number}" / "evaluation" / "extra.parquet").to_pylist()
        assert [row["answer"] for row in table] == [str(10 + 2 * k) for k in range(8)] + ["400"]
        assert [len(row["responses"]) for row in table] == [2] * 8 + [0]
    assert results(folder) == before
    assert "Accuracy on extra by round" in (run / "report.html").read_text()
    with sqlite3.connect(folder / "mlflow.db") as store:
        logged = store.execute("SELECT COUNT(DISTINCT run_uuid) FROM metrics WHERE key = 'extra_greedy'").fetchone()
    assert logged == (3,)  # the run and both of its rounds
    assert "starting Ray" not in evaluate()  # measured already


def test_a_finished_round_is_not_run_again(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    before = (folder / "small" / "manifest.json").stat().st_mtime_ns
    output = finish(start(folder))
    assert "nothing to do" in output
    assert (folder / "small" / "manifest.json").stat().st_mtime_ns == before
