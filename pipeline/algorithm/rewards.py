"""The Challenger's reward: equations 1 to 4 of R-Zero (arXiv 2508.05004, sections 3.2 to 3.4), and scorers beyond the paper.

A scorer takes a batch of questions and the rewards so far, and returns the rewards after it. The setting `reward.scorers`
names them in order: `[triangular, repetition]` is the paper's r = max(0, r_unc - r_rep). A custom scorer is a function in a
file, named as `path/to/file.py:function`; docs/rewards.md shows one. All functions here are pure.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from conf.plugin import from_file
from conf.schema import RewardConfig
from pipeline.algorithm.bleu import cluster_labels, similarity_to_earlier
from pipeline.domain.graders.exact import ExactGrader
from pipeline.errors import ScorerError, with_place
from pipeline.types import AnsweredQuestion, ScoredQuestion, Vote

Need = Literal["verdicts", "earlier"]
LARGEST_REWARD = 1e9  # in size; the squares of larger ones, of which the advantages are made, overflow in float32 and beyond


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """A scorer's input: the B responses of one Challenger step, in order.

    A malformed response has the question None, a vote without answers and the cluster -1. Verdicts have to be sampled and earlier
    questions read: a scorer that uses them declares it with `needs`.
    """

    answered: tuple[AnsweredQuestion, ...]
    clusters: tuple[int, ...]  # label within the batch
    config: RewardConfig
    earlier_questions: tuple[str, ...] | None = None
    has_verdicts: bool = False

    @property
    def questions(self) -> tuple[str | None, ...]:
        return tuple(item.question for item in self.answered)

    @property
    def answers(self) -> tuple[tuple[str | None, ...], ...]:
        """The labelling policy's boxed answers to each question; None without a box."""
        return tuple(item.answers for item in self.answered)

    @property
    def votes(self) -> tuple[Vote, ...]:
        return tuple(item.vote for item in self.answered)

    @property
    def invalid(self) -> tuple[float, ...]:
        """Share of the labelling policy's verdicts that call the question ill-posed.

        Raises:
            LookupError: no scorer declares that it needs verdicts, so none were drawn.
        """
        if not self.has_verdicts:
            raise LookupError("batch.invalid was read without being declared: put @needs('verdicts') above the scorer")
        return tuple(item.invalid for item in self.answered)

    @property
    def earlier(self) -> tuple[str, ...]:
        """Questions of the run's earlier steps and rounds.

        Raises:
            LookupError: no scorer declares that it needs them, so they were not read.
        """
        if self.earlier_questions is None:
            raise LookupError("batch.earlier was read without being declared: put @needs('earlier') above the scorer")
        return self.earlier_questions


Scorer = Callable[[QuestionBatch, list[float]], list[float]]
AnyScorer = TypeVar("AnyScorer", bound=Scorer)


def needs(*what: Need) -> Callable[[AnyScorer], AnyScorer]:
    """Declares a scorer's inputs beside questions and votes: "verdicts" (`batch.invalid`), "earlier" (`batch.earlier`).

    Raises:
        ValueError: there is no such input.
    """
    if unknown := set(what) - set(get_args(Need)):
        raise ValueError(f"needs({', '.join(sorted(unknown))}): valid: {', '.join(get_args(Need))}")

    def declare(scorer: AnyScorer) -> AnyScorer:
        scorer.__dict__["needs"] = frozenset(what)
        return scorer

    return declare


def needs_of(scorers: Sequence[Scorer]) -> frozenset[Need]:
    """All inputs that any of the scorers declares."""
    return frozenset(need for scorer in scorers for need in getattr(scorer, "needs", ()))


def uncertainty(p_hat: float) -> float:
    """r_unc = 1 - 2 |p_hat - 1/2|: 1 if half of the Solver's answers agree, 0 if none or all do."""
    if not 0.0 <= p_hat <= 1.0:
        raise ValueError(f"p_hat={p_hat!r}: a share of answers; valid: 0 to 1")
    return 1.0 - 2.0 * abs(p_hat - 0.5)


def triangular(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """The paper's reward shape: r_unc, replacing the reward so far."""
    return [uncertainty(vote.share) for vote in batch.votes]


ZONE_WIDTH = 0.4  # distance from the peak at which a question is worth nothing (Prism, arXiv 2603.13309)


def zone(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """max(0, 1 - |p_hat - peak| / 0.4), replacing the reward so far: a peak at 3/4 asks for easier questions than r_unc."""
    return [max(0.0, 1.0 - abs(vote.share - batch.config.peak) / ZONE_WIDTH) for vote in batch.votes]


def band(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """1 where some of the m answers agree with the majority but not all do, else 0: any uncertainty is worth the same."""
    return [1.0 if 0 < vote.count < vote.total else 0.0 for vote in batch.votes]


def variance(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """4 p (1 - p), the variance of a single vote over its maximum: flatter at 1/2 than the triangle, steeper at the ends."""
    return [4 * vote.share * (1 - vote.share) for vote in batch.votes]


def repetition(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """Subtracts r_rep; not below 0."""
    return [less(reward, penalty) for penalty, reward in zip(repetition_penalties(batch), rewards, strict=True)]


def repetition_penalties(batch: QuestionBatch) -> list[float]:
    """r_rep(x) = lambda |C(x)| / B of each question [B]: C(x) is its cluster, B the whole batch."""
    sizes, size = Counter(batch.clusters), len(batch.clusters)
    return [batch.config.lambda_ * (sizes[cluster] / size) for cluster in batch.clusters]


def less(reward: float, penalty: float) -> float:
    """The reward after a penalty, which takes it to 0 at most: a negative one, such as `official` has, stays as it is.

    >>> less(0.5, 0.2), less(0.5, 0.8), less(-1.0, 0.2)
    (0.3, 0.0, -1.0)
    """
    return min(reward, max(0.0, reward - penalty))


@needs("earlier")
def memory(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """Subtracts the BLEU to the nearest earlier question of the run, if that is nearer than tau; not below 0.

    The repetition penalty sees one batch only, so a Challenger could repeat a varied batch at every step; this prevents it.
    """
    nearest = similarity_to_earlier([question or "" for question in batch.questions], batch.earlier, batch.config.threshold)
    return [less(reward, similarity) for reward, similarity in zip(rewards, nearest.tolist(), strict=True)]


@needs("verdicts")
def validity(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """At most 0 for a question that most of the Solver's verdicts call ill-posed (R-Quest); the curriculum drops it too."""
    return [min(0.0, reward) if rejected(share) else reward for share, reward in zip(batch.invalid, rewards, strict=True)]


def invalid_share(verdicts: Sequence[str | None]) -> float:
    r"""Share of verdicts that are "invalid"; those without a box count in the denominator. 0 without verdicts.

    >>> invalid_share(["Invalid", r"\text{invalid}", "valid", None])
    0.5
    """
    canonical = ExactGrader().canonical
    return sum(verdict is not None and canonical(verdict) == "invalid" for verdict in verdicts) / max(1, len(verdicts))


def official(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """The reward of the paper's public code: min(p, 1 - p) - r_rep, not clipped at 0, and -1 for a malformed response."""
    return [
        min(vote.share, 1 - vote.share) - penalty if question is not None else -1.0
        for question, vote, penalty in zip(batch.questions, batch.votes, repetition_penalties(batch), strict=True)
    ]


def rejected(invalid: float) -> bool:
    """Whether the share of verdicts that call a question ill-posed is a majority."""
    return invalid > 0.5


REPLACING: tuple[Scorer, ...] = (triangular, zone, band, variance, official)  # whatever the reward was so far
SCORERS: dict[str, Scorer] = {scorer.__name__: scorer for scorer in (*REPLACING, repetition, memory, validity)}


def find_scorer(name: str) -> Scorer:
    """The scorer of that name, or the function of a file: `path/to/file.py:function`.

    Raises:
        ValueError: there is no such scorer, file or function, or the file cannot be run.
    """
    scorer: Scorer = SCORERS[name] if name in SCORERS else from_file(name, "scorer", "function", SCORERS)
    return scorer


def question_clusters(questions: Sequence[str | None], threshold: float = 0.5) -> list[int]:
    """Cluster label of each question of a batch; -1 for a malformed response (None), which is not clustered."""
    labels = iter(cluster_labels([question for question in questions if question is not None], threshold).tolist())
    return [-1 if question is None else next(labels) for question in questions]


def score_questions(
    answered: Sequence[AnsweredQuestion],
    scorers: Sequence[Scorer],
    config: RewardConfig,
    labelled_by: str,
    earlier: Sequence[str] | None = None,
) -> list[ScoredQuestion]:
    """The questions of a whole Challenger batch, as the repetition penalty requires, with their rewards.

    Args:
        labelled_by: version of the labelling policy.
        earlier: questions of earlier steps and rounds, if a scorer needs them.

    Raises:
        ScorerError: a scorer failed, or did not return one number per question, of LARGEST_REWARD at most.
    """
    clusters = question_clusters([item.question for item in answered], config.threshold)
    questions = None if earlier is None else tuple(earlier)
    batch = QuestionBatch(tuple(answered), tuple(clusters), config, questions, "verdicts" in needs_of(scorers))
    rewards, parts = score(batch, scorers)
    return [
        ScoredQuestion(item, cluster, reward, {name: values[index] for name, values in parts.items()}, labelled_by)
        for index, (item, cluster, reward) in enumerate(zip(answered, clusters, rewards, strict=True))
    ]


def scorer_name(scorer: Scorer) -> str:
    """The name that its part of the reward has in tables and metrics."""
    return str(getattr(scorer, "__name__", type(scorer).__name__))


def score(batch: QuestionBatch, scorers: Sequence[Scorer]) -> tuple[list[float], dict[str, list[float]]]:
    """The rewards [B] after all scorers, and by scorer its contribution [B]; a malformed response is worth at most 0.

    Raises:
        ScorerError: a scorer failed, or did not return one number per question, of LARGEST_REWARD at most.
    """
    rewards = [0.0] * len(batch.answered)
    parts: dict[str, list[float]] = {}
    for scorer in scorers:
        name = scorer_name(scorer)
        after = _scored(scorer, name, batch, rewards)
        added = [new - old for old, new in zip(rewards, after, strict=True)]
        parts[name] = [sum(pair) for pair in zip(parts[name], added, strict=True)] if name in parts else added
        rewards = after
    return rewards, parts


def _scored(scorer: Scorer, name: str, batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """The rewards after one scorer."""
    try:
        after = [float(reward) for reward in scorer(batch, list(rewards))]
    except Exception as error:  # user code may raise anything
        raise ScorerError(f"scorer {name}: {with_place(error)}") from error
    wrong = [f"a reward of {reward}" for reward in after if not abs(reward) <= LARGEST_REWARD]  # NaN is not, either
    if wrong or len(after) != len(batch.answered):
        what = (wrong or [f"{len(after)} rewards"])[0]
        raise ScorerError(f"scorer {name} returned {what}; valid: {len(batch.answered)} numbers of at most {LARGEST_REWARD:.0e}")
    return [min(0.0, reward) if item.question is None else reward for item, reward in zip(batch.answered, after, strict=True)]
