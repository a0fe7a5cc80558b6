"""Makes the embedded tiny base model: tokenizer, weights, held-out set and model card, from text written by rule.

    python -m jobs.base --out assets/tiny-base --seed 0
    python -m jobs.base --measure        # the table alone, for the model that is there

The text shows two things: how to pose a problem in the question format, and how to solve one step by step, with slips
(`pipeline/domain/tiny/write.py`, `read.py`). The same seed and number of steps give the same weights on one machine. The table
at the end shows R-Zero's requirements of a base model: right about half the time when sampled, more often by a vote of ten
samples, and able to pose questions that it can almost solve.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging

from conf.errors import ConfigError
from conf.load import ROOT
from jobs.base_measure import PROMPTS, Row, measure, table
from jobs.cli import command
from pipeline.domain.tiny import read as domain
from pipeline.domain.tiny import words as phrases
from pipeline.domain.tiny.write import write

CHALLENGER_SHARE, CHECK_SHARE = 0.40, 0.08  # of the examples; the rest are worked solutions
# Weights of 1, 2, ... worked steps: long problems are rarely posed but often solved.
CHALLENGER_STEPS = (24, 30, 24, 12, 6, 2.5, 1, 0.4, 0.2)
SOLVER_STEPS = (10, 14, 14, 13, 12, 11, 10, 9, 7)
CHALLENGER_LARGE, SOLVER_LARGE = 0.05, 0.2  # share of products, and of operands above 20
SLIP = (
    0.007  # probability of a slip in the first step of effort 1, four times that in the second, and so on: see `domain.solution`
)

CONTEXT = 512
VOCAB = 768  # upper bound: merges run out before
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

Message = dict[str, str]

# --- text -----------------------------------------------------------------------------------------------------------------------


def examples(rng: Random, count: int) -> list[tuple[list[Message], str]]:
    """Conversations and responses, without questions of the held-out eighth and without the transfer form for the Challenger."""
    out: list[tuple[list[Message], str]] = []
    previous = "Compute 1 + 1."
    while len(out) < count:
        kind = rng.random()
        challenger = kind < CHALLENGER_SHARE
        form = rng.choice(phrases.FORMS if challenger else (*phrases.FORMS, phrases.TRANSFER_FORM))
        weights = CHALLENGER_STEPS if challenger else SOLVER_STEPS
        steps = rng.choices(range(1, len(weights) + 1), weights)[0]
        question, problem = write(rng, form, steps, CHALLENGER_LARGE if challenger else SOLVER_LARGE)
        if domain.is_held_out(question):
            continue
        if challenger:
            text = f"<question>{question}</question>\n\\boxed{{{domain.answer_of(problem)}}}"
            out.append((PROMPTS.challenger_messages(), text))
        elif kind < CHALLENGER_SHARE + CHECK_SHARE:
            text = question if rng.random() < 0.5 else spoiled(question, previous, rng)
            verdict = "invalid" if domain.parse(text) is None else "valid"
            out.append((PROMPTS.validity_messages(text), f"\\boxed{{{verdict}}}"))
        else:
            out.append((PROMPTS.solver_messages(question), domain.solution(problem, rng, SLIP)))
        previous = question
    return out


def spoiled(question: str, other: str, rng: Random) -> str:
    """An ill-posed variant of a question: merged with another, without a sentence, or with a word replaced."""
    kind = rng.randrange(3)
    if kind == 0:
        words, others = question.split(), other.split()
        return " ".join([*words[: rng.randrange(1, len(words) + 1)], *others[rng.randrange(len(others)) :]])
    if kind == 1:
        sentences = question.split(". ")
        del sentences[rng.randrange(len(sentences))]
        return ". ".join(sentences)
    words = question.split()
    classes = (phrases.NAMES, phrases.THINGS, ("She", "He"), tuple(phrases.LETTERS))
    places = [(i, each) for i, word in enumerate(words) for each in classes if word.rstrip(".?") in each]
    if places:
        i, each = rng.choice(places)
        words[i] = words[i].replace(words[i].rstrip(".?"), rng.choice(each))
    return " ".join(words)


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text survives the round trip; digits stay apart, so that sums are learned digit by digit."""
    core = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(r" ?\d"), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    core.decoder = decoders.ByteLevel()
    marks = ["<question>", "</question>", "\\boxed{"]  # one token each, but plain text: decoding must keep them
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(marks),
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    roles = "user\nassistant\nsystem"
    text = ("\n".join([*(m["content"] for m in chat), roles, reply]) for chat, reply in examples(Random(seed), 20_000))
    core.train_from_iterator(text, trainer)
    core.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, pad_token=PAD, model_max_length=CONTEXT, padding_side="left"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (input ids, labels), [rows, length] each, of about `tokens` tokens; rows of similar length, with little padding.

    Prompts carry no loss, or the Challenger would learn to write the transfer form from the Solver's prompts.
    """
    rng = Random(f"text {seed}")
    while True:
        chunk = examples(rng, 8192)
        encoded: Any = tokenizer.apply_chat_template([chat for chat, _ in chunk], add_generation_prompt=True)
        prompts = encoded.input_ids
        replies = tokenizer([reply + END for _, reply in chunk]).input_ids
        rows = sorted(zip(prompts, replies, strict=True), key=lambda row: len(row[0]) + len(row[1]))
        cut: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if (len(cut[-1]) + 1) * (len(row[0]) + len(row[1])) > tokens:
                cut.append([])
            cut[-1].append(row)
        rng.shuffle(cut)
        for group in cut:
            ids, labels = [torch.tensor(p + r) for p, r in group], [torch.tensor([-100] * len(p) + r) for p, r in group]
            yield pad_sequence(ids, True, tokenizer.pad_token_id), pad_sequence(labels, True, -100)


# --- training -------------------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """About 1 M parameters. Untied, with a head dimension of 32, the simplest case for vLLM on a CPU."""
    special: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=None,
        dtype="float32",
        **special,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=True, temperature=1.0, top_p=1.0, top_k=0, **special)
    return model


def attention_fp32(module: torch.nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, **options: Any) -> Any:
    """Attention in fp32 inside a bf16 autocast: its backward pass on a CPU is several times slower in bf16."""
    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(module, q.float(), k.float(), v.float(), mask, **options)


def train(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, tokens: int, lr: float, seed: int) -> None:
    """Trains for a fixed number of steps, so that the result does not depend on timing."""
    ALL_ATTENTION_FUNCTIONS.register("sdpa", attention_fp32)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or ".layers." not in name]
    # Muon needs a third of the tokens that AdamW needs on this text; embeddings and norms use AdamW.
    optimizers = [
        torch.optim.Muon(matrices, lr=5 * lr, weight_decay=0.05),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    warmup = min(50, max(1, steps // 10))

    def share(step: int) -> float:
        return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, share) for optimizer in optimizers]
    mean = 0.0
    progress = tqdm(islice(batches(tokenizer, seed, tokens), steps), total=steps, mininterval=2)
    for step, (ids, labels) in enumerate(progress):
        # Rows are right-padded and attention is causal: no real token attends to padding, so no mask is needed.
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
        mean = 0.98 * mean + 0.02 * loss.item() if step else loss.item()
        progress.set_postfix(loss=f"{mean:.4f}", refresh=False)


# --- the job --------------------------------------------------------------------------------------------------------------------


def write_assets(out: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row], card: str) -> None:
    """The model's folder and, beside it, heldout.parquet. It is complete before it takes the place of an older one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".tiny-base-") as temp:
        new, heldout = Path(temp, "new"), Path(temp, "heldout.parquet")
        model.save_pretrained(new)
        for key in ("is_local", "local_files_only"):  # the source path does not belong in a tokenizer
            tokenizer.init_kwargs.pop(key, None)
        tokenizer.save_pretrained(new, save_jinja_files=False)
        (new / "README.md").write_text(card)
        (new / "model.safetensors").chmod(0o644)  # it is written with mode 0600
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), heldout)
        if out.exists():
            out.rename(Path(temp, "old"))
        new.rename(out)
        os.replace(heldout, out.parent / "heldout.parquet")


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 made or measured, 2 an argument cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "assets/tiny-base")
    parser.add_argument("--steps", type=int, default=3600, help="training steps")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a batch")
    parser.add_argument("--lr", type=float, default=2e-3, help="AdamW's learning rate; Muon's is five times that")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help="train nothing: measure the model in --out and write its card")
    args = parser.parse_args(arguments)
    if args.steps < 1:
        raise ConfigError(f"--steps {args.steps}: valid: 1 or more.")
    if args.measure and not (args.out / "config.json").is_file():
        raise ConfigError(f"--out {args.out}: no model is there to measure; valid: the folder of one.")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    logging.disable_progress_bar()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.out) if args.measure else make_tokenizer(args.seed)
    model = Qwen3ForCausalLM.from_pretrained(args.out) if args.measure else make_model(tokenizer)
    parameters = model.num_parameters() / 1e6
    print(f"{parameters:.2f} M parameters, vocabulary {len(tokenizer)}")
    rows = list(domain.held_out(args.seed))
    if not args.measure:
        train(model, tokenizer, args.steps, args.tokens, args.lr, args.seed)
        write_assets(args.out, model, tokenizer, rows, "Not measured yet.\n")
    results = table(measure(model, tokenizer, rows, args.seed))
    print(results)
    values = vars(args) | {"parameters": parameters, "slip": SLIP, "most": domain.MOST_SLIPS, "table": results}
    card = Path(__file__).with_name("base_card.md").read_text().format(**values)
    write_assets(args.out, model, tokenizer, rows, card)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
