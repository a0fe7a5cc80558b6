"""The manifest: replaced whole, locked, and closed to settings that would change the results of a run."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conf.errors import ConfigError
from conf.load import ROOT, load_config
from conf.schema import Config
from pipeline.inputs import check_inputs, fingerprint
from pipeline.store.manifest import as_text, read_manifest, write_atomically
from pipeline.store.state import RunState


def config(folder: Path, **changes: object) -> Config:
    made = Config(runs_dir=str(folder), name="a")
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_run_resumes_from_its_manifest(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        stage = state.round(1).challenger
        stage.checkpoint, stage.metrics, stage.p_hats = "c", [{"reward_mean": 0.5}], [[0.25, 1.0]]
        (state.folder / "c").mkdir()
        state.round(1).curriculum.written = 3
        state.round(0).evaluation.accuracies = {"heldout": {"greedy": 0.5}}
        state.save()
        assert state.manifest.closed_rounds() == 0
        written = state.manifest
    with RunState(config(tmp_path)) as state:
        assert state.manifest == written
        state.round(1).closed = True
        state.save()
    assert read_manifest(tmp_path / "a").closed_rounds() == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_reading_a_round_that_was_not_begun_does_not_begin_it(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        assert not state.manifest.round(3).solver.finished
        assert state.manifest.begun() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is damaged"),
        ("[]", "is damaged"),
        (as_text({"schema": 1, "rounds": {}}), "written by another version"),
        (as_text({"rounds": {}}), "written by another version"),
        ('{"schema": 1, "rounds": {}}', "written by another version"),  # of 0.1.0, which wrote no checksum
        (as_text({"schema": 2, "name": "a", "rounds": {}, "config": {}, "new": 1}), "written by another version"),
        (as_text({"schema": 2, "name": "a"}), "written by another version"),
        ('{"schema": 2}', "is damaged"),
        ('{"schema": 2, "name": "a", "config": {}, "rounds": {}}', "is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        RunState(config(tmp_path))
    assert "manifest.json" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=said):  # the lock is free again
        RunState(config(tmp_path))


def test_seconds_add_up_over_stages_and_steps(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        state.round(0).evaluation.seconds = {"sampling": 1.0}
        state.round(1).challenger.metrics = [{"seconds_sampling": 2.0, "seconds_learning": 3.0}, {"seconds_sampling": 4.0}]
        state.round(1).challenger.seconds = {"checkpoint": 5.0}
        state.round(1).curriculum.seconds = {"sampling": 6.0}
        assert state.manifest.spent(1) == {"sampling": 13.0, "learning": 3.0, "checkpoint": 5.0}


def test_two_drivers_cannot_hold_one_run(tmp_path: Path) -> None:
    said = rf"another process \(process {os.getpid()} on host .+, round\)"
    with RunState(config(tmp_path)), pytest.raises(ConfigError, match=said):
        RunState(config(tmp_path))


def test_settings_that_change_results_are_refused(tmp_path: Path) -> None:
    with RunState(config(tmp_path)):
        pass
    with pytest.raises(ConfigError, match="seed=1: run 'a' was started with seed=0"):
        RunState(config(tmp_path, seed=1))
    free = config(tmp_path)
    free.rollout.engines = 2
    with RunState(free):
        pass
    free.rollout.ahead = 1
    with pytest.raises(ConfigError, match=r"rollout\.ahead=1: run 'a' was started with rollout\.ahead=0"):
        RunState(free)
    other = config(tmp_path)
    other.resources.device = "cuda"  # its generator draws other numbers
    with pytest.raises(ConfigError, match=r"resources\.device=cuda: run 'a' was started with resources\.device=cpu"):
        RunState(other)


def test_a_run_moves_to_other_gpus_between_phases_alone(tmp_path: Path) -> None:
    def with_ranks(number: int) -> Config:
        other = config(tmp_path)
        other.learner.ranks, other.learner.zero_stage = number, 3
        return other

    with RunState(config(tmp_path)) as state:
        (state.folder / "c").mkdir()
        state.round(1).challenger.checkpoint = "c"
        state.save()
    said = r"learner\.ranks=4: run 'a' was started with learner\.ranks=1\. Resume it with that value until the phase .* has ended"
    with pytest.raises(ConfigError, match=said):
        RunState(with_ranks(4))
    with RunState(config(tmp_path)) as state:
        state.round(1).challenger.checkpoint = None
        state.save()
    with RunState(with_ranks(4)) as state:
        state.adopt(with_ranks(4), {})
    with RunState(with_ranks(2)):
        pass


def test_a_copy_of_a_run_is_a_run_of_its_own(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        state.round(1).challenger.metrics = [{"reward_mean": 0.4}]
        state.save()
        original = state.tracking_id()
    shutil.copytree(state.folder, tmp_path / "b")
    with RunState(config(tmp_path, name="b")) as copy:
        assert copy.round(1).challenger.metrics == [{"reward_mean": 0.4}]
        assert copy.notes == [f"{tmp_path}/b was run 'a'; it resumes as 'b', with its own record in MLflow"]
        assert copy.tracking_id() != original
    with RunState(config(tmp_path, name="b")) as copy:
        assert copy.notes == []
        assert copy.tracking_id() != original
    with RunState(config(tmp_path)) as state:
        assert (state.tracking_id(), state.notes) == (original, [])


def test_the_manifest_has_the_settings_of_the_last_start(tmp_path: Path) -> None:
    """Of a run, that is: `make evaluate` opens it under other settings, which do not become its own."""
    changed = config(tmp_path)
    changed.evaluation.samples = 3
    with RunState(config(tmp_path)) as state:
        state.save()
    with RunState(changed) as state:
        state.save()
    assert read_manifest(tmp_path / "a").config["evaluation"]["samples"] is None
    with RunState(changed) as state:
        state.adopt(changed, {})
    assert read_manifest(tmp_path / "a").config["evaluation"]["samples"] == 3
    assert load_config(str(tmp_path / "a" / "config.yaml")).evaluation.samples == 3


def test_code_that_has_changed_since_the_last_start_is_named(tmp_path: Path) -> None:
    """A scorer that failed may be corrected and its run resumed, but never without a line that says so."""
    scorer = tmp_path / "short.py"
    scorer.write_text("def short(batch, rewards):\n    return [0.0] * len(rewards)\n")
    changed = config(tmp_path)
    changed.reward.scorers = ["triangular", f"{scorer}:short"]
    first = check_inputs(changed).code
    with RunState(changed) as state:
        assert state.changed_code(first) == []
        state.adopt(changed, first)
    scorer.write_text("def short(batch, rewards):\n    return [1.0] * len(rewards)\n")
    now = check_inputs(changed).code
    with RunState(changed) as state:
        assert state.changed_code(first) == []
        (line,) = state.changed_code(now)
        assert line.startswith(f"reward.scorers: {scorer}:short: the file has changed since the run's last start")
        state.adopt(changed, now)
        assert state.changed_code(now) == []


def test_a_setting_that_is_newer_than_the_run_has_its_default(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        del state.manifest.config["policies"]
        state.save()
    with RunState(config(tmp_path)):
        pass
    shared = config(tmp_path)
    shared.policies = "shared"
    with pytest.raises(ConfigError, match="policies=shared: run 'a' was started with policies=separate"):
        RunState(shared)


def test_the_size_of_kept_checkpoints(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        checkpoint = state.round_folder(1) / "solver" / "checkpoint-0001"
        (checkpoint / "engine").mkdir(parents=True)
        (checkpoint / "engine" / "weights.pt").write_bytes(b"x" * 1000)
        (checkpoint / "layout.json").write_bytes(b"x" * 10)
        assert state.kept_bytes() == 0
        state.round(1).solver.checkpoint = state.relative(checkpoint)
        state.save()
        assert state.kept_bytes() == 1010


def partial_of(path: Path, process: int, host: str = socket.gethostname()) -> Path:
    left = path.with_name(f"{path.name}.{host}-{process}.partial")
    left.write_text('{"schema": 1, "rou')
    return left


def dead_process() -> int:
    with subprocess.Popen(["true"]) as ended:
        return ended.pid


def test_a_half_written_file_is_never_read(tmp_path: Path) -> None:
    """A kill while writing leaves a .partial file beside the old one, which the next write of that file removes."""
    with RunState(config(tmp_path)) as state:
        left = partial_of(state.path, dead_process())
        state.round(1).curriculum.finished = True
        state.save()
        assert json.loads(state.path.read_text())["rounds"]["1"]["curriculum"]["finished"] is True
        assert not left.exists()


def test_what_others_are_writing_is_left_to_them(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    living, elsewhere = partial_of(path, os.getppid()), partial_of(path, 7, "another-host")
    unknown = tmp_path / "a.json.partial"
    unknown.touch()
    of_another_file = partial_of(tmp_path / "b.json", dead_process())
    write_atomically(path, "{}")
    assert set(tmp_path.iterdir()) == {path, living, elsewhere, unknown, of_another_file}
    for old in (living, elsewhere, unknown):
        os.utime(old, (0, 0))
    write_atomically(path, "{}")
    assert set(tmp_path.iterdir()) == {path, living, of_another_file}


OTHER = """
import os, sys
from pathlib import Path
from pipeline.store.manifest import write_atomically

os.fsync = lambda file: (print("writing", flush=True), input())
write_atomically(Path(sys.argv[1]), "theirs")
"""


def test_two_processes_can_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    command = [sys.executable, "-c", OTHER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "writing\n"
        write_atomically(path, "ours")
        assert path.read_text() == "ours"
        other.communicate("go on\n")
    assert other.returncode == 0
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "a.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_run_does_not_resume_from_another_base_model_or_other_prompts(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    weights = bytearray(5 << 20)
    (model / "model.safetensors").write_bytes(weights)
    first = {"model.path": fingerprint(model), "prompts": "p"}
    with RunState(config(tmp_path)) as state:
        state.refuse_other_files(first)
    with RunState(config(tmp_path)) as state:
        state.refuse_other_files({"model.path": fingerprint(model), "prompts": "p"})
        with pytest.raises(ConfigError, match="prompts: its content has changed since run 'a' was started"):
            state.refuse_other_files(first | {"prompts": "q"})
        weights[-1] = 1
        (model / "model.safetensors").write_bytes(weights)
        with pytest.raises(ConfigError, match=r"model\.path: its content has changed"):
            state.refuse_other_files({"model.path": fingerprint(model), "prompts": "p"})


def test_what_no_manifest_names_is_removed_when_the_run_is_opened(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        phase = state.round_folder(1) / "challenger"
        for name in ("checkpoint-0001", "checkpoint-0002", "member-0003"):
            (phase / name).mkdir(parents=True)
        (phase / "ahead-0003.parquet").touch()
        state.round(1).challenger.checkpoint = state.relative(phase / "checkpoint-0001")
        state.save()
    with RunState(config(tmp_path)):
        assert [path.name for path in phase.iterdir()] == ["checkpoint-0001"]


def test_other_settings_leave_both_checkpoints(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        for step in (1, 2):
            checkpoint = state.round_folder(1) / "challenger" / f"checkpoint-000{step}"
            checkpoint.mkdir(parents=True)
            state.round(1).challenger.checkpoint = state.relative(checkpoint)
            state.save()
    changed = config(tmp_path)
    changed.learner.checkpoint_every = 5
    with RunState(changed) as state:
        state.adopt(changed, {})
    with RunState(changed) as state:
        assert {path.name for path in checkpoint.parent.iterdir()} == {"checkpoint-0001", "checkpoint-0002"}
