"""`python -m jobs.submit` against a real head on loopback: a round of the tiny profile, a job that fails, and refusals."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests
from transformers import AutoModelForCausalLM

from actors.cluster import loopback_environment
from conf.load import ROOT
from jobs import submit
from tests.watch import SECRETS, files_with_secrets

SMALL = (
    *("challenger.steps=1", "challenger.batch=8", "challenger.group=4", "solver.steps=1", "solver.batch=10"),
    *("sampling.max_tokens=64", "curriculum.questions=32", "curriculum.delta=0.5", "reward.samples=4"),
    *("evaluation.samples=1", "rollout.engines=1"),
)
STOP_S = 90


def free_ports(count: int) -> list[int]:
    """Below those that Linux gives to whoever does not care, Ray's own processes among them."""
    candidates = iter(random.sample(range(20_000, 32_000), 100))
    ports: list[int] = []
    while len(ports) < count:
        port = next(candidates)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


def started_in(folder: Path) -> list[psutil.Process]:
    """Processes that inherited the head's environment, in which `folder` holds the token."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_AUTH_TOKEN_PATH") == str(folder / "token"):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended meanwhile, or is another user's
    return found


def stop(head: subprocess.Popen[bytes], folder: Path) -> None:
    """Stops the head and waits for all it started; what has to be killed is an error."""
    head.terminate()
    psutil.wait_procs(started_in(folder), timeout=STOP_S)
    left = started_in(folder)
    for process in left:
        process.kill()
    head.wait()
    assert not left, f"the head was stopped, but these ran on: {left}"


@pytest.fixture(scope="module", name="cluster")
def _cluster() -> Iterator[dict[str, str]]:
    """A head in a folder of its own, on ports of its own; gives the environment that reaches it."""
    folder = Path(tempfile.mkdtemp(prefix="rzero-"))
    (folder / "token").write_text("token-of-the-submit-test-" * 2)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | SECRETS
    environment |= loopback_environment(folder / "token")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    dashboard, client, agent_http, agent_grpc, runtime_env, metrics = free_ports(6)
    command = f"""
    ray start --head --block --disable-usage-stats --num-cpus 4 --object-store-memory {1 << 28} --temp-dir {folder}
    --node-ip-address 127.0.0.1 --port 0 --dashboard-host 127.0.0.1 --dashboard-port {dashboard} --ray-client-server-port {client}
    --dashboard-agent-listen-port {agent_http} --dashboard-agent-grpc-port {agent_grpc} --runtime-env-agent-port {runtime_env}
    --metrics-export-port {metrics}
    """
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command.split(), env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while not (answers(dashboard) and answers(agent_http)):  # jobs are started by the agent, which comes last
            assert head.poll() is None, (folder / "head.log").read_text()
            assert time.monotonic() < deadline, (folder / "head.log").read_text()
            time.sleep(0.2)
        yield environment | {"RAY_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    finally:
        stop(head, folder)
    shutil.rmtree(folder)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def run_submit(environment: dict[str, str], folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """Calls the command from `folder`, under which relative paths of results lie."""
    command = [sys.executable, "-m", "jobs.submit", "--name", "job", "--set", *SMALL, *settings]
    environment = environment | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_a_cluster_is_checked_before_it_is_used(cluster: dict[str, str], tmp_path: Path) -> None:
    def checked(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs.check", "--profile", "one-gpu", "--set", f"runs_dir={tmp_path}"]
        return subprocess.run(command, cwd=ROOT, env=cluster | more, capture_output=True, text=True, timeout=120)

    looked = checked()
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert "warning cluster: 1 nodes with 0 GPUs, 4 CPU cores; needed: 1 GPUs" in looked.stdout
    (token := tmp_path / "token").write_text("another-token-altogether-" * 2)
    refused = checked(RAY_AUTH_TOKEN_PATH=str(token))
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert f"fault   Ray: {cluster['RAY_ADDRESS']}: its nodes cannot be listed: " in refused.stdout


def test_a_round_runs_as_a_job(cluster: dict[str, str], tmp_path: Path) -> None:
    problems = tmp_path / "few.jsonl"
    problems.write_text(json.dumps({"question": "What is 2 + 3?", "answer": "5"}) + "\n")
    done = run_submit(cluster, tmp_path, f"evaluation.sets=[{problems.name}]")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "p-hat" in done.stdout  # the closing summary of the round came over as a log
    assert "succeeded" in done.stderr
    run = tmp_path / "runs" / "job"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["rounds"]["1"]["closed"]
    assert manifest["config"]["model"]["path"] == "assets/tiny-base"
    assert manifest["config"]["evaluation"]["sets"] == [str(problems)]
    assert (run / "round-1" / "curriculum.parquet").is_file()
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()
    AutoModelForCausalLM.from_pretrained(run / manifest["rounds"]["1"]["solver"]["policy"])
    # Of the secrets in the environments of head and job none is kept, neither in files nor with the job.
    token = Path(cluster["RAY_AUTH_TOKEN_PATH"])
    jobs = requests.get(
        f"{cluster['RAY_ADDRESS']}/api/jobs/", headers={"Authorization": f"Bearer {token.read_text()}"}, timeout=30
    )
    assert "--name job" in jobs.text or "name=job" in jobs.text, jobs.text
    assert not any(secret in jobs.text + done.stdout + done.stderr for secret in SECRETS.values())
    assert not files_with_secrets(tmp_path) + files_with_secrets(token.parent)


def test_a_job_that_fails_gives_its_exit_status(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_submit(cluster, tmp_path, "model.path=empty")
    assert done.returncode == 2  # jobs.round's own: a setting that cannot be used
    assert f"{tmp_path / 'empty'} has no config.json" in done.stdout
    assert "failed" in done.stderr


def test_a_job_that_fails_fetches_the_logs_of_its_actors(cluster: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "assets" / "tiny-base", tmp_path / "model")
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(settings | {"hidden_act": "gelu"}))  # vLLM alone objects
    done = run_submit(cluster, tmp_path, "model.path=model")
    assert done.returncode == 1
    (kept,) = (tmp_path / "runs" / "job" / "logs").iterdir()
    assert f"the logs of its actors are in {kept}" in done.stdout
    (log,) = kept.glob("RolloutWorker-127.0.0.1-*.err")
    assert "Exception raised in creation task" in log.read_text()
    told = done.stdout[done.stdout.index(str(kept)) :]
    assert f"{log.name}\n" in told
    assert "Unsupported activation: gelu" in told.partition("error: a rollout worker could not start")[0]


def test_a_wrong_token_is_told(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another")
    done = run_submit(cluster | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}, tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith(f"error: RAY_ADDRESS={cluster['RAY_ADDRESS']}: the cluster requires a token")
    )
    assert "Traceback" not in done.stderr


def test_the_head_listens_on_loopback_alone(cluster: dict[str, str]) -> None:
    processes = started_in(Path(cluster["RAY_AUTH_TOKEN_PATH"]).parent)
    listening = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            listening |= {c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.mark.parametrize(
    ("arguments", "address", "message"),
    [
        (["--set", "solver.steps=-1"], "", "solver.steps=-1: valid: int at least 0"),
        (["--iter", "0"], "", "ITER=0"),
        ([], "", "RAY_ADDRESS=: not the address of a cluster"),
        ([], "ray://127.0.0.1:10001", "RAY_ADDRESS=ray://127.0.0.1:10001: not the address of a cluster"),
        ([], "http://127.0.0.1:9", "RAY_ADDRESS=http://127.0.0.1:9: no Ray dashboard responds there"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    arguments: list[str], address: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert submit.main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {message}")
    assert not output.out
