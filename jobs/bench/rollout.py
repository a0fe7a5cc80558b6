"""Speed of sampling and of weight transfer, as ratios against named peers in the same run.

`python -m jobs.bench.rollout` on CPU; with --device cuda: Qwen3's shapes on one GPU, see `jobs/bench/rollout_cuda.py`.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from actors.cluster import prepare_environment, ray_cluster
from conf.load import load_config
from conf.schema import Config
from jobs.bench.common import BASE, heldout_prompts, in_engine_process, timed, write_model
from pipeline.store.model_folder import read_json

if TYPE_CHECKING:
    from actors.placement import Placement
    from actors.weights.buckets import Named

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

    return [prompt.request(range(SEEDS)) for prompt in heldout_prompts(load_config())[:PROMPTS]]


def best(action: Callable[[], int]) -> float:
    """Highest rate of what `action` counts, a second, over some repeats after one that is not counted."""
    action()
    return max(count / seconds for count, seconds in (timed(action) for _ in range(REPEATS)))


def bare_vllm() -> float:
    """Tokens/s of `vllm.LLM.generate`, an engine as vLLM sets it up, but eager and with prompts in one piece, as ours."""
    from vllm import LLM, SamplingParams, TokensPrompt

    llm = LLM(
        BASE, dtype="float32", enforce_eager=True, enable_chunked_prefill=False, logprobs_mode="processed_logprobs", seed=0,
        trust_remote_code=False,
    )  # fmt: skip
    end: Any = llm.get_tokenizer().eos_token_id
    asked = [(request, seed) for request in requests() for seed in request.seeds]

    def generate() -> int:
        outputs = llm.generate(
            [TokensPrompt(prompt_token_ids=list(request.prompt_ids)) for request, _ in asked],
            [
                SamplingParams(
                    temperature=1.0, top_k=0, max_tokens=MAX_TOKENS, seed=seed, stop_token_ids=[end], logprobs=0,
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
    tokenizer = AutoTokenizer.from_pretrained(BASE, padding_side="left", trust_remote_code=False)
    model: Any = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, trust_remote_code=False)
    prompts = [list(request.prompt_ids) for request in requests() for _ in request.seeds]
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")

    def generate() -> int:
        torch.manual_seed(0)
        ids = model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=MAX_TOKENS)
        # Tokens up to the one that ends a response; what follows it is padding.
        return int((ids[:, batch["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())

    return best(generate)


def through_the_fleet(engines: int) -> tuple[float, float]:
    """Tokens/s through a fleet of so many engines, and the seconds they took to start."""
    import torch

    from actors.rollout.fleet import RolloutFleet
    from actors.weights.host import stored_weights
    from pipeline.types import Policy

    config = load_config(overrides=[f"sampling.max_tokens={MAX_TOKENS}", f"rollout.engines={engines}"])
    started = time.perf_counter()
    fleet = RolloutFleet(config, BASE)
    fleet.wait_ready()
    seconds = time.perf_counter() - started
    policy = Policy("base", stored_weights(BASE, torch.float32, 60))
    asked = requests()
    rate = best(lambda: sum(len(s.token_ids) for group in fleet.sample(asked, policy, config.sampling) for s in group))
    fleet.shutdown()
    return rate, seconds


def transfer(way: str) -> dict[str, float]:
    """`transfers` of the big model on CPU."""
    from actors.placement import ANYWHERE

    with tempfile.TemporaryDirectory() as folder:
        named = list(write_model(folder, **BIG).named_parameters())
        config = load_config(overrides=["rollout.engines=1", "rollout.kv_cache_mb=64", f"rollout.transfer={way}"])
        return transfers(config, folder, named, ANYWHERE)


def transfers(config: Config, folder: str, named: "Sequence[Named]", placement: "Placement") -> dict[str, float]:
    """Bytes of a model, and the seconds of: its transfer by `rollout.transfer`, a plain copy, the checksums of one end."""
    import torch

    from actors.rollout.fleet import RolloutFleet
    from actors.weights.buckets import CHECKSUM_STRIDE, checksums, in_buckets, publish
    from actors.weights.device import LearnerSource, Sender
    from actors.weights.host import HostWeights
    from pipeline.types import Checksums, Policy

    fleet = RolloutFleet(config, folder, placement)
    fleet.wait_ready()

    @dataclass
    class InPlace:
        """This process in the learner's place."""

        offset: int
        sender: ClassVar[Any] = None

        def send(self, engines: Sequence[Any]) -> Checksums:
            whole = LearnerSource(lambda: named, lambda: in_buckets(named), movable=True)
            InPlace.sender = InPlace.sender or Sender(config.rollout, 0, engines, whole)
            return InPlace.sender.send(self.offset)

    def policy(number: int) -> Policy:
        offset = number % CHECKSUM_STRIDE
        host = HostWeights(partial(publish, list(in_buckets(named)), offset), timeout=60)
        return Policy(f"v{number}", host if config.rollout.transfer == "host" else InPlace(offset))

    device = named[0][1].device
    size = sum(tensor.numel() * tensor.element_size() for _, tensor in named)
    source, target = torch.ones(size // 4, device=device), torch.empty(size // 4, device=device)

    def copy() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize()

    spent: dict[str, list[float]] = defaultdict(list)
    for number in range(TRANSFERS):
        spent["copy"].append(timed(copy)[1])
        spent["checksums"].append(timed(lambda: checksums(named, 0))[1])
        spent["transfer"].append(timed(partial(fleet.load, policy(number)))[1])
    fleet.shutdown()
    return {"bytes": size, **{part: median(each[1:]) for part, each in spent.items()}}  # the first transfer connects as well


def show_transfers(moved: Mapping[str, Mapping[str, float]]) -> None:
    """`moved` holds the `transfers` of each way."""
    gigabytes = moved["host"]["bytes"] / 1e9
    print(f"Transfer of {gigabytes:.2f} GB from a learner's memory to one engine, checksums included (median of {TRANSFERS - 1})")
    for way, spent in moved.items():
        share = f"{spent['copy'] / spent['transfer']:.2f} of a plain copy ({gigabytes / spent['copy']:.1f} GB/s)"
        print(f"  rollout.transfer={way:<7} {spent['transfer']:>7.3f} s   {gigabytes / spent['transfer']:>5.1f} GB/s   {share}")
        print(f"    of it checksums, at each end {spent['checksums']:>7.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    prepare_environment()
    if device == "cuda":
        from jobs.bench.rollout_cuda import bench

        bench()
        return
    from actors.rollout.count import engine_count

    bare, hf = in_engine_process(bare_vllm), in_engine_process(transformers_generate)
    started = time.perf_counter()
    with ray_cluster(load_config(), print):
        ray_s = time.perf_counter() - started
        fleet, engine_s = through_the_fleet(1)
        all_cores, all_s = through_the_fleet(engine_count(load_config(), read_json(Path(BASE) / "config.json")))
        moved = {way: transfer(way) for way in ("host", "shared")}
    print(f"Sampling, {PROMPTS} x {SEEDS} responses of up to {MAX_TOKENS} tokens, tokens/s (best of {REPEATS})")
    print(f"  fleet of one engine       {fleet:>8,.0f}")
    print(f"  fleet on all cores        {all_cores:>8,.0f}   {all_cores / bare:.2f} of vllm.LLM.generate, which has one engine")
    print(f"  vllm.LLM.generate         {bare:>8,.0f}   fleet {fleet / bare:.2f} of it")
    print(f"  transformers generate     {hf:>8,.0f}   fleet {fleet / hf:.2f} of it")
    show_transfers(moved)
    print(f"Start-up: Ray {ray_s:.1f} s, an engine {engine_s:.1f} s, one a core {all_s:.1f} s")


if __name__ == "__main__":
    main()
