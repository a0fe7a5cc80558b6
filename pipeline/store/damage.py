"""Damage to a run's files, and the latest sound state to resume from.

A damaged state is left for the previous one, or for one in which the unfinished round repeats stages. Since every draw has its
own seed, both end in the result of the undisturbed run.
"""

import copy
import functools
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import DamagedError
from pipeline.store.checksums import damaged_file
from pipeline.store.manifest import PREVIOUS, STAGES, Manifest, Round, previous_manifest, sound_manifest
from pipeline.store.reads import curricula_needed, weights_needed
from pipeline.store.tables import COPY, CurriculumRow, EvaluationRow, SampleRow, join_tables, sound_table
from pipeline.types import ROLES, Role, ScoredQuestion

Check = Callable[[Path], str | None]  # `damaged_file`, or its cache: policies and checkpoints take minutes to read


def sound_state(folder: Path, check: Check = damaged_file) -> tuple[Manifest, list[str]]:
    """The latest state of a run that can be resumed, and a line for each damage that it avoids.

    Raises:
        DamagedError: there is none; names the file, what is lost and what to do.
        ConfigError: the manifest has another schema.
    """
    manifest, damage = sound_manifest(folder)
    notes = [] if damage is None else [damage]
    check = functools.cache(check)  # the candidates share most of their policies
    if (first := next(needed_damage(folder, manifest, check), None)) is None:
        return manifest, notes
    for candidate, what in candidates(folder, manifest):
        if next(needed_damage(folder, candidate, check), None) is None:
            return candidate, [*notes, f"{first}: {what}."]
    raise DamagedError(first, f"the run needs it to go on, and no earlier state of the run is complete; {COPY}")


def candidates(folder: Path, manifest: Manifest) -> Iterator[tuple[Manifest, str]]:
    """Earlier states, the latest first, and what resuming from each means."""
    if (previous := previous_manifest(folder)) is not None:
        yield previous, f"the run resumes from its previous state ({PREVIOUS})"
    last = max(manifest.rounds, default=0)
    for place in reversed(range(len(STAGES))):
        if last and not manifest.round(last).closed:
            earlier = copy.deepcopy(manifest)
            for stage in STAGES[place:]:
                setattr(earlier.rounds[last], stage, getattr(Round(), stage))
            yield earlier, f"the run repeats round {last} from the start of its stage {STAGES[place]!r}"


def needed_damage(folder: Path, manifest: Manifest, check: Check) -> Iterator[str]:
    """Damage to the files that a run reads to go on: policies, checkpoints and curricula."""
    for role, number in sorted(weights_needed(manifest), key=lambda trained: trained[::-1]):
        yield from policy_damage(folder, manifest, role, number, check)
    for number in sorted(curricula_needed(manifest)):
        yield from curriculum_damage(folder, manifest, number)
    yield from checkpoint_damage(folder, manifest, check)


def all_damage(folder: Path, manifest: Manifest, check: Check) -> Iterator[str]:
    """Damage to any file that the manifest names or that a report reads; reads all of them."""
    yield from checkpoint_damage(folder, manifest, check)
    for number in manifest.begun():
        place, stages = folder / f"round-{number}", manifest.round(number)
        if stages.curriculum.finished:
            yield from table_damage(place / "curriculum.parquet", CurriculumRow)
        for role in ROLES:
            yield from policy_damage(folder, manifest, role, number, check)
            for step in range(1, len(stages.phase(role).metrics) + 1):
                yield from table_damage(place / role / f"samples-{step:04d}.parquet", SampleRow)
                if role == "challenger":
                    yield from table_damage(place / role / f"questions-{step:04d}.parquet", ScoredQuestion)
        for name in stages.evaluation.sets:
            yield from table_damage(place / "evaluation" / f"{name}.parquet", EvaluationRow)


def refuse_damage(folder: Path) -> None:
    """Call it before weights of this run are read: they may be damaged since it was started.

    Raises:
        DamagedError: a file is missing, or is not as it was written.
    """
    if (damage := damaged_file(folder)) is not None:
        raise DamagedError(damage, "the same command repeats what made it, or says what else to do")


def policy_damage(folder: Path, manifest: Manifest, role: Role, number: int, check: Check) -> Iterator[str]:
    policy = manifest.round(number).phase(role).policy
    if policy is not None and (damage := check(folder / policy)) is not None:
        yield damage


def checkpoint_damage(folder: Path, manifest: Manifest, check: Check) -> Iterator[str]:
    for path in sorted(manifest.checkpoints()):
        if path.endswith(".parquet"):
            yield from table_damage(folder / path, SampleRow)
        elif (damage := check(folder / path)) is not None:
            yield damage


def curriculum_damage(folder: Path, manifest: Manifest, number: int) -> Iterator[str]:
    """Nothing where `join_curricula` can join the table again from its parts."""
    path = folder / f"round-{number}" / "curriculum.parquet"
    damage = list(table_damage(path, CurriculumRow)) if manifest.round(number).curriculum.finished else []
    if damage and (not (parts := parts_of(path, manifest)) or any(any(table_damage(part, CurriculumRow)) for part in parts)):
        yield from damage


def join_curricula(folder: Path, manifest: Manifest) -> list[str]:
    """Joins damaged tables of the curriculum from their parts; returns a line for each."""
    notes = []
    for number in manifest.begun():
        path = folder / f"round-{number}" / "curriculum.parquet"
        damage = list(table_damage(path, CurriculumRow)) if manifest.round(number).curriculum.finished else []
        if damage and not any(curriculum_damage(folder, manifest, number)):
            join_tables(parts_of(path, manifest), path, CurriculumRow)
            notes.append(f"{damage[0]}: it was joined again from its parts.")
    return notes


def remove_later_stages(folder: Path, manifest: Manifest) -> list[str]:
    """Removes the files of all stages after the next one; returns a line for each.

    A run that resumes from an earlier state has them. They come from policies that the next stage may train again, not
    always with the same bits, and their parts would be taken for those of the new ones.

    Raises:
        OSError: a file cannot be removed.
    """
    number = max(manifest.rounds, default=0)
    if (stage := manifest.next_stage(number)) is None:
        number, stage = number + 1, STAGES[0]
    place = folder / f"round-{number}"
    later = STAGES[STAGES.index(stage) + 1 :]
    tables = [place / "curriculum.parquet"] if "curriculum" in later else []
    left = [path for path in (*tables, *(place / name for name in later)) if path.exists()]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [f"{path} was removed: the run repeats an earlier stage, {stage!r} of round {number}." for path in left]


def parts_of(path: Path, manifest: Manifest) -> list[Path]:
    """The parts that a curriculum was written in; none unless all of them are there."""
    settings = manifest.config["curriculum"]
    parts = sorted((path.parent / "curriculum").glob("part-*.parquet"))
    return parts if len(parts) == math.ceil(settings["questions"] / settings["part"]) else []


def table_damage(path: Path, record: type) -> Iterator[str]:
    try:
        sound_table(path, record)
    except DamagedError as error:
        yield error.damage
