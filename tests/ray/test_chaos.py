"""Faults of different kinds in one round, which ends as the undisturbed one: the short form of `make chaos`."""

from pathlib import Path

import pytest

from jobs.chaos.faults import Action, Fault, Target
from jobs.chaos.judge import problems, records
from jobs.chaos.moments import MARKS
from jobs.chaos.strikes import Surroundings
from jobs.chaos.trial import Trial
from pipeline.store.manifest import FILE, USED
from tests.rounds import SMALL, small_set

pytestmark = pytest.mark.timeout(1200)


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
