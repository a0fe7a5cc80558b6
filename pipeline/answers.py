"""The labelling policy's answers: what the vote is taken over, in the Challenger's reward and in the curriculum."""

from collections.abc import Iterator, Mapping, Sequence
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
Paths = tuple[Path, ...]
ANSWER, VERDICT, AGREEMENT = "answer", "verdict", "agreement"  # the last part of a path of seeds: what is drawn
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


def answer_parts(
    run: "Run", parts: Mapping[Paths, Sequence[str | None]], policy: Policy, verdicts: bool = False, confidences: bool = False
) -> Iterator[tuple[Paths, list[AnsweredQuestion]]]:
    """What `policy` makes of each part's questions, malformed ones (None) included, in their order; parts as they are finished.

    All parts are drawn in one call, so that engines draw for the next while the last answers of one are missing. Each
    well-formed question gets `reward.samples` answers and a vote; with `verdicts` as many verdicts, and with `confidences` the
    confidence of its majority, which costs the answers' log-probabilities.

    Args:
        parts: by what the answers are for, e.g. (round, phase, step): the seeds derive from it and the question's index among
            the part's well-formed ones.
    """
    usable = {path: [question for question in questions if question is not None] for path, questions in parts.items()}
    prompts: dict[Paths, list[EncodedPrompt]] = {}
    for path, questions in usable.items():
        prompts[*path, ANSWER] = [run.codec.solver(question) for question in questions]
        if verdicts:
            prompts[*path, VERDICT] = [run.codec.validity(question) for question in questions]
    votes = {path: run.reward.voting() for path in parts}
    drawn: dict[Paths, dict[int, list[Answer]]] = {each: {} for each in prompts}

    def finished(path: Paths) -> list[AnsweredQuestion]:
        answers = drawn.pop((*path, ANSWER))
        replies = drawn.pop((*path, VERDICT), {})
        with run.clock.part("scoring"):
            counted = votes.pop(path).results()
        answered = (
            AnsweredQuestion(
                question,
                tuple(answer for answer, _ in answers[index]),
                vote,
                invalid_share([verdict for verdict, _ in replies.get(index, ())]),
                confidence(answers[index], vote),
            )
            for index, (question, vote) in enumerate(zip(usable[path], counted, strict=True))
        )
        return [AnsweredQuestion(None) if question is None else next(answered) for question in parts[path]]

    yield from ((path, finished(path)) for path in parts if not usable[path])
    for (*first, kind), index, answers in _draw(run, prompts, policy, logprobs=confidences):
        path = tuple(first)
        drawn[*path, kind][index] = answers
        if kind == ANSWER:
            votes[path].add(index, [answer for answer, _ in answers])
        if all(len(drawn[*path, each]) == len(usable[path]) for each in (ANSWER, VERDICT) if (*path, each) in drawn):
            yield path, finished(path)


def confidence(drawn: Sequence[Answer], vote: Vote) -> float | None:
    """Log-probability of the least likely token of the surest response whose answer is spelled as the label; None if unknown.

    >>> confidence([("5", -2.0), ("5 ", -0.5), ("6", -0.1)], Vote("5", 2, 3))
    -0.5
    """
    agreeing = [least for answer, least in drawn if answer is not None and answer.strip() == vote.answer]
    return max((least for least in agreeing if least is not None), default=None)


def draw_agreement(
    run: "Run", parts: Mapping[Paths, Sequence[tuple[str, str]]], policy: Policy
) -> Iterator[tuple[Paths, list[float]]]:
    """For each (question, label) of each part the share of `reward.samples` answers of `policy` that equal the label.

    Parts as they are finished, all drawn in one call; `parts` as for `answer_parts`.
    """
    prompts = {(*path, AGREEMENT): [run.codec.solver(question) for question, _ in asked] for path, asked in parts.items()}
    grades = {path: run.reward.grading() for path in parts}
    missing = {path: len(asked) for path, asked in parts.items()}
    yield from ((path, []) for path, asked in parts.items() if not asked)
    for (*first, _), index, drawn in _draw(run, prompts, policy):
        path = tuple(first)
        for place, (answer, _) in enumerate(drawn):
            grades[path].add((index, place), answer, parts[path][index][1])
        missing[path] -= 1
        if not missing[path]:
            with run.clock.part("scoring"):
                graded = grades.pop(path).results()
            yield path, [sum(group) / len(group) for group in in_groups(graded, run.config.reward.samples)]


def _draw(
    run: "Run", prompts: Mapping[Paths, Sequence[EncodedPrompt]], policy: Policy, logprobs: bool = False
) -> Iterator[tuple[Paths, int, list[Answer]]]:
    """(path, index of its prompt, the answers read from `reward.samples` responses to it) as they are finished."""
    count = run.config.reward.samples
    places = [(path, index) for path, each in prompts.items() for index in range(len(each))]
    requests = [request for path, each in prompts.items() for request in seeded_requests(run.config.seed, each, count, *path)]
    for place, samples in run.stream("solver", requests, policy, run.config.sampling, for_learning=logprobs):
        path, index = places[place]
        grader = ExactGrader() if path[-1] == VERDICT else run.reward.grader
        yield path, index, [(answer_of(sample, grader), min(sample.logprobs, default=None)) for sample in samples]
