"""The records that flow through a round, in order: request, sample, answered question, scored question, training batch.

All are frozen; each sample names the policy version that made it, so nothing downstream has to guess which weights a
log-probability belongs to. `pipeline/store/tables.py` derives the tables on disk from these records.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

Role = Literal["challenger", "solver"]
T = TypeVar("T")
ROLES: tuple[Role, Role] = ("challenger", "solver")


def policy_version(role: Role, round_: int, step: int) -> str:
    """Name of a role's weights after `step` updates in `round_`.

    >>> policy_version("challenger", 1, 3)
    'challenger-r1-s3'
    """
    return f"{role}-r{round_}-s{step}"


@dataclass(frozen=True, slots=True)
class Checksums:
    """`buckets.checksum` of a policy's tensors by HF name, all taken with the same `offset`."""

    offset: int | None
    of: dict[str, int]


class Weights(Protocol):
    """A policy's weights, wherever they are kept; nothing is read or copied until engines need them."""

    def send(self, engines: Sequence[Any]) -> Checksums:
        """Gives rollout workers (Ray handles) the weights; returns the checksums of what was sent.

        An engine that dies meanwhile is passed over, one that takes longer than `rollout.transfer_timeout_s` is killed: whoever
        asks it next finds it dead.
        """


@dataclass(frozen=True, slots=True)
class Policy:
    """Named weights; `version` is made by `policy_version`."""

    version: str
    weights: Weights


@dataclass(frozen=True, slots=True)
class Request:
    """Responses to draw to one prompt, given as token ids: one for each seed, which fixes the draw."""

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One response drawn by a rollout worker.

    `logprobs[t]` is the natural log-probability of `token_ids[t]` under the distribution it was drawn from (temperature and
    top-p applied), in float32. The end-of-sequence token, where one was drawn, is the last of `token_ids` and not part of `text`.
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

    answer: str | None = field(metadata={"column": "majority"})
    count: int
    total: int
    undecided: int = 0
    share: float = field(init=False, metadata={"column": "p_hat"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", self.count / self.total if self.total else 0.0)


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """A Challenger's response, and what the labelling policy answered to it.

    `question` is None for a malformed response, which is not put to anyone. `answers` are the boxed answers, None where a
    response has none. `invalid` is the share of verdicts that call the question ill-posed, 0 where none were drawn.
    """

    question: str | None
    answers: tuple[str | None, ...] = ()
    vote: Vote = Vote(None, 0, 0)
    invalid: float = 0.0


@dataclass(frozen=True, slots=True)
class ScoredQuestion:
    """A question of a Challenger step with its reward; `parts` says what each scorer added to it, and adds up to `reward`."""

    answered: AnsweredQuestion
    cluster: int  # label within the batch, -1 for a malformed response
    reward: float
    parts: dict[str, float]
    labelled_by: str  # version of the labelling policy


@dataclass(frozen=True, slots=True)
class ScoredGroups:
    """What a task makes of P groups of G samples: `rewards` [P][G], the task's own metrics, and p_hat of each question."""

    groups: list[list[Sample]]
    rewards: list[list[float]]
    metrics: dict[str, float]
    p_hats: list[float]
    questions: list[ScoredQuestion] = field(default_factory=list)  # where the samples are questions


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """What one GRPO update is made from: samples in groups, flattened, `advantages[i]` for `samples[i]`.

    Samples of groups with equal rewards are left out beforehand; `dropped_groups` counts them.
    """

    samples: tuple[Sample, ...]
    advantages: tuple[float, ...]
    dropped_groups: int = 0


def in_groups(values: Sequence[T], size: int) -> list[list[T]]:
    """Consecutive groups of `size` values.

    >>> in_groups([1, 2, 3, 4], 2)
    [[1, 2], [3, 4]]
    """
    return [list(values[start : start + size]) for start in range(0, len(values), size)]
