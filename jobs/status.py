"""Progress of all runs: `make status`, or of one: `make status NAME=tiny`. Read-only."""

import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from conf.errors import ConfigError
from jobs.cli import command, options
from pipeline.errors import DamagedError
from pipeline.observe.terminal import console, duration, printable
from pipeline.store.checksums import damaged_file
from pipeline.store.damage import all_damage, sound_state
from pipeline.store.manifest import Manifest, PhaseStage, sound_manifest
from pipeline.store.progress import Progress, read_progress
from pipeline.store.runs import find_run, run_folders
from pipeline.types import WAYS

BARS = "▁▂▃▄▅▆▇█"


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 shown, 2 no such run."""
    chosen = options("jobs.status", "Show the progress of all runs, or of one in detail.").parse_args(arguments)
    first = find_run(chosen.runs_dir, chosen.name)
    if not chosen.name:
        console.print(all_runs(run_folders(chosen.runs_dir)))
        return 0
    progress = read_progress(first)
    console.print(one_run(progress))
    if not progress.working:  # its driver checked the files, and removes checkpoints meanwhile
        console.print(state_of(first), soft_wrap=True)
    return 0


def all_runs(folders: Sequence[Path]) -> RenderableType:
    """A line per run, the most recently written first; a dot marks runs with an active process."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("run", "profile", "round", "phase", "reward", "p-hat", "accuracy, %", "time"):
        number = name in ("round", "reward", "p-hat", "time")
        table.add_column(name, justify="right" if number else "left", no_wrap=name != "profile")
    for folder in folders:
        try:
            progress = read_progress(folder)
        except ConfigError:
            table.add_row(f"  {printable(folder.name, 20)}", "-", "-", "damaged", "-", "-", "-", "-")
            continue
        table.add_row(
            Text.assemble(("● " if progress.working else "  ", "green"), printable(progress.name, 20)),
            printable(progress.profile, 16),
            str(progress.round),
            "being evaluated" if progress.evaluated else phase(progress),
            f"{progress.rewards[-1]:.2f}" if progress.rewards else "-",
            f"{progress.p_hats[-1]:.2f}" if progress.p_hats else "-",
            accuracies(progress) or "-",
            duration(progress.seconds),
        )
    return table


def accuracies(progress: Progress) -> str:
    """Those of the last rounds, of one way of answering: the first of the last round's."""
    way = next((way for _, ways in progress.accuracy[-1:] for way in ways), "")
    return " ".join(f"{100 * ways[way]:.0f}" for _, ways in progress.accuracy[-6:] if way in ways)


def state_of(folder: Path) -> Text:
    """What the run would do next, and what is damaged, if anything; reads all of its files."""
    manifest, check = sound_manifest(folder)[0], functools.cache(damaged_file)
    lines = [("damaged", damage) for damage in all_damage(folder, manifest, check)]
    try:
        manifest, notes = sound_state(folder, check)
        lines += [("resuming", note) for note in notes]
        lines.append(("next", next_step(manifest)))
    except DamagedError as error:
        lines.append(("lost", str(error)))
    return Text("\n".join(f"{label:10}{printable(text, 1000)}" for label, text in lines))


def next_step(manifest: Manifest) -> str:
    """
    >>> next_step(Manifest("tiny", {}))
    'evaluation of the base model'
    """
    last = max(manifest.rounds, default=0)
    if (stage := manifest.next_stage(last)) is None:
        return (
            f"summary of round {last}" if last and not manifest.round(last).closed else f"challenger of round {last + 1}, step 1"
        )
    found, where = manifest.round(last).stage(stage), f"of round {last}" if last else "of the base model"
    if not isinstance(found, PhaseStage):
        return f"{stage} {where}"
    return f"{stage} {where}, step {len(found.metrics) + 1}" + (f", from {found.checkpoint}" if found.checkpoint else "")


def one_run(progress: Progress) -> RenderableType:
    """A run in about ten lines: its position, last steps and accuracies."""
    head = Text.assemble((printable(progress.name, 40), "bold"), f"  {printable(progress.profile, 20)}  ", state(progress))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", min_width=8)
    grid.add_column()
    grid.add_row("where", f"{f'round {progress.round}' if progress.round else 'base'}, {phase(progress)}")
    if progress.total and progress.stage:
        grid.add_row("", ProgressBar(total=progress.total, completed=progress.done, width=40))
    if progress.stage_left is not None:
        whole = f", {duration(progress.round_left)} in the round" if progress.round_left is not None else ""
        grid.add_row("left", f"about {duration(progress.stage_left)} in this phase{whole}")
    for name, values in (("reward", progress.rewards), ("p-hat", progress.p_hats)):
        if values:
            grid.add_row(name, f"{sparkline(values)}  {values[-1]:.2f}")
    grid.add_row("time", f"{duration(progress.seconds)} of work, last written {age(progress)}")
    parts: list[RenderableType] = [head, grid]
    if progress.accuracy:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("accuracy, %")
        for number, _ in progress.accuracy:
            table.add_column("base" if number == 0 else f"round {number}", justify="right")
        for way in (way for way in WAYS if any(way in ways for _, ways in progress.accuracy)):
            table.add_row(way, *(f"{100 * ways[way]:.1f}" if way in ways else "-" for _, ways in progress.accuracy))
        parts += ["", table]
    return Group(*parts)


def phase(progress: Progress) -> str:
    return "finished" if progress.stage is None else f"{progress.stage} {progress.done}/{progress.total}"


def state(progress: Progress) -> Text:
    if progress.evaluated:
        return Text("being evaluated", "green")
    return Text("running", "green") if progress.working else Text("stopped" if progress.stage else "idle", "dim")


def age(progress: Progress) -> str:
    """Time since the last write, in the largest unit that fits."""
    passed = max(0.0, time.time() - progress.written)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if passed >= length:
            return f"{passed / length:.0f} {unit}{'s' if round(passed / length) != 1 else ''} ago"
    return f"{passed:.0f} s ago"


def sparkline(values: Sequence[float]) -> str:
    """The last values as bars from 0 to 1, the range of rewards and shares.

    >>> sparkline([0, 0.5, 1])
    '▁▅█'
    """
    return "".join(BARS[min(7, max(0, int(value * 8)))] for value in values[-30:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
