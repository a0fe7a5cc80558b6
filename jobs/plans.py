"""Plans of comparisons: which runs on the tiny base, written down before any of them is started."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from conf.load import ROOT, load_config
from conf.schema import Config
from pipeline.curriculum import Relabel
from pipeline.store.manifest import FILE, PREVIOUS, read_manifest

# The larger phase: three times the table's steps, on twice the questions.
LARGER = ("solver.steps=48", "solver.batch=160", "curriculum.questions=448", "curriculum.part=224")
Job = tuple["Variant", int]  # a variant and a seed
Measures = dict[str, float]
Results = Mapping[str, Mapping[int, Mapping[int, Measures]]]  # by variant, round and seed; round 0 is the base


@dataclass(frozen=True, slots=True)
class Variant:
    """A row or more of the results: settings under a name, how many rounds they run, and with which seeds."""

    name: str
    label: str  # in the table
    rounds: int
    overrides: tuple[str, ...] = ()
    seeds: range = range(5)
    labels: str = "votes"  # what the Solver's labels are; see `Plan.relabel`
    stage: int = 1  # of the plan: a stage begins when the runs of the previous one are done


@dataclass(frozen=True, slots=True)
class Plan:
    """Variants that are compared with `reference`, on the profile `table` with `settings`.

    Each variant and seed is a normal run in runs/<folder>/, so that an interrupted plan resumes; `make status RUNS=runs/<folder>`
    shows them. With `appends` results add to those in docs/results, and what is recorded there is not run again.
    """

    name: str  # of the files in docs/results
    module: str  # that runs it
    command: str  # as a user writes it
    title: str
    variants: tuple[Variant, ...]
    reference: Variant
    folder: str
    settings: tuple[str, ...] = ()
    appends: bool = False
    relabel: Callable[[Variant], Relabel] | None = None  # for experiments whose labels are not the votes
    summary: Callable[[Results], str] | None = None  # a section of the page in Markdown

    def config(self, variant: Variant, seed: int) -> Config:
        own = [f"runs_dir=runs/{self.folder}", f"name={variant.name}-{seed}", f"seed={seed}"]
        return load_config("table", [*self.settings, *variant.overrides, *own])

    def run_folder(self, variant: Variant, seed: int) -> Path:
        return ROOT / "runs" / self.folder / f"{variant.name}-{seed}"

    def jobs(self, seeds: int | None = None) -> list[Job]:
        """All runs, by stage and then seed by seed, so that partial results cover all variants; `seeds` overrides how many."""
        wanted = [(variant, variant.seeds if seeds is None else range(seeds)) for variant in self.variants]
        last = max(each.stop for _, each in wanted)
        jobs = [(variant, seed) for seed in range(last) for variant, each in wanted if seed in each]
        return sorted(jobs, key=lambda job: job[0].stage)

    def finished_rounds(self, todo: Sequence[Job]) -> int:
        rounds = [(self.run_folder(variant, seed), each) for variant, seed in todo for each in range(1, variant.rounds + 1)]
        return sum(finished(folder, each) for folder, each in rounds)


def finished(folder: Path, round_: int) -> bool:
    """Whether a round of a run is evaluated."""
    written = [path.stat() for name in (FILE, PREVIOUS) if (path := folder / name).is_file()]
    return bool(written) and round_ in evaluated(folder, *((each.st_mtime_ns, each.st_size) for each in written))


@lru_cache(maxsize=1024)  # lanes are polled beside the runs, whose cores it would take to read all manifests each time
def evaluated(folder: Path, *written: tuple[int, int]) -> frozenset[int]:
    """The rounds that are evaluated by manifests of these times and sizes."""
    return frozenset(number for number, round_ in read_manifest(folder).rounds.items() if round_.evaluation.finished)
