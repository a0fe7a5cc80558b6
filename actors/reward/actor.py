"""The reward actor: votes on sampled answers, the Challenger's and the Solver's rewards (R-Zero, arXiv 2508.05004)."""

from collections.abc import Sequence

from actors.reward.sandbox import AnswerSandbox
from conf.schema import RewardConfig
from pipeline.algorithm.rewards import QuestionBatch, Scorer, invalid_share, question_clusters, score
from pipeline.types import ScoredQuestion, Vote

# The actor holds no state between calls but counts, so Ray may start it again and run a lost call again: same answer.
RAY_OPTIONS = {"max_restarts": 3, "max_task_retries": 3}


class RewardActor:
    """Scores batches; model output reaches math-verify only in the sandbox's processes.

    >>> actor = ray.remote(RewardActor).options(**RAY_OPTIONS).remote(config.reward, [triangular, repetition])  # doctest: +SKIP
    """

    def __init__(self, config: RewardConfig, scorers: Sequence[Scorer]) -> None:
        self._config, self._scorers = config, scorers
        self._sandbox = AnswerSandbox(config.workers, config.timeout_s, config.memory_mb)

    def score_questions(
        self,
        questions: Sequence[str | None],
        answers: Sequence[Sequence[str | None]],
        votes: Sequence[Vote],
        verdicts: Sequence[Sequence[str | None]],
        earlier: Sequence[str],
    ) -> list[ScoredQuestion]:
        """Score a Challenger batch: `questions[i]` is None for a malformed response, `answers[i]` its m boxed answers.

        The whole batch goes in one call, since the repetition penalty compares its questions with each other.

        Args:
            votes: what `vote` said of `answers`.
            verdicts: boxed replies to the question whether `questions[i]` is well-posed; empty where the Solver was not asked.
            earlier: questions of earlier steps and rounds.
        """
        lengths = [len(questions), len(answers), len(votes), len(verdicts)]
        if len(set(lengths)) > 1:
            raise ValueError(f"questions, lists of answers, votes and lists of verdicts differ in number: {lengths}")
        clusters = question_clusters(questions, self._config.threshold)
        invalid = [invalid_share(replies) for replies in verdicts]
        batch = QuestionBatch(
            questions=tuple(questions),
            answers=tuple(map(tuple, answers)),
            votes=tuple(votes),
            clusters=tuple(clusters),
            invalid=tuple(invalid),
            earlier=tuple(earlier),
            config=self._config,
        )
        rewards = score(batch, self._scorers)
        return [
            ScoredQuestion(question, tuple(boxed), vote, cluster, reward, share)
            for question, boxed, vote, cluster, reward, share in zip(
                questions, answers, votes, clusters, rewards, invalid, strict=True
            )
        ]

    def vote(self, answers: Sequence[Sequence[str | None]]) -> list[Vote]:
        """The majority among the answers to each question."""
        return self._sandbox.votes(answers)

    def grade(self, answers: Sequence[str | None], labels: Sequence[str]) -> list[float]:
        """The Solver's reward: 1.0 where an answer is equivalent to its pseudo-label, else 0.0, undecided ones included."""
        pairs = [(answer or "", label) for answer, label in zip(answers, labels, strict=True)]
        return [1.0 if verdict else 0.0 for verdict in self._sandbox.equivalents(pairs)]

    def stats(self) -> dict[str, float]:
        """Counts since the last call; see `AnswerSandbox.stats`."""
        return self._sandbox.stats()
