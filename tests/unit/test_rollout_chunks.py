"""How samples are split over engines, and how many engines there are."""

import json
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import RayActorError

from actors import machine
from actors.rollout import count
from actors.rollout.chunks import split
from actors.rollout.count import MOST, engine_count
from actors.rollout.fleet import RolloutFleet
from conf.load import ROOT, load_config
from pipeline.errors import RolloutError
from tests.unit.test_memory import SHAPES

TINY = json.loads((ROOT / "assets" / "tiny-base" / "config.json").read_text())


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(1, 50))
def test_a_split_keeps_every_request_once_in_order_within_its_limit(sizes: list[int], limit: int) -> None:
    chunks = split(sizes, limit)
    assert list(chain.from_iterable(chunks)) == list(range(len(sizes)))
    assert all(chunks)
    for chunk in chunks:
        assert sum(sizes[place] for place in chunk) < limit + max(sizes)


def machine_of(monkeypatch: pytest.MonkeyPatch, cores: int, gigabytes: float) -> None:
    monkeypatch.setattr(count, "cores", lambda: cores)
    monkeypatch.setattr(count, "free_memory", lambda: int(gigabytes * (1 << 30)))


@pytest.mark.parametrize(
    ("cores", "gigabytes", "overrides", "expected"),
    [
        (1, 64, [], 1),
        (2, 64, [], 2),
        (64, 64, [], MOST),
        (64, 64, ["rollout.engines=7"], 7),
        (8, 7.5, [], 2),  # as memory allows
        (8, 0.5, [], 1),
        (8, 7.5, ["rollout.fleets=per_role"], 1),
        (8, 64, ["resources.device=cuda", "resources.learner_gpus=1", "resources.rollout_gpus=1"], 1),
    ],
)
def test_engines_by_default_are_as_many_as_have_work(
    monkeypatch: pytest.MonkeyPatch, cores: int, gigabytes: float, overrides: list[str], expected: int
) -> None:
    machine_of(monkeypatch, cores, gigabytes)
    assert engine_count(load_config("tiny", overrides), TINY) == expected


def test_a_large_model_s_learner_and_engines_leave_room_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(overrides=["model.path=Qwen/Qwen3-0.6B-Base"])  # a hub id: no folder to look into
    model = SHAPES[config.model.path]  # in GiB: an engine takes 3.7, learner, weights in transfer and Ray 30
    counted = []
    for gigabytes in (16, 40, 56, 128):
        machine_of(monkeypatch, 4, gigabytes)
        assert engine_count(config, TINY) == 4
        counted.append(engine_count(config, model))
    assert counted == [1, 1, 3, 4]
    half = load_config(overrides=["model.dtype=bfloat16"])
    machine_of(monkeypatch, 4, 40)
    assert engine_count(half, model) == 3


@pytest.mark.parametrize("model", [{}, {**TINY, "num_experts": 8}])
def test_a_model_of_unknown_size_gets_one_engine(monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]) -> None:
    machine_of(monkeypatch, 4, 64)
    assert engine_count(load_config(), model) == 1


class Starting:
    """Stands for an engine, whose call is its name."""

    def __init__(self, name: str) -> None:
        self.ready = SimpleNamespace(remote=lambda: name)


class FewStart:
    """Stands for Ray and for a class of engines of which all but the first two die as they start."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def options(self, **places: object) -> Self:
        return self

    def remote(self, *arguments: object) -> "Starting":
        self.started.append(f"engine {len(self.started)}")
        return Starting(self.started[-1])

    def wait(self, calls: list[str], **options: object) -> tuple[list[str], list[str]]:
        return calls, []

    def get(self, call: str) -> None:
        if call not in ("engine 0", "engine 1"):
            raise RayActorError

    def kill(self, worker: object) -> None:
        pass


@pytest.mark.parametrize("requested", [True, False])
def test_engines_that_cannot_start_end_a_run_only_where_their_number_is_requested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], requested: bool
) -> None:
    machine_of(monkeypatch, 4, 64)
    engines = FewStart()
    monkeypatch.setattr("actors.rollout.fleet.ray", engines)
    monkeypatch.setattr("actors.restarts.BACK_OFF_S", 0)
    monkeypatch.setattr("actors.rollout.fleet.rollout_actor", lambda config: engines)
    made = RolloutFleet(load_config(overrides=["rollout.engines=4"] if requested else []), str(ROOT / "assets" / "tiny-base"))
    if requested:
        with pytest.raises(RolloutError, match="a rollout worker could not start"):
            made.wait_ready()
        return
    made.wait_ready()
    before = len(engines.started)
    made.wait_ready()
    assert len(engines.started) == before  # no more are tried
    assert capsys.readouterr().out.count("at most 2 of a fleet's engines sample; another could not start") == 1


class FirstIsKilled(FewStart):
    def get(self, call: str) -> None:
        if call == "engine 0":
            raise RayActorError


def test_an_engine_that_is_killed_as_it_starts_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = FirstIsKilled()
    monkeypatch.setattr("actors.rollout.fleet.ray", engines)
    monkeypatch.setattr("actors.rollout.fleet.rollout_actor", lambda config: engines)
    monkeypatch.setattr("actors.restarts.BACK_OFF_S", 0)
    made = RolloutFleet(load_config(overrides=["rollout.engines=1"]), str(ROOT / "assets" / "tiny-base"))
    made.wait_ready()
    assert engines.started == ["engine 0", "engine 1"]
    assert made.take_counts()["replaced"] == 1
    assert "a rollout worker starts again from request 0 (restart 1 of 2)" in " ".join(capsys.readouterr().out.split())


def test_a_container_has_its_share_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: set(range(16)))
    assert machine.cores() == 16
    unlimited = machine.free_memory()
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.cores() == 16
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert machine.cores() == 2
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.cores() == 1
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory() > unlimited // 2
    (tmp_path / "memory.max").write_text("5000\n")
    assert machine.free_memory() == 4000
