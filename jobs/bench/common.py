"""What the benchmarks have in common: a clock, processes of their own, and models of any size with random weights."""

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

from conf.load import ROOT, load_config
from conf.schema import Config
from pipeline.types import EncodedPrompt

T = TypeVar("T")
BASE = str(ROOT / "assets" / "tiny-base")


def timed(action: Callable[[], T], clock: Callable[[], float] = time.perf_counter) -> tuple[T, float]:
    """What the action returns, and the seconds that it takes."""
    started = clock()
    return action(), clock() - started


def in_new_process(function: Callable[..., T], *arguments: object, environment: Mapping[str, str] | None = None) -> T:
    """What the function returns in a process of its own, whose environment has these variables before anything is imported."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=set_environment, initargs=(environment or {},)) as pool:
        return pool.submit(function, *arguments).result()


def set_environment(variables: Mapping[str, str]) -> None:
    os.environ.update(variables)


def in_engine_process(function: Callable[[], T]) -> T:
    """What the function returns in a process with the environment of a rollout worker."""
    from actors.rollout.worker import engine_environment

    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    return in_new_process(function, environment=engine_environment(load_config()) | quiet)


def heldout_prompts(config: Config) -> list[EncodedPrompt]:
    """The prompts of the embedded held-out set."""
    from transformers import AutoTokenizer

    from pipeline.domain.codec import PromptCodec
    from pipeline.domain.sets import find_sets
    from pipeline.inputs import check_inputs
    from pipeline.store.benchmarks import read_problems

    (heldout,) = find_sets(config.evaluation.sets)
    codec = PromptCodec(config, check_inputs(config).prompts, AutoTokenizer.from_pretrained(BASE, trust_remote_code=False))
    return [codec.problem(heldout, problem) for problem in read_problems(heldout)]


def write_model(folder: str, dtype: str = "float32", **shape: Any) -> Any:
    """A Qwen3 of a shape (see `Qwen3Config`) with random weights, also written to the folder, with the embedded tokenizer."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(BASE, trust_remote_code=False)
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(**{"vocab_size": len(tokenizer)} | shape, dtype=dtype)
    model = Qwen3ForCausalLM._from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    return model
