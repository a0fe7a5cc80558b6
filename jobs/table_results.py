"""The results of a plan (`jobs/plans.py`): a page, a figure and the values by seed, in docs/results/."""

import json
import os
import platform
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from matplotlib import color_sequences
from matplotlib.figure import Figure
from scipy.stats import t as student

from conf.load import ROOT
from jobs.plans import Job, Measures, Plan, Results, finished
from pipeline.algorithm.rewards import question_clusters
from pipeline.algorithm.stop_rule import trust
from pipeline.domain.oracle import load_oracle
from pipeline.observe import markdown
from pipeline.observe.terminal import say
from pipeline.store.manifest import read_manifest, write_atomically
from pipeline.store.tables import CurriculumRow, read_table

RESULTS = ROOT / "docs" / "results"
CLUSTERED = 200  # questions per curriculum in which clusters are counted, so that curricula of any size are comparable
ACCURACIES = {
    "sampled": "heldout sampled",
    **{band: f"heldout_{band} sampled" for band in ("easy", "medium", "hard", "transfer")},
    **{way: f"heldout {way}" for way in ("greedy", "majority")},
}
CURRICULUM = {
    "labels right": "labels right",
    "well-posed": "well-posed",
    "kept": "kept",
    "difficulty": "difficulty",
    "distinct clusters": "clusters",
    "question words": "length",
}
MOST_CURVES = 10  # in a figure, which shows the first stage of a plan
PLAIN = ("difficulty", "length")  # measures that are not shares

Labels = Mapping[str, str]  # in the table, by name of the variant


def measures(folder: Path, round_: int) -> Measures:
    """A run's measures at the end of a round, by name: shares from 0 to 1, mean difficulty, mean words of a question."""
    manifest = read_manifest(folder)
    accuracies = manifest.round(round_).evaluation.accuracies
    values = {f"{group} {way}": value for group, ways in accuracies.items() for way, value in ways.items()}
    if round_:
        stage = manifest.round(round_).curriculum
        values |= {"kept": stage.kept / stage.written}
        values |= {} if stage.label_accuracy is None else {"labels right": stage.label_accuracy}
        values |= of_curriculum(folder / f"round-{round_}" / "curriculum.parquet", manifest.config["evaluation"]["oracle"])
    return values


def of_curriculum(path: Path, oracle_name: str) -> Measures:
    """Of the kept questions: the share that has an answer, and their mean difficulty; of all: clusters and length."""
    oracle = load_oracle(oracle_name)
    if oracle is None:
        raise ValueError("the table needs an oracle: evaluation.oracle")
    written = read_table(path, CurriculumRow)
    rows = [(row.answered.question, row.kept) for row in written if row.answered.question is not None]
    difficulties = [oracle.difficulty(question) for question, kept in rows if kept]
    efforts = [effort for effort in difficulties if effort is not None]
    believed = trust([(row.answered, row.agreement) for row in written])
    clusters = question_clusters([question for question, _ in rows[:CLUSTERED]])
    return {
        "well-posed": len(efforts) / len(difficulties),
        "difficulty": mean(efforts) if efforts else float("nan"),
        "clusters": len(set(clusters)) / len(clusters),
        "length": mean(len(question.split()) for question, _ in rows),
    } | ({} if believed is None else {"trust": believed})


def collect(plan: Plan, todo: Iterable[Job]) -> Results:
    """Measures of every finished round by variant, round and seed; if the plan appends, beside those that are recorded."""
    results: dict[str, dict[int, dict[int, Measures]]] = defaultdict(lambda: defaultdict(dict))
    for name, rounds in records(plan).items() if plan.appends else ():
        results[name].update({round_: dict(seeds) for round_, seeds in rounds.items()})
    for variant, seed in todo:
        for round_ in range(variant.rounds + 1):
            known = results.get(variant.name, {}).get(round_, {})
            if seed not in known and finished(folder := plan.run_folder(variant, seed), round_):
                results[variant.name][round_][seed] = measures(folder, round_)
    return results


def records(plan: Plan) -> Results:
    """The results in docs/results; none before the first."""
    path = RESULTS / f"{plan.name}.json"
    read: Mapping[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: {int(round_): {int(seed): values for seed, values in seeds.items()} for round_, seeds in rounds.items()}
        for name, rounds in read.items()
    }


def write_records(plan: Plan, results: Results) -> None:
    """Replaces the results in docs/results."""
    write_atomically(RESULTS / f"{plan.name}.json", json.dumps(results, indent=1, sort_keys=True) + "\n")


def recorded(plan: Plan, job: Job) -> bool:
    """Whether the results of all of a job's rounds are in docs/results."""
    variant, seed = job
    rounds = records(plan).get(variant.name, {})
    return all(seed in rounds.get(round_, {}) for round_ in range(variant.rounds + 1))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean over seeds, and half the width of its 95 % interval (Student's t); NaN for one seed.

    >>> interval([1.0, 2.0, 3.0])[0]
    2.0
    """
    if len(values) < 2:
        return mean(values), float("nan")
    return mean(values), float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def cell(values: Sequence[float], name: str) -> str:
    """
    >>> cell([0.5, 0.5], "kept"), cell([3.0], "difficulty")
    ('50.0 ± 0.0', '3.0')
    """
    centre, half = interval(values)
    scale = 1 if name in PLAIN else 100
    return f"{scale * centre:.1f}" + (f" ± {scale * half:.1f}" if half == half else "")


def table(results: Results, columns: Mapping[str, str], labels: Labels, title: str = "{}") -> str:
    """A Markdown table with a line per variant and round that has these measures; the base, of every seed, once."""
    base = {seed: measured for rounds in results.values() for seed, measured in rounds.get(0, {}).items()}
    lines: list[tuple[str, Mapping[int, Measures]]] = [("base", base)]
    for variant, rounds in results.items():
        lines += [(f"{title.format(labels[variant])}, round {number}", seeds) for number, seeds in rounds.items() if number]
    rows = []
    for label, seeds in lines:
        values = {name: [one[name] for one in seeds.values() if name in one] for name in columns.values()}
        if all(values.values()):
            rows.append([label, len(seeds), *(cell(by_seed, name) for name, by_seed in values.items())])
    return markdown.table(["", "seeds", *columns], rows)


def differences(results: Results, reference: str, labels: Labels) -> str:
    """A Markdown table of the reference's accuracy less every other variant's, at the same round and seed."""
    plain = results.get(reference, {})
    gains = {
        variant: {
            round_: {
                seed: {name: plain[round_][seed][name] - measured[name] for name in ACCURACIES.values()}
                for seed, measured in seeds.items()
                if seed in plain[round_]
            }
            for round_, seeds in rounds.items()
            if round_ and round_ in plain
        }
        for variant, rounds in results.items()
        if rounds is not plain
    }
    return table(gains, ACCURACIES, labels, "over {}")


def draw(results: Results, labels: Labels, path: Path) -> None:
    """Accuracy and labels by round, a line per variant, with intervals where there are three seeds or more: of two they are as
    wide as the figure. The base's accuracy is in the titles: an axis down to it would hide what sets the rounds apart."""
    shown = {"held-out, sampled": "heldout sampled", "hard band, sampled": "heldout_hard sampled", "labels right": "labels right"}
    figure = Figure(figsize=(12, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots(ncols=len(shown))
    for axis, (title, name) in zip(axes, shown.items(), strict=True):
        axis.set_prop_cycle(color=color_sequences["petroff10"])
        axis.spines[["top", "right"]].set_visible(False)
        for place, (variant, rounds) in enumerate(results.items()):
            measured = {r: [one[name] for one in seeds.values() if name in one] for r, seeds in rounds.items() if r}
            by_seed = {r: values for r, values in measured.items() if values}
            if by_seed:
                points = [(r + 0.04 * (place - len(results) / 2), *interval(values)) for r, values in by_seed.items()]
                at, centres, halves = np.array(points).T
                style = {"marker": "o", "markersize": 3, "linewidth": 1.2, "capsize": 2}
                halves[[len(values) < 3 for values in by_seed.values()]] = np.nan
                axis.errorbar(at, 100 * centres, 100 * halves, label=labels[variant], **style)
        base = {seed: one[name] for rounds in results.values() for seed, one in rounds.get(0, {}).items() if name in one}
        axis.set_title(f"{title}, %{f' (base: {100 * mean(base.values()):.1f})' if base else ''}", fontsize=9, loc="left")
        axis.set_xlabel("round", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def write_results(plan: Plan, todo: Sequence[Job]) -> None:
    """docs/results/<name>.md, .json and .png; docs/results/README.md discusses them.

    Of results that were recorded earlier, the page has those whose variant is in the plan.
    """
    plain = [(plan.reference, seed) for seed in sorted({seed for _, seed in todo})]
    collected = collect(plan, [*plain, *(job for job in todo if job not in plain)])
    name, labels = plan.name, {variant.name: variant.label for variant in (plan.reference, *plan.variants)}
    results = {variant: collected[variant] for variant in labels if variant in collected}
    if not results:
        say(f"no round of {plan.name} is finished: nothing is written")
        return
    where = f"{hardware()}, {time.strftime('%Y-%m-%d')}"
    written = f"; runs add up over days and machines, this page was written on {where}" if plan.appends else f", {where}"
    head = f"`{plan.command}`{written}. Mean over seeds ± half its 95 % interval, in %."
    stage = [variant.name for variant in (plan.reference, *plan.variants) if variant.stage == 1]
    curves = {variant: rounds for variant, rounds in results.items() if variant in stage}
    drawn = 0 < len(curves) <= MOST_CURVES
    page = "\n\n".join(
        [
            f"<!-- Written by jobs/table_results.py. -->\n# {plan.title}",
            head,
            *([f"![Accuracy and labels by round]({name}.png)"] if drawn else []),
            *([plan.summary(results)] if plan.summary else []),
            "## Held-out accuracy",
            table(results, ACCURACIES, labels),
            f"## {plan.reference.label} less the others, at the same round and seed",
            differences(results, plan.reference.name, labels),
            "## Curriculum",
            table(results, CURRICULUM, labels),
        ]
    )
    write_atomically(RESULTS / f"{name}.md", page + "\n")
    write_records(plan, collected)
    if drawn:
        draw(curves, labels, RESULTS / f"{name}.png")
    print(page)


def hardware() -> str:
    """The processor and how many of its cores this process may use.

    >>> "cores" in hardware()
    True
    """
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{len(os.sched_getaffinity(0))} cores of {model[1] if model else platform.processor()}"
