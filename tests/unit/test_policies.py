"""Which weights a phase starts from, and who answers the curriculum."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors.cluster import ROOT
from conf.errors import ConfigError
from conf.schema import ChallengerConfig
from jobs.limits import rounds
from jobs.plans import finished
from pipeline.policies import find_policies
from pipeline.run import Run
from pipeline.store.manifest import FILE, PREVIOUS, read_manifest, write_manifest
from tests.made_runs import made_config, write_run


def make_run(policies: str) -> Run:
    config: Any = SimpleNamespace(policies=policies, challenger=ChallengerConfig())
    return Run(config, *[cast(Any, None)] * 9)


@pytest.mark.parametrize(
    ("policies", "challenger", "solver"),
    [
        ("separate", ("challenger", 2), ("solver", 2)),
        # One model: the Challenger's phase takes the Solver further, and the Solver's phase the result.
        ("shared", ("solver", 2), ("challenger", 3)),
    ],
)
def test_a_phase_starts_from_the_roles_own_last_weights_or_from_the_one_models(
    policies: str, challenger: tuple[str, int], solver: tuple[str, int]
) -> None:
    run = make_run(policies)
    assert run.phase_start("challenger", 3) == challenger
    assert run.phase_start("solver", 3) == solver


def test_a_challenger_starts_anew_from_the_base_where_the_setting_says_so() -> None:
    run = make_run("separate")
    run.config.challenger.start = "base"
    assert [run.phase_start("challenger", round_) for round_ in (1, 3)] == [("challenger", 0)] * 2
    assert run.phase_start("solver", 3) == ("solver", 2)


def test_policies_of_a_run_are_found_by_round_and_all_together(tmp_path: Path) -> None:
    run = write_run(made_config(tmp_path), 2)
    manifest = read_manifest(run)
    manifest.config["model"]["path"] = "assets/tiny-base"
    write_manifest(run, manifest)
    assert [(target.name, target.round, target.label) for target in find_policies(str(run))] == [
        ("made-0", 0, "base"),
        ("made-1", 1, "round 1"),
        ("made-2", 2, "round 2"),
    ]
    (second,) = find_policies(f"{run}:2")
    assert second.path == str(run / "round-2" / "solver" / "policy")
    assert find_policies(f"{run}:best") == [second]  # each round of a made run gets one more question right
    (base,) = find_policies(f"{run}:0")
    assert base.path == str(ROOT / "assets" / "tiny-base")
    (folder,) = find_policies(str(ROOT / "assets" / "tiny-base"))
    assert (folder.name, folder.run) == ("tiny-base", None)


def test_a_run_is_known_by_its_previous_manifest_too(tmp_path: Path) -> None:
    run = write_run(made_config(tmp_path), 2)
    (run / FILE).rename(run / PREVIOUS)
    assert [target.round for target in find_policies(f"{run}:2") + find_policies(f"{run}:best")] == [2, 2]
    assert [target.round for target in find_policies(str(run))] == [0, 1, 2]
    assert finished(run, 2)
    assert rounds(run) == [0, 1, 2]
    (run / PREVIOUS).unlink()
    assert not finished(run, 2)


def test_the_best_round_is_among_those_measured_as_the_last_one(tmp_path: Path) -> None:
    run = write_run(made_config(tmp_path), 3)
    manifest = read_manifest(run)
    for number, accuracies in {
        0: {"a": {"greedy": 0.9}},  # not sampled
        1: {"b": {"greedy": 0.9, "sampled": 0.9}},  # another set
        2: {"b": {"greedy": 0.9, "sampled": 0.9}, "a": {"greedy": 0.6, "sampled": 0.5}},
        3: {"a": {"greedy": 0.5, "sampled": 0.4}, "b": {"greedy": 0.5, "sampled": 0.4}},
    }.items():
        stage = manifest.round(number).evaluation
        stage.accuracies, stage.sets = accuracies, {name: replace(stage.sets["heldout"]) for name in accuracies}
    write_manifest(run, manifest)
    assert [target.round for target in find_policies(f"{run}:best")] == [2]
    manifest.round(2).evaluation.sets["a"].limit = 2
    write_manifest(run, manifest)
    assert [target.round for target in find_policies(f"{run}:best")] == [3]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("{run}:7", "no such round; valid: 0, 1, 2, or best"),
        ("{run}:x", "no such round; valid: 0, 1, 2, or best"),
        ("nowhere/at/all", "no such folder; valid: a model folder in HF format, or a hub id"),
        ("{run}/round-1", "has no config.json"),
    ],
)
def test_a_policy_that_is_not_there_is_told(tmp_path: Path, policy: str, said: str) -> None:
    run = write_run(made_config(tmp_path), 2)
    with pytest.raises(ConfigError, match=rf"POLICY=.*{re.escape(said)}"):
        find_policies(policy.format(run=run))
