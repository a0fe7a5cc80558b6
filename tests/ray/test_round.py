"""A tiny full round through the command a user types: finished, repeated, killed in either phase and gone on with."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE

import psutil
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM

from actors.cluster import FOLDER_PREFIX, ROOT
from tests.watch import SECRETS, Watch, files_with_secrets

pytestmark = pytest.mark.timeout(3600)  # several runs a test; `ended` and the like bound each of them

SMALL = [
    "challenger.steps=2",
    "challenger.batch=16",
    "solver.steps=2",
    "solver.batch=20",
    "curriculum.questions=48",
    "curriculum.delta=0.4",
    "reward.samples=4",
    "rollout.kv_cache_mb=64",
    "rollout.engines=1",  # each more takes as long to start as such a run to sample
    "sampling.max_tokens=80",
    "evaluation.samples=2",
]


def start(folder: Path, *more: str, session: bool = False) -> subprocess.Popen[str]:
    small_set = folder / "heldout.parquet"
    if not small_set.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(ROOT / "assets" / "heldout.parquet").slice(0, 12), small_set)
    places = [
        f"runs_dir={folder}",
        f"tracking_uri=sqlite:///{folder}/mlflow.db",
        f"evaluation.sets=[{small_set}]",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | SECRETS
    command = [sys.executable, "-m", "jobs.round", "--name", "small", "--set", *SMALL, *places, *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=PIPE, stderr=subprocess.STDOUT, start_new_session=session
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Waits for the end of a run, which in a quarter of an hour is its end in any case; its output."""
    try:
        return process.communicate(timeout=900)[0]
    finally:
        process.kill()


def finish(process: subprocess.Popen[str]) -> str:
    output = ended(process)
    assert process.returncode == 0, output
    return output


def manifest(folder: Path) -> dict:
    return json.loads((folder / "small" / "manifest.json").read_text())


def results(folder: Path) -> dict[str, list]:
    """What a run leaves that a reader would compare: the curriculum and every answer of the evaluation."""
    files = ["round-1/curriculum.parquet", "round-1/evaluation/heldout.parquet", "round-1/solver/samples-0002.parquet"]
    return {name: pq.read_table(folder / "small" / name).to_pylist() for name in files}


# After a SIGKILL of their driver these stay for 60 s, which no setting of Ray 2.60 changes: they try to tell the GCS, which is
# gone as well, of the raylet's end (`report_raylet_error_logs` in ray/_private/process_watcher.py). They hold nothing of a run.
RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def processes_of(pid: int) -> dict[int, str]:
    """Processes that use the temporary folder of the driver `pid`, and what they are called; Ray's agents are left out."""
    found = {}
    for process in psutil.process_iter():
        try:
            if f"{FOLDER_PREFIX}{pid}-" in process.environ().get("RAY_AUTH_TOKEN_PATH", "") and process.pid != pid:
                found[process.pid] = " ".join(process.cmdline()).strip()
        except psutil.Error:
            continue
    return {found_pid: name for found_pid, name in found.items() if not name.startswith(RAY_AGENTS)}


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


def kill_after(folder: Path, role: str, steps: int, *more: str) -> str:
    """Starts the run and kills its driver with SIGKILL when `role` has finished `steps` steps; waits for its processes to end."""
    process = start(folder, *more)
    try:
        wait_until(lambda: steps_saved(folder, role) >= steps, process)
    finally:
        process.kill()
    output = process.communicate()[0]
    wait_until_gone(process.pid)
    return output


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


def wait_until_gone(pid: int) -> None:
    """Waits for the end of what the driver `pid` had started. Ray kills its processes, and does not wait for them."""
    deadline = time.monotonic() + 60
    while left := processes_of(pid):
        assert time.monotonic() < deadline, f"processes of a run that has ended are still there: {left}"
        time.sleep(0.2)  # polls, as above


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Watch]:
    """A run that nothing disturbs, watched all the time."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(folder)
    with Watch(process.pid) as watch:
        output = finish(process)
    wait_until_gone(process.pid)
    assert not list(Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{process.pid}-*"))
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


def test_kills_other_fleets_and_ways_of_the_weights_do_not_change_results(undisturbed: tuple[Path, str], tmp_path: Path) -> None:
    interrupt_after(tmp_path, "challenger", 1)
    written = (tmp_path / "small" / "manifest.json").read_bytes()
    (tmp_path / "small" / "manifest.json").write_bytes(written.replace(b'"reward_mean": 0', b'"reward_mean": 1', 1))
    output = kill_after(tmp_path, "solver", 1, "rollout.fleets=per_role")
    assert "manifest.json: the manifest is damaged (its checksum differs): the previous one is used." in " ".join(output.split())
    process = start(tmp_path, "rollout.engines=2", "rollout.transfer=shared")
    wait_until(lambda: learner_of(process.pid) is not None, process)
    os.kill(learner_of(process.pid) or 0, signal.SIGKILL)
    output = " ".join(finish(process).split())
    assert re.search(r"rank 0 of 1 died in begin_phase: .*; the learner starts again from step 1 \(restart 1 of 2\)", output)
    assert results(tmp_path) == results(undisturbed[0])


def learner_of(pid: int) -> int | None:
    """The learner rank of the driver `pid`, once it trains a policy."""
    return next((found for found, name in processes_of(pid).items() if name.startswith("ray::Learner.begin_phase")), None)


def test_a_round_with_adapters_two_updates_a_batch_and_other_scorers(tmp_path: Path) -> None:
    """LoRA under ZeRO-2 with offload, merged for vLLM: where the two disagreed about the policy, the run would stop."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "def mine(batch, rewards):\n"
        "    assert [len(answers) for answers in batch.answers] == [vote.total for vote in batch.votes]\n"
        "    open(__file__ + '.earlier', 'a').writelines(question + chr(10) for question in batch.earlier)\n"
        "    return [reward / 2 for reward in rewards]\n"
    )
    finish(
        start(
            tmp_path,
            "lora.rank=4",
            "learner.zero_stage=2",
            "learner.offload=all",
            "grpo.updates_per_batch=2",
            "grpo.kl_estimator=k2",
            f"reward.scorers=[variance,repetition,memory,validity,{mine}:mine]",
        )
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
    assert not files_with_secrets(tmp_path)


def test_a_challenger_that_writes_no_question_ends_the_run_with_what_it_wrote(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    solve = "{system: null, user: 'Solve: {question}'}"
    asked = "{system: null, user: 'Solve: Start with 3. Add 4. What number is it now?'}"
    prompts.write_text(f"challenger: {asked}\nsolver: {solve}\nvalidity: {solve}\n")
    process = start(tmp_path, f"prompts={prompts}", "evaluation.sets=[]")
    output = ended(process)
    assert process.returncode == 1
    message = output[output.index("error: ") :].splitlines()
    assert message[0].startswith("error: round 1 challenger, step 1: none of 16 responses is a well-formed question")
    assert "\\boxed{" in "".join(message[2:6])  # it solved the problem
    assert message[-1].startswith("  make round ITER=1 NAME=small-2 SET=")
    assert "prompts=conf/prompts/base.yaml" in message[-1]
    assert "Traceback" not in output
    assert not (tmp_path / "small" / "logs").exists()  # no actor failed
    assert set(manifest(tmp_path)["rounds"]) == {"0"}  # the next call begins round 1 again


def test_a_reward_actor_that_dies_again_and_again_ends_the_run_and_leaves_its_last_words(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import os\n"
        "from pipeline.domain.graders.exact import ExactGrader\n"
        "class Dying(ExactGrader):\n"
        "    def canonical(self, answer):\n"
        "        print('its last words')\n"
        "        os.abort()\n"
    )
    process = start(tmp_path, f"reward.grader={mine}:Dying", "evaluation.samples=0")
    output = ended(process)
    assert process.returncode == 1
    last = output.splitlines()[-1]
    assert last.startswith("error: the reward actor failed 3 times in a row after call ")
    assert ", the last time: The actor is dead" in last
    (kept,) = (tmp_path / "small" / "logs").iterdir()
    assert len(list(kept.glob("RewardActor-*.out"))) == 3
    assert list(kept.glob("RolloutWorker-*.err"))
    shown = output[output.index(str(kept)) :]
    assert "\n  its last words\n" in shown
    assert "Fatal Python error: Aborted" in shown


def test_a_batch_sampled_ahead_is_one_update_stale_and_outlives_a_kill(tmp_path: Path) -> None:
    ahead = ["rollout.ahead=1", "challenger.steps=1", "solver.steps=3", "evaluation.samples=0"]
    kill_after(tmp_path, "solver", 1, *ahead)
    run = tmp_path / "small"
    stage = manifest(tmp_path)["rounds"]["1"]["solver"]
    next_step = len(stage["metrics"])  # 0 is the first; the kill may have come a step late
    waiting = pq.read_table(run / stage["ahead"]).drop(["reward"])
    finish(start(tmp_path, *ahead))
    batches = [pq.read_table(run / "round-1" / "solver" / f"samples-{step:04d}.parquet") for step in (1, 2, 3)]
    assert [set(batch["version"].to_pylist()) for batch in batches] == [{"solver-r1-s0"}, {"solver-r1-s0"}, {"solver-r1-s1"}]
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
    assert not list(Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{process.pid}-*"))
    assert not (tmp_path / "small" / "logs").exists()


def test_a_wrong_setting_stops_before_anything_is_made(tmp_path: Path) -> None:
    process = start(tmp_path, "model.path=nowhere/at/all")
    output = ended(process)
    assert process.returncode == 2
    assert output.startswith("error: model.path=nowhere/at/all: no such folder")
    assert "Traceback" not in output
    assert not (tmp_path / "small").exists()
