"""Answers of the frozen Solver to questions: what the vote is taken over, in the Challenger's reward and in the curriculum."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from pipeline.prompts import extract_boxed
from pipeline.run import Run
from pipeline.seeds import derive_seed
from pipeline.types import Request, Sample

T = TypeVar("T")


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
    return _draw(run, [run.codec.solver(question) for question in questions], count, policy, greedy, *path, "answer")


def draw_verdicts(run: Run, questions: Sequence[str], policy, *path: int | str) -> list[list[str | None]]:
    """Asks the Solver whether each question is well-posed, as often as it is asked for an answer.

    Returns:
        For each question its boxed verdicts, see `pipeline.rewards.invalid_share`; none where no scorer wants them.
    """
    if "validity" not in run.config.reward.scorers:
        return [[] for _ in questions]
    prompts = [run.codec.validity(question) for question in questions]
    return _draw(run, prompts, run.config.reward.samples, policy, False, *path, "verdict")


def _draw(
    run: Run, prompts: Sequence[tuple[int, ...]], count: int, policy, greedy: bool, *path: int | str
) -> list[list[str | None]]:
    sampling = replace(run.config.sampling, temperature=0.0) if greedy else run.config.sampling
    requests = [
        Request(prompt, tuple(derive_seed(run.config.seed, *path, index, sample) for sample in range(count)))
        for index, prompt in enumerate(prompts)
    ]
    with run.clock.part("transfer"):
        run.fleet.load(policy)
    with run.clock.part("sampling"):
        samples = run.fleet.sample(requests, policy, sampling)
    return [[boxed(sample) for sample in group] for group in samples]


def in_place(questions: Sequence[str | None], drawn: Sequence[list[T]]) -> list[list[T]]:
    """What was drawn for the well-formed questions, with an empty list in the place of each malformed one."""
    rest = iter(drawn)
    return [[] if question is None else next(rest) for question in questions]
