"""A few faults of different kinds in one round, which ends as the undisturbed one: the short form of `make chaos`."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conf.load import ROOT
from jobs.chaos.faults import Action, Fault, Target
from jobs.chaos.judge import problems, records
from jobs.chaos.moments import MARKS
from jobs.chaos.strikes import Surroundings
from jobs.chaos.trial import Trial

pytestmark = pytest.mark.timeout(1200)


def fault(target: Target, action: Action, after: str, choice: float = 0.5, cuts: bool = False) -> Fault:
    mark = next(place for place, (_, file) in enumerate(MARKS) if file.endswith(after))
    return Fault(mark, target, action, mark, 0.3, choice, cuts)


def test_a_round_that_is_killed_stopped_and_damaged_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    small_set = tmp_path / "heldout.parquet"
    pq.write_table(pq.read_table(ROOT / "assets" / "heldout.parquet").slice(0, 12), small_set)
    settings, store = [f"evaluation.sets=[{small_set}]"], f"sqlite:///{tmp_path}/mlflow.db"

    def trial(name: str, *more: str) -> Trial:
        return Trial(tmp_path / name, tmp_path / "lives" / name, 0, Surroundings([*settings, *more], store), print)

    undisturbed = trial("undisturbed")
    undisturbed.run([])
    # Weights take another way, too, to an engine of each role.
    disturbed = trial("disturbed", "rollout.transfer=shared", "rollout.fleets=per_role")
    disturbed.run(
        [
            fault("learner rank", "SIGKILL", "challenger/samples-0001.parquet"),
            fault("sandbox process", "SIGKILL", "challenger/samples-0002.parquet"),
            fault("file", "a byte flipped", "challenger/samples-0003.parquet", cuts=True),
            fault("reward actor", "SIGKILL", "curriculum/part-0001.parquet"),
            fault("driver", "SIGKILL", "solver/samples-0001.parquet"),
        ]
    )
    found = list(problems(disturbed, undisturbed.folder))
    assert not found
    outcomes = {each.kind: (each.outcome, each.restarts) for each in records(disturbed, 0, 0.0, {}, found)}
    assert outcomes == {
        "learner rank, SIGKILL": ("by itself", 0),
        "sandbox process, SIGKILL": ("by itself", 0),
        "file, a byte flipped": ("after a restart", 1),
        "reward actor, SIGKILL": ("by itself", 0),
        "driver, SIGKILL": ("after a restart", 1),
    }
