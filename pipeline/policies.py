"""Which policies a user means: a round of a run, all of its rounds, a folder, or a hub id."""

from dataclasses import dataclass
from pathlib import Path

from conf.errors import ConfigError
from pipeline.inputs import find_model
from pipeline.store.manifest import Manifest, read_manifest
from pipeline.store.runs import is_run
from pipeline.store.scores import alike


@dataclass(frozen=True, slots=True)
class Target:
    """A policy to be measured: the folder of its weights, and where it is a run's Solver, the run's folder and the round."""

    name: str
    path: str
    run: Path | None = None
    round: int = 0

    @property
    def label(self) -> str:
        """What a table calls it."""
        if self.run is None:
            return self.name.replace("--", "/")
        return f"round {self.round}" if self.round else "base"


def find_policies(text: str) -> list[Target]:
    """`runs/tiny` (all rounds), `runs/tiny:3`, `runs/tiny:best`, a model folder, or a hub id; round 0 is the base model.

    Raises:
        ConfigError: there is no such policy.
    """
    folder, colon, which = text.rpartition(":") if is_run(Path(text.rpartition(":")[0])) else (text, "", "")
    if not is_run(Path(folder)):
        path = find_model(text, "POLICY")
        name = Path(text).resolve().name if Path(text).is_dir() else text.replace("/", "--")
        return [Target(name, path)]
    place, manifest = Path(folder).absolute(), read_manifest(Path(folder))
    there = [number for number in range(manifest.closed_rounds() + 1) if number == 0 or manifest.round(number).solver.finished]
    if which == "best":
        chosen = [best_round(manifest, folder)]
    elif colon:
        if which not in map(str, there):
            raise ConfigError(f"POLICY={text}: no such round; valid: {', '.join(map(str, there))}, or best.")
        chosen = [int(which)]
    else:
        chosen = there
    return [Target(f"{place.name}-{number}", solver_path(place, manifest, number), place, number) for number in chosen]


def solver_path(folder: Path, manifest: Manifest, number: int) -> str:
    """The folder of the Solver's weights at the end of a round."""
    policy = manifest.round(number).solver.policy
    return str(folder / policy) if number and policy else find_model(manifest.config["model"]["path"])


def best_round(manifest: Manifest, shown: str) -> int:
    """The round whose Solver is best on the first set of the last round: by its sampled answers, or by its greedy ones.

    Rounds that were measured otherwise are not compared.

    Raises:
        ConfigError: no round was measured.
    """
    measured = [each for each in manifest.measured() if each[0] == 0 or manifest.round(each[0]).solver.finished]
    if not measured:
        raise ConfigError(f"POLICY={shown}:best: no round of it was measured; valid: a round by its number.")
    last, accuracies = measured[-1]
    name, ways = next(iter(accuracies.items()))
    way = "sampled" if "sampled" in ways else "greedy"
    sets = {number: manifest.round(number).evaluation.sets for number, _ in measured}
    same = [(number, each) for number, each in measured if alike(name, sets[number], sets[last])]
    values = {number: each[name][way] for number, each in same if way in each.get(name, {})}
    return max(values, key=lambda number: values[number])
