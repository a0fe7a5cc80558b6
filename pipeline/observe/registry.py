"""Solvers as versions of a registered model, one per round, and the search for the best round of all runs.

A version refers to the folder of the weights; nothing is copied. Its tags are the Solver's accuracies. The alias `best` is the
run's round with the best accuracy: `models:/tiny-solver@best` is its model path in MLflow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from conf.schema import Config
from pipeline.observe.tracking import TrackedRun, valid_name

BEST = "best"


@dataclass(frozen=True)
class RankedRound:
    """A round in the search's result: `metrics` are those of its MLflow run, with accuracies from 0 to 1."""

    run: str
    round: int
    seed: str
    value: float
    metrics: Mapping[str, float]
    policy: str  # folder of the Solver's weights; empty for the base model


def register_solver(config: Config, tracked: TrackedRun, round_: int, path: str, metrics: Mapping[str, float], by: str) -> None:
    """Registers the Solver of a round, once even if the end of the round is repeated.

    A tracking server accepts no models outside its own artifacts; there only the round's tag `policy` is set.

    Args:
        tracked: the round's run.
        path: folder of the weights in HF format.
        metrics: the Solver's metrics, by name.
        by: the metric that determines the alias `best`.
    """
    client, name = tracked.client, f"{config.name}-solver"  # the registered model
    client.set_tag(tracked.run_id, "policy", path)
    if not config.tracking_uri.startswith("sqlite:"):
        return
    try:
        client.create_registered_model(name, description=f"Solvers of the run {config.name}, a version for each round.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if any(version.run_id == tracked.run_id for version in client.search_model_versions(f"name = '{name}'")):
        return
    tags = {"run": config.name, "round": str(round_), "seed": str(config.seed), "base": config.model.path}
    tags |= {valid_name(key): f"{value:.4f}" for key, value in metrics.items()}
    description = f"After round {round_}" + (f": {by} {metrics[by]:.3f}." if by else ".")
    client.create_model_version(name, path, tracked.run_id, tags=tags, description=description)
    tag = valid_name(by)
    versions = [version for version in client.search_model_versions(f"name = '{name}'") if tag in version.tags]
    if versions:
        client.set_registered_model_alias(name, BEST, max(versions, key=lambda version: float(version.tags[tag])).version)


def search_string(metric: str) -> str:
    """The search string for rounds with a metric, for the dashboard and `MlflowClient.search_runs`."""
    return f"tags.level = 'round' and metrics.`{metric}` >= 0"


def best_rounds(client: MlflowClient, experiment_id: str, metric: str, limit: int = 10) -> list[RankedRound]:
    """The rounds of all runs with the highest `metric`, best first; round 0 is a run's base model."""
    runs = client.search_runs([experiment_id], search_string(metric), order_by=[f"metrics.`{metric}` DESC"], max_results=limit)
    return [
        RankedRound(
            run=run.data.tags["run"],
            round=int(run.data.tags["round"]),
            seed=run.data.tags.get("seed", "-"),
            value=run.data.metrics[metric],
            metrics=run.data.metrics,
            policy=run.data.tags.get("policy", ""),
        )
        for run in runs
    ]


def known_metrics(client: MlflowClient, experiment_id: str) -> Sequence[str]:
    """Names of the metrics of rounds."""
    runs = client.search_runs([experiment_id], "tags.level = 'round'", max_results=1000)
    return sorted({key for run in runs for key in run.data.metrics})
