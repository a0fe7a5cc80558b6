"""Tracking never stops a run: a real MLflow store and server that are away, restarted, emptied or slow."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from conf.schema import Config
from pipeline.observe import sender
from pipeline.observe.journal import FILE, SENT, Journal, Record, has_unsent
from pipeline.observe.sender import recorder, send_pending
from pipeline.observe.tracking import TrackedRun, Tracker

# Full MLflow, of which training needs only a part; the extra `dashboard` has it.
SERVER = os.environ.get("MLFLOW_PYTHON", sys.executable)
HAS_SERVER = subprocess.run([SERVER, "-c", "import flask, mlflow"], capture_output=True).returncode == 0


def config_for(uri: str) -> Config:
    return Config(name="sent", tracking_uri=uri)


def values(run: TrackedRun, key: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, in the order in which it was measured."""
    history = sorted(run.client.get_metric_history(run.run_id, key), key=lambda metric: metric.timestamp)
    return [(metric.step, metric.value) for metric in history]


def phase_of(config: Config, tracking_id: str = "a") -> TrackedRun:
    return Tracker(config, tracking_id=tracking_id).phase(1, "solver")


def log(record: Record, steps: range) -> None:
    with record.round(1), record.phase(1, "solver") as phase:
        for step in steps:
            phase.log_step({"reward_mean": step / 10}, step)
            time.sleep(0.002)  # a time of its own for each


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return config_for(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlruns/mlflow.db")


def test_all_that_a_run_records_arrives(store: Config, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("report")
    with recorder(store, tmp_path, "all") as record:
        record.log_config(asdict(store))
        with record.round(1) as round_, record.phase(1, "challenger") as phase:
            phase.log_step({"reward_mean": 0.5, "kl": float("nan")}, 1)
            phase.log_histogram([0.1, 0.9], 1)
            phase.log_histograms({1: [0.5]})
            phase.log_table([{"question": "q", "p_hat": 0.5}], "kept")
            round_.register_solver(1, "/runs/all/solver", {"heldout_sampled": 0.5}, "heldout_sampled")
        record.describe("| a |")
        record.log_file(tmp_path / "missing.html")  # is left out, with a line
        record.log_file(tmp_path / "report.html")
    tracker = Tracker(store, tracking_id="all")
    assert not tracker.created
    run, phase_run = tracker.client.get_run(tracker.run_id), tracker.client.get_run(tracker.phase(1, "challenger").run_id)
    assert (run.info.status, run.data.tags["mlflow.note.content"], run.data.params["challenger.steps"]) == (
        "FINISHED",
        "| a |",
        "5",
    )
    assert {name for name in phase_run.data.metrics} == {"reward_mean", "p_hat_q10", "p_hat_q50", "p_hat_q90"}
    assert phase_run.data.tags["non_finite"] == "step 1: kl"
    assert {file.path for file in tracker.client.list_artifacts(tracker.run_id)} == {"config.yaml", "report.html"}
    assert tracker.client.get_model_version_by_alias("sent-solver", "best").source == "/runs/all/solver"
    assert not has_unsent(tmp_path, store.tracking_uri)


def test_a_kill_loses_nothing_and_repeats_nothing(store: Config, tmp_path: Path) -> None:
    journal = Journal(tmp_path, store.tracking_uri)
    log(Record(journal), range(1, 4))
    journal.close()
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"place": [1], "meth')  # cut off by a kill
    with recorder(store, tmp_path, "killed") as record:
        log(record, range(3, 6))  # step 3 is repeated
    assert values(phase_of(store, "killed"), "reward_mean") == [(step, step / 10) for step in range(1, 6)]
    (tmp_path / SENT).write_text("{")  # damaged: everything is sent once more
    send_pending(store, tmp_path, "killed")
    assert values(phase_of(store, "killed"), "reward_mean") == [(step, step / 10) for step in range(1, 6)]


def test_a_journal_that_is_cut_or_removed_while_it_is_written_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sqlite:///s.db")
    record = Record(journal)
    for step in range(1, 5):
        record.log_step({"loss": 1.0}, step)
    first = journal.next()
    assert first is not None
    journal.mark(first.end)
    with (tmp_path / FILE).open("r+b") as file:
        file.truncate(first.end // 2)
    assert journal.next() is None
    record.log_step({"loss": 1.0}, 5)
    while (entry := journal.next()) is not None and entry.method == "damaged":
        journal.mark(entry.end)
    (tmp_path / FILE).unlink()
    record.log_step({"loss": 1.0}, 6)
    entries = []
    while (entry := journal.next()) is not None:
        entries.append(entry)
        journal.mark(entry.end)
    assert [entry.arguments.get("step") for entry in entries][-1] == 6
    assert journal.pending() == 0
    journal.close()


def test_another_store_gets_everything(store: Config, tmp_path: Path) -> None:
    with recorder(store, tmp_path, "moved") as record:
        log(record, range(1, 3))
    Tracker(store, tracking_id="moved").client.delete_run(Tracker(store, tracking_id="moved").run_id)
    with recorder(store, tmp_path, "moved") as record:
        log(record, range(3, 4))
    assert values(phase_of(store, "moved"), "reward_mean") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_a_server_that_does_not_answer_is_told_within_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    told = threading.Event()
    monkeypatch.setattr(sender, "say", lambda text: (said.append(text), told.set()))
    with socket.socket() as silent:  # takes connections and never replies
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with recorder(config_for(f"http://127.0.0.1:{silent.getsockname()[1]}"), tmp_path, "a") as record:
            log(record, range(1, 3))
            assert not told.is_set()  # the records were taken at once
            assert told.wait(10)
    assert f"the run continues; {tmp_path / FILE} keeps them" in said[0]
    assert "records have not arrived" in said[-1]
    assert time.monotonic() - began < 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """MLflow's server, until the context ends."""
    command = [SERVER, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/m.db", "--host", "127.0.0.1"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, env=environment, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)  # polls


@pytest.mark.skipif(not HAS_SERVER, reason="needs the full mlflow package (make dashboard installs it)")
@pytest.mark.timeout(600)
def test_a_server_away_at_the_start_and_killed_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sender, "say", said.append)
    monkeypatch.setattr(sender, "RETRY_S", 0.5)
    port = free_port()
    config, run = config_for(f"http://127.0.0.1:{port}"), tmp_path / "run"
    run.mkdir()
    with recorder(config, run, "a") as record:
        log(record, range(1, 4))
        wait_for(lambda: said, 10)
        assert "does not take records" in said[0]
        with server(tmp_path, port):
            wait_for(lambda: not has_unsent(run, config.tracking_uri))
            assert said[-1].endswith("takes records again")
            log(record, range(4, 6))
        log(record, range(6, 9))
    assert "records have not arrived in MLflow" in said[-1]
    with recorder(config, run, "a") as record, server(tmp_path, port):  # resumed: step 8 is repeated
        log(record, range(8, 11))
        wait_for(lambda: not has_unsent(run, config.tracking_uri))
        phase = phase_of(config)
        assert values(phase, "reward_mean") == [(step, step / 10) for step in range(1, 11)]
        assert len(phase.client.search_runs([phase.client.get_run(phase.run_id).info.experiment_id])) == 3  # run, round, phase


def test_a_record_that_fails_as_the_process_ends_is_sent_by_the_next_start(
    store: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter removes MLflow's temporary files while the thread still sends."""
    ended = threading.Event()

    def fail(*_: object) -> None:
        ended.wait(10)
        raise FileNotFoundError("a temporary file")

    with monkeypatch.context() as patch:
        patch.setattr(sender, "LAST_S", 0.2)
        patch.setattr(TrackedRun, "log_step", fail)
        with recorder(store, tmp_path, "ending") as record:
            log(record, range(1, 3))
        ended.set()
        for thread in threading.enumerate():
            if thread.name == "tracking":
                thread.join(10)
    assert has_unsent(tmp_path, store.tracking_uri)
    send_pending(store, tmp_path, "ending")
    assert values(phase_of(store, "ending"), "reward_mean") == [(1, 0.1), (2, 0.2)]
