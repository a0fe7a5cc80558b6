"""The README.md of what is pushed to the Hub: a policy, or a curriculum as a data set. Its text is in the templates beside it.

Pure functions of a run's files. A card contains no local path and no text written by a model.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import DatasetCardData, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from conf.load import resolve
from conf.settings import flatten
from pipeline.observe.markdown import table, text
from pipeline.observe.report.data import Accuracy, narrowed, read_accuracy
from pipeline.store.manifest import Manifest, MeasuredSet
from pipeline.store.scores import alike, owner
from pipeline.store.state import may_change
from pipeline.types import Role

SECTIONS = ("sampling", "challenger", "solver", "reward", "curriculum", "grpo", "learner", "lora")  # of the settings
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
)

Figures = Mapping[int, Mapping[str, Mapping[str, Accuracy]]]
Row = tuple[object, ...]


def read_policy_card(folder: Path, manifest: Manifest, role: Role, round_: int) -> str:
    """`policy_card` with the figures that a run's folder holds."""
    figures = {
        number: read_accuracy(manifest.round(number).evaluation.sets, folder / f"round-{number}" / "evaluation")
        for number in (0, round_)
        if manifest.round(number).evaluation.finished
    }
    return policy_card(manifest, role, round_, figures, hub_base(manifest.config["model"]["path"]))


def hub_base(path: str) -> str | None:
    """The hub id that `model.path` is, None for a folder."""
    return path if re.fullmatch(r"\w[\w.-]*/[\w.-]+", path) and not resolve(path).exists() else None


def policy_card(manifest: Manifest, role: Role, round_: int, figures: Figures, hub_base: str | None) -> str:
    """The card of a role's policy at the end of a round.

    `figures` holds the Solver's accuracies by round (0: the base), benchmark and way of answering; rounds without an evaluation
    are missing. `hub_base` is the base model's hub id, None for a local folder.
    """
    config = manifest.config
    data = ModelCardData(
        base_model=hub_base, library_name="transformers", pipeline_tag="text-generation", tags=["r-zero", "grpo", "self-play"]
    )
    facts = [
        ("base model", hub_base or f"{base_name(config)}, a local folder"),
        ("rounds", round_),
        ("preset", config["preset"]),
        ("seed", config["seed"]),
        ("precision", config["model"]["dtype"]),
    ]
    return card(
        "policy_card.md",
        data,
        manifest,
        round_,
        role=role,
        shared=config["policies"] == "shared",
        facts=facts,
        figures=list(accuracies(manifest, round_, figures)) if round_ in figures else None,
        drawn=config["evaluation"],
    )


def curriculum_card(manifest: Manifest, round_: int) -> str:
    """The card of a round's curriculum as a data set."""
    config = manifest.config
    data = DatasetCardData(
        task_categories=["question-answering"],
        tags=["r-zero", "synthetic"],
        configs=[{"config_name": "default", "data_files": "curriculum.parquet"}],
    )
    values = {
        "answers": config["reward"]["samples"],
        "delta": config["curriculum"]["delta"],
        "keep": config["curriculum"]["keep"],
        "narrowed": narrowed(config),
        "base": text(base_name(config)),
    }
    return card("curriculum_card.md", data, manifest, round_, **values)


def card(template: str, data: ModelCardData | DatasetCardData, manifest: Manifest, round_: int, **values: object) -> str:
    """A card by its template, with what both kinds hold: the funnels up to the round, and the settings."""
    leaves = flatten({section: manifest.config[section] for section in SECTIONS})
    return TEMPLATES.get_template(template).render(
        data=data.to_yaml(),
        name=text(manifest.name),
        round=round_,
        funnels=list(funnels(manifest, round_)),
        settings=[(name, shown(value)) for name, value in leaves if not may_change(name)],
        table=table,
        **values,
    )


def funnels(manifest: Manifest, last: int) -> Iterator[Row]:
    """The curriculum's funnel in each round up to `last`; label accuracy where an oracle knew right answers."""
    for number in manifest.begun():
        funnel = manifest.round(number).curriculum
        if funnel.finished and number <= last:
            share = "unknown" if funnel.label_accuracy is None else percent(funnel.label_accuracy)
            yield number, funnel.written, funnel.well_formed, funnel.answered, funnel.kept, share


def accuracies(manifest: Manifest, round_: int, figures: Figures) -> Iterator[Row]:
    """Accuracies of the base and of the round with their 95 % intervals, by set and way of answering.

    The base's are left out where it was measured otherwise.
    """
    sets, of_base = (manifest.round(number).evaluation.sets for number in (round_, 0))
    for name, ways in figures[round_].items():
        for way, after in ways.items():
            before = figures.get(0, {}).get(name, {}).get(way) if alike(name, of_base, sets) else None
            measured_as = way_name(way, name, sets)
            yield name, len(after.scores), measured_as, interval(before), interval(after)


def way_name(way: str, name: str, sets: Mapping[str, MeasuredSet]) -> str:
    """What a way of answering is called; a band's name starts with that of its set."""
    of = owner(name, sets)
    samples = sets[of].samples if of else "k"
    return {"sampled": f"mean@{samples}", "majority": f"majority@{samples}"}.get(way, way)


def shown(value: object) -> str:
    """A setting's value; of a file, such as a scorer's or a grader's, the name alone, since its folder is this machine's.

    >>> shown(["triangular", "/home/me/short.py:short"]), shown("mine/grader.py:Molecules")
    ('triangular, short.py:short', 'grader.py:Molecules')
    """
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return PurePath(value).name if isinstance(value, str) else str(value)


def base_name(config: Mapping[str, Any]) -> str:
    return PurePath(config["model"]["path"]).name


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def interval(accuracy: Accuracy | None) -> str:
    """
    >>> interval(Accuracy(0.5, 0.25, 0.75, (1.0, 0.0)))
    '50.0 (25.0 to 75.0)'
    """
    return "-" if accuracy is None else f"{percent(accuracy.mean)} ({percent(accuracy.low)} to {percent(accuracy.high)})"
