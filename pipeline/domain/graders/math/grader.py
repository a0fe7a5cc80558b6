"""Answers in mathematics: normalised, read, and compared exactly; docs/answers.md has the rules."""

import re
from collections.abc import Sequence

from pipeline.domain.graders.math.clean import clean, spaces
from pipeline.domain.graders.math.compare import equal
from pipeline.domain.graders.math.structure import read
from pipeline.domain.graders.math.words import without_texts
from pipeline.domain.graders.protocol import Verdict
from pipeline.domain.prompts import extract_boxed

# Longer or more deeply nested answers are compared as strings alone. No answer to a contest problem comes near either limit.
MAX_CHARS = 1000
MAX_DEPTH = 12
_UNFINISHED = re.compile(r"=$|\\sqrt\{\}|\\(?:frac|binom)(?:\{[^{}]*\})?\{\}|[\^_]\{\}")  # `x=`, `\frac{1}{}`: says nothing


class MathGrader:
    r"""Numbers, expressions, sets, intervals, equations, units and words; what exact arithmetic cannot decide is left to a judge.

    >>> grader = MathGrader()
    >>> grader.equivalent(grader.canonical(r"\dfrac{6}{4}\text{ cm}"), grader.canonical("1.5"))
    True
    """

    def extract(self, response: str, options: Sequence[str] = ()) -> str | None:
        r"""What the last `\boxed{}` holds."""
        return extract_boxed(response)

    def canonical(self, answer: str) -> str:
        if answer.isascii() and answer.isdecimal():  # most answers, and nothing to clean
            return answer
        if _beyond_limits(answer):
            return answer.strip()
        text = clean(answer)
        return "" if _UNFINISHED.search(text) else text

    def equivalent(self, a: str, b: str) -> Verdict:
        if a == b or not a or not b:
            return a == b != ""
        if _beyond_limits(a) or _beyond_limits(b):
            return False
        return _plain(a) == _plain(b) or equal(*map(read, sorted((a, b))))


def _plain(text: str) -> str:
    r"""Without `\text{}`, so that the same words in it and outside it are the same."""
    return spaces(without_texts(text))


def _beyond_limits(text: str) -> bool:
    deepest = depth = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return len(text) > MAX_CHARS or deepest > MAX_DEPTH
