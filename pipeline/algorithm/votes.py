r"""Which answers are the same, and which of them the majority gave (the p_hat of arXiv 2508.05004, section 3).

Most answers have one of a few forms (numbers, words, surds, lists of numbers), and for those a rule decides in
microseconds and without a parser (`by_rule`). Whatever no rule covers is put to a judge, which is math-verify in a sandbox
(`actors/reward/sandbox.py`) and may fail to decide.

Equivalence is symmetric and closed: classes are the connected components of "decided equal" over the distinct answers of
one vote. Every pair that is not yet in one class is compared, so neither classes nor verdicts depend on the order of the
answers. The rules follow math-verify: a decimal equals what it agrees with to six places, `50\%` equals both 50 and 1/2,
units after a number do not count, `x=5` equals 5. Words alone are compared whole, where math-verify takes `listen` and
`silent` for one product of letters.
"""

import re
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal

from pipeline.types import Vote

# Longer or more deeply nested answers are compared as strings alone. The time math-verify's parser takes grows steeply with
# the depth of brackets, and no answer to a contest problem comes near either limit.
MAX_CHARS = 1000
MAX_DEPTH = 12

# What a judge yields (its requests) and is sent (replies) is between the judge and whoever drives it.
Judge = Callable[[str, str], Generator[Any, Any, bool | None]]


@dataclass(frozen=True, slots=True)
class Key:
    r"""The canonical form of an answer; which fields are set depends on its kind.

    number: `value`, and whether it was written as a `decimal` or a `percent`
    surd:   q sqrt(r) pi^k as `value` = the sign of q times q^2 r, and `pi` = k
    list:   `parts`, numbers or infinities, between the brackets `shape`: "{}", "()", "[)" ...
    equal:  an assignment of `parts[0]`, a number, to the symbol `shape`
    word:   `text` in lower case; opaque: nothing but its text; other: for a judge
    """

    kind: Literal["number", "surd", "list", "equal", "word", "opaque", "other"]
    text: str
    value: Fraction = Fraction(0)
    decimal: bool = False
    percent: bool = False
    pi: int = 0
    shape: str = ""
    parts: tuple["Key", ...] = ()


_SIGN, _INT = r"([+-]?) ?", r"([0-9]{1,300})"
_NUMBER = re.compile(_SIGN + r"((?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+) ?(\\?%)?")
_RATIO = re.compile(_SIGN + rf"{_INT} ?/ ?{_INT}")
_FRAC = re.compile(_SIGN + r"([0-9]+)? ?\\[dtc]?frac ?(?:\{ ?([+-]?[0-9]+) ?\}|([0-9])) ?(?:\{ ?([+-]?[0-9]+) ?\}|([0-9]))")
_POWER = re.compile(_SIGN + r"([0-9]{1,6}) ?\^ ?(?:([0-9])|\{ ?([0-9]{1,2}) ?\})")
_UNIT = re.compile(
    r"(?<=[0-9}]) ?(?:\\(?:text|mathrm|mbox) ?\{(?![^{}]*(?:%|percent|pct|and|or))[^{}]*\}(?:\^[0-9]|\^\{[0-9]\})?"
    r"|\^\{?\\circ\}?| (?:mm|cm|km|m|g|kg|ft|feet|inch|inches|mph|degrees|days?|hours?|minutes?|seconds?))"
)
_ROOT = r"(?:\\sqrt ?(?:\{ ?([0-9]{1,9}) ?\}|([0-9])))"
_SURD = re.compile(_SIGN + rf"([0-9]{{1,9}})? ?{_ROOT}?(\\pi)?(?: ?/ ?([0-9]{{1,9}}))?")
_SURD_FRAC = re.compile(_SIGN + rf"\\[dtc]?frac ?\{{ ?([0-9]{{1,9}})? ?{_ROOT}?(\\pi)? ?\}} ?\{{ ?([0-9]{{1,9}}) ?\}}")
_LIST = re.compile(r"(\\\{|\(|\[)(.{1,200})(\\\}|\)|\])")
_EQUAL = re.compile(r"([a-zA-Z]) ?= ?(.{1,100})")
_WORD = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox) ?\{ ?([A-Za-z]{2,}) ?\}|([A-Za-z]{3,})")
_NOT_A_WORD = re.compile(r"inf|sqrt|percent|pct", re.IGNORECASE)  # math-verify reads these as something else than letters


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
    return _number(bare) or _surd(bare) or _list(bare) or _equal(bare) or _word(bare) or Key("other", text)


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
    if unit := _UNIT.search(bare):
        if unit.end() < len(bare):
            return None
        bare = bare[: unit.start()]
    if match := _NUMBER.fullmatch(bare):
        sign, digits, percent = match.groups()
        value = Fraction(digits.replace(",", ""))
        return Key("number", bare, -value if sign == "-" else value, decimal="." in digits, percent=bool(percent))
    if match := _POWER.fullmatch(bare):
        sign, base, digit, exponent = match.groups()
        value = Fraction(int(base) ** int(digit or exponent))
        return Key("number", bare, -value if sign == "-" else value)
    if match := _RATIO.fullmatch(bare):
        sign, top, bottom = match.groups()
        whole = "0"
    elif match := _FRAC.fullmatch(bare):
        sign, whole, top, bottom = match[1], match[2] or "0", match[3] or match[4], match[5] or match[6]
        if match[2] and "-" in top + bottom:
            return None  # "2\frac{-1}{2}" is a product to some and a mixed number to others
    else:
        return None
    if int(bottom) == 0:
        return None
    value = int(whole) + Fraction(int(top), int(bottom))
    return Key("number", bare, -value if sign == "-" else value)


def _surd(bare: str) -> Key | None:
    match = _SURD.fullmatch(bare) or _SURD_FRAC.fullmatch(bare)
    if not match or not any(match.group(3, 4, 5)):
        return None
    sign, factor, root, digit, pi, bottom = match.groups()
    if bottom and int(bottom) == 0:
        return None
    square = Fraction(int(factor or 1), int(bottom or 1)) ** 2 * int(root or digit or 1)
    if pi and (root or digit):
        return None  # "\sqrt{2}\pi": rare, and where the root ends is for a parser to say
    return Key("surd", bare, -square if sign == "-" else square, pi=int(bool(pi and square)))


def _list(bare: str) -> Key | None:
    match = _LIST.fullmatch(bare.replace("\\left", "").replace("\\right", ""))
    if not match:
        return None
    parts = []
    for item in (part.strip() for part in match[2].split(",")):
        part = Key("opaque", item.lstrip("+")) if item in ("\\infty", "+\\infty", "-\\infty") else _number(item)
        if part is None or part.percent or re.match(r"-?0[0-9]", item):  # "\{1,000\}" may be one number or two
            return None
        parts.append(part)
    if match[1] == "\\{":
        parts = list({(part.kind, part.value): part for part in sorted(parts, key=lambda part: (part.value, part.text))}.values())
    return Key("list", bare, shape=match[1][-1] + match[3][-1], parts=tuple(parts))


def _equal(bare: str) -> Key | None:
    match = _EQUAL.fullmatch(bare)
    number = _number(match[2]) if match else None
    return Key("equal", bare, shape=match[1], parts=(number,)) if match and number and not number.percent else None


def _word(bare: str) -> Key | None:
    match = _WORD.fullmatch(bare)
    return Key("word", (match[1] or match[2]).lower()) if match and not _NOT_A_WORD.search(bare) else None


def by_rule(a: Key, b: Key) -> bool | None:
    """Whether two answers are equivalent, None where no rule covers the pair and a judge has to be asked. Symmetric."""
    if a == b or a.text == b.text:
        return True
    if a.kind > b.kind:
        a, b = b, a
    match a.kind, b.kind:
        case ("opaque", _) | (_, "opaque"):
            return False
        case "number", "number":
            return _same_number(a, b)
        case "surd", "surd":
            return (a.value, a.pi) == (b.value, b.pi)
        case "number", "surd":
            return None if a.decimal or a.percent else (a.value * abs(a.value), 0) == (b.value, b.pi)
        case "number" | "surd" | "list", "word":
            return False
        case "word", "word":
            return False
        case "list", "list":
            return _same_list(a, b)
        case "list", "number" | "surd":
            return None if all(part.value == a.parts[0].value for part in a.parts) else False
        case "equal", "number":
            return None if b.percent else _same_number(a.parts[0], b)
        case "equal", "equal":
            return _same_number(a.parts[0], b.parts[0]) if a.shape == b.shape else None
    return None


def _same_number(a: Key, b: Key) -> bool:
    x, y = a.value, b.value
    integers = [key.value.denominator == 1 and not key.decimal for key in (a, b)]
    if all(integers):
        return x == y  # also 50% and 50
    x, y = (key.value / 100 if key.percent else key.value for key in (a, b))
    return x == y or ((a.decimal or b.decimal) and not any(integers) and round(x, 6) == round(y, 6))


def _same_list(a: Key, b: Key) -> bool | None:
    if (a.shape == "{}") != (b.shape == "{}"):
        return None  # a set and a tuple: a judge may want to look at the order
    if a.shape != b.shape:
        return False if len(a.parts) == len(b.parts) == 2 else None  # two intervals, of which one is closed where one is open
    if len(a.parts) != len(b.parts):
        return False
    pairs = zip(a.parts, b.parts, strict=True)
    return all(x.text == y.text if "opaque" in (x.kind, y.kind) else _same_number(x, y) for x, y in pairs)


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
