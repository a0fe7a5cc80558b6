"""Answers of the frozen Solver to questions: what the vote is taken over, in the Challenger's reward and in the curriculum."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.prompts import extract_boxed
from pipeline.run import Run
from pipeline.seeds import derive_seed
from pipeline.types import Request, Sample


def boxed(sample: Sample) -> str | None:
    """The answer in the box; None where the response has none or was cut off."""
    return None if sample.truncated else extract_boxed(sample.text)


def draw_answers(
    run: Run, questions: Sequence[str], count: int, policy, *path: int | str, greedy: bool = False
) -> list[list[str | None]]:
    """Asks the Solver `policy` each question `count` times.

    Args:
        path: what the answers are for, e.g. (round, phase, step): the seeds derive from it and the question's index.

    Returns:
        For each question its `count` boxed answers (see `boxed`).
    """
    sampling = replace(run.config.sampling, temperature=0.0) if greedy else run.config.sampling
    requests = [
        Request(prompt, derive_seed(run.config.seed, *path, "answer", index, sample))
        for index, prompt in enumerate(map(run.codec.solver, questions))
        for sample in range(count)
    ]
    with run.clock.part("transfer"):
        run.fleet.load(policy)
    with run.clock.part("sampling"):
        samples = run.fleet.sample(requests, policy, sampling)
    return [[boxed(sample) for sample in samples[start : start + count]] for start in range(0, len(samples), count)]
