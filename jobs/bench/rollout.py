"""Speed of sampling and of weight transfer, as ratios against named peers in the same run: `python -m jobs.bench.rollout`."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from actors.cluster import prepare_environment, ray_cluster
from conf.load import ROOT, load_config

PROMPTS, SEEDS, MAX_TOKENS = 64, 8, 96
REPEATS, TRANSFERS = 3, 16
# A Qwen3 of about 500 MB in fp32.
BIG: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 14,
    "num_attention_heads": 12,
    "num_key_value_heads": 6,
    "head_dim": 64,
    "tie_word_embeddings": False,
}


def requests() -> list[Any]:
    """The Solver's prompts for held-out problems, with several seeds each."""
    from transformers import AutoTokenizer

    from pipeline.domain.benchmarks import read_benchmark
    from pipeline.domain.codec import PromptCodec
    from pipeline.domain.prompts import load_prompts
    from pipeline.types import Request

    config = load_config()
    tokenizer = AutoTokenizer.from_pretrained(ROOT / config.model.path)
    codec = PromptCodec(config, load_prompts(ROOT / config.prompts), tokenizer)
    problems = read_benchmark("heldout", "assets/heldout.parquet")[:PROMPTS]
    return [Request(codec.solver(row["question"]), tuple(range(SEEDS))) for row in problems]


def best(action: Callable[[], int]) -> float:
    """Highest rate of what `action` counts, a second, over some repeats after one that is not counted."""
    action()
    rates = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        count = action()
        rates.append(count / (time.perf_counter() - started))
    return max(rates)


def bare_vllm() -> float:
    """Tokens/s of `vllm.LLM.generate`, with the engine settings and sampling parameters of a rollout worker."""
    from vllm import SamplingParams, TokensPrompt

    from actors.rollout.worker import RolloutWorker

    worker = RolloutWorker(load_config(), str(ROOT / "assets" / "tiny-base"))
    asked = [(request, seed) for request in requests() for seed in request.seeds]

    def generate() -> int:
        outputs = worker.llm.generate(
            [TokensPrompt(prompt_token_ids=list(request.prompt_ids)) for request, _ in asked],
            [
                SamplingParams(
                    temperature=1.0, top_k=0, max_tokens=MAX_TOKENS, seed=seed, stop_token_ids=worker.stop_ids, logprobs=0,
                    flat_logprobs=True, detokenize=False,
                )
                for _, seed in asked
            ],
            use_tqdm=False,
        )  # fmt: skip
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return best(generate)


def transformers_generate() -> float:
    """Tokens/s of transformers' `generate`, all prompts in one padded batch."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    path = ROOT / "assets" / "tiny-base"
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    prompts = [list(request.prompt_ids) for request in requests() for _ in request.seeds]
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")

    def generate() -> int:
        torch.manual_seed(0)
        ids = model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=MAX_TOKENS)
        # Tokens up to the one that ends a response; what follows it is padding.
        return int((ids[:, batch["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())

    return best(generate)


def in_process(peer: str) -> float:
    """The rate that a function of this file measures in a process of its own, with a rollout worker's environment."""
    from actors.rollout.worker import engine_environment

    environment = os.environ | engine_environment(load_config()) | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "jobs.bench.rollout", peer]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def through_the_fleet() -> tuple[float, float]:
    """Tokens/s through a fleet of one engine, and the seconds it took to start."""
    import torch

    from actors.rollout.fleet import RolloutFleet
    from actors.weights.host import stored_weights
    from pipeline.types import Policy

    config = load_config(overrides=[f"sampling.max_tokens={MAX_TOKENS}"])
    path = str(ROOT / "assets" / "tiny-base")
    started = time.perf_counter()
    fleet = RolloutFleet(config, path)
    fleet.wait_ready()
    seconds = time.perf_counter() - started
    policy = Policy("base", stored_weights(path, torch.float32, 60))
    asked = requests()
    rate = best(lambda: sum(len(s.token_ids) for group in fleet.sample(asked, policy, config.sampling) for s in group))
    fleet.shutdown()
    return rate, seconds


def big_model(folder: Path) -> Any:
    """A model of 500 MB, also written to the folder."""
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "assets" / "tiny-base")
    tokenizer.save_pretrained(folder)
    model = Qwen3ForCausalLM(Qwen3Config(**BIG, vocab_size=len(tokenizer)))
    model.save_pretrained(folder)
    return model


def transfer(folder: Path, way: str) -> dict[str, float]:
    """Bytes of the big model, the seconds of its transfer by `rollout.transfer`, and of a plain copy of as many bytes."""
    import torch

    from actors.rollout.fleet import RolloutFleet
    from actors.weights.buckets import CHECKSUM_STRIDE, in_buckets, publish
    from actors.weights.device import LearnerSource, Sender
    from actors.weights.host import HostWeights
    from pipeline.types import Checksums, Policy

    model = big_model(folder)
    config = load_config(overrides=["rollout.kv_cache_mb=64", f"rollout.transfer={way}"])
    fleet = RolloutFleet(config, str(folder))
    fleet.wait_ready()
    named = model.named_parameters
    size = sum(tensor.numel() * tensor.element_size() for _, tensor in named())
    source, target = torch.ones(size // 4), torch.empty(size // 4)

    class InPlace:
        """This process in the learner's place."""

        sender: Any = None

        def send(self, engines: Any) -> Checksums:
            if self.sender is None:
                whole = LearnerSource(named, lambda: in_buckets(named()), movable=True)
                self.sender = Sender(config.rollout, 0, engines, whole)
            return self.sender.send(number % CHECKSUM_STRIDE)

    present = InPlace()
    copies, transfers = [], []
    for number in range(TRANSFERS):
        started = time.perf_counter()
        target.copy_(source)
        copied = time.perf_counter()
        offset = number % CHECKSUM_STRIDE
        host = HostWeights(partial(publish, list(in_buckets(named())), offset), timeout=60)
        policy = Policy(f"v{number}", host if way == "host" else present)
        fleet.load(policy)
        transfers.append(time.perf_counter() - copied)
        copies.append(copied - started)
        del policy
    fleet.shutdown()
    # The first one connects as well.
    return {"bytes": size, "seconds": median(transfers[1:]), "copy": median(copies[1:]), "checksums": checksum_seconds(named())}


def checksum_seconds(named: Iterable[tuple[str, Any]]) -> float:
    """Seconds that one end of a transfer takes to add up the checksums."""
    from actors.weights.buckets import checksums

    named = list(named)
    return median(timed(lambda: checksums(named, 0)) for _ in range(TRANSFERS))


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    prepare_environment()
    bare, hf = in_process("bare_vllm"), in_process("transformers_generate")
    started = time.perf_counter()
    with ray_cluster(load_config(), print):
        ray_s = time.perf_counter() - started
        fleet, engine_s = through_the_fleet()
        moved = {}
        for way in ("host", "shared"):
            with tempfile.TemporaryDirectory() as folder:
                moved[way] = transfer(Path(folder), way)
    print(f"Sampling, {PROMPTS} x {SEEDS} responses of up to {MAX_TOKENS} tokens, tokens/s (best of {REPEATS})")
    print(f"  fleet of one engine       {fleet:>8,.0f}")
    print(f"  vllm.LLM.generate         {bare:>8,.0f}   fleet {fleet / bare:.2f} of it")
    print(f"  transformers generate     {hf:>8,.0f}   fleet {fleet / hf:.2f} of it")
    gigabytes = moved["host"]["bytes"] / 1e9
    print(f"Transfer of {gigabytes:.2f} GB from a learner's memory to one engine, checksums included (median of {TRANSFERS - 1})")
    for way, times in moved.items():
        share = f"{times['copy'] / times['seconds']:.2f} of a plain copy ({gigabytes / times['copy']:.1f} GB/s)"
        print(f"  rollout.transfer={way:<7} {times['seconds']:>7.3f} s   {gigabytes / times['seconds']:>5.1f} GB/s   {share}")
        print(f"    of it checksums, at each end {times['checksums']:>7.3f} s")
    print(f"Start-up: Ray {ray_s:.1f} s, an engine {engine_s:.1f} s")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"bare_vllm": bare_vllm, "transformers_generate": transformers_generate}[sys.argv[1]]()))
    else:
        main()
