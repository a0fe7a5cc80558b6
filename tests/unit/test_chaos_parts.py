"""What a campaign of faults is made of: draws, damage, comparison, moments, records."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.chaos.compare import differences
from jobs.chaos.damage import inflict, is_told
from jobs.chaos.faults import KINDS, Action, Fault, Signalled, draw
from jobs.chaos.moments import MARKS, is_reached, passed_since, place_of, stage_of
from jobs.chaos.records import Record, append, read
from jobs.chaos.struck import Struck


def test_every_kind_strikes_once_in_as_many_faults_and_each_can_be_drawn_again() -> None:
    faults = [draw(7, number) for number in range(3 * len(KINDS))]
    for turn in range(3):
        kinds = [(fault.target, fault.action) for fault in faults[turn * len(KINDS) :][: len(KINDS)]]
        assert sorted(kinds) == sorted(KINDS)
    assert draw(7, 31) == faults[31]
    assert {fault.mark for fault in faults} > {0, len(MARKS) - 1}
    assert draw(8, 31) != faults[31]
    assert all(fault.target == "file" for fault in faults if fault.cuts)


@pytest.mark.parametrize(("action", "left"), [("truncated", b"01234"), ("a byte flipped", None), ("removed", None)])
def test_a_damaged_file_can_be_repaired(tmp_path: Path, action: Action, left: bytes | None) -> None:
    (tmp_path / "logs").mkdir()
    for name in (".lock", "logs/a.err", "manifest.json"):
        (tmp_path / name).write_bytes(b"0123456789")
    damage = inflict(tmp_path, action, 0.99)
    assert damage is not None
    assert damage.path == tmp_path / "manifest.json"
    if action == "removed":
        assert not damage.path.exists()
    else:
        content = damage.path.read_bytes()
        assert content == left or (left is None and sum(a != b for a, b in zip(content, b"0123456789", strict=True)) == 1)
    damage.repair()
    assert damage.path.read_bytes() == b"0123456789"


def test_files_that_are_left_missing_or_different_are_told(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, values in ((first, [1, 2]), (second, [1, 3])):
        (folder / "round-1" / "solver").mkdir(parents=True)
        pq.write_table(pa.table({"a": values}), folder / "round-1" / "samples.parquet")
        pq.write_table(
            pa.table({"a": [5]}), folder / "round-1" / "same.parquet", compression="none" if folder == first else "gzip"
        )
        (folder / "manifest.json").write_text(str(values))
    (first / "round-1" / "left.partial").touch()
    (second / "round-1" / "solver" / "model.safetensors").touch()
    assert list(differences(first, second)) == [
        ("round-1/solver/model.safetensors", "is missing"),
        ("round-1/left.partial", "is left over"),
        ("round-1/samples.parquet", "differs from that of the undisturbed run"),
    ]
    assert is_told("round-1/solver/samples-0001.parquet")
    assert not is_told("report.html")


def test_a_moment_is_a_file_that_was_written(tmp_path: Path) -> None:
    assert stage_of(tmp_path) == "start-up"
    mark = next(place for place, (stage, _) in enumerate(MARKS) if stage == "curriculum")
    path = tmp_path / MARKS[mark][1]
    assert not is_reached(tmp_path, mark)
    path.parent.mkdir(parents=True)
    path.touch()
    assert is_reached(tmp_path, mark)
    assert stage_of(tmp_path) == "curriculum"
    assert place_of(tmp_path) == mark
    assert passed_since(tmp_path, mark - 1, time.time() - 60)
    assert not passed_since(tmp_path, mark, time.time() - 60)
    os.utime(path, (time.time() - 120, time.time() - 120))
    assert not passed_since(tmp_path, mark - 1, time.time() - 60)


class Actors:
    """Stands for a life: the process ids of its actors."""

    def __init__(self) -> None:
        self.present = [1]

    def pids(self, target: str) -> list[int]:
        return self.present


def step_past(folder: Path, mark: int) -> None:
    """The run has just written the file of MARKS[mark]; file systems have coarser clocks."""
    path = folder / MARKS[mark][1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() + 1, time.time() + 1))


def struck(target: Signalled) -> Struck:
    """A fault that struck an actor, process 1, when the run had passed the third mark."""
    return Struck(Fault(0, target, "SIGKILL", 3, 0.0, 0.0, False), 3, time.time(), [1])


def test_an_actor_is_replaced_and_its_step_complete_before_the_run_has_recovered(tmp_path: Path) -> None:
    life, fault = Actors(), struck("learner rank")
    step_past(tmp_path, 4)
    fault.look_for_recovery(tmp_path, life, False)
    assert fault.replaced_at is None
    life.present = [2]
    (tmp_path / MARKS[4][1]).unlink()  # the step is repeated
    fault.look_for_recovery(tmp_path, life, False)
    assert fault.recovered_at is None
    step_past(tmp_path, 3)
    fault.look_for_recovery(tmp_path, life, False)
    assert fault.recovered_at is None
    step_past(tmp_path, 4)
    fault.look_for_recovery(tmp_path, life, False)
    assert fault.recovered_at is not None
    assert (fault.stage, fault.ends) == ("challenger", 0)


def test_nothing_replaces_the_gcs_in_the_same_life(tmp_path: Path) -> None:
    fault = struck("GCS")
    step_past(tmp_path, 4)
    fault.look_for_recovery(tmp_path, Actors(), False)
    assert fault.replaced_at is None
    fault.ended("error: Ray's gcs_server (pid=7) died; the same command resumes")
    fault.look_for_recovery(tmp_path, Actors(), False)
    assert fault.recovered_at is not None
    assert fault.ends == 1


def test_what_is_under_repair_has_not_recovered(tmp_path: Path) -> None:
    fault = struck("driver")
    step_past(tmp_path, 4)
    fault.look_for_recovery(tmp_path, Actors(), True)
    assert fault.recovered_at is None
    fault.look_for_recovery(tmp_path, Actors(), False)
    assert fault.recovered_at is not None


def test_the_last_record_of_a_fault_counts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "chaos.jsonl"
    assert read(path, 0) == []
    lost = Record(0, 3, "driver, SIGKILL", "solver", "", "lost", 0, 1.0, problem="hung")
    found = Record(0, 3, "driver, SIGKILL", "solver", "", "after a restart", 1, 1.0)
    append(path, [lost, Record(1, 3, "driver, SIGKILL", "solver", "", "lost", 0, 1.0)])
    append(path, [found])
    assert read(path, 0) == [found]
