"""Plans of bundles as values: who shares one, on which clusters they fit, and what has no place."""

from collections.abc import Sequence

import pytest

from actors.bundles import Plan, engines_of_a_gpu, gpus, missing, plan, rank_gpus
from actors.placement import Node, no_room
from conf.load import load_config

FOUR_AND_FOUR = [
    "resources.learner_gpus=1",
    "resources.rollout_gpus=1",
    "learner.ranks=4",
    "rollout.engines=4",
]
HALVES = ["resources.learner_gpus=0.5", "resources.rollout_gpus=0.5"]


def planned(settings: Sequence[str], free: Sequence[float], learner: bool = True) -> Plan:
    return plan(load_config("tiny", settings), free, learner)


def test_without_gpus_nothing_is_reserved() -> None:
    assert planned([], [8]) == Plan()


@pytest.mark.parametrize(("profile", "count"), [("tiny", 0), ("one-gpu", 1), ("qwen3-4b", 8), ("octothinker-8b", 8)])
def test_a_profile_reserves_as_many_gpus_as_it_says(profile: str, count: int) -> None:
    assert gpus(load_config(profile)) == sum(plan(load_config(profile), [8]).bundles) == count


def test_ranks_are_one_bundle_where_a_node_holds_them() -> None:
    for free in ([8], [4, 4], [4, 1, 1, 1, 1], [1, 1, 1, 1, 4]):
        assert planned(FOUR_AND_FOUR, free) == Plan((4, 1, 1, 1, 1), (0, 0, 0, 0), ((1, 2, 3, 4),))


def test_ranks_are_spread_over_as_few_bundles_as_fit() -> None:
    assert planned(FOUR_AND_FOUR, [3, 3, 2]).ranks == (0, 0, 0, 1)
    assert planned(FOUR_AND_FOUR, [2, 2, 2, 2]).ranks == (0, 0, 1, 1)
    assert planned(FOUR_AND_FOUR, [1] * 8).ranks == (0, 1, 2, 3)
    # One node would hold both ranks, but then none an engine over two GPUs.
    over_two = [*FOUR_AND_FOUR, "learner.ranks=2", "rollout.engines=2", "resources.rollout_gpus=2"]
    assert planned(over_two, [3, 3]) == Plan((1, 1, 2, 2), (0, 1), ((2, 3),))
    assert planned(over_two, [4, 2]).ranks == (0, 0)


def test_a_rank_and_an_engine_that_share_a_gpu_share_a_bundle() -> None:
    four = [*HALVES, "learner.ranks=4", "rollout.engines=4"]
    assert planned(four, [8]) == Plan((1,) * 4, (0, 1, 2, 3), ((0, 1, 2, 3),), one_node=True)
    assert not planned(four, [2, 2]).one_node
    assert rank_gpus(load_config("tiny", four)) == 0.5
    # Engines without a rank share a bundle of their own; a rank without an engine has one for itself.
    assert planned([*HALVES, "rollout.engines=4"], [8]) == Plan((1,) * 3, (0,), ((0, 1, 1, 2),), one_node=True)
    assert planned([*HALVES, "learner.ranks=2"], [8]) == Plan((1, 1), (0, 1), ((0,),), one_node=True)
    both = ["resources.learner_gpus=0.4", "resources.rollout_gpus=0.3", "learner.ranks=2", "rollout.engines=2"]
    assert planned([*both, "rollout.fleets=per_role"], [2]) == Plan((1, 1), (0, 1), ((0, 1), (0, 1)), one_node=True)


def test_colocated_engines_have_a_gpu_to_themselves_with_and_without_a_learner() -> None:
    four = [*HALVES, "learner.ranks=4", "rollout.engines=4", "resources.placement=colocated"]
    assert planned(four, [8]) == Plan((1,) * 4, (0, 1, 2, 3), ((0, 1, 2, 3),), one_node=True)
    assert planned(four, [8], learner=False) == Plan((1,) * 4, (), ((0, 1, 2, 3),))
    both = [*four, "rollout.fleets=per_role", "resources.learner_gpus=0.4", "resources.rollout_gpus=0.3"]
    assert planned(both, [8], learner=False) == Plan((1,) * 4, (), ((0, 1, 2, 3), (0, 1, 2, 3)))


def test_two_ranks_never_share_a_gpu() -> None:
    config = load_config("tiny", ["resources.learner_gpus=0.5", "resources.rollout_gpus=1", "learner.ranks=2"])
    assert rank_gpus(config) == 1
    assert plan(config, [8]) == Plan((2, 1), (0, 0), ((1,),))


def test_engines_alone() -> None:
    assert planned(FOUR_AND_FOUR, [4], learner=False) == Plan((1,) * 4, (), ((0, 1, 2, 3),))
    # As beside a learner, and not two on one GPU where it would have one each.
    assert planned([*HALVES, "rollout.engines=3"], [4], learner=False) == Plan((1, 1), (), ((0, 1, 1),))
    two = [*HALVES, "learner.ranks=2", "rollout.engines=2"]
    assert planned(two, [4], learner=False).engines == planned(two, [4]).engines == ((0, 1),)
    assert planned([*two, "learner.ranks=4"], [4], learner=False).bundles == (1, 1)


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ([], 1),
        (FOUR_AND_FOUR, 1),
        ([*HALVES, "learner.ranks=4", "rollout.engines=4"], 1),
        ([*HALVES, "rollout.engines=3"], 2),
        (["resources.learner_gpus=1", "resources.rollout_gpus=0.25", "rollout.engines=3"], 3),
        (["resources.learner_gpus=0.4", "resources.rollout_gpus=0.3", "rollout.fleets=per_role"], 1),  # start one by one anyway
    ],
)
def test_how_many_engines_of_a_fleet_start_on_one_gpu(settings: list[str], most: int) -> None:
    assert engines_of_a_gpu(load_config("tiny", settings)) == most


def test_what_has_no_place_is_named() -> None:
    present = [Node("10.0.0.1", 4, 4), Node("10.0.0.2", 1, 4)]
    free = [node.free for node in present]
    wanted = planned(FOUR_AND_FOUR, free)
    unplaced = missing(wanted, free)
    assert [wanted.members(bundle) for bundle in unplaced] == ["engine 1", "engine 2", "engine 3"]
    assert no_room(wanted, unplaced, present) == (
        "no node has room for engine 1 (1 of the 8 GPUs reserved); free GPUs: 4 of 4 on 10.0.0.1, 1 of 4 on 10.0.0.2"
    )
    assert no_room(wanted, [0], []).endswith("free GPUs: none")


def test_an_engine_over_more_gpus_than_any_node_has_is_named() -> None:
    over_eight = [*FOUR_AND_FOUR, "resources.rollout_gpus=8", "rollout.engines=1"]
    wanted = planned(over_eight, [4, 4, 4])
    assert [wanted.members(bundle) for bundle in missing(wanted, [4, 4, 4])] == ["engine 0"]
