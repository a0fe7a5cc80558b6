"""The labelling policy's answers: what the vote is taken over, in the Challenger's reward and in the curriculum."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.algorithm.rewards import invalid_share
from pipeline.algorithm.seeds import seeded_requests
from pipeline.domain.prompts import extract_boxed
from pipeline.types import AnsweredQuestion, Policy, Sample, Vote

if TYPE_CHECKING:
    from pipeline.run import Run

Boxed = str | None
Path = int | str


def boxed(sample: Sample) -> Boxed:
    """The answer in the box; None where the response has none or was cut off."""
    return None if sample.truncated else extract_boxed(sample.text)


def well_formed(run: "Run", sample: Sample) -> str | None:
    """The question of a response, or None: cut off, not in the format, or too long for the Solver to answer."""
    question = None if sample.truncated else run.codec.question(sample.text)
    return question if question is not None and run.codec.fits(question) else None


def answer_questions(run: "Run", written: Sequence[Sample], policy: Policy, *path: Path) -> list[AnsweredQuestion]:
    """What `policy` makes of the questions in the Challenger's responses, malformed ones included, in their order.

    Each well-formed question gets `reward.samples` answers and a vote, and as many verdicts where a scorer needs them.

    Args:
        path: what the answers are for, e.g. (round, phase, step): the seeds derive from it and the question's index among the
            well-formed ones.
    """
    questions = [well_formed(run, sample) for sample in written]
    usable = [question for question in questions if question is not None]
    count = run.config.reward.samples
    answers, votes = draw_votes(run, usable, count, policy, *path)
    verdicts = draw_verdicts(run, usable, policy, *path) if "verdicts" in run.needs else [[] for _ in usable]
    answered = (
        AnsweredQuestion(question, tuple(boxes), vote, invalid_share(replies))
        for question, boxes, vote, replies in zip(usable, answers, votes, verdicts, strict=True)
    )
    return [AnsweredQuestion(None) if question is None else next(answered) for question in questions]


def draw_votes(
    run: "Run", questions: Sequence[str], count: int, policy: Policy, *path: Path
) -> tuple[list[list[Boxed]], list[Vote]]:
    """For each question `count` boxed answers of `policy` and the vote on them, taken while others are still being answered."""
    prompts = [run.codec.solver(question) for question in questions]
    answers: dict[int, list[Boxed]] = {}
    votes = run.reward.voting()
    for index, boxes in _draw(run, prompts, count, policy, *path, "answer"):
        answers[index] = boxes
        votes.add(index, boxes)
    with run.clock.part("scoring"):
        return [answers[index] for index in range(len(questions))], votes.results()


def draw_verdicts(run: "Run", questions: Sequence[str], policy: Policy, *path: Path) -> list[list[Boxed]]:
    """For each question `reward.samples` boxed verdicts on whether it is well-posed; see `rewards.invalid_share`."""
    prompts = [run.codec.validity(question) for question in questions]
    verdicts = dict(_draw(run, prompts, run.config.reward.samples, policy, *path, "verdict"))
    return [verdicts[index] for index in range(len(questions))]


def _draw(
    run: "Run", prompts: Sequence[tuple[int, ...]], count: int, policy: Policy, *path: Path
) -> Iterator[tuple[int, list[Boxed]]]:
    """(index of the prompt, its boxed answers) as they are finished."""
    requests = seeded_requests(run.config.seed, prompts, count, *path)
    for index, samples in run.stream("solver", requests, policy, run.config.sampling):
        yield index, [boxed(sample) for sample in samples]
