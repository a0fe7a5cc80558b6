"""Which weights and curricula of earlier stages a stage reads: what has to be sound for it."""

from collections.abc import Mapping
from typing import Any

from pipeline.store.manifest import STAGES, Manifest, StageName
from pipeline.types import Role

Trained = tuple[Role, int]  # a role and a round: its weights at the end of that round; round 0 is the base model for both roles


def phase_start(role: Role, round_: int, policies: str, start: str) -> Trained:
    """The weights that a phase starts from, by the settings `policies` and `challenger.start`: the role's own latest, or those of
    the shared model; of the Challenger those of the base model with `challenger.start=base`."""
    if role == "challenger" and start == "base":
        return role, 0
    if policies == "separate":
        return role, round_ - 1
    return ("solver", round_ - 1) if role == "challenger" else ("challenger", round_)


def weights_read(config: Mapping[str, Any], stage: StageName, round_: int) -> set[Trained]:
    """The weights that a stage reads, by the settings of a manifest."""

    def start(role: Role, number: int) -> Trained:
        return phase_start(role, number, config["policies"], config["challenger"]["start"])

    match stage:
        case "challenger":  # from its start, against the frozen Solver
            return {start("challenger", round_), ("solver", round_ - 1)}
        case "curriculum":  # written by the one, labelled by the other, and compared with who labelled the previous one
            labelled = (round_ - 1, round_) if config["curriculum"]["agreement"] else (round_,)
            return {("challenger", round_), *(start("solver", number) for number in labelled)}
        case "solver":
            return {start("solver", round_)}
        case "evaluation":
            return {("solver", round_)}


def coming_stages(manifest: Manifest) -> list[tuple[int, StageName]]:
    """The stages that are left of an unfinished round, and all of the next one.

    What the next one reads has to be sound while the unfinished round can still be repeated for it.
    """
    last = max(manifest.rounds, default=0)
    stage = manifest.next_stage(last)
    left = STAGES[STAGES.index(stage) :] if stage else ()
    return [*((last, each) for each in left), *((last + 1, each) for each in STAGES)]


def weights_needed(manifest: Manifest) -> set[Trained]:
    """The weights that a run reads to go on, as far as they are trained."""
    read = {each for number, stage in coming_stages(manifest) for each in weights_read(manifest.config, stage, number)}
    return {(role, number) for role, number in read if manifest.round(number).phase(role).finished}


def curricula_needed(manifest: Manifest) -> set[int]:
    """The rounds whose curricula a run reads to go on: the Solver trains on them, the next Challenger may be shown the last."""
    replayed = int(manifest.config["curriculum"]["replay"])
    trained = [number for number, stage in coming_stages(manifest) if stage == "solver"]
    read = {each for number in trained for each in range(number - replayed, number + 1)} | {max(manifest.rounds, default=0)}
    return {number for number in read if manifest.round(number).curriculum.finished}
