"""The record of a run in MLflow: a parent run, in it a run for each round, and in that a run for each phase.

Everything is addressed by explicit run ids through `MlflowClient`, so there is no global "active run" to get wrong, and a
resumed run continues its rounds and phases instead of starting new ones.
"""

import fcntl
import json
import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.git_utils import get_git_commit
from omegaconf import OmegaConf
from sqlalchemy.exc import SQLAlchemyError

from conf.errors import ConfigError
from conf.load import ROOT
from conf.schema import Config
from conf.settings import flatten
from pipeline.observe import plots

# Silences the creation of a new store's tables, and the traceback of each try on a store that is full: `sender` says it once.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

EXPERIMENT = "r-zero"
NOTE = "mlflow.note.content"  # the tag that the dashboard shows as a description
DESCRIPTION = """\
A **Challenger** and a **Solver** are trained from one base model, without external tasks or labels. A run holds its rounds, a
round its phases: *challenger* (learns to pose questions at the edge of the Solver's ability), *curriculum* (questions and
majority answers), *solver* (learns from them), *evaluation* (held-out accuracy). Both roles use the same metric names.

What to look at, and what to search for:

- how far the rounds got: `tags.level = 'run'`, chart `heldout_sampled` and `label_accuracy` (the step is the round)
- the best round: `tags.level = 'round'`, sorted by `heldout_sampled`
- do both roles learn: `tags.role = 'challenger'` or `tags.role = 'solver'`, chart `reward_mean`, `p_hat_mean`, `entropy`, `kl`
- is there variety left: `tags.role = 'challenger'`, chart `distinct_clusters`, `response_length`
- the report of a run: its artifact `report.html`
- the Solvers with their accuracies: *Models*; the alias `best` is the best round of a run
"""
QUANTILES = (0.1, 0.5, 0.9)
MOST_PARAMS = 100  # MLflow takes at most this many parameters in one call


def open_store(uri: str, moved: bool = False) -> tuple[MlflowClient, str]:
    """Opens the tracking store, created on first use; returns a client and the id of the experiment.

    Takes 2 to 8 seconds on a new SQLite store (MLflow creates its tables) and well under one afterwards. An SQLite store keeps
    its artifacts in its folder; an http(s) server determines its own location. A copy of a store, or one that was moved, can be
    read (`moved`), but MLflow would keep writing artifacts to the previous folder.

    Raises:
        ConfigError: any other URI, a server that does not respond, a file that cannot be opened, or a store that was moved.
    """
    try:
        if uri.startswith(("http://", "https://")):
            client = MlflowClient(uri)
            return client, _experiment(client, artifacts=None)
        database = Path(uri.removeprefix("sqlite:///"))
        if not uri.startswith("sqlite:///") or not database.name:
            raise ConfigError(f"tracking_uri={uri}: valid: sqlite:///<file> or http(s)://<server>")
        folder = database.resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{database.name}.lock").open("w") as lock:  # a run's own folder has a .lock of the run
            fcntl.flock(lock, fcntl.LOCK_EX)  # runs started side by side must not create the tables of one new store at once
            client = MlflowClient(uri)
            return client, _experiment(client, folder / "artifacts", moved)
    except (OSError, SQLAlchemyError, MlflowException) as error:
        message = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"tracking_uri={uri}: cannot be used ({message:.300}); valid: another store, or this one repaired."
        ) from error


def _experiment(client: MlflowClient, artifacts: Path | None, moved: bool = False) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        location = None if artifacts is None else str(artifacts)
        return str(client.create_experiment(EXPERIMENT, location, tags={NOTE: DESCRIPTION}))
    if artifacts is not None and not moved and experiment.artifact_location != str(artifacts):
        raise ConfigError(
            f"tracking_uri: the store in {artifacts.parent} was created elsewhere and keeps its artifacts in "
            f"{experiment.artifact_location}; move it back, or remove it to create a new one"
        )
    if experiment.lifecycle_stage == "deleted":  # in the dashboard; MLflow refuses to log to it or to reuse its name
        client.restore_experiment(experiment.experiment_id)
    if experiment.tags.get(NOTE) != DESCRIPTION:  # of an older version of this file
        client.set_experiment_tag(experiment.experiment_id, NOTE, DESCRIPTION)
    return str(experiment.experiment_id)


class TrackedRun:
    """One MLflow run. As a context manager it is RUNNING inside, and FINISHED, FAILED or KILLED (by a signal) afterwards.

    A run that is entered again continues: each metric of a step is written once, also where an interrupted run repeats the step
    and its timings differ.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self._logged: set[tuple[str, int]] = {
            (key, metric.step) for key in client.get_run(run_id).data.metrics for metric in client.get_metric_history(run_id, key)
        }

    def begin(self) -> None:
        self.client.update_run(self.run_id, status="RUNNING")

    def end(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end("FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED")

    def log_step(self, metrics: Mapping[str, float], step: int = 0, milliseconds: int | None = None) -> None:
        """Records the metrics of one step in one transaction. Characters that MLflow refuses in names become underscores.

        Infinite and NaN values would distort the charts' axes (MLflow stores infinity as 1.8e308): they are left out and listed
        in the tag `non_finite`. `milliseconds` since 1970 is when they were measured, by default now.
        """
        values = {valid_name(name): float(value) for name, value in metrics.items()}
        broken = sorted(key for key, value in values.items() if not math.isfinite(value))
        if broken:
            self.client.set_tag(self.run_id, "non_finite", f"step {step}: {', '.join(broken)}")
        at = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
        new = [
            Metric(key, value, at, step) for key, value in values.items() if key not in broken and (key, step) not in self._logged
        ]
        self.client.log_batch(self.run_id, metrics=new)
        self._logged.update((metric.key, step) for metric in new)

    def log_histogram(self, values: Sequence[float], step: int, milliseconds: int | None = None) -> None:
        """Records the distribution of p-hat: its quantiles as metrics (`p_hat_q50`) and its histogram as an image."""
        if not values:
            return
        quantiles = np.quantile(values, QUANTILES)
        self.log_step({f"p_hat_q{round(100 * q)}": x for q, x in zip(QUANTILES, quantiles, strict=True)}, step, milliseconds)
        self.log_figure(plots.p_hat_histogram({step: list(values)}), f"p_hat/step-{step:03d}")

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Writes `rows` (all with the same columns) as tables/<name>.json, which the dashboard shows as a table."""
        columns = list(rows[0]) if rows else []
        data = [[row[column] for column in columns] for row in rows]
        path = f"tables/{name}.json"
        self.client.log_dict(self.run_id, {"columns": columns, "data": data}, path)
        tags = self.client.get_run(self.run_id).data.tags
        logged = json.loads(tags.get("mlflow.loggedArtifacts", "[]"))  # the tag that lists tables for the dashboard
        entry = {"path": path, "type": "table"}
        if entry not in logged:
            self.client.set_tag(self.run_id, "mlflow.loggedArtifacts", json.dumps([*logged, entry]))

    def log_figure(self, figure: Figure, name: str) -> None:
        """Writes the figure as plots/<name>.png."""
        self.client.log_figure(self.run_id, figure, f"plots/{name}.png")

    def log_file(self, path: str | Path) -> None:
        """Copies a file to the run's artifacts. Raises OSError if it cannot be read."""
        self.client.log_artifact(self.run_id, str(path))


class Tracker(TrackedRun):
    """The parent run of a training run, with access to its rounds and phases.

    The constructor opens the store (see `open_store` for the time it takes) and reopens the parent run that has `tracking_id` as
    a tag. If there is none, or it was deleted in the dashboard, a new one is `created` and gets the tag.
    """

    def __init__(self, config: Config, *, tracking_id: str) -> None:
        client, self._experiment_id = open_store(config.tracking_uri)
        found = client.search_runs([self._experiment_id], f"tags.tracking_id = '{tracking_id}'", max_results=1)
        run_id = found[0].info.run_id if found else None
        self.created = run_id is None
        if run_id is None:
            tags = {"model": config.model.path, "profile": config.profile, "seed": str(config.seed)}
            tags |= {"level": "run", "run": config.name, "tracking_id": tracking_id}
            if commit := get_git_commit(str(ROOT)):  # unavailable in a job's working directory
                tags["mlflow.source.git.commit"] = commit
            run_id = client.create_run(self._experiment_id, tags=tags, run_name=config.name).info.run_id
        super().__init__(client, run_id)
        self._name = config.name
        self._tags = {"run": config.name, "seed": str(config.seed), "profile": config.profile}

    def round(self, number: int) -> TrackedRun:
        """The run of a round, nested in the parent."""
        name = f"{self._name} round {number}" if number else f"{self._name} base"
        return self._nested(self.run_id, f"round-{number}", name, {"level": "round", "round": str(number)})

    def phase(self, round_: int, role: str) -> TrackedRun:
        """The run of a phase ("challenger", "curriculum", "solver" or "evaluation"), nested in its round."""
        name = f"{self._name} round {round_} {role}" if round_ else f"{self._name} base {role}"
        return self._nested(self.round(round_).run_id, role, name, {"level": "phase", "round": str(round_), "role": role})

    def log_config(self, tree: Mapping[str, Any]) -> None:
        """Records the settings as config.yaml, and each as a parameter, named as on the command line.

        MLflow's parameters are immutable: a setting changed on resume keeps its first value, and the new one becomes the tag
        `changed.<setting>`.
        """
        self.client.log_text(self.run_id, OmegaConf.to_yaml(OmegaConf.create(dict(tree))), "config.yaml")
        settings = {valid_name(name): str(value) for name, value in flatten(tree)}
        recorded = self.client.get_run(self.run_id).data.params
        new = [Param(key, value) for key, value in settings.items() if key not in recorded]
        for start in range(0, len(new), MOST_PARAMS):
            self.client.log_batch(self.run_id, params=new[start : start + MOST_PARAMS])
        for key, value in settings.items():
            if recorded.get(key, value) != value:
                self.client.set_tag(self.run_id, f"changed.{key}", value)

    def describe(self, markdown: str) -> None:
        """Sets the description on the run's page."""
        self.client.set_tag(self.run_id, NOTE, markdown)

    def _nested(self, parent_id: str, part: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
        """The run of a part of `parent_id`: found by its tags, or created under a name that is unique among runs."""
        wanted = f"tags.`mlflow.parentRunId` = '{parent_id}' and tags.part = '{part}'"
        runs = self.client.search_runs([self._experiment_id], wanted, max_results=1)
        if runs:
            return TrackedRun(self.client, runs[0].info.run_id)
        all_tags = {"mlflow.parentRunId": parent_id, "part": part, **self._tags, **tags}
        return TrackedRun(self.client, self.client.create_run(self._experiment_id, tags=all_tags, run_name=name).info.run_id)


def track_policy(uri: str, name: str, path: str, metrics: Mapping[str, float]) -> None:
    """Records the accuracies of a policy outside a run in a separate MLflow run.

    Raises:
        ConfigError: the store cannot be used.
    """
    client, experiment = open_store(uri)
    tags = {"level": "policy", "run": name, "policy": path}
    try:
        with TrackedRun(client, client.create_run(experiment, tags=tags, run_name=name).info.run_id) as run:
            run.log_step(metrics)
    except (OSError, SQLAlchemyError, MlflowException) as error:
        raise ConfigError(f"tracking_uri={uri}: does not take records ({error}).") from error


def valid_name(name: str) -> str:
    """A valid MLflow name of a metric, a parameter or a tag. Benchmarks and their bands are named by the user.

    >>> valid_name("algebra (hard)")
    'algebra__hard_'
    """
    return re.sub(r"[^\w.-]", "_", name)
