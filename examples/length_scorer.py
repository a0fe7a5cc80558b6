"""A scorer of one's own: short questions are worth more than long ones.

make round NAME=short SET="reward.scorers=[triangular,repetition,examples/length_scorer.py:short]"
"""

from pipeline.algorithm.rewards import QuestionBatch

LONGEST = 20  # words


def short(batch: QuestionBatch, rewards: list[float]) -> list[float]:
    """Halves the reward of each question of more than `LONGEST` words. `rewards` are those of the scorers named before it."""
    lengths = [len((question or "").split()) for question in batch.questions]  # None where a response was malformed
    return [reward / 2 if length > LONGEST else reward for length, reward in zip(lengths, rewards, strict=True)]
