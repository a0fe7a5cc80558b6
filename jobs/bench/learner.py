"""`python -m jobs.bench.learner [--device cuda]`: tokens/s of a full GRPO update, side by side with two others in one run.

All three take the same samples from the same model with the same settings (KL to a reference, AdamW, clipped gradient), in one
run: (a) a plain loop of transformers and torch over padded batches, (b) TRL's `GRPOTrainer` from the samples' arrival on. A
micro-batch has the same number of tokens everywhere, padding included. Lengths are drawn as reasoning models' are spread: most
answers are short, some run into the limit. "compute" is the forward and backward passes of our own update and nothing else.
On CPU all have one thread, as a learner's rank has. With --device cuda it is bfloat16 on Qwen3's shapes with random weights, and
the share of the GPU's peak that is reached (MFU).
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from conf.schema import Config
from jobs.bench.common import BASE, in_new_process, timed, write_model
from jobs.bench.learner_memory import bench_memory, bench_peak
from jobs.bench.qwen3 import PEAK_FLOPS, QWEN3, QWEN3_ALL, device_name, update_flops
from pipeline.algorithm.grpo import policy_loss, token_weights
from pipeline.types import Sample, TrainingBatch

GROUP = 5
REPEATS = 3


def draw_batch(count: int, prompt: int, longest: int, vocabulary: int, seed: int = 0) -> TrainingBatch:
    """Responses whose lengths are log-normal (median 0.3 of the longest), cut off at the longest."""
    g = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(count):
        length = min(longest, max(4, int(0.3 * longest * math.exp(0.7 * float(torch.randn((), generator=g))))))
        before = prompt // 2 + int(torch.randint(0, prompt, (), generator=g))
        tokens = torch.randint(3, vocabulary, (before + length,), generator=g).tolist()
        logprobs = (-math.log(vocabulary) + 0.1 * torch.randn(length, generator=g)).tolist()
        samples.append(Sample(tuple(tokens[:before]), tuple(tokens[before:]), tuple(logprobs), "", "stop", "bench", 0))
    return TrainingBatch(tuple(samples), tuple(torch.randn(count, generator=g).tolist()))


def lengths(batch: TrainingBatch) -> list[int]:
    """Tokens of each sample, its prompt included."""
    return [len(sample.prompt_ids) + len(sample.token_ids) for sample in batch.samples]


class Ours:
    """One rank of the learner, in this process."""

    def __init__(self, config: Config, model_path: str) -> None:
        from actors.learner.rank import Learner

        self.learner = Learner(0, 1, config.resources.device)
        self.learner.join("127.0.0.1", self.learner.listen("127.0.0.1"), config.learner.timeout_s)
        self.learner.begin_phase(config, model_path, 1e-6, None)

    def compute(self, batch: TrainingBatch) -> None:
        """The passes alone: the reference's forward, the policy's forward and backward, through the modules without DeepSpeed."""
        policy, reference = self.learner.engine.module, self.learner.reference
        assert reference is not None
        rows = list(self.learner._rows(batch.samples))
        reference.logprobs(rows)
        for row in rows:
            policy(row)[0].sum().backward()
        policy.zero_grad()


class PlainLoop:
    """What is written first: padded batches, whole logits, torch's AdamW."""

    def __init__(self, config: Config, model_path: str, micro_batch: int) -> None:
        from transformers import AutoModelForCausalLM

        def load() -> Any:
            model: Any = AutoModelForCausalLM.from_pretrained(
                model_path, dtype=getattr(torch, config.model.dtype), attn_implementation="sdpa", trust_remote_code=False
            )
            if config.learner.gradient_checkpointing:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            return model.to(self.device).train()

        self.device = config.resources.device
        self.config, self.micro_batch = config, micro_batch
        self.model, self.reference = load(), load()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6, weight_decay=config.learner.weight_decay)

    def logprobs(self, model: Any, samples: Sequence[Sample]) -> torch.Tensor:
        """Of the response tokens of all samples, one after another."""
        whole = [torch.tensor(sample.prompt_ids + sample.token_ids) for sample in samples]
        ids = pad_sequence(whole, batch_first=True).to(self.device)
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in whole], batch_first=True).to(self.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
        found = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return torch.cat([row[len(s.prompt_ids) - 1 :][: len(s.token_ids)] for row, s in zip(found, samples, strict=True)])

    def update(self, batch: TrainingBatch) -> None:
        responses = [len(sample.token_ids) for sample in batch.samples]
        weights = token_weights(responses, "token_mean", 0)
        for start in range(0, len(responses), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            samples = batch.samples[part]
            place = torch.repeat_interleave(torch.tensor(responses[part])).to(self.device)
            with torch.no_grad():
                reference = self.logprobs(self.reference, samples)
            logprobs = self.logprobs(self.model, samples)
            rollout = torch.tensor([x for sample in samples for x in sample.logprobs], device=self.device)
            advantages = torch.tensor(batch.advantages[part], device=self.device)[place]
            share = torch.tensor(weights[part], device=self.device)[place]
            loss, _ = policy_loss(logprobs, logprobs.detach(), rollout, reference, advantages, share, place, self.config.grpo)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.learner.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()


def trl_seconds(config: Config, model_path: str, batch: TrainingBatch, micro_batch: int, steps: int) -> list[float]:
    """Seconds of each of `steps` updates by TRL's GRPOTrainer, from the samples' arrival to the end of the optimizer's step."""
    warnings.simplefilter("ignore")  # of TRL on which vLLM it was tried with; none takes part here
    import datasets
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback, logging

    logging.disable_progress_bar()
    torch.set_num_threads(1)

    count = len(batch.samples)
    times: list[float] = []

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        times.append(now())
        return {
            "prompt_ids": [list(sample.prompt_ids) for sample in batch.samples],
            "completion_ids": [list(sample.token_ids) for sample in batch.samples],
            "logprobs": [list(sample.logprobs) for sample in batch.samples],
        }

    def reward(completions: list[str], **_: Any) -> list[float | None]:
        return [float(i % GROUP) for i in range(len(completions))]

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times[-1] = now() - times[-1]

    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=count // micro_batch,
            num_generations=GROUP,
            max_completion_length=config.sampling.max_tokens,
            max_steps=steps,
            beta=config.grpo.kl,
            epsilon=config.grpo.clip_low,
            epsilon_high=config.grpo.clip_high,
            loss_type="dapo",
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            weight_decay=config.learner.weight_decay,
            max_grad_norm=config.learner.max_grad_norm,
            optim="adamw_torch",
            gradient_checkpointing=config.learner.gradient_checkpointing,
            bf16=config.model.dtype == "bfloat16",
            use_cpu=config.resources.device == "cpu",
            dataloader_pin_memory=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            log_level="error",
        )
        model = AutoModelForCausalLM.from_pretrained(
            model_path, dtype=getattr(torch, config.model.dtype), trust_remote_code=False
        )
        trainer = trl.GRPOTrainer(
            model=model,
            processing_class=AutoTokenizer.from_pretrained(model_path, trust_remote_code=False),
            reward_funcs=reward,
            args=arguments,
            train_dataset=datasets.Dataset.from_dict({"prompt": ["a"] * (count // GROUP * steps)}),
            rollout_func=rollout,
            callbacks=[Watch()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return times


def now() -> float:
    """On a GPU the wall clock. On CPU the time that this process computed: with one thread the same, less what others took."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(action: Callable[[], object]) -> float:
    """Seconds of a second call; the first warms up."""
    action()
    return timed(action, now)[1]


def bench_update(name: str, config: Config, model_path: str, batch: TrainingBatch) -> dict[str, float]:
    """Prints a table of tokens/s; returns seconds per update (medians)."""
    whole = lengths(batch)
    micro_batch = max(1, config.learner.micro_batch_tokens // max(whole))
    while len(whole) % micro_batch:
        micro_batch -= 1
    # In a process of its own, and first: it would take part in the world that our learner opens.
    trl = in_new_process(trl_seconds, config, model_path, batch, micro_batch, REPEATS + 1)[1:]
    found: dict[str, list[float]] = {"ours": [], "compute": [], "plain": [], "trl": trl}
    ours = Ours(config, model_path)
    for _ in range(REPEATS):  # in turn, so that what else the machine does falls on both
        found["ours"].append(seconds_of(lambda: ours.learner.update(batch)))
        found["compute"].append(seconds_of(lambda: ours.compute(batch)))
    ours.learner._release()
    plain = PlainLoop(config, model_path, micro_batch)
    found["plain"] = [seconds_of(lambda: plain.update(batch)) for _ in range(REPEATS)]
    seconds = {part: statistics.median(values) for part, values in found.items()}
    tokens = sum(whole)
    print(f"\n{name}: {len(whole)} sequences, {tokens} tokens, mean {tokens / len(whole):.0f}, longest {max(whole)}")
    labels = {
        "ours": "ours",
        "plain": f"plain loop, padded, {micro_batch} sequences",
        "trl": "TRL's GRPOTrainer",
        "compute": "forward and backward alone",
    }
    print(f"{'full update':<36} {'s':>7} {'tokens/s':>10} {'spread':>8}   against ours")
    for part, label in labels.items():
        spread = (max(found[part]) - min(found[part])) / seconds[part]
        ratio = f"{seconds[part] / seconds['ours']:.2f}x"
        print(f"{label:<36} {seconds[part]:>7.2f} {tokens / seconds[part]:>10.0f} {spread:>7.0%}   {ratio}")
    print(f"overhead over the passes alone: {seconds['ours'] / seconds['compute'] - 1:.1%}")
    return seconds


def bench_shape(name: str, shape: Mapping[str, int], device: str, longest: int, count: int = 40) -> float:
    """One of Qwen3's shapes in bfloat16, packed; prints and returns the share of `PEAK_FLOPS` that the update reaches."""
    config = Config()
    config.model.dtype, config.resources.device = "bfloat16", device
    config.model.max_length, config.sampling.max_tokens = longest * 3 // 2, longest
    config.learner.micro_batch_tokens, config.learner.gradient_checkpointing = 4 * longest, True
    whole = {**QWEN3_ALL, **shape}
    batch = draw_batch(count, longest // 16, longest, 700)
    with tempfile.TemporaryDirectory() as folder:
        parameters = write_model(folder, "bfloat16", **whole).num_parameters()
        seconds = bench_update(f"{name}, bfloat16, {device_name(device)}", config, folder, batch)
    width = whole["num_hidden_layers"] * whole["num_attention_heads"] * whole["head_dim"]
    reached = update_flops(parameters, width, lengths(batch)) / seconds["ours"] / PEAK_FLOPS
    print(f"model FLOPs utilisation of the update: {reached:.2%} of {PEAK_FLOPS / 1e12:.0f} TFLOP/s, the peak of an H100")
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    device = parser.parse_args().device
    if device == "cuda":
        for name, shape in QWEN3.items():
            bench_shape(name, shape, device, longest=4096)
        return
    os.environ |= {"DS_ACCELERATOR": "cpu", "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}
    torch.set_num_threads(1)
    config = Config()
    batch = draw_batch(160, 48, config.sampling.max_tokens, json.loads(Path(BASE, "config.json").read_text())["vocab_size"])
    bench_update("embedded tiny base, fp32", config, BASE, batch)
    bench_peak()
    bench_memory()
    print("\nnot measured, for want of a GPU: tokens/s and model FLOPs utilisation of Qwen3-0.6B and 4B (--device cuda)")


if __name__ == "__main__":
    main()
