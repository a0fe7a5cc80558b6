"""Runs on disk without the hours that they take: the files of `pipeline/store/manifest.py` with invented votes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conf.schema import BenchmarkConfig, Config
from pipeline.store.manifest import CURRICULUM, EVALUATION, QUESTIONS, write_table

HOSTILE = (
    "<script>alert(1)</script>",
    "</svg></title></style><img src=x onerror=alert(1)> & {{ 7 * 7 }} {% raw %}",
    "Compute 1 + 1.\u202e\u2066\x00\x1b[2J\ud800",
    "https://example.com/a.png " + "long " * 4000,
)


def made_config(folder: Path, name: str = "made", oracle: str | None = "pipeline.domain.tiny.read") -> Config:
    config = Config(name=name, runs_dir=str(folder), tracking_uri=f"sqlite:///{folder}/mlruns/mlflow.db")
    config.evaluation.oracle = oracle
    config.evaluation.benchmarks = {"heldout": BenchmarkConfig(path="unused.parquet", samples=4)}
    config.reward.samples = 4
    return config


def write_run(config: Config, rounds: int = 1, *, questions: tuple[str, ...] = (), until: str = "evaluation") -> Path:
    """A run whose last round got as far as the stage `until`; `questions` take the first places of every table."""
    folder = Path(config.runs_dir) / config.name
    known: dict[str, Any] = {"0": {"evaluation": evaluation(folder, 0)}} if rounds else {}
    for number in range(1, rounds + 1):
        stages = {
            "challenger": lambda n: challenger(folder, n, questions),
            "curriculum": lambda n: curriculum(folder, n, questions),
            "solver": lambda n: trained("solver", n),
            "evaluation": lambda n: evaluation(folder, n),
        }  # fmt: skip
        known[str(number)] = {}
        for stage, make in stages.items():
            known[str(number)][stage] = make(number)
            if number == rounds and stage == until:
                break
        else:
            known[str(number)]["summary"] = {"done": True}
    manifest = {"schema": 1, "name": config.name, "config": asdict(config), "tracking_id": None, "rounds": known}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def trained(role: str, number: int) -> dict[str, Any]:
    steps = [step(0.4, number), step(0.5, number)]
    return {"metrics": steps, "p_hats": [[0.5]] * 2, "policy": f"round-{number}/{role}/policy"}


def step(reward: float, number: int) -> dict[str, float]:
    return {"reward_mean": reward, "p_hat_mean": 0.5 + 0.1 / number, "entropy": 1.0, "kl": 0.01, "distinct_clusters": 3.0,
            "seconds_sampling": 2.0, "seconds_learning": 1.0}  # fmt: skip


def votes(index: int, text: str | None) -> dict[str, Any]:
    """The columns that questions and curriculum share."""
    answers = [["3", "3", "4", None], ["3", "3", "3", "3"], ["1", "2", "3", "<b>4</b>"]][index % 3] if text else []
    count = [2, 4, 1][index % 3] if text else 0
    return {"question": printable(text), "answers": answers, "majority": answers[0] if text else None, "count": count,
            "total": len(answers), "p_hat": count / 4, "invalid": 0.25 * (index % 2)}  # fmt: skip


def printable(text: str | None) -> str | None:
    """Parquet holds UTF-8, which has no lone surrogates."""
    return text and text.encode("utf-8", "replace").decode()


def texts(extra: tuple[str, ...], number: int) -> list[str | None]:
    return [*extra, *(f"Compute {index} + {number}." for index in range(1, 9)), None]


def challenger(folder: Path, number: int, extra: tuple[str, ...]) -> dict[str, Any]:
    for made in (1, 2):
        rows = [
            votes(index, text)
            | {"undecided": 0, "cluster": -1 if text is None else index // 2, "reward": 0.4, "solver_version": "s"}
            for index, text in enumerate(texts(extra, number))
        ]
        write_table(folder / f"round-{number}" / "challenger" / f"questions-{made:04d}.parquet", rows, QUESTIONS)
    return {
        "metrics": [step(0.4, number), step(0.5, number)],
        "p_hats": [[0.5]] * 2,
        "policy": f"round-{number}/challenger/policy",
    }


def curriculum(folder: Path, number: int, extra: tuple[str, ...]) -> dict[str, Any]:
    rows = [votes(index, text) for index, text in enumerate(texts(extra, number))]
    rows = [row | {"kept": row["count"] == 2} for row in rows]
    write_table(folder / f"round-{number}" / "curriculum.parquet", rows, CURRICULUM)
    kept = sum(row["kept"] for row in rows)
    counts = {"written": len(rows), "well_formed": len(rows) - 1, "answered": len(rows) - 1, "kept": kept}
    return {"done": True, "seconds": {"sampling": 3.0}, "label_accuracy": 0.5} | counts


def evaluation(folder: Path, number: int) -> dict[str, Any]:
    """Four questions in two bands; each round gets one more of them right."""
    rows = [
        {"question": f"Compute {index} * 2.", "band": band, "answer": str(2 * index), "answers": ["2"] * 4,
         "sampled": min(1.0, 0.25 * (index + number)), "greedy": float(index <= number), "majority": float(index <= number)}
        for index, band in enumerate(("easy", "easy", "hard", "transfer"))
    ]  # fmt: skip
    write_table(folder / f"round-{number}" / "evaluation" / "heldout.parquet", rows, EVALUATION)
    means = {way: sum(row[way] for row in rows[:3]) / 3 for way in ("sampled", "greedy", "majority")}
    return {"done": True, "accuracies": {"heldout": means}, "seconds": {"sampling": 1.0}}
