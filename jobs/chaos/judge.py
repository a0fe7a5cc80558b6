"""What became of the faults of a finished round: nothing may be lost, left over, or still running."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.chaos.compare import differences
from jobs.chaos.damage import is_told
from jobs.chaos.records import Outcome, Record
from jobs.chaos.struck import Struck
from jobs.chaos.trial import Trial
from jobs.status import state_of


def problems(trial: Trial, undisturbed: Path) -> Iterator[str]:
    """What is not as after an undisturbed round, apart from damaged files that `make status` names."""
    damaged = {str(each.damage.path.relative_to(trial.folder)) for each in trial.struck if each.damage is not None}
    different = list(differences(trial.folder, undisturbed))
    state = state_of(trial.folder).plain if different else ""
    yield from (f"{name} {what}" for name, what in different if not (name in damaged and (name in state or not is_told(name))))
    for life in trial.lives:
        if orphans := life.orphans():
            yield f"of driver {life.pid} these are still running: {orphans}"
        if folders := life.stray_folders():
            yield f"of driver {life.pid} these are left: {', '.join(map(str, folders))}"


def unsurvived(trial: Trial, undisturbed: Path) -> dict[str, str]:
    """The line of `make status` for each damaged file that stayed as it was, because the round does not read it again."""
    state = state_of(trial.folder).plain.splitlines()
    files = [name for name, _ in differences(trial.folder, undisturbed)]
    return {name: line for name in files for line in state if name in line}


def records(trial: Trial, seed: int, seconds_lost: float, lines: dict[str, str]) -> list[Record]:
    """One for each fault that struck; `lines` are those of `unsurvived`."""
    took = [max(0.0, (each.recovered_at or each.at) - each.at) for each in trial.struck]
    made = []
    for each, own in zip(trial.struck, took, strict=True):
        share = seconds_lost * own / max(1e-9, sum(took))
        made.append(record(trial, each, seed, share, lines, []))
    return made


def record(trial: Trial, struck: Struck, seed: int, seconds_lost: float, lines: dict[str, str], found: Sequence[str]) -> Record:
    """The outcome of one fault; it lost what was `found`."""
    file = str(struck.damage.path.relative_to(trial.folder)) if struck.damage else ""
    problem, line = "; ".join([*struck.problems, *found]), struck.line or lines.get(file, "")
    outcome = outcome_of(struck, file in lines, bool(problem))
    number, kind, seconds = struck.fault.number, struck.fault.kind, round(seconds_lost, 1)
    return Record(seed, number, kind, struck.stage, file, outcome, struck.ends, seconds, line, problem)


def outcome_of(struck: Struck, stays_damaged: bool, lost: bool) -> Outcome:
    if lost:
        return "lost"
    if struck.repaired or stays_damaged:
        return "its line"
    return "after a restart" if struck.ends else "by itself"
