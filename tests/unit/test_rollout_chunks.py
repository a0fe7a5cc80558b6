"""How samples are split over engines, and how many engines there are."""

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import machine
from actors.rollout import count
from actors.rollout.chunks import PARTS, parts_on_cpu, split
from actors.rollout.count import engine_count
from conf.load import load_config


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(1, 50), st.integers(1, 5))
def test_a_split_keeps_every_request_once_in_order_within_its_limit(sizes: list[int], limit: int, least: int) -> None:
    chunks = split(sizes, limit, least)
    assert list(chain.from_iterable(chunks)) == list(range(len(sizes)))
    assert all(chunks)
    for chunk in chunks:
        assert sum(sizes[place] for place in chunk) < limit + max(sizes)


@pytest.mark.parametrize(
    ("requests", "samples", "expected"),
    [
        (32, 4, [64, 64]),
        (32, 5, [80, 80]),
        (128, 10, [320] * 4),
        (300, 10, [750] * 4),
        (125, 10, [320, 310, 310, 310]),
        (300, 1, [150, 150]),
    ],
    ids=["Challenger", "Solver", "answers", "evaluation", "some malformed", "greedy"],
)
def test_the_calls_of_a_default_round_keep_several_engines_at_work(requests: int, samples: int, expected: list[int]) -> None:
    chunks = split([samples] * requests, 2048, parts_on_cpu(requests * samples))
    assert [samples * len(chunk) for chunk in chunks] == expected


def machine_of(monkeypatch: pytest.MonkeyPatch, cores: int, gigabytes: float) -> None:
    monkeypatch.setattr(count, "cores", lambda: cores)
    monkeypatch.setattr(count, "free_memory", lambda: int(gigabytes * (1 << 30)))


@pytest.mark.parametrize(
    ("cores", "gigabytes", "overrides", "expected"),
    [
        (1, 64, [], 1),
        (2, 64, [], 2),
        (64, 64, [], PARTS),
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
    assert engine_count(load_config("tiny", overrides)) == expected


def test_large_weights_leave_room_for_fewer_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine_of(monkeypatch, 4, 16)
    config = load_config()
    assert engine_count(config) == 4
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(4 << 30)  # sparse
    config.model.path = str(tmp_path)
    assert engine_count(config) == 2


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
