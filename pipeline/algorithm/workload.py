"""Tokens that a round samples, by phase: at most, and by an estimate of the mean length of a response."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conf.schema import Config

# Mean length of a response as a share of max_tokens where nothing was measured: an assumption. Reasoning answers of base models
# of 4 billion parameters are around 1,000 tokens of 4,096.
ASSUMED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Responses:
    """How many questions and answers a stage samples; `longest` is the limit of a response in tokens."""

    questions: int
    answers: int
    longest: int

    @property
    def most_tokens(self) -> int:
        return (self.questions + self.answers) * self.longest

    def tokens(self, question: float, answer: float) -> float:
        """The tokens at these mean lengths of a question's and an answer's response."""
        return self.questions * question + self.answers * answer


def round_responses(
    config: Config, asks_validity: bool, held_out: Sequence[tuple[int, int, int]] = ()
) -> Mapping[str, Responses]:
    """What a round samples, by stage, if every question is well-formed.

    Args:
        asks_validity: whether the scorers draw verdicts too, as many as answers.
        held_out: of each held-out set, its problems, sampled answers to each (one greedy answer comes to these), and the
            longest answer in tokens.
    """
    longest, votes, curriculum = config.sampling.max_tokens, config.reward.samples, config.curriculum
    posed, written = config.challenger.steps * config.challenger.batch, curriculum.questions
    labelled = 1 + (asks_validity or curriculum.confident < 1) + (curriculum.agreement > 0)
    stages = {
        "Challenger": Responses(posed, posed * votes * (1 + asks_validity), longest),
        "curriculum": Responses(written, written * votes * labelled, longest),
        "Solver": Responses(0, config.solver.total_steps * config.solver.batch * (1 + config.solver.resample), longest),
    }
    measured = [Responses(0, problems * (1 + samples), most) for problems, samples, most in held_out]
    if measured:
        answers, tokens = sum(each.answers for each in measured), sum(each.most_tokens for each in measured)
        stages["evaluation"] = Responses(0, answers, -(-tokens // max(1, answers)))
    return stages
