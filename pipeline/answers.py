"""The labelling policy's answers: what the vote is taken over, in the Challenger's reward and in the curriculum."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.algorithm.rewards import invalid_share
from pipeline.algorithm.seeds import seeded_requests
from pipeline.domain.graders.exact import ExactGrader
from pipeline.domain.graders.protocol import Grader
from pipeline.errors import GraderError, with_place
from pipeline.types import AnsweredQuestion, EncodedPrompt, Policy, Sample, Vote

if TYPE_CHECKING:
    from pipeline.inference import Inference
    from pipeline.run import Run

Path = int | str


def answer_of(sample: Sample, grader: Grader, options: Sequence[str] = ()) -> str | None:
    """The answer that a grader reads from a response; None where it has none or was cut off.

    Raises:
        GraderError: the grader failed.
    """
    if sample.truncated:
        return None
    try:
        return grader.extract(sample.text, options)
    except Exception as error:  # user code may raise anything
        raise GraderError(f"grader {type(grader).__name__}: {with_place(error)}") from error


def well_formed(run: "Inference", sample: Sample) -> str | None:
    """The question of a response, or None: cut off, not in the format, or too long for the Solver to answer."""
    question = None if sample.truncated else run.codec.question(sample.text, sample.prompt_ids)
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
) -> tuple[list[list[str | None]], list[Vote]]:
    """For each question `count` answers of `policy` and the vote on them, taken while others are still being answered."""
    prompts = [run.codec.solver(question) for question in questions]
    answers: dict[int, list[str | None]] = {}
    votes = run.reward.voting()
    for index, drawn in _draw(run, prompts, count, policy, run.reward.grader, *path, "answer"):
        answers[index] = drawn
        votes.add(index, drawn)
    with run.clock.part("scoring"):
        return [answers[index] for index in range(len(questions))], votes.results()


def draw_verdicts(run: "Run", questions: Sequence[str], policy: Policy, *path: Path) -> list[list[str | None]]:
    """For each question `reward.samples` verdicts on whether it is well-posed; see `rewards.invalid_share`."""
    prompts = [run.codec.validity(question) for question in questions]
    verdicts = dict(_draw(run, prompts, run.config.reward.samples, policy, ExactGrader(), *path, "verdict"))
    return [verdicts[index] for index in range(len(questions))]


def _draw(
    run: "Run", prompts: Sequence[EncodedPrompt], count: int, policy: Policy, grader: Grader, *path: Path
) -> Iterator[tuple[int, list[str | None]]]:
    """(index of the prompt, the answers that `grader` reads from its responses) as they are finished."""
    requests = seeded_requests(run.config.seed, prompts, count, *path)
    for index, samples in run.stream("solver", requests, policy, run.config.sampling, for_learning=False):
        yield index, [answer_of(sample, grader) for sample in samples]
