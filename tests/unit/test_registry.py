"""Solvers in MLflow's model registry, and the search for the best round, against a real SQLite store."""

import uuid
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from conf.schema import Config
from jobs.best import main
from pipeline.observe.registry import best_rounds, known_metrics, register_solver, search_string
from pipeline.observe.tracking import Tracker, open_store

ACCURACIES = {"first": (0.52, 0.65, 0.69, 0.68), "second": (0.52, 0.61, 0.64, 0.66)}  # by round, the base model first


def record(config: Config, name: str, rounds: tuple[float, ...], seed: int) -> None:
    """What the driver records of a run, as far as the registry goes."""
    mine = Config(name=name, seed=seed, tracking_uri=config.tracking_uri)
    with Tracker(mine, tracking_id=uuid.uuid4().hex) as tracker:
        for number, accuracy in enumerate(rounds):
            with tracker.round(number) as tracked:
                measured = {"heldout_sampled": accuracy}
                tracked.log_step(measured, number)
                if number:
                    tracked.log_step({"label_accuracy": 0.8 - 0.1 * number}, number)
                    register_solver(mine, tracked, number, f"/runs/{name}/round-{number}", measured, "heldout_sampled")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = Config(tracking_uri=f"sqlite:///{tmp_path_factory.mktemp('store')}/mlruns/mlflow.db")
    for seed, (name, rounds) in enumerate(ACCURACIES.items()):
        record(config, name, rounds, seed)
    return config


def test_each_round_is_a_version_with_its_evaluation(config: Config) -> None:
    client, _ = open_store(config.tracking_uri)
    versions = sorted(client.search_model_versions("name = 'first-solver'"), key=lambda version: int(version.version))
    assert [version.source for version in versions] == [f"/runs/first/round-{number}" for number in (1, 2, 3)]
    assert [version.tags["heldout_sampled"] for version in versions] == ["0.6500", "0.6900", "0.6800"]
    assert [version.tags["round"] for version in versions] == ["1", "2", "3"]
    assert client.get_run(versions[0].run_id).info.run_name == "first round 1"


def test_best_is_an_alias(config: Config) -> None:
    client, _ = open_store(config.tracking_uri)
    assert client.get_model_version_by_alias("first-solver", "best").source == "/runs/first/round-2"
    assert client.get_model_version_by_alias("second-solver", "best").source == "/runs/second/round-3"


def test_a_round_whose_end_is_repeated_is_registered_once(config: Config) -> None:
    mine = Config(name="again", tracking_uri=config.tracking_uri)
    with Tracker(mine, tracking_id=uuid.uuid4().hex) as tracker:
        for _ in range(2):
            register_solver(mine, tracker.round(1), 1, "/runs/again", {"heldout_sampled": 0.1}, "heldout_sampled")
        register_solver(mine, tracker.round(2), 2, "/runs/again", {}, "")  # a run without benchmarks
        versions = tracker.client.search_model_versions("name = 'again-solver'")
    assert sorted(version.tags["round"] for version in versions) == ["1", "2"]


def test_bands_of_any_name_are_registered(config: Config) -> None:
    mine, by = Config(name="bands", tracking_uri=config.tracking_uri), "mine_sampled_Counting & Probability (hard, new)"
    with Tracker(mine, tracking_id=uuid.uuid4().hex) as tracker:
        for number, accuracy in ((1, 0.5), (2, 0.25)):
            register_solver(mine, tracker.round(number), number, f"/runs/bands/{number}", {by: accuracy}, by)
        best = tracker.client.get_model_version_by_alias("bands-solver", "best")
    assert best.source == "/runs/bands/1"
    assert best.tags["mine_sampled_Counting___Probability__hard__new_"] == "0.5000"


def test_a_name_that_the_registry_refuses_is_not_passed_over(config: Config) -> None:
    mine = Config(name="a/b", tracking_uri=config.tracking_uri)
    with Tracker(mine, tracking_id=uuid.uuid4().hex) as tracker, pytest.raises(MlflowException):
        register_solver(mine, tracker.round(1), 1, "/runs", {}, "")


def test_the_search_finds_the_best_rounds_of_all_runs(config: Config) -> None:
    client, experiment = open_store(config.tracking_uri)
    found = best_rounds(client, experiment, "heldout_sampled", limit=3)
    assert [(best.run, best.round, best.value) for best in found] == [("first", 2, 0.69), ("first", 3, 0.68), ("second", 3, 0.66)]
    assert found[0].policy == "/runs/first/round-2"
    assert best_rounds(client, experiment, "label_accuracy", limit=1)[0].metrics["label_accuracy"] == pytest.approx(0.7)
    assert known_metrics(client, experiment) == ["heldout_sampled", "label_accuracy"]
    assert len(client.search_runs([experiment], search_string("heldout_sampled"))) == 8


def test_the_command(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tracking-uri", config.tracking_uri]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line.split() for line in lines if line.startswith("first")) == ["first", "2", "0", "0.690", "0.60"]
    assert "Solver of the best round: /runs/first/round-2" in lines
    assert main(["--tracking-uri", config.tracking_uri, "--metric", "absent"]) == 2
    assert "valid: heldout_sampled, label_accuracy" in capsys.readouterr().err
    assert main(["--tracking-uri", f"sqlite:///{tmp_path}/none.db"]) == 2
    assert "no store yet" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()
