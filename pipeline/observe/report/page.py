"""The report of a run: one self-contained HTML page, for light and dark screens, desktops and phones.

Questions and answers are hostile input: the template escapes everything (Jinja's autoescape), `safe_text` removes characters that
reorder or hide text, and the page's Content-Security-Policy forbids scripts and connections.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from conf.schema import Config
from conf.settings import flatten
from pipeline.observe.report import charts
from pipeline.observe.report.data import Accuracy, JudgedQuestion, Round, RunData, gain, mean, narrowed, read_run, votes
from pipeline.observe.report.figures import Figure, spread
from pipeline.observe.terminal import duration
from pipeline.store.manifest import write_atomically
from pipeline.types import WAYS, ScoredQuestion

REPORT = "report.html"
HERE = Path(__file__).parent
REWARD_COLOUR, PART_COLOURS = "2", ("4", "5", "3", "6", "1")  # of style.css
CURVES = (  # of both roles: metric, title, whether it is a share
    ("reward_mean", "Reward", False),
    ("well_formed", "Well-formed responses", True),
    ("response_length", "Response length, tokens", False),
    ("entropy", "Entropy, nats", False),
    ("kl", "KL to the reference", False),
    ("grad_norm", "Gradient norm", False),
    ("truncated", "Responses cut off", True),
    ("mismatch_mean", "Mismatch of vLLM and learner", False),
    ("zero_variance_groups", "Groups with equal rewards", False),
)


def write_report(folder: Path) -> Path:
    """Writes report.html into a run's folder, from the finished part of the run; returns its path."""
    path = folder / REPORT
    write_atomically(path, render(read_run(folder)))
    return path


def render(run: RunData) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["safe_text"] = safe_text
    return environment.get_template("page.html").render(
        **content(run), run=run, votes=partial(votes, grader=run.grader), style=Markup((HERE / "style.css").read_text())
    )


def safe_text(text: object, most: int = 200) -> str:
    """At most `most` characters, without control, format (bidirectional, invisible) and unassigned ones; the template escapes it.

    >>> safe_text("a\\u202eb\\x00 <script>")
    'ab <script>'
    """
    head = " ".join(str(text)[: 4 * most].split())
    clean = "".join(char for char in head if unicodedata.category(char)[0] != "C")
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def content(run: RunData) -> dict[str, Any]:
    """The template's variables."""
    rounds, config = run.rounds, run.config
    begun = [round_ for round_ in rounds if round_.number]
    measured = [round_.number for round_ in rounds if round_.accuracy]
    names = list(dict.fromkeys(name for round_ in rounds for name in round_.accuracy))
    m, kept = config["reward"]["samples"], kept_shares(config)
    colours = part_colours(begun)
    repetition = {name: colour for name, colour in colours.items() if name == "repetition"}
    return {
        "accuracy": [charts.accuracy(name, rounds) for name in names],
        "p_hats": [charts.p_hats(round_, m, kept) for round_ in begun if round_.steps],
        "difficulty": present(charts.difficulties(begun), charts.difficulty_by_step(begun)),
        "reward_parts": present(
            charts.challenger_parts("Reward and its parts", begun, colours),
            charts.challenger_parts("Repetition alone", begun, repetition, "on a scale of its own"),
        ),
        "funnels": [charts.funnel(round_) for round_ in begun if round_.funnel.finished] + present(charts.trusts(begun)),
        "labels": present(charts.labels(begun), charts.label_accuracy_by_vote(begun, m)) if run.has_oracle else [],
        "gallery": [(round_.number, examples(round_)) for round_ in begun if round_.curriculum],
        "clusters": list(clusters(begun)),
        "diversity": present(charts.metric("distinct_clusters", "Distinct clusters in a batch", begun, roles=["challenger"])),
        "curves": present(*(charts.metric(key, title, begun, shares=shares) for key, title, shares in CURVES)),
        "time": present(charts.times(begun)),
        "time_parts": charts.time_parts(begun),
        "measured": measured,
        "gains": len(measured) > 1,
        "table": list(accuracy_table(rounds, names)),
        "tiles": list(tiles(run)),
        "progress": progress(begun),
        "written": datetime.fromtimestamp(run.written, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "samples": ", ".join(sorted({str(measured.samples) for round_ in rounds for measured in round_.sets.values()})),
        "scorers": config["reward"]["scorers"],
        "kept": kept,
        "narrowed": narrowed(config),
        "part_colours": colours,
        "settings": list(settings(config)),
    }


def kept_shares(config: Mapping[str, Any]) -> tuple[float, float]:
    """Least and greatest p-hat of a question that is kept, by the settings of a run."""
    delta, keep, votes = config["curriculum"]["delta"], config["curriculum"]["keep"], config["reward"]["samples"]
    return (keep[0] / votes, keep[1] / votes) if keep else (0.5 - delta, 0.5 + delta)


def part_colours(begun: list[Round]) -> dict[str, str]:
    """Colours of the reward and its parts, by scorer."""
    names = dict.fromkeys(name for round_ in begun for step in round_.steps for name in step.parts if name != "reward")
    return {**{name: str(colour) for name, colour in zip(names, cycle(PART_COLOURS), strict=False)}, "reward": REWARD_COLOUR}


def present(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def progress(begun: list[Round]) -> str:
    """The run's progress, as a sentence."""
    if not begun:
        return "No round has begun."
    last = begun[-1]
    if last.finished:
        return f"{last.number} round{'s' if last.number > 1 else ''} finished."
    steps = {role: len(metrics) for role, metrics in last.metrics.items()}
    return f"Unfinished: round {last.number}, {steps['challenger']} Challenger and {steps['solver']} Solver steps made."


def tiles(run: RunData) -> Iterator[tuple[str, str]]:
    """The headline figures: (value, description)."""
    measured = [round_ for round_ in run.rounds if round_.accuracy]
    if measured:
        name, ways = next(iter(measured[-1].accuracy.items()))
        for way, last in ways.items():
            start = next(round_ for round_ in measured if way in round_.accuracy.get(name, {}))
            if (gained := gain(name, way, start, measured[-1])) is not None:
                change, low, high = (f"{100 * value:+.1f}" for value in gained)
                of_it = f"{change} ({low} to {high}) from {'the base' if start.number == 0 else f'round {start.number}'}"
            else:
                of_it = "base" if measured[-1].number == 0 else f"round {measured[-1].number}"
            yield f"{100 * last.mean:.1f}%", f"{name}, {way}: {of_it}"
    steps = [step for round_ in run.rounds for step in round_.steps]
    if steps:
        first_mean, last_mean = (mean(step.p_hats) for step in (steps[0], steps[-1]))
        yield f"{first_mean:.2f}→{last_mean:.2f}", "mean p̂, from the first Challenger step to the last"
    funnels = [round_.funnel for round_ in run.rounds if round_.funnel.finished]
    if funnels:
        yield f"{funnels[-1].kept / max(1, funnels[-1].written):.0%}", "of the last curriculum's questions kept"
        accuracies = [funnel.label_accuracy for funnel in funnels if funnel.label_accuracy is not None]
        if accuracies:
            shares = "→".join(f"{accuracy:.0%}" for accuracy in (accuracies[0], accuracies[-1])[-len(accuracies) :])
            yield shares, "of the kept pseudo-labels right" + (", first and last round" if len(accuracies) > 1 else "")
    total = sum(sum(round_.seconds.values()) for round_ in run.rounds if round_.number)
    if total:
        yield duration(total), "hours, minutes and seconds so far" if total >= 3600 else "minutes and seconds so far"


def accuracy_table(
    rounds: list[Round], names: list[str]
) -> Iterator[tuple[str, str, list[Accuracy | None], tuple[float, float, float] | None]]:
    """Rows (benchmark, way, accuracy in each measured round, gain from the first to the last)."""
    measured = [round_ for round_ in rounds if round_.accuracy]
    for name in names:
        for way in WAYS:
            cells = [round_.accuracy.get(name, {}).get(way) for round_ in measured]
            if any(cells):
                yield name, way, cells, gain(name, way, measured[0], measured[-1])


def examples(round_: Round) -> list[JudgedQuestion]:
    """Questions for the gallery: kept ones with a right label, a wrong one and none, then one too easy and one too hard."""
    kept = [row for row in round_.curriculum if row.kept]
    by_state = [[row for row in kept if row.right is wanted] for wanted in (True, False, None)]
    picked = [row for rows in by_state for row in spread(rows, 2 if sum(map(bool, by_state)) > 1 else 6)]
    dropped = [row for row in round_.curriculum if row.answered.vote.answer is not None and not row.kept]
    easy = [row for row in dropped if row.answered.vote.share > 0.5]
    hard = [row for row in dropped if row.answered.vote.share < 0.5]
    return picked + easy[:1] + hard[:1]


def clusters(begun: list[Round]) -> Iterator[tuple[str, int, list[list[ScoredQuestion]]]]:
    """(step, number of all clusters, clusters of more than one question) of the step of each round with the largest cluster."""
    for round_ in begun:
        if steps := [step for step in round_.steps if step.clusters]:
            worst = max(steps, key=lambda step: (len(step.clusters[0]), step.number))
            shared = [group for group in worst.clusters if len(group) > 1]
            yield f"Round {round_.number}, step {worst.number}", len(worst.clusters), shared


def settings(config: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name as on the command line, value, default of the schema) of every setting."""
    default = dict(flatten(asdict(Config())))
    for name, value in flatten(config):
        yield name, str(value), str(default.get(name, ""))
