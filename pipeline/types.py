"""The records that flow through a round, in order: request, sample, scored question, training batch.

All are frozen; each sample names the policy version that made it, so nothing downstream has to guess which weights a
log-probability belongs to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Role = Literal["challenger", "solver"]


def policy_version(role: Role, round_: int, step: int) -> str:
    """Name of a role's weights after `step` updates in `round_`.

    >>> policy_version("challenger", 1, 3)
    'challenger-r1-s3'
    """
    return f"{role}-r{round_}-s{step}"


@dataclass(frozen=True, slots=True)
class Checksums:
    """`actors.weights.buckets.checksum` of a policy's tensors by HF name, all taken with the same `turn`."""

    turn: int | None
    of: dict[str, int]


class Sendable(Protocol):
    """Weights that stay where they are until rollout workers ask for them; see `actors.learner.group.PresentWeights`."""

    def send(self, engines: Sequence[Any]) -> Checksums: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Named weights: `version` as made by `policy_version`, `weights` references to `buckets.Bucket`s, or their sender."""

    version: str
    weights: Sequence[Any] | Sendable


@dataclass(frozen=True, slots=True)
class Request:
    """Responses to draw to one prompt, given as token ids: one for each seed, which fixes the draw."""

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One response drawn by a rollout worker.

    `logprobs[t]` is the natural log-probability of `token_ids[t]` under the distribution it was drawn from (temperature and
    top-p applied). The end-of-sequence token, where one was drawn, is the last of `token_ids` and not part of `text`.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: str  # "stop", or "length" for a truncated response
    version: str
    seed: int

    @property
    def truncated(self) -> bool:
        return self.finish_reason != "stop"


@dataclass(frozen=True, slots=True)
class Vote:
    """The majority among the answers to one question.

    `answer` is None (and `count` 0) where no answer can win; `total` is every sample asked for, unboxed and truncated
    ones included; `share` = count / total is p_hat. `undecided` counts the pairs whose equivalence could not be decided.
    """

    answer: str | None
    count: int
    total: int
    undecided: int = 0

    @property
    def share(self) -> float:
        return self.count / self.total if self.total else 0.0


NO_VOTE = Vote(None, 0, 0)  # on what is no question


@dataclass(frozen=True, slots=True)
class ScoredQuestion:
    """A question with the vote of the frozen Solver: a row of the Challenger's tables.

    `question` is None for a malformed response. `answers` are the boxed answers (None where there is none).
    """

    question: str | None
    answers: tuple[str | None, ...]
    vote: Vote
    cluster: int  # label within the batch, -1 for a malformed response
    reward: float
    invalid: float = 0.0  # share of the Solver's verdicts that call it ill-posed, 0 where it was not asked


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """What one GRPO update is made from: samples in groups, flattened, `advantages[i]` for `samples[i]`.

    Samples of groups with equal rewards are left out beforehand; `dropped_groups` counts them.
    """

    samples: tuple[Sample, ...]
    advantages: tuple[float, ...]
    dropped_groups: int = 0
