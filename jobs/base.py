"""Makes the embedded tiny base model: tokenizer, weights, held-out set and model card, from text written by rule.

    python -m jobs.base --out assets/tiny-base --steps 5000 --seed 0

The text shows two things: how to pose a problem in the question format, and how to solve one step by step, with slips (pipeline/domain.py).
The same seed and number of steps give the same weights on the same machine and number of threads. A last table holds what R-Zero needs of
a base: right about half the time when sampled, right more often when ten samples vote, and able to pose what it can nearly solve.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import OmegaConf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from pipeline import domain, domain_text

ROOT = Path(__file__).resolve().parents[1]
PROMPTS: Any = OmegaConf.load(ROOT / "conf/prompts/tiny.yaml")

CHALLENGER_SHARE = 0.3  # of the examples; the rest are worked solutions
CHALLENGER_STEPS = (10, 22, 24, 18, 11, 7, 4, 2.5, 1.5)  # weights of 1, 2, ... worked steps: long chains are rare but present
SOLVER_STEPS = (12, 18, 18, 16, 12, 9, 7, 5, 3)
LARGE = 0.10  # share of operands above 20
SLIP = 0.10  # chance of a slip, for each unit of effort

CONTEXT = 512
VOCAB = 768
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
Example = tuple[str, str, str]  # role, question (empty for the Challenger), response


# --- text -------------------------------------------------------------------------------------------------------------------------------


def examples(rng: Random, count: int) -> list[Example]:
    """Training text: none of it holds a question of the held-out eighth, and no Challenger writes the transfer form."""
    out: list[Example] = []
    while len(out) < count:
        challenger = rng.random() < CHALLENGER_SHARE
        form = rng.choice(domain.FORMS if challenger else (*domain.FORMS, domain.TRANSFER_FORM))
        weights = CHALLENGER_STEPS if challenger else SOLVER_STEPS
        steps = rng.choices(range(1, len(weights) + 1), weights)[0]
        question, problem = domain_text.write(rng, form, steps, LARGE)
        if domain.is_held_out(question):
            continue
        if challenger:
            out.append(("challenger", "", f"<question>{question}</question>\n\\boxed{{{domain.answer_of(problem)}}}"))
        else:
            out.append(("solver", question, domain.solution(problem, rng, SLIP)))
    return out


def messages(role: str, question: str) -> list[dict[str, str]]:
    prompt = PROMPTS[role]
    chat = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*chat, {"role": "user", "content": prompt.user.replace("{question}", question)}]


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text survives the round trip; digits stay apart, so that arithmetic can be learned digit by digit."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [PAD, START, END]
    marks = ["<question>", "</question>", "\\boxed{"]  # one token each, but plain text: decoding must keep them
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(marks), special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    text = ("\n".join([*(m["content"] for m in messages(role, q)), "user\nassistant\nsystem", r]) for role, q, r in examples(Random(seed), 20_000))
    core.train_from_iterator(text, trainer)
    core.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False, model_max_length=CONTEXT, padding_side="left"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def prompt_ids(tokenizer: PreTrainedTokenizerFast, role: str, question: str = "") -> list[int]:
    return tokenizer.apply_chat_template(messages(role, question), add_generation_prompt=True, tokenize=True, return_dict=False)  # type: ignore[return-value]


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (input ids, labels), [rows, length] each, of about `tokens` tokens. Rows of a batch are of like length: little is padding.

    Prompts carry no loss, or the Challenger would learn to write the transfer form from the Solver's prompts.
    """
    rng = Random(f"text {seed}")
    render = tokenizer.apply_chat_template
    while True:
        chunk = examples(rng, 8192)
        prompts = tokenizer([render(messages(r, q), add_generation_prompt=True, tokenize=False) for r, q, _ in chunk]).input_ids
        responses = tokenizer([text + END for *_, text in chunk]).input_ids
        rows = sorted(zip(prompts, responses, strict=True), key=lambda row: len(row[0]) + len(row[1]))
        cut: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if (len(cut[-1]) + 1) * (len(row[0]) + len(row[1])) > tokens:
                cut.append([])
            cut[-1].append(row)
        rng.shuffle(cut)
        for group in cut:
            length = max(len(p) + len(r) for p, r in group)
            ids = torch.full((len(group), length), tokenizer.pad_token_id, dtype=torch.long)
            labels = torch.full_like(ids, -100)
            for i, (p, r) in enumerate(group):
                ids[i, : len(p) + len(r)] = torch.tensor(p + r)
                labels[i, len(p) : len(p) + len(r)] = torch.tensor(r)
            yield ids, labels


# --- training ---------------------------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, max_position_embeddings=CONTEXT, tie_word_embeddings=False, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, dtype="float32",
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True, temperature=1.0, top_p=1.0, top_k=0
    )
    return model


def attention_fp32(module: torch.nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, **options: Any) -> Any:
    """Attention in fp32 inside a bf16 autocast: on a CPU its backward pass is several times slower in bf16, other products are not."""
    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(module, q.float(), k.float(), v.float(), mask, **options)


def train(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, tokens: int, lr: float, seed: int) -> float:
    """Runs a fixed number of steps, so that the result does not depend on the clock; returns the seconds it took."""
    ALL_ATTENTION_FUNCTIONS.register("sdpa", attention_fp32)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or ".layers." not in name]
    # Muon learns this text from a third of the tokens that AdamW alone needs; embeddings and norms stay with AdamW.
    optimizers = [
        torch.optim.Muon(matrices, lr=5 * lr, weight_decay=0.05),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    warmup = min(50, max(1, steps // 10))

    def share(step: int) -> float:
        return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, share) for optimizer in optimizers]
    begin, seen, mean = time.monotonic(), 0, 0.0
    for step, (ids, labels) in zip(range(1, steps + 1), batches(tokenizer, seed, tokens), strict=False):
        # Rows are padded on the right and attention is causal: no real token sees a pad, so no mask is needed.
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            target = labels[:, 1:]
            picked = target != -100
            logits = model.lm_head(hidden[picked])
        loss = torch.nn.functional.cross_entropy(logits.float(), target[picked])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        seen += ids.numel()
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if step % 25 == 0 or step == steps:
            took = time.monotonic() - begin
            left = took / step * (steps - step)
            end = "\n" if step % 500 == 0 or step == steps else ""
            print(f"\rstep {step}/{steps}  loss {mean:.4f}  {seen / took:,.0f} tokens/s  {left / 60:.1f} min left ", end=end, flush=True)
    return time.monotonic() - begin


# --- measuring --------------------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def sample(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[list[int]], greedy: bool = False, longest: int = 160
) -> list[list[int]]:
    """Response ids, the end token included where it was reached. Prompts are taken in order of length, in batches of 512."""
    out: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for at in range(0, len(order), 512):
        part = order[at : at + 512]
        batch = tokenizer.pad({"input_ids": [prompts[i] for i in part]}, return_tensors="pt")
        ids = model.generate(**batch, max_new_tokens=longest, do_sample=not greedy)[:, batch["input_ids"].shape[1] :].tolist()
        for i, row in zip(part, ids, strict=True):
            out[i] = row[: row.index(tokenizer.eos_token_id) + 1] if tokenizer.eos_token_id in row else row
    return out


def boxed(text: str) -> str | None:
    found = re.findall(r"\\boxed\{([^{}]+)\}", text)
    return found[-1] if found else None


def vote(answers: Sequence[str | None]) -> tuple[str | None, float]:
    """The largest class of answers and its share; a missing answer is no class but stays in the denominator."""
    ranked = Counter(a for a in answers if a is not None).most_common(1)
    return (ranked[0][0], ranked[0][1] / len(answers)) if ranked else (None, 0.0)


def answers_to(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: Sequence[str], m: int, greedy: bool = False
) -> tuple[list[list[str | None]], list[int]]:
    """m answers to each question, None where a response does not end or holds no box; and the lengths of all responses in tokens."""
    prompts = [prompt_ids(tokenizer, "solver", q) for q in questions for _ in range(m)]
    responses = sample(model, tokenizer, prompts, greedy)
    flat = [boxed(tokenizer.decode(r, skip_special_tokens=True)) if r[-1:] == [tokenizer.eos_token_id] else None for r in responses]
    return [flat[i : i + m] for i in range(0, len(flat), m)], [len(r) for r in responses]


def mean_cluster_share(questions: Sequence[str]) -> float:
    """Mean of |C| / B, clusters as in the repetition penalty: 1 - BLEU-4, average linkage, threshold 0.5."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from sklearn.cluster import AgglomerativeClustering

    words, smooth = [q.split() for q in questions], SmoothingFunction().method1
    distance = np.zeros((len(words), len(words)))
    for i in range(len(words)):
        for j in range(i + 1, len(words)):
            distance[i, j] = distance[j, i] = 1 - sentence_bleu([words[j]], words[i], smoothing_function=smooth)
    labels = AgglomerativeClustering(n_clusters=None, metric="precomputed", linkage="average", distance_threshold=0.5).fit_predict(distance)
    return float((np.bincount(labels) ** 2).sum() / len(words) ** 2)


def measure(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[dict[str, Any]], seed: int) -> dict[str, float]:
    """What R-Zero needs of a base, at temperature 1 and top-p 1."""
    model.eval()
    torch.manual_seed(seed)
    figures: dict[str, float] = {}
    questions = [row["question"] for row in rows]
    sampled, _ = answers_to(model, tokenizer, questions, 10)
    greedy, _ = answers_to(model, tokenizer, questions, 1, greedy=True)
    for name, bands in [("held-out", tuple(domain.BANDS)), *((b, (b,)) for b in (*domain.BANDS, "transfer"))]:
        picked = [i for i, row in enumerate(rows) if row["band"] in bands]
        figures[f"{name}: pass@1"] = float(np.mean([a == rows[i]["answer"] for i in picked for a in sampled[i]]))
        figures[f"{name}: majority of 10"] = float(np.mean([vote(sampled[i])[0] == rows[i]["answer"] for i in picked]))
        figures[f"{name}: greedy"] = float(np.mean([greedy[i][0] == rows[i]["answer"] for i in picked]))

    written = sample(model, tokenizer, [prompt_ids(tokenizer, "challenger")] * 500)
    texts = [tokenizer.decode(r, skip_special_tokens=True) for r in written]
    matches = [re.fullmatch(r"<question>([^<]+)</question>\s*\\boxed\{[^{}]+\}", t.strip()) for t in texts]
    posed = [m[1].strip() for m in matches if m]
    figures["written: well-formed"] = len(posed) / len(texts)
    figures["written: well-posed"] = sum(domain.parse(q) is not None for q in posed) / len(texts)
    figures["written: transfer form"] = sum(domain.form_of(q) == domain.TRANSFER_FORM for q in posed) / len(texts)
    effort = [d for q in posed if (d := domain.difficulty(q)) is not None]
    figures["written: mean difficulty"] = float(np.mean(effort))
    figures["written: difficulty 8 and above"] = float(np.mean([d >= 8 for d in effort]))
    figures["written: mean cluster share in 64"] = mean_cluster_share(posed[:64])
    sampled, lengths = answers_to(model, tokenizer, posed, 10)
    votes = [vote(a) for a in sampled]
    kept = [i for i, (_, share) in enumerate(votes) if 0.25 <= share <= 0.75]
    figures["curriculum: mean p-hat"] = float(np.mean([share for _, share in votes]))
    figures["curriculum: kept"] = len(kept) / len(texts)
    figures["curriculum: labels right"] = float(np.mean([votes[i][0] == domain.true_answer(posed[i]) for i in kept]))
    figures["tokens of a question: mean"] = float(np.mean([len(r) for r in written]))
    figures["tokens of a question: 99.5 %"] = float(np.percentile([len(r) for r in written], 99.5))
    figures["tokens of a solution: mean"] = float(np.mean(lengths))
    figures["tokens of a solution: 99.5 %"] = float(np.percentile(lengths, 99.5))
    return figures


# --- the job ----------------------------------------------------------------------------------------------------------------------------


def write_assets(out: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[dict[str, Any]], card: str) -> None:
    """The folder appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".tiny-base-") as temp:
        new, old = Path(temp, "new"), Path(temp, "old")
        model.save_pretrained(new)
        tokenizer.save_pretrained(new, save_jinja_files=False)
        (new / "README.md").write_text(card)
        pq.write_table(pa.Table.from_pylist(list(rows)), Path(temp, "heldout.parquet"))
        if out.exists():
            out.rename(old)
        new.rename(out)
        os.replace(Path(temp, "heldout.parquet"), out.parent / "heldout.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "assets/tiny-base")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a batch")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = make_tokenizer(args.seed)
    model = make_model(tokenizer)
    print(f"{model.num_parameters() / 1e6:.2f} M parameters, vocabulary {len(tokenizer)}")
    took = train(model, tokenizer, args.steps, args.tokens, args.lr, args.seed)
    rows = list(domain.held_out(args.seed))
    write_assets(args.out, model, tokenizer, rows, "")
    figures = measure(model, tokenizer, rows, args.seed)
    for name, value in figures.items():
        print(f"{name:<40}{value:>10.3f}")
    print(took)


if __name__ == "__main__":
    main()
