"""The manifest: replaced whole, locked, and closed to settings that would change the results of a run."""

import json
from pathlib import Path

import pytest

from conf.load import ConfigError
from conf.schema import Config
from pipeline.inputs import fingerprint
from pipeline.store.manifest import CURRICULUM, RunState, read_table, write_table


def config(folder: Path, **changes: object) -> Config:
    made = Config(runs_dir=str(folder), name="a")
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_run_goes_on_from_its_manifest(tmp_path: Path) -> None:
    with RunState(config(tmp_path)) as state:
        state.record(1, "challenger", checkpoint="c", metrics=[{"reward_mean": 0.5}])
        assert state.finished_rounds() == 0
    with RunState(config(tmp_path)) as state:
        assert state.stage(1, "challenger") == {"checkpoint": "c", "metrics": [{"reward_mean": 0.5}]}
        state.record(1, "summary", done=True)
        assert state.finished_rounds() == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_two_drivers_cannot_hold_one_run(tmp_path: Path) -> None:
    with RunState(config(tmp_path)), pytest.raises(ConfigError, match="another process"):
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


def test_a_half_written_file_is_never_read(tmp_path: Path) -> None:
    """A kill while writing leaves a .partial file beside the old one, which the next write replaces."""
    with RunState(config(tmp_path)) as state:
        state.path.with_name("manifest.json.partial").write_text('{"schema": 1, "rou')
        state.record(1, "curriculum", done=True)
        assert json.loads(state.path.read_text())["rounds"]["1"]["curriculum"] == {"done": True}


def test_tables_keep_their_schema(tmp_path: Path) -> None:
    row = {"question": None, "answers": [], "majority": None, "count": 0, "total": 0, "p_hat": 0.0, "invalid": 0.0, "kept": False}
    write_table(tmp_path / "t.parquet", [row], CURRICULUM)
    assert read_table(tmp_path / "t.parquet") == [row]


def test_a_run_does_not_go_on_from_another_base_model_or_other_prompts(tmp_path: Path) -> None:
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
        with pytest.raises(ConfigError, match="prompts: what it names has changed since run 'a' was started"):
            state.refuse_other_files(first | {"prompts": "q"})
        weights[-1] = 1
        (model / "model.safetensors").write_bytes(weights)
        with pytest.raises(ConfigError, match=r"model\.path: what it names has changed"):
            state.refuse_other_files({"model.path": fingerprint(model), "prompts": "p"})
