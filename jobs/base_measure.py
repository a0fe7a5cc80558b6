"""R-Zero's requirements of a base model, measured at temperature 1 and top-p 1: the table at the end of `jobs/base.py`.

The oracle of the tiny domain grades. Sampling is transformers' own, so that a base can be made without vLLM.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from pipeline.algorithm.rewards import question_clusters
from pipeline.domain.prompt_file import load_prompts
from pipeline.domain.prompts import extract_boxed, parse_question
from pipeline.domain.tiny import read as domain
from pipeline.domain.tiny.words import TRANSFER_FORM
from pipeline.observe import markdown
from pipeline.observe.report.data import mean
from pipeline.types import in_groups

PROMPTS = load_prompts(Path(__file__).resolve().parents[1] / "conf/prompts/tiny.yaml")

Row = Mapping[str, Any]  # of the held-out set: question, answer, band, form, difficulty
Answers = list[list[str | None]]  # by question, then by sample


@torch.inference_mode()
def sample(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, chats: list[list[dict[str, str]]], greedy: bool = False
) -> list[list[int]]:
    """Response ids, including the end token if reached, at temperature 1 and top-p 1, or greedy."""
    encoded: Any = tokenizer.apply_chat_template(chats, add_generation_prompt=True)
    prompts = encoded.input_ids
    out: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # similar lengths share a batch
    for at in range(0, len(order), 512):
        part = order[at : at + 512]
        batch = tokenizer.pad({"input_ids": [prompts[i] for i in part]}, return_tensors="pt")
        ids = model.generate(**batch, max_new_tokens=160, do_sample=not greedy)  # type: ignore[misc]
        for i, row in zip(part, ids[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
            out[i] = row[: row.index(tokenizer.eos_token_id) + 1] if tokenizer.eos_token_id in row else row
    return out


def solve(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: Sequence[str], m: int, greedy: bool = False
) -> tuple[Answers, list[int]]:
    """m answers to each question, None if a response does not end or has no box; and all responses' lengths in tokens."""
    replies = sample(model, tokenizer, [PROMPTS.solver_messages(q) for q in questions for _ in range(m)], greedy)
    ended = [str(tokenizer.decode(r, skip_special_tokens=True)) if r[-1:] == [tokenizer.eos_token_id] else "" for r in replies]
    return in_groups([extract_boxed(text) for text in ended], m), [len(r) for r in replies]


def vote(answers: Sequence[str | None]) -> tuple[str | None, float]:
    """The largest class of answers and its share; missing answers form no class but count in the denominator."""
    ranked = Counter(a for a in answers if a is not None).most_common(1)
    return (ranked[0][0], ranked[0][1] / len(answers)) if ranked else (None, 0.0)


def measure(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row], seed: int) -> dict[str, float]:
    """Measures all requirements; the oracle grades."""
    model.eval()
    torch.manual_seed(seed)
    figures: dict[str, float] = {}
    questions = [row["question"] for row in rows]
    (sampled, _), (greedy, _) = solve(model, tokenizer, questions, 10), solve(model, tokenizer, questions, 1, greedy=True)
    groups = {"held-out": tuple(domain.BANDS), **{band: (band,) for band in (*domain.BANDS, "transfer")}}
    for name, bands in groups.items():
        picked = [(row["answer"], s, g) for row, s, g in zip(rows, sampled, greedy, strict=True) if row["band"] in bands]
        figures[f"{name}: pass@1"] = mean([mean([a == right for a in s]) for right, s, _ in picked])
        figures[f"{name}: majority of 10"] = mean([vote(s)[0] == right for right, s, _ in picked])
        figures[f"{name}: greedy"] = mean([g == [right] for right, _, g in picked])
    figures["held-out: majority above pass@1"] = figures["held-out: majority of 10"] - figures["held-out: pass@1"]

    written = sample(model, tokenizer, [PROMPTS.challenger_messages()] * 500)
    posed = [q for r in written if (q := parse_question(str(tokenizer.decode(r, skip_special_tokens=True))))]
    effort = [d for q in posed if (d := domain.difficulty(q)) is not None]
    figures["written: well-formed"] = len(posed) / len(written)
    figures["written: well-posed"] = len(effort) / len(written)
    figures["written: transfer form"] = sum(domain.form_of(q) == TRANSFER_FORM for q in posed) / len(written)
    figures["written: mean difficulty"] = mean(effort)
    figures["written: difficulty 8 and above"] = mean([d >= 8 for d in effort])
    sizes = Counter(question_clusters(posed[:64]))
    figures["written: mean cluster share in 64"] = sum(size**2 for size in sizes.values()) / 64**2

    sampled, lengths = solve(model, tokenizer, posed, 10)
    votes = [(domain.true_answer(q), *vote(answers)) for q, answers in zip(posed, sampled, strict=True)]
    kept = [(right, label) for right, label, share in votes if 0.25 <= share <= 0.75]
    figures["curriculum: mean p-hat"] = mean([share for *_, share in votes])
    figures["curriculum: kept"] = len(kept) / len(written)
    judged = [right == label for right, label in kept if right is not None]
    figures["curriculum: well-posed among kept"] = len(judged) / max(1, len(kept))
    figures["curriculum: labels right, of well-posed"] = mean(judged)
    figures["curriculum: labels right, of all"] = sum(judged) / max(1, len(kept))  # an ill-posed question has no right label
    for name, counts in [("question", [len(r) for r in written]), ("solution", lengths)]:
        figures[f"tokens of a {name}: mean"] = mean(counts)
        figures[f"tokens of a {name}: 99.5 %"] = float(np.percentile(counts, 99.5))
    return figures


NEEDS = {  # ranges that a base model has to be in for R-Zero to work on it
    "held-out: pass@1": (0.35, 0.65),
    "held-out: majority above pass@1": (0.15, 1.0),
    "held-out: greedy": (0.5, 0.95),
    "written: well-formed": (0.9, 1.0),
    "written: transfer form": (0.0, 0.0),
    "written: difficulty 8 and above": (0.01, 0.2),
    "written: mean cluster share in 64": (0.0, 0.2),
    "curriculum: labels right, of all": (0.6, 1.0),  # the filter keeps rare uncertain questions, and ill-posed ones
}


def table(figures: Mapping[str, float]) -> str:
    rows = []
    for name, value in figures.items():
        low, high = NEEDS.get(name, (-math.inf, math.inf))
        needed = f"{low} to {high}{'' if low <= value <= high else ': MISSED'}" if name in NEEDS else ""
        rows.append((name, f"{value:.3f}", needed))
    return markdown.table(("figure", "measured", "needed"), rows)
