"""Runs on disk without the hours that they take: the files of `pipeline/store` with invented votes."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from conf.schema import Config
from pipeline.curriculum import funnel
from pipeline.measure import accuracy_by_band
from pipeline.store.manifest import (
    STAGES,
    CurriculumStage,
    EvaluationStage,
    Manifest,
    MeasuredSet,
    PhaseStage,
    Round,
    StageName,
    write_manifest,
)
from pipeline.store.tables import CurriculumRow, EvaluationRow, write_table
from pipeline.types import AnsweredQuestion, ScoredQuestion, Vote

HOSTILE = (
    "<script>alert(1)</script>",
    "</svg></title></style><img src=x onerror=alert(1)> & {{ 7 * 7 }} {% raw %}",
    "Compute 1 + 1.\u202e\u2066\x00\x1b[2J\ud800",
    "https://example.com/a.png " + "long " * 4000,
)


def made_config(folder: Path, name: str = "made", oracle: str | None = "pipeline.domain.tiny.read") -> Config:
    config = Config(name=name, runs_dir=str(folder), tracking_uri=f"sqlite:///{folder}/mlruns/mlflow.db")
    config.evaluation.oracle = oracle
    config.evaluation.sets, config.evaluation.samples = ["unused/heldout.parquet"], 4
    config.reward.samples = 4
    return config


def write_run(config: Config, rounds: int = 1, *, questions: tuple[str, ...] = (), until: StageName = "evaluation") -> Path:
    """A run whose last round got as far as the stage `until`; `questions` take the first places of every table."""
    folder = Path(config.runs_dir) / config.name
    manifest = Manifest(config.name, json.loads(json.dumps(asdict(config))))
    if rounds:
        manifest.rounds[0] = Round(evaluation=evaluation(folder, 0))
    for number in range(1, rounds + 1):
        last = STAGES.index(until) if number == rounds else len(STAGES) - 1
        round_ = manifest.rounds[number] = Round(challenger=challenger(folder, number, questions))
        if last >= 1:
            round_.curriculum = curriculum(folder, number, questions)
        if last >= 2:
            round_.solver = trained(folder, "solver", number)
        if last >= 3:
            round_.evaluation = evaluation(folder, number)
        round_.closed = number < rounds or until == STAGES[-1]
    write_manifest(folder, manifest)
    return folder


def trained(folder: Path, role: str, number: int) -> PhaseStage:
    policy = f"round-{number}/{role}/policy"
    (folder / policy).mkdir(parents=True, exist_ok=True)
    return PhaseStage([step(0.4, number), step(0.5, number)], [[0.5]] * 2, policy=policy)


def step(reward: float, number: int) -> dict[str, float]:
    return {"reward_mean": reward, "p_hat_mean": 0.5 + 0.1 / number, "entropy": 1.0, "kl": 0.01, "distinct_clusters": 3.0,
            "seconds_sampling": 2.0, "seconds_learning": 1.0}  # fmt: skip


def answered(index: int, text: str | None) -> AnsweredQuestion:
    if text is None:
        return AnsweredQuestion(None)
    answers = (("3", "3", "4", None), ("3", "3", "3", "3"), ("1", "2", "3", "<b>4</b>"))[index % 3]
    # Parquet holds UTF-8, which has no lone surrogates.
    question = text.encode("utf-8", "replace").decode()
    return AnsweredQuestion(question, answers, Vote(answers[0], (2, 4, 1)[index % 3], 4), 0.25 * (index % 2))


def texts(extra: tuple[str, ...], number: int) -> list[str | None]:
    return [*extra, *(f"Compute {index} + {number}." for index in range(1, 9)), None]


def challenger(folder: Path, number: int, extra: tuple[str, ...]) -> PhaseStage:
    for made in (1, 2):
        rows = [
            ScoredQuestion(answered(index, text), -1 if text is None else index // 2, 0.4, {"mine": 0.6, "repetition": -0.2}, "s")
            for index, text in enumerate(texts(extra, number))
        ]
        write_table(folder / f"round-{number}" / "challenger" / f"questions-{made:04d}.parquet", ScoredQuestion, rows)
    return trained(folder, "challenger", number)


def curriculum(folder: Path, number: int, extra: tuple[str, ...]) -> CurriculumStage:
    items = [answered(index, text) for index, text in enumerate(texts(extra, number))]
    rows = [
        CurriculumRow(replace(item, confidence=-0.5), True, 0.25 if number > 1 else None)
        if item.vote.count == 2
        else CurriculumRow(item, False)
        for item in items
    ]
    write_table(folder / f"round-{number}" / "curriculum.parquet", CurriculumRow, rows)
    return CurriculumStage(True, **funnel(rows), label_accuracy=0.5, seconds={"sampling": 3.0})


def evaluation(folder: Path, number: int) -> EvaluationStage:
    """Four questions in two bands; each round gets one more of them right."""
    rows = [
        EvaluationRow(str(index), f"Compute {index} * 2.", None, band, str(2 * index), ("\\boxed{2}",) * 4, ("2",) * 4, "", "2",
                      min(1.0, 0.25 * (index + number)), float(index <= number), float(index <= number), 0, 0)
        for index, band in enumerate(("easy", "easy", "hard", "transfer"))
    ]  # fmt: skip
    write_table(folder / f"round-{number}" / "evaluation" / "heldout.parquet", EvaluationRow, rows)
    accuracies = {"heldout": accuracy_by_band("heldout", rows)["heldout"]}
    sets = {"heldout": MeasuredSet(len(rows), 4, None, "math", "math", responses=20)}
    return EvaluationStage(True, accuracies, sets, seconds={"sampling": 1.0})
