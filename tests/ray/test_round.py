"""A tiny full round through the command a user types: finished, repeated, interrupted and resumed."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.cluster import FOLDER_PREFIX, parent_folder
from actors.rollout.fleet import RolloutFleet
from conf.load import load_config
from pipeline.errors import NoSignalError
from pipeline.types import ROLES
from tests.rounds import SMALL, ended, finish, manifest, places, processes_of, run_here, start, wait_until_gone
from tests.watch import files_with_secrets

pytestmark = pytest.mark.timeout(3600)  # several runs a test; `ended` and the like bound each of them


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
    run_here(load_config("tiny", [*SMALL, "name=small", *places(folder), *more]), dict.fromkeys(ROLES, fleet))


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
