"""Cards (README.md) of policies and curricula for the Hub.

Pure functions of a run's files. A card contains no local path and no text written by a model.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import DatasetCardData, ModelCardData

from conf.load import resolve
from pipeline.observe.report.data import Accuracy, read_accuracy
from pipeline.store.manifest import Manifest, MeasuredSet
from pipeline.store.state import may_change
from pipeline.types import Role

PAPER = "[R-Zero](https://arxiv.org/abs/2508.05004)"
SECTIONS = ("sampling", "challenger", "solver", "reward", "curriculum", "grpo", "learner", "lora")  # of the settings

Figures = Mapping[int, Mapping[str, Mapping[str, Accuracy]]]


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
    what = {
        "solver": "answers questions: it was trained on those that a Challenger posed, with its own majority votes as labels",
        "challenger": "poses questions: it was rewarded for those on which the answers of a frozen Solver disagree",
    }[role]
    shared = config.get("policies") == "shared"
    roles = "Both roles are this one model," if shared else "Both roles start from one base model and are"
    facts = [
        ("base model", hub_base or f"{base_name(config)}, a local folder"),
        ("rounds", round_),
        ("preset", config["preset"]),
        ("seed", config["seed"]),
        ("precision", config["model"]["dtype"]),
    ]
    parts = [
        front_matter(data),
        f"# {text(manifest.name)}, round {round_}: {role.capitalize()}",
        f"A policy of a {PAPER} run. It {what}. {roles} trained by GRPO in alternation, with no task and no label from outside.",
        "## Where it comes from",
        table(("", ""), facts),
        *rounds_part(manifest, round_),
        "## Figures",
        *figures_part(manifest, round_, figures, role),
        "## What it is not",
        bullets(
            "It is not an assistant: it was not trained for safety, refusals, tone or languages.",
            "Its labels are majority votes of the Solver, not known answers. They tend to get worse as questions get "
            "harder, and a wrong majority is trained on like a right one.",
            "It is one run with one seed. The intervals say how far other questions would move a figure, not what another seed "
            "would give.",
            "The figures are not those of the paper, whose evaluation has another model look again at answers judged wrong. "
            "Compare them with the base in the table first.",
            "The base model's licence applies to it as well.",
        ),
        "## Settings",
        settings_part(config),
    ]
    return "\n\n".join(parts) + "\n"


def curriculum_card(manifest: Manifest, round_: int) -> str:
    """The card of a round's curriculum as a data set."""
    config = manifest.config
    data = DatasetCardData(
        task_categories=["question-answering"],
        tags=["r-zero", "synthetic"],
        configs=[{"config_name": "default", "data_files": "curriculum.parquet"}],
    )
    answers, delta = config["reward"]["samples"], config["curriculum"]["delta"]
    parts = [
        front_matter(data),
        f"# {text(manifest.name)}, round {round_}: curriculum",
        f"The questions that the Challenger of a {PAPER} run wrote in round {round_}, with {answers} answers of the Solver to "
        f"each. A question is kept for training where its majority has a share within {delta:g} of one half.",
        *rounds_part(manifest, round_),
        "## Columns",
        bullets(
            "`question`: null where a response was not in the format",
            "`answers`: what the Solver boxed, null where there was nothing",
            "`majority`: the pseudo-label, with `count` votes out of `total`; `p_hat` is their share",
            "`undecided`: pairs of answers whose equivalence could not be decided",
            "`invalid`: share of the Solver's verdicts that call the question ill-posed, 0 without verdicts",
            "`kept`: whether the Solver was trained on it",
        ),
        "## What it is not",
        bullets(
            "The labels are votes, not known answers. Nobody checked a question or an answer, and some questions have none.",
            f"Both models come from {text(base_name(config))}: its licence applies, and memorised texts may be in here.",
            "All of it is text that a model wrote. Escape it before it is shown, and never run it.",
        ),
        "## Settings",
        settings_part(config),
    ]
    return "\n\n".join(parts) + "\n"


def rounds_part(manifest: Manifest, last: int) -> list[str]:
    """The curriculum's funnel in each round up to `last`; label accuracy if there is an oracle."""
    rows = []
    for number in manifest.begun():
        funnel = manifest.round(number).curriculum
        if funnel.finished and number <= last:
            share = "unknown" if funnel.label_accuracy is None else percent(funnel.label_accuracy)
            rows.append((number, funnel.written, funnel.well_formed, funnel.answered, funnel.kept, share))
    return [table(("round", "questions", "well-formed", "answered", "kept", "labels right, %"), rows)] if rows else []


def figures_part(manifest: Manifest, round_: int, figures: Figures, role: Role) -> list[str]:
    """Accuracies of the base and of the round with their 95 % intervals, and how they were measured."""
    if round_ not in figures:
        return ["This round was not evaluated."]
    drawn, sets = manifest.config["evaluation"], manifest.round(round_).evaluation.sets
    rows = []
    for name, ways in figures[round_].items():
        for way, after in ways.items():
            before = figures.get(0, {}).get(name, {}).get(way)
            rows.append((name, len(after.scores), way_name(way, name, sets), interval(before), interval(after)))
    whose = "" if role == "solver" else " They are the Solver's of the same round: a Challenger is not measured itself."
    return [
        f"Accuracies in %, with 95 % intervals over the questions.{whose}",
        table(("set", "questions", "measured as", "base", f"round {round_}"), rows),
        f"Sampled answers are drawn at temperature {drawn['temperature']:g} and top-p {drawn['top_p']:g}, greedy ones at "
        "temperature 0. An answer is the last box of a response; one that was cut off, or has no box, is wrong. Answers are "
        "compared by rules and by math-verify, without a judge model. Intervals are Wilson's where a question is right or wrong, "
        "and a bootstrap over questions for mean@k.",
    ]


def way_name(way: str, name: str, sets: Mapping[str, MeasuredSet]) -> str:
    """What a way of answering is called; a band's name starts with that of its set."""
    owner = max((each for each in sets if name == each or name.startswith(f"{each}_")), key=len, default=None)
    samples = sets[owner].samples if owner else "k"
    return {"sampled": f"mean@{samples}", "majority": f"majority@{samples}"}.get(way, way)


def settings_part(config: Mapping[str, Any]) -> str:
    """The settings that the results depend on; `pipeline.store.state.may_change` says which those are not."""
    leaves = [(f"{section}.{key}", value) for section in SECTIONS for key, value in config.get(section, {}).items()]
    rows = [(name.replace("lambda_", "lambda"), shown(value)) for name, value in leaves if not may_change(name)]
    return table(("setting", "value"), rows)


def shown(value: object) -> str:
    """A setting's value; of a scorer's file the name alone, since its folder is this machine's."""
    if isinstance(value, list):
        return ", ".join(PurePath(str(item)).name for item in value)
    return str(value)


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


def front_matter(data: ModelCardData | DatasetCardData) -> str:
    return f"---\n{data.to_yaml()}\n---"


def bullets(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """
    >>> print(table(("a", "b"), [(1, "x|y")]))
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    lines = [header, ["---"] * len(header), *([text(cell) for cell in row] for row in rows)]
    return "\n".join("|---" * len(line) + "|" if line[0] == "---" else f"| {' | '.join(line)} |" for line in lines)


def text(value: object) -> str:
    """A value as one line of Markdown that cannot leave its cell."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
