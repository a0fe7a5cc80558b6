"""Answers per second of an evaluation, against bare vLLM on the same requests: `python -m jobs.bench.evaluation`."""

import tempfile
from pathlib import Path
from typing import Any

from actors.cluster import prepare_environment, ray_cluster
from conf.load import load_config
from jobs.bench.common import BASE, heldout_prompts, in_engine_process, timed

SAMPLES, REPEATS = 8, 3
SETTINGS = [f"evaluation.samples={SAMPLES}", f"model.path={BASE}"]


def bare_vllm() -> float:
    """Answers/s of `vllm.LLM.generate`: a greedy answer and `SAMPLES` seeded ones to each problem, all requests at once."""
    from vllm import SamplingParams, TokensPrompt

    from actors.rollout.worker import RolloutWorker
    from pipeline.algorithm.seeds import seeded_requests

    config = load_config(overrides=SETTINGS)
    worker, length = RolloutWorker(config, BASE), config.sampling.max_tokens
    requests = seeded_requests(0, heldout_prompts(config), SAMPLES)
    asked: list[Any] = []
    params: list[SamplingParams] = []
    for request in requests:
        asked += [TokensPrompt(prompt_token_ids=list(request.prompt_ids))] * (1 + SAMPLES)
        params.append(SamplingParams(temperature=0.0, max_tokens=length, stop_token_ids=worker.stop_ids))
        params += [
            SamplingParams(temperature=1.0, top_k=0, max_tokens=length, seed=seed, stop_token_ids=worker.stop_ids)
            for seed in request.seeds
        ]
    worker.llm.generate(asked[:64], params[:64], use_tqdm=False)
    return max(len(asked) / timed(lambda: worker.llm.generate(asked, params, use_tqdm=False))[1] for _ in range(REPEATS))


class Nobody:
    """Watches no progress."""

    def begin(self, total: int, done: int) -> None: ...

    def arrived(self, answers: int, tokens: int, grades: object) -> None: ...


def through_the_fleet() -> tuple[float, float]:
    """Answers/s of drawing alone, and of a whole evaluation, grading and writing included."""
    import torch

    from actors.rollout.fleet import rollout_fleets
    from actors.weights.host import stored_weights
    from pipeline.domain.sets import find_sets
    from pipeline.inference import start_inference
    from pipeline.inputs import check_inputs
    from pipeline.measure import draw, measure
    from pipeline.observe.clock import Clock
    from pipeline.store.benchmarks import read_problems
    from pipeline.types import Policy

    config = load_config(overrides=SETTINGS)
    inputs = check_inputs(config)
    (heldout,) = find_sets(config.evaluation.sets)
    problems, policy = read_problems(heldout), Policy("base", stored_weights(BASE, torch.float32, 60))
    answers = len(problems) * (1 + SAMPLES)
    with rollout_fleets(config, BASE) as fleets, tempfile.TemporaryDirectory() as folder:
        ask = start_inference(config, inputs, fleets, Clock())
        asked = heldout_prompts(config)
        drawn = [timed(lambda: list(draw(ask, policy, heldout, SAMPLES, asked, 0)))[1] for _ in range(1 + REPEATS)]
        path = Path(folder) / "heldout.parquet"
        whole = [timed(lambda: measure(ask, policy, heldout, problems, path, Nobody()))[1] for _ in range(REPEATS)]
    return answers / min(drawn[1:]), answers / min(whole)


def main() -> None:
    prepare_environment()
    bare = in_engine_process(bare_vllm)
    with ray_cluster(load_config(), print):
        drawn, whole = through_the_fleet()
    print(f"Evaluation, a greedy answer and {SAMPLES} sampled ones to each of 300 problems, answers/s (best of {REPEATS})")
    print(f"  vllm.LLM.generate         {bare:>8,.0f}")
    print(f"  drawing                   {drawn:>8,.0f}   {drawn / bare:.2f} of it")
    print(f"  graded and written        {whole:>8,.0f}   {whole / bare:.2f} of it")


if __name__ == "__main__":
    main()
