"""What a run reads to go on: a run is refused for want of that, and of nothing else."""

import shutil
from pathlib import Path

import pytest

from conf.schema import Config
from pipeline.errors import DamagedError
from pipeline.store.manifest import StageName, read_manifest, write_manifest
from pipeline.store.reads import weights_needed
from pipeline.store.state import RunState
from tests.made_runs import made_config, write_run


def with_policies(config: Config, rounds: int, until: StageName = "evaluation") -> Path:
    """A run whose policies are noticed when they are deleted."""
    folder = write_run(config, rounds, until=until)
    for policy in folder.glob("round-*/*/policy"):
        (policy / "model.safetensors").touch()
    return folder


def changed(folder: Path, agreement: int = 0, policies: str = "separate", start: str = "previous") -> Config:
    """The settings of a run, in its manifest too."""
    config = made_config(folder)
    config.curriculum.agreement, config.policies, config.challenger.start = agreement, policies, start
    return config


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, {("challenger", 2), ("solver", 2)}),
        ({"start": "base"}, {("solver", 2)}),
        ({"agreement": 4}, {("challenger", 2), ("solver", 2), ("solver", 1)}),
        ({"agreement": 4, "start": "base"}, {("solver", 2), ("solver", 1)}),
        ({"policies": "shared"}, {("solver", 2)}),
        ({"policies": "shared", "agreement": 4}, {("solver", 2), ("challenger", 2)}),
    ],
)
def test_the_next_round_needs_the_weights_that_its_stages_read(tmp_path: Path, settings: dict, needed: set) -> None:
    config = changed(tmp_path, **settings)
    folder = with_policies(config, 2)
    assert weights_needed(read_manifest(folder)) == needed
    for role in ("challenger", "solver"):
        for number in (1, 2):
            if (role, number) not in needed:
                shutil.rmtree(folder / f"round-{number}" / role / "policy")
    with RunState(config) as state:
        assert state.notes == []
    for role, number in needed:
        place = folder / f"round-{number}" / role / "policy"
        place.rename(folder / "elsewhere")
        with pytest.raises(DamagedError, match=rf"round-{number}/{role}/policy.* the run needs it to go on"):
            RunState(config)
        (folder / "elsewhere").rename(place)


@pytest.mark.parametrize(
    ("until", "start", "needed"),
    [
        ("challenger", "previous", {("challenger", 2), ("solver", 1)}),
        ("curriculum", "previous", {("challenger", 2), ("solver", 1)}),
        ("solver", "previous", {("challenger", 2), ("solver", 2)}),  # the next round starts from both
        ("solver", "base", {("solver", 2)}),
    ],
)
def test_an_unfinished_round_needs_what_is_left_of_it_and_what_the_next_one_starts_from(
    tmp_path: Path, until: StageName, start: str, needed: set
) -> None:
    folder = with_policies(changed(tmp_path, start=start), 2, until)
    assert weights_needed(read_manifest(folder)) == needed


def test_settings_that_are_newer_than_a_run_have_their_defaults(tmp_path: Path) -> None:
    folder = with_policies(changed(tmp_path), 1)
    manifest = read_manifest(folder)
    del manifest.config["policies"], manifest.config["challenger"]["start"], manifest.config["curriculum"]["agreement"]
    write_manifest(folder, manifest)
    assert weights_needed(read_manifest(folder)) == {("challenger", 1), ("solver", 1)}


@pytest.mark.parametrize(("replay", "read"), [(0, False), (1, False), (2, True)])
def test_a_curriculum_is_needed_as_long_as_the_solver_trains_on_it(tmp_path: Path, replay: int, read: bool) -> None:
    config = changed(tmp_path)
    config.curriculum.replay = replay
    folder = with_policies(config, 2)
    (folder / "round-1" / "curriculum.parquet").unlink()
    if read:
        with pytest.raises(DamagedError, match=r"round-1/curriculum\.parquet is missing: the run needs it to go on"):
            RunState(config)
    else:
        with RunState(config) as state:
            assert state.notes == []
