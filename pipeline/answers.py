"""The labelling policy's answers: what the vote is taken over, in the Challenger's reward and in the curriculum."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.algorithm.rewards import invalid_share
from pipeline.algorithm.seeds import seeded_requests
from pipeline.domain.graders.exact import ExactGrader
from pipeline.domain.graders.protocol import Grader
from pipeline.errors import GraderError, with_place
from pipeline.types import AnsweredQuestion, EncodedPrompt, Policy, Sample, Vote, in_groups

if TYPE_CHECKING:
    from pipeline.inference import Inference
    from pipeline.run import Run

Path = int | str
Answer = tuple[str | None, float | None]  # in its box, if any; log-probability of the response's least likely token, if drawn


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


def answer_questions(
    run: "Run", written: Sequence[Sample], policy: Policy, *path: Path, verdicts: bool = False, confidences: bool = False
) -> list[AnsweredQuestion]:
    """What `policy` makes of the questions in the Challenger's responses, malformed ones included, in their order.

    Each well-formed question gets `reward.samples` answers and a vote; with `verdicts` as many verdicts, and with `confidences`
    the confidence of its majority, which costs the answers' log-probabilities.

    Args:
        path: what the answers are for, e.g. (round, phase, step): the seeds derive from it and the question's index among the
            well-formed ones.
    """
    questions = [well_formed(run, sample) for sample in written]
    usable = [question for question in questions if question is not None]
    count = run.config.reward.samples
    drawn, votes = draw_votes(run, usable, count, policy, *path, logprobs=confidences)
    replies = draw_verdicts(run, usable, policy, *path) if verdicts else [[] for _ in usable]
    answered = (
        AnsweredQuestion(question, tuple(answer for answer, _ in each), vote, invalid_share(reply), confidence(each, vote))
        for question, each, vote, reply in zip(usable, drawn, votes, replies, strict=True)
    )
    return [AnsweredQuestion(None) if question is None else next(answered) for question in questions]


def confidence(drawn: Sequence[Answer], vote: Vote) -> float | None:
    """Log-probability of the least likely token of the surest response whose answer is spelled as the label; None if unknown.

    >>> confidence([("5", -2.0), ("5 ", -0.5), ("6", -0.1)], Vote("5", 2, 3))
    -0.5
    """
    agreeing = [least for answer, least in drawn if answer is not None and answer.strip() == vote.answer]
    return max((least for least in agreeing if least is not None), default=None)


def draw_votes(
    run: "Run", questions: Sequence[str], count: int, policy: Policy, *path: Path, logprobs: bool = False
) -> tuple[list[list[Answer]], list[Vote]]:
    """For each question `count` answers of `policy` and the vote on them, taken while others are still being answered."""
    prompts = [run.codec.solver(question) for question in questions]
    answers: dict[int, list[Answer]] = {}
    votes = run.reward.voting()
    for index, drawn in _draw(run, prompts, count, policy, run.reward.grader, *path, "answer", logprobs=logprobs):
        answers[index] = drawn
        votes.add(index, [answer for answer, _ in drawn])
    with run.clock.part("scoring"):
        return [answers[index] for index in range(len(questions))], votes.results()


def draw_verdicts(run: "Run", questions: Sequence[str], policy: Policy, *path: Path) -> list[list[str | None]]:
    """For each question `reward.samples` verdicts on whether it is well-posed; see `rewards.invalid_share`."""
    prompts = [run.codec.validity(question) for question in questions]
    verdicts = dict(_draw(run, prompts, run.config.reward.samples, policy, ExactGrader(), *path, "verdict"))
    return [[verdict for verdict, _ in verdicts[index]] for index in range(len(questions))]


def draw_agreement(run: "Run", questions: Sequence[str], labels: Sequence[str], policy: Policy, *path: Path) -> list[float]:
    """For each question the share of `reward.samples` answers of `policy` that equal the label."""
    prompts, count = [run.codec.solver(question) for question in questions], run.config.reward.samples
    grades = run.reward.grading()
    for index, drawn in _draw(run, prompts, count, policy, run.reward.grader, *path, "agreement"):
        for place, (answer, _) in enumerate(drawn):
            grades.add((index, place), answer, labels[index])
    with run.clock.part("scoring"):
        return [sum(group) / count for group in in_groups(grades.results(), count)]


def _draw(
    run: "Run", prompts: Sequence[EncodedPrompt], count: int, policy: Policy, grader: Grader, *path: Path, logprobs: bool = False
) -> Iterator[tuple[int, list[Answer]]]:
    """(index of the prompt, the answers that `grader` reads from its responses) as they are finished."""
    requests = seeded_requests(run.config.seed, prompts, count, *path)
    for index, samples in run.stream("solver", requests, policy, run.config.sampling, for_learning=logprobs):
        yield index, [(answer_of(sample, grader), min(sample.logprobs, default=None)) for sample in samples]
