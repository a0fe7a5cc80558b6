"""The MLflow record, against a real SQLite store: nesting, resume, what is written once, and how runs end."""

import json
import math
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from conf.load import ROOT
from conf.schema import Config
from pipeline.observe.tracking import EXPERIMENT, TrackedRun, Tracker, open_store
from pipeline.store.lock import HeldError, Lock


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A configuration with a store of its own; the first test to open it waits for MLflow's migrations."""
    return Config(tracking_uri=f"sqlite:///{tmp_path_factory.mktemp('store')}/mlruns/mlflow.db")


@pytest.fixture
def tracker(config: Config) -> Iterator[Tracker]:
    with Tracker(config, tracking_id=uuid.uuid4().hex) as tracker:
        yield tracker


def values(run: TrackedRun, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in run.client.get_metric_history(run.run_id, key)]


def artifact(run: TrackedRun, path: str) -> Path:
    return Path(run.client.get_run(run.run_id).info.artifact_uri) / path


def status(run: TrackedRun) -> str:
    return str(run.client.get_run(run.run_id).info.status)


def test_runs_are_nested_and_described(tracker: Tracker, config: Config) -> None:
    phase = tracker.phase(1, "challenger")
    round_ = tracker.round(1)
    parent, middle, leaf = (tracker.client.get_run(run.run_id) for run in (tracker, round_, phase))
    names = (parent.info.run_name, middle.info.run_name, leaf.info.run_name)
    assert names == ("tiny", "tiny round 1", "tiny round 1 challenger")
    assert [run.data.tags["level"] for run in (parent, middle, leaf)] == ["run", "round", "phase"]
    assert (leaf.data.tags["round"], leaf.data.tags["role"], leaf.data.tags["run"]) == ("1", "challenger", "tiny")
    assert middle.data.tags["mlflow.parentRunId"] == tracker.run_id
    assert leaf.data.tags["mlflow.parentRunId"] == round_.run_id
    assert (parent.data.tags["model"], parent.data.tags["profile"], parent.data.tags["seed"]) == ("assets/tiny-base", "tiny", "0")
    experiment = tracker.client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert "Challenger" in experiment.tags["mlflow.note.content"]


def test_an_older_description_of_the_experiment_is_replaced(config: Config) -> None:
    client, experiment_id = open_store(config.tracking_uri)
    client.set_experiment_tag(experiment_id, "mlflow.note.content", "old")
    open_store(config.tracking_uri)
    assert "What to look at" in client.get_experiment(experiment_id).tags["mlflow.note.content"]


def test_a_resumed_run_continues_the_same_runs(tracker: Tracker, config: Config) -> None:
    phase = tracker.phase(1, "solver")
    again = Tracker(config, tracking_id=tracker.client.get_run(tracker.run_id).data.tags["tracking_id"])
    assert again.run_id == tracker.run_id
    assert not again.created
    assert again.phase(1, "solver").run_id == phase.run_id
    assert again.phase(2, "solver").run_id != phase.run_id
    assert again.phase(1, "challenger").run_id != phase.run_id


def test_a_repeated_step_is_written_once(tracker: Tracker) -> None:
    tracker.phase(1, "solver").log_step({"reward_mean": 0.1 + 0.2, "tokens_per_s": 5800.0}, step=3)
    resumed = tracker.phase(1, "solver")
    resumed.log_step({"reward_mean": 0.1 + 0.2, "tokens_per_s": 5900.0}, step=3)
    resumed.log_step({"reward_mean": 0.1 + 0.2, "tokens_per_s": 5900.0}, step=4)
    assert values(resumed, "reward_mean") == [(3, 0.1 + 0.2), (4, 0.1 + 0.2)]
    assert sorted(values(resumed, "tokens_per_s")) == [(3, 5800.0), (4, 5900.0)]


def test_values_that_are_not_finite_are_left_out_and_named(tracker: Tracker) -> None:
    phase = tracker.phase(1, "challenger")
    phase.log_step({"kl": math.inf, "grad_norm": math.nan, "reward_mean": 0.5}, step=2)
    run = tracker.client.get_run(phase.run_id)
    assert run.data.metrics == {"reward_mean": 0.5}
    assert run.data.tags["non_finite"] == "step 2: grad_norm, kl"


def test_a_metric_named_after_a_users_file_cannot_stop_the_run(tracker: Tracker) -> None:
    run = tracker.phase(1, "evaluation")
    run.log_step({"algebra (level 1/2) é_greedy": 0.5})
    assert run.client.get_run(run.run_id).data.metrics == {"algebra__level_1_2__é_greedy": 0.5}


def test_histogram_is_an_image_and_quantiles(tracker: Tracker) -> None:
    phase = tracker.phase(1, "challenger")
    phase.log_histogram([0.1, 0.5, 0.5, 0.5, 0.9], step=1)
    phase.log_histogram([], step=2)
    assert values(phase, "p_hat_q50") == [(1, 0.5)]
    assert artifact(phase, "plots/p_hat/step-001.png").read_bytes().startswith(b"\x89PNG")
    assert not artifact(phase, "plots/p_hat/step-002.png").exists()


def test_table_is_in_the_layout_that_the_dashboard_shows(tracker: Tracker) -> None:
    run = tracker.phase(1, "curriculum")
    rows = [{"question": "lone surrogate \ud800, <script>", "p_hat": 0.5, "true": None}]
    run.log_table(rows, "examples")
    run.log_table(rows, "examples")
    table = json.loads(artifact(run, "tables/examples.json").read_text())
    assert table == {"columns": ["question", "p_hat", "true"], "data": [["lone surrogate \ud800, <script>", 0.5, None]]}
    tag = tracker.client.get_run(run.run_id).data.tags["mlflow.loggedArtifacts"]
    assert json.loads(tag) == [{"path": "tables/examples.json", "type": "table"}]


def test_config_is_a_file_and_parameters_and_a_change_is_a_tag(tracker: Tracker, config: Config) -> None:
    tracker.log_config(asdict(config))
    changed = Config(tracking_uri=config.tracking_uri)
    changed.rollout.engines = 2
    changed.evaluation.limit = 7
    tracker.log_config(asdict(changed))
    run = tracker.client.get_run(tracker.run_id)
    assert run.data.params["reward.lambda"] == "1.0"
    assert run.data.params["challenger.steps"] == "5"
    assert run.data.params["rollout.engines"] == "None"
    assert run.data.tags["changed.evaluation.limit"] == "7"
    assert {key for key in run.data.tags if key.startswith("changed.")} == {"changed.rollout.engines", "changed.evaluation.limit"}
    assert "engines: 2" in artifact(tracker, "config.yaml").read_text()


def test_file(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "curriculum.parquet").write_bytes(b"PAR1")
    tracker.log_file(tmp_path / "curriculum.parquet")
    assert artifact(tracker, "curriculum.parquet").read_bytes() == b"PAR1"
    with pytest.raises(OSError, match="missing"):
        tracker.log_file(tmp_path / "missing")


@pytest.mark.parametrize(("error", "ending"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")])
def test_endings(tracker: Tracker, error: type[BaseException], ending: str) -> None:
    phase = tracker.phase(1, "evaluation")
    with pytest.raises(error), phase:
        raise error
    assert status(phase) == ending
    with tracker.phase(1, "evaluation") as resumed:
        assert status(resumed) == "RUNNING"
    assert status(phase) == "FINISHED"


def test_a_parent_that_was_deleted_or_never_existed_is_replaced(config: Config) -> None:
    first = Tracker(config, tracking_id="deleted")
    first.client.delete_run(first.run_id)
    again = Tracker(config, tracking_id="deleted")
    assert again.run_id != first.run_id
    assert first.created
    assert again.created


def test_an_experiment_deleted_in_the_dashboard_is_restored(config: Config) -> None:
    client, experiment_id = open_store(config.tracking_uri)
    client.delete_experiment(experiment_id)
    Tracker(config, tracking_id="restored").log_step({"reward_mean": 0.5})
    assert client.get_experiment(experiment_id).lifecycle_stage == "active"


def test_a_store_may_be_in_the_folder_of_its_run(tmp_path: Path) -> None:
    lock = Lock(tmp_path, "round")
    open_store(f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(HeldError, match=f"process {os.getpid()}"):
        Lock(tmp_path, "evaluate")
    lock.release()


def test_a_store_that_was_moved_is_refused(config: Config, tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    old = config.tracking_uri.removeprefix("sqlite:///")
    with sqlite3.connect(old) as source, sqlite3.connect(tmp_path / "mlruns/mlflow.db") as copy:
        source.backup(copy)
    with pytest.raises(ValueError, match="was created elsewhere"):
        open_store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    assert open_store(f"sqlite:///{tmp_path}/mlruns/mlflow.db", moved=True)[1] == experiment_id(config.tracking_uri)  # to be read


def experiment_id(uri: str) -> str:
    return open_store(uri)[1]


def test_runs_started_side_by_side_share_a_new_store(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    with multiprocessing.get_context("fork").Pool(2) as pool:  # forked, as importing mlflow again takes longer than the test
        first, second = pool.map(experiment_id, [uri, uri], chunksize=1)
        pool.close()  # the processes end by themselves: a handler of Ray's would comment on the signal that ends them otherwise
        pool.join()
    assert first == second
    assert capfd.readouterr() == ("", "")  # nor does MLflow narrate its migrations


@pytest.mark.parametrize("uri", ["mlruns", "postgresql://user@host/db", "sqlite://", "sqlite:///"])
def test_other_stores_are_refused_before_anything_is_opened(uri: str) -> None:
    with pytest.raises(ValueError, match="tracking_uri"):
        open_store(uri)


def test_nothing_is_sent_to_anyone(tmp_path: Path) -> None:
    """MLflow decides while it is imported, whichever module does that first, and then writes an id of the installation."""
    script = "import pipeline.observe.registry; from mlflow.telemetry import get_telemetry_client as c; print(c())"
    bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}  # without what tells MLflow that this is a test
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=bare, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("None\n", "")
    assert list(tmp_path.rglob("*mlflow*")) == []
