"""Answers of public graders' tests and of benchmarks, where they lie beside the repository: they are not part of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.reward.sandbox import AnswerSandbox
from conf.load import ROOT

FOLDER = ROOT.parent / "shared" / "benchmarks"
SETS = sorted(path.stem for path in FOLDER.glob("*.jsonl") if "pairs" not in path.stem and path.stem != "forms")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the folder shared/benchmarks beside the repository")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[AnswerSandbox]:
    with AnswerSandbox() as made:
        yield made


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


@pytest.mark.parametrize("name", ["forms", "pairs"])
def test_pairs_are_judged_right_and_none_that_differ_equal(sandbox: AnswerSandbox, name: str) -> None:
    pairs = rows(FOLDER / f"{name}.jsonl")
    verdicts = sandbox.equivalents([(row["given"], row["truth"]) for row in pairs])
    wrong = [
        (row["given"], row["truth"], verdict) for row, verdict in zip(pairs, verdicts, strict=True) if verdict is not row["equal"]
    ]
    assert not [entry for entry in wrong if entry[2] is True]
    assert len(wrong) <= 0.01 * len(pairs), wrong


@pytest.mark.parametrize("name", SETS)
def test_every_right_answer_of_a_benchmark_is_equal_to_itself(sandbox: AnswerSandbox, name: str) -> None:
    answers = [row["answer"] for row in rows(FOLDER / f"{name}.jsonl")]
    sandbox.take_counts()
    verdicts = sandbox.equivalents([(answer, answer) for answer in answers])
    assert [answer for answer, verdict in zip(answers, verdicts, strict=True) if verdict is not True] == []
    assert sandbox.take_counts()["verify_calls"] == 0
