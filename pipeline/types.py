"""The records that flow through a round, in order: request, sample, answered question, scored question, training batch.

All are frozen; each sample names the policy version that drew it, and so the weights that its log-probabilities belong to.
`pipeline/store/tables.py` derives the tables on disk from these records.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

Role = Literal["challenger", "solver"]
T = TypeVar("T")
ROLES: tuple[Role, Role] = ("challenger", "solver")
WAYS = ("sampled", "greedy", "majority")  # of answering a held-out problem


def policy_version(role: Role, round_: int, step: int) -> str:
    """The name of a role's weights after `step` updates in `round_`, those of earlier members (`solver.members`) included.

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
    """A policy's weights, in any storage; nothing is read or copied until engines need them."""

    def send(self, engines: Sequence[Any]) -> Checksums:
        """Sends the weights to rollout workers (Ray handles); returns their checksums.

        Engines that die are ignored, those that exceed `rollout.transfer_timeout_s` are killed; the fleet replaces both.
        """


@dataclass(frozen=True, slots=True)
class Policy:
    """Named weights; `version` is made by `policy_version`."""

    version: str
    weights: Weights


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as token ids. They end with those of `prefill`, the text that each response begins with.

    A response ends before the first of the strings `stop`.
    """

    token_ids: tuple[int, ...]
    prefill: str = ""
    stop: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.token_ids)

    def request(self, seeds: Sequence[int]) -> "Request":
        """A request for a response by each of the seeds."""
        return Request(self.token_ids, tuple(seeds), self.prefill, self.stop)


@dataclass(frozen=True, slots=True)
class Request:
    """A request for responses to one prompt, see `EncodedPrompt`: one per seed, which determines the draw."""

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    prefill: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One response drawn by a rollout worker.

    `logprobs[t]` is the natural log-probability of `token_ids[t]` under the sampling distribution (temperature and
    top-p applied), in float32. The end-of-sequence token, if drawn, is the last of `token_ids` and not part of `text`.
    `text` is the whole response, as it is read: it begins with the prompt's prefill, whose tokens are the last of `prompt_ids`,
    and ends before a stop string, whose tokens are among `token_ids`.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: str  # "stop" (end-of-sequence token or stop string), or "length" for a truncated response
    version: str
    seed: int

    @property
    def truncated(self) -> bool:
        return self.finish_reason != "stop"


@dataclass(frozen=True, slots=True)
class Vote:
    """The majority among the answers to one question.

    `answer` is None (and `count` 0) where no answer can win; `total` counts all requested samples, including unboxed and
    truncated ones; `share` = count / total is p_hat. `undecided` counts the pairs whose equivalence could not be decided.
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
    """A Challenger's response, and the labelling policy's answers to it.

    `question` is None for a malformed response, which is not answered. `answers` are the boxed answers, None where a response
    has none. `invalid` is the share of verdicts that call the question ill-posed, 0 where none were drawn. `confidence` is the
    log-probability of the least likely token of the best response that has the majority's answer, spelled as the label.
    """

    question: str | None
    answers: tuple[str | None, ...] = ()
    vote: Vote = Vote(None, 0, 0)
    invalid: float = 0.0
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class ScoredQuestion:
    """A question of a Challenger step with its reward; `parts` holds each scorer's contribution and sums to `reward`."""

    answered: AnsweredQuestion
    cluster: int  # label within the batch, -1 for a malformed response
    reward: float
    parts: dict[str, float]
    labelled_by: str  # version of the labelling policy


@dataclass(frozen=True, slots=True)
class ScoredGroups:
    """P groups of G samples, scored by a task: `rewards` [P][G], the task's own metrics, and p_hat of each question."""

    groups: list[list[Sample]]
    rewards: list[list[float]]
    metrics: dict[str, float]
    p_hats: list[float]
    questions: list[ScoredQuestion] = field(default_factory=list)  # if the samples are questions


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """The data of one GRPO update: the groups' samples, flattened, with `advantages[i]` for `samples[i]`.

    Samples of groups with equal rewards are left out; `dropped_groups` counts these groups.
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
