"""Verdicts whose label is known by construction: a question as it is, and the same question made ill-posed by rule; pure.

The labelling policy agrees with itself on the first; the second has no answer, whatever the domain: what is given or what is
asked is missing, or a sentence of another question is in between.
"""

import random
import re
from collections.abc import Sequence

from pipeline.types import AnsweredQuestion

HIGH_SHARE = 0.8  # p_hat from which a question is taken to be well-posed
LABELS = {True: "valid", False: "invalid"}


def constructed_verdicts(items: Sequence[AnsweredQuestion], seed: int) -> list[tuple[str, str]]:
    """(question, "valid" or "invalid"), as many of each: every question with a high p_hat, as it is and made ill-posed.

    Questions of one sentence are left out.
    """
    likely = [item.question for item in items if item.question and item.vote.share >= HIGH_SHARE]
    clear = [question for question in likely if len(sentences(question)) > 1]
    draw = random.Random(seed)
    broken = [(ill_posed(question, clear, draw), LABELS[False]) for question in clear]
    return [pair for question, wrong in zip(clear, broken, strict=True) for pair in ((question, LABELS[True]), wrong)]


def ill_posed(question: str, others: Sequence[str], draw: random.Random) -> str:
    """The question without its first or its last sentence, or with the first one of another question after its own."""
    parts = sentences(question)
    spliced = [first for other in others if (first := sentences(other)[0]) != parts[0]]
    ways = [parts[1:], parts[:-1]] + ([[parts[0], draw.choice(spliced), *parts[1:]]] if spliced else [])
    return " ".join(draw.choice(ways))


def sentences(question: str) -> list[str]:
    """
    >>> sentences("Tom has 2.5 kg. He eats 1. How many are left?")
    ['Tom has 2.5 kg.', 'He eats 1.', 'How many are left?']
    """
    return re.split(r"(?<=[.!?])\s+", question.strip())
