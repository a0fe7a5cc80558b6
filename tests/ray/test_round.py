"""A tiny full round through the command a user types: finished, repeated, interrupted and resumed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM

from actors.cluster import FOLDER_PREFIX, ROOT, parent_folder
from actors.placement import ANYWHERE
from actors.rollout.fleet import RolloutFleet
from conf.load import load_config
from pipeline.errors import NoSignalError
from pipeline.inputs import check_inputs
from pipeline.round import run_rounds
from pipeline.run import open_run
from pipeline.store.state import RunState
from pipeline.types import ROLES
from tests.rounds import SMALL, ended, finish, places, processes_of, start, wait_until_gone
from tests.watch import SECRETS, Watch, files_with_secrets

pytestmark = pytest.mark.timeout(3600)  # several runs a test; `ended` and the like bound each of them


def manifest(folder: Path) -> dict:
    return json.loads((folder / "small" / "manifest.json").read_text())


def results(folder: Path) -> dict[str, list]:
    """What a run leaves that a reader would compare: the curriculum and every answer of the evaluation."""
    files = ["round-1/curriculum.parquet", "round-1/evaluation/heldout.parquet", "round-1/solver/samples-0002.parquet"]
    return {name: pq.read_table(folder / "small" / name).to_pylist() for name in files}


def wait_until(condition, process: subprocess.Popen[str], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended too early:\n{process.stdout and process.stdout.read()}"
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.05)  # polls for a state that the loop's condition checks


def steps_saved(folder: Path, role: str) -> int:
    if not (folder / "small" / "manifest.json").exists():
        return 0
    return len(manifest(folder)["rounds"].get("1", {}).get(role, {}).get("metrics", []))


def interrupt_after(folder: Path, role: str, steps: int, *more: str) -> str:
    """Starts the run and sends SIGINT to its process group, as Ctrl-C does, when `role` has finished `steps` steps."""
    process = start(folder, *more, session=True)
    try:
        wait_until(lambda: steps_saved(folder, role) >= steps, process)
        os.killpg(process.pid, signal.SIGINT)
        output = ended(process)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "SIGINT: the run ends after this step" in output
    assert "Traceback" not in output
    wait_until_gone(process.pid)
    return output


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


def test_a_finished_run_gets_another_set_for_all_its_rounds(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    problems = [{"question": f"Start with {10 + k}. Add {k}. What number is it now?", "answer": 10 + 2 * k} for k in range(8)]
    problems.append({"question": "How many words? " + "word " * 400, "answer": "400"})  # does not fit
    extra = folder / "extra.jsonl"
    extra.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
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
            str(extra),
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


def test_a_scorer_that_fails_stops_the_run_with_its_name_and_line(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def mine(batch, rewards):\n    return [question.answer for question in batch.questions]\n")
    process = start(tmp_path, f"reward.scorers=[triangular,{mine}:mine]", "evaluation.samples=0")
    output = ended(process)
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith("error: scorer mine: AttributeError")
    assert output.splitlines()[-1].endswith("mine.py, line 2)")
    assert "Traceback" not in output
    (kept,) = (tmp_path / "small" / "logs").iterdir()
    assert f"the logs of its actors are in {kept}" in output
    assert "AttributeError" in (kept / "traceback.txt").read_text()
    assert list(kept.glob("RolloutWorker-*.err"))
    assert not files_with_secrets(tmp_path)


def test_a_batch_sampled_ahead_is_one_update_stale_and_outlives_an_interruption(tmp_path: Path) -> None:
    ahead = ["rollout.ahead=1", "challenger.steps=1", "solver.steps=5", "solver.members=1", "evaluation.samples=0"]
    interrupt_after(tmp_path, "solver", 1, *ahead)
    run = tmp_path / "small"
    stage = manifest(tmp_path)["rounds"]["1"]["solver"]
    next_step = len(stage["metrics"])  # 0 is the first; the signal may have come some steps late
    waiting = pq.read_table(run / stage["ahead"]).drop(["reward"])
    finish(start(tmp_path, *ahead))
    batches = [pq.read_table(run / "round-1" / "solver" / f"samples-{step:04d}.parquet") for step in range(1, 6)]
    assert [set(batch["version"].to_pylist()) for batch in batches] == [{f"solver-r1-s{max(0, step - 1)}"} for step in range(5)]
    assert batches[next_step].drop(["reward"]).equals(waiting)
    fresh, *stale = (step.get("mismatch_mean", 0.0) for step in manifest(tmp_path)["rounds"]["1"]["solver"]["metrics"])
    assert fresh < 1e-4
    assert max(stale) > 1e-3  # corrected for, not refused
    assert not list(run.rglob("ahead-*"))


def test_sigterm_ends_a_run_in_order(tmp_path: Path) -> None:
    """Kubernetes and `ray job stop` send it."""
    process = start(tmp_path)
    wait_until(lambda: "RewardActor" in " ".join(processes_of(process.pid).values()), process)
    process.terminate()
    output = ended(process)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "SIGTERM received" not in output  # Ray's report of a crash
    wait_until_gone(process.pid)
    assert not list(parent_folder().glob(f"{FOLDER_PREFIX}{process.pid}-*"))
    assert not (tmp_path / "small" / "logs").exists()


def test_a_wrong_setting_stops_before_anything_is_made(tmp_path: Path) -> None:
    process = start(tmp_path, "model.path=nowhere/at/all")
    output = ended(process)
    assert process.returncode == 2
    assert output.startswith("error: model.path=nowhere/at/all: no such folder")
    assert "Traceback" not in output
    assert not (tmp_path / "small").exists()


@pytest.fixture(scope="module")
def fleet(ray_cluster: None) -> Iterator[RolloutFleet]:
    """For rounds in this process, which have no engine of their own to wait for."""
    config = load_config("tiny", SMALL)
    made = RolloutFleet(config, config.model.path)
    yield made
    made.shutdown()


def run_round(folder: Path, fleet: RolloutFleet, *more: str) -> None:
    config = load_config("tiny", [*SMALL, "name=small", *places(folder), *more])
    fleet.forget_policy()  # the previous run had policies of the same names
    with RunState(config) as state, open_run(config, check_inputs(config), state, dict.fromkeys(ROLES, fleet), ANYWHERE) as run:
        run_rounds(run, 1)


def test_a_round_with_adapters_two_updates_a_batch_and_other_scorers(fleet: RolloutFleet, tmp_path: Path) -> None:
    """LoRA under ZeRO-2 with offload, merged for vLLM: where the two disagreed about the policy, the run would stop."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "def mine(batch, rewards):\n"
        "    assert [len(answers) for answers in batch.answers] == [vote.total for vote in batch.votes]\n"
        "    open(__file__ + '.earlier', 'a').writelines(question + chr(10) for question in batch.earlier)\n"
        "    return [reward / 2 for reward in rewards]\n"
    )
    run_round(
        tmp_path,
        fleet,
        "solver.steps=2",
        "solver.members=1",  # so that the second step follows an update
        "lora.rank=4",
        "learner.zero_stage=2",
        "learner.offload=all",
        "grpo.updates_per_batch=2",
        "grpo.kl_estimator=k2",
        f"reward.scorers=[variance,repetition,memory,validity,{mine}:mine]",
    )
    for role in ("challenger", "solver"):
        metrics = manifest(tmp_path)["rounds"]["1"][role]["metrics"]
        assert metrics[0]["kl"] > 0  # from the batch's second update on
        assert metrics[1]["mismatch_max"] < 1e-4  # vLLM sampled with what the first step's adapter was merged to
    steps = [read_questions(tmp_path, step) for step in (1, 2)]
    assert 0 < max(row["reward"] for row in steps[0]) <= 0.5
    posed_before = [row["question"] for row in steps[0] if row["question"]]
    assert (tmp_path / "mine.py.earlier").read_text().splitlines() == posed_before  # in the second step; nothing in the first
    assert all(row["reward"] == 0 for row in steps[1] if row["question"] in posed_before)


def read_questions(folder: Path, step: int) -> list[dict]:
    return pq.read_table(folder / "small" / "round-1" / "challenger" / f"questions-{step:04d}.parquet").to_pylist()


def test_a_challenger_that_writes_no_question_ends_the_run_with_what_it_wrote(fleet: RolloutFleet, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    solve = "{system: null, user: 'Solve: {question}'}"
    asked = "{system: null, user: 'Solve: Start with 3. Add 4. What number is it now?'}"
    prompts.write_text(f"challenger: {asked}\nsolver: {solve}\nvalidity: {solve}\n")
    with pytest.raises(NoSignalError, match=r"^round 1 challenger, step 1: none of 16 responses is a well-formed") as error:
        run_round(tmp_path, fleet, f"prompts={prompts}", "evaluation.sets=[]")
    message = str(error.value).splitlines()
    assert "\\boxed{" in "".join(message[2:6])  # it solved the problem
    assert error.value.settings == ("prompts=conf/prompts/base.yaml",)
    assert set(manifest(tmp_path)["rounds"]) == {"0"}  # the next call begins round 1 again
