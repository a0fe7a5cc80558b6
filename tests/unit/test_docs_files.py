"""docs/files.md names every column, every field of the manifest and every metric, as the code has them."""

import re
from dataclasses import fields

import pytest

from actors.learner.group import LearnerGroup
from actors.reward.sandbox import AnswerSandbox
from conf.load import ROOT
from conf.schema import Config
from pipeline.algorithm.metrics import step_metrics
from pipeline.challenger import challenger_metrics
from pipeline.store.manifest import SCHEMA, CurriculumStage, EvaluationStage, Manifest, MeasuredSet, PhaseStage, Round
from pipeline.store.tables import TABLES, VERSION, columns
from pipeline.types import AnsweredQuestion, Sample, ScoredGroups, ScoredQuestion, TrainingBatch

PAGE = (ROOT / "docs" / "files.md").read_text()
STAGES = {
    "The run": Manifest,
    "A round": Round,
    "A phase": PhaseStage,
    "The curriculum": CurriculumStage,
    "The evaluation": EvaluationStage,
    "A measured set": MeasuredSet,
}
FLEET = ("tokens", "prompt_tokens", "cached_tokens", "sampling_seconds", "swaps", "swap_seconds", "replaced")


def section(heading: str) -> str:
    (found,) = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found


def cells(text: str, column: int) -> list[str]:
    """One column of the table in a text, without its head."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [row[column].strip() for row in rows]


@pytest.mark.parametrize("record", TABLES, ids=TABLES.values())
def test_every_column_is_there_with_its_type(record: type) -> None:
    described = section(TABLES[record])
    names, types = cells(described, 0), cells(described, 1)
    assert list(zip(names, types, strict=True)) == [(f"`{name}`", f"`{kind}`") for name, kind in columns(record, ["<scorer>"])]
    assert f"`rzero.version` is {VERSION} " in PAGE


@pytest.mark.parametrize("heading", STAGES)
def test_every_field_of_the_manifest_is_there(heading: str) -> None:
    assert cells(section(heading), 0) == [f"`{each.name}`" for each in fields(STAGES[heading])]
    assert f"schema {SCHEMA} " in section("The manifest")


def test_every_metric_of_a_step_is_there() -> None:
    sample = Sample((1,), (2,), (-0.5,), "x", "stop", "challenger-r1-s0", 0)
    question = ScoredQuestion(AnsweredQuestion("x?"), 0, 0.5, {"<scorer>": 0.5}, "solver-r0-s0")
    scored = ScoredGroups([[sample]], [[0.5]], challenger_metrics([question]), [0.5])
    update = dict.fromkeys(LearnerGroup(Config()).update(TrainingBatch((), ())), 0.0) | {
        "zero_variance_groups": 0.0,
        "resampled_groups": 0.0,
    }
    with AnswerSandbox(workers=0) as sandbox:
        verdicts = sandbox.take_counts()
    made = step_metrics(scored, update, {"<part>": 1.0}, dict.fromkeys(FLEET, 1.0), verdicts)
    listed = re.findall(r"`([^`]+)`", " ".join(cells(section("Metrics of a step"), 0)))
    assert sorted(listed) == sorted(made)
    assert {f"`{name}`" for name in (*FLEET, *verdicts)} <= set(re.findall(r"`[^`]+`", section("Seconds and counts")))
