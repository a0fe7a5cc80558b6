r"""Which answers are the same, and which of them the majority gave (the p_hat of arXiv 2508.05004, section 3).

Most answers are numbers or words, and for those a rule decides in microseconds and without a parser (`by_rule`). Whatever
no rule covers is put to a judge, which is math-verify in a sandbox (`actors/sandbox.py`) and may fail to decide.

Equivalence is symmetric and closed: classes are the connected components of "decided equal" over the distinct answers of
one vote. Every pair that is not yet in one class is compared, so neither classes nor verdicts depend on the order of the
answers. Numbers follow math-verify: a decimal equals what it agrees with to six places, `50\%` equals both 50 and 1/2.
Words are compared whole, where math-verify reads `listen` and `silent` as one product of letters.
"""

import re
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal

from pipeline.types import Vote

# Longer or more deeply nested answers are compared as strings alone. math-verify's parser takes exponential time in the
# depth of brackets, and no answer to a contest problem comes near either limit.
MAX_CHARS = 1000
MAX_DEPTH = 12

# What a judge yields (its requests) and is sent (replies) is between the judge and whoever drives it.
Judge = Callable[[str, str], Generator[Any, Any, bool | None]]


@dataclass(frozen=True, slots=True)
class Key:
    """The canonical form of an answer. `value` is set for numbers alone."""

    kind: Literal["number", "word", "opaque", "other"]
    text: str
    value: Fraction | None = None
    decimal: bool = False
    percent: bool = False


_DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)"
_NUMBER = re.compile(rf"([+-]?) ?({_DIGITS}(?:\.[0-9]+)?|\.[0-9]+) ?(\\?%)?")
_RATIO = re.compile(r"([+-]?) ?([0-9]+) ?/ ?([0-9]+)")
_FRAC = re.compile(
    r"([+-]?) ?([0-9]+)? ?\\[dtc]?frac ?(?:\{ ?([+-]?[0-9]+) ?\}|([0-9])) ?(?:\{ ?([+-]?[0-9]+) ?\}|([0-9]))"
)
_WORD = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox) ?\{ ?([A-Za-z]{2,}) ?\}|([A-Za-z]{3,})")
# Words that math-verify reads as something else than letters.
_NOT_A_WORD = re.compile(r"inf|sqrt|percent|pct", re.IGNORECASE)


def canonical(answer: str) -> Key:
    r"""The key of an answer: what `\boxed{}` held, never empty.

    >>> canonical(r"\dfrac{6}{4}").value
    Fraction(3, 2)
    >>> canonical("$1,000.50$").value == Fraction("1000.5")
    True
    """
    if len(answer) > MAX_CHARS or _depth(answer) > MAX_DEPTH:
        return Key("opaque", answer.strip())
    text = " ".join(answer.replace("\u2212", "-").split())
    bare = text.replace("\\$", "").replace("$", "").replace("\\!", "").replace("{,}", ",").strip().removesuffix(".")
    number = _number(bare)
    if number is not None:
        return number
    word = _WORD.fullmatch(bare)
    if word and not _NOT_A_WORD.search(bare):
        return Key("word", (word[1] or word[2]).lower())
    return Key("other", text)


def _depth(text: str) -> int:
    """How deeply brackets are open at most; whether they are ever closed is not asked."""
    deepest = depth = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest


def _number(bare: str) -> Key | None:
    if match := _NUMBER.fullmatch(bare):
        sign, digits, percent = match.groups()
        value = Fraction(digits.replace(",", ""))
        return Key("number", bare, -value if sign == "-" else value, decimal="." in digits, percent=bool(percent))
    if match := _RATIO.fullmatch(bare):
        sign, top, bottom = match.groups()
        whole = "0"
    elif match := _FRAC.fullmatch(bare):
        sign, whole = match[1], match[2] or "0"
        top, bottom = match[3] or match[4], match[5] or match[6]
        if match[2] and ("-" in top or "-" in bottom):
            return None  # "2\frac{-1}{2}" is a product to some and a mixed number to others
    else:
        return None
    if int(bottom) == 0:
        return None
    value = int(whole) + Fraction(int(top), int(bottom))
    return Key("number", bare, -value if sign == "-" else value)


def by_rule(a: Key, b: Key) -> bool | None:
    """Whether two answers are equivalent, None where no rule covers the pair and a judge has to be asked. Symmetric."""
    if a == b or a.text == b.text:
        return True
    if "opaque" in (a.kind, b.kind):
        return False
    if a.value is not None and b.value is not None:
        return _same_number(a, a.value, b, b.value)
    if {a.kind, b.kind} <= {"number", "word"}:
        return a.kind == b.kind and a.text == b.text
    return None


def _same_number(a: Key, x: Fraction, b: Key, y: Fraction) -> bool:
    integers = [value.denominator == 1 and not key.decimal for key, value in ((a, x), (b, y))]
    if all(integers):
        return x == y  # also 50% and 50
    x, y = (value / 100 if key.percent else value for key, value in ((a, x), (b, y)))
    if x == y:
        return True
    return (a.decimal or b.decimal) and not any(integers) and round(x, 6) == round(y, 6)


def compare(a: str, b: str, judge: Judge) -> Generator[Any, Any, bool | None]:
    """True or False for two answers, None where it could not be decided. An empty answer is equivalent to nothing."""
    if not a.strip() or not b.strip():
        return False
    first, second = sorted((canonical(a), canonical(b)), key=lambda key: key.text)
    verdict = by_rule(first, second)
    return (yield from judge(first.text, second.text)) if verdict is None else verdict


def majority(answers: Sequence[str | None], judge: Judge) -> Generator[Any, Any, Vote]:
    """The vote over `answers`, as many as were asked for (None or blank: a response without an answer).

    Ties go to the class whose representative is shortest, then first in code-point order. The representative, which becomes
    the pseudo-label, is the spelling that most of the class used, ties again to the shortest, then the first.
    `undecided` counts pairs of distinct keys that no one could decide and that did not end up in one class all the same.
    """
    spellings: dict[Key, Counter[str]] = {}
    for answer in answers:
        if answer is not None and answer.strip():
            spellings.setdefault(canonical(answer), Counter())[answer.strip()] += 1
    keys = sorted(spellings, key=lambda key: (key.text, key.kind))
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    # Pairs that a rule decides come first: what they join need not be put to the judge.
    pairs = [(i, j, by_rule(keys[i], keys[j])) for i, j in combinations(range(len(keys)), 2)]
    for i, j, verdict in pairs:
        if verdict:
            parent[root(j)] = root(i)
    unknown: list[tuple[int, int]] = []
    for i, j, verdict in pairs:
        if verdict is None and root(i) != root(j):
            verdict = yield from judge(keys[i].text, keys[j].text)
            if verdict:
                parent[root(j)] = root(i)
            elif verdict is None:
                unknown.append((i, j))

    classes: dict[int, Counter[str]] = {}
    for i, key in enumerate(keys):
        classes.setdefault(root(i), Counter()).update(spellings[key])
    undecided = sum(root(i) != root(j) for i, j in unknown)
    if not classes:
        return Vote(None, 0, len(answers), undecided)
    ranked = [(members.total(), _representative(members)) for members in classes.values()]
    count, answer = min(ranked, key=lambda entry: (-entry[0], len(entry[1]), entry[1]))
    return Vote(answer, count, len(answers), undecided)


def _representative(members: Counter[str]) -> str:
    return min(members, key=lambda text: (-members[text], len(text), text))
