"""Whether two answers that were read say the same."""

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from string import ascii_lowercase

from pipeline.domain.graders.math.nodes import (
    Choice,
    Clock,
    Group,
    Interval,
    Labelled,
    Mixed,
    Named,
    Node,
    Quantity,
    Reals,
    Relation,
    Text,
)
from pipeline.domain.graders.math.numeric import PRECISE, agree, approximate
from pipeline.domain.graders.math.reals import reals
from pipeline.domain.graders.math.structure import sequence
from pipeline.domain.graders.math.value import Atom, TooLargeError, Value, number
from pipeline.domain.graders.math.vocabulary import GREEK
from pipeline.domain.graders.protocol import Verdict

_TRUTHS = ("true", "false", "yes", "no", "T", "F", "Y", "N")
_NAME = re.compile(r"\\?[a-zA-Z]+")
_FRACTION = re.compile(r"\\frac ?(\\[a-zA-Z]+)(?![a-zA-Z{])|(\\frac ?\{[^{}]*\}) ?(\\[a-zA-Z]+|[a-zA-Z])")
MAX_UNORDERED = 40  # items of a list that are matched in any order; those of longer ones have to come in the same order


def equal(a: Node, b: Node) -> Verdict:
    """True, False, or the pairs of expressions that decide it."""
    if a == b:
        return True
    match a, b:
        case (Labelled(), Labelled()) if a.label == b.label:
            return equal(a.body, b.body)
        case (Labelled(), Labelled()):
            return _proportional(a.equation, b.equation)
        case (Labelled(), Relation(operator="=")):
            return _proportional(a.equation, b.difference)
        case (Relation(operator="="), Labelled()):
            return _proportional(a.difference, b.equation)
        case (Relation(), Relation()):
            return a.operator == b.operator and _proportional(a.difference, b.difference, positive=a.operator != "=")
        case (Named(), Named()):
            return _named(a, b)
        case (Named(), Group()):
            return _listed(a, b)
        case (Group(), Named()):
            return _listed(b, a)
        case (Labelled(), _) if not isinstance(b, Named | Relation):
            return equal(a.body, b)
        case (_, Labelled()) if not isinstance(a, Named | Relation):
            return equal(a, b.body)
        case (Choice(), Choice()):
            return a.letter == b.letter and equal(a.text, b.text)
        case (Choice(), Quantity()):
            return a.letter == b.text
        case (Quantity(), Choice()):
            return a.text == b.letter
        case (Quantity(), Quantity()):
            return _quantities(a, b)
        case (Clock(), Clock()):
            return a.hour == b.hour and a.minutes == b.minutes
        case (Clock(), _):
            return equal(a.ratio, b)
        case (_, Clock()):
            return equal(a, b.ratio)
        case (Mixed(), Mixed()):
            return _all_equal(a.parts, b.parts)
        case (Group(), Group()):
            return _groups(a, b)
        case (Reals(), _) | (_, Reals()):
            one, other = reals(a), reals(b)
            return one is not None and other is not None and _reals(one, other)
        case (Group(shape="{}", items=(item,)), Quantity()):
            return equal(item, b)
        case (Quantity(), Group(shape="{}", items=(item,))):
            return equal(a, item)
    return False


def _every(verdicts: Iterable[Verdict]) -> Verdict:
    """True where all are; what is left to a judge where none is False."""
    doubtful: dict[tuple[str, str], None] = {}
    for verdict in verdicts:
        if verdict is False:
            return False
        if verdict is not True:
            doubtful |= dict.fromkeys(verdict)
    return tuple(doubtful) or True


def _all_equal(a: Sequence[Node], b: Sequence[Node]) -> Verdict:
    return len(a) == len(b) and _every(map(equal, a, b))


def _unordered(a: Sequence[Node], b: Sequence[Node]) -> Verdict:
    """Each item of one list is an item of the other: matched one to one, first those that are certain."""
    if len(a) != len(b):
        return False
    if len(a) > MAX_UNORDERED:
        return _all_equal(a, b)
    verdicts: dict[tuple[int, int], Verdict] = {}
    partner: dict[int, int] = {}  # of items of b

    def verdict(one: int, other: int) -> Verdict:
        if (one, other) not in verdicts:
            verdicts[one, other] = equal(a[one], b[other])
        return verdicts[one, other]

    def matched(one: int, certain: bool, seen: set[int]) -> bool:
        """Whether an item of a finds a partner, others making way: `25\\%` may be 25 or 0.25, where 25 is only the one."""
        for other in range(len(b)):
            if other in seen or not (verdict(one, other) is True if certain else verdict(one, other)):
                continue
            seen.add(other)
            if other not in partner or matched(partner[other], certain, seen):
                partner[other] = one
                return True
        return False

    doubtful = [one for one in range(len(a)) if not matched(one, True, set())]
    if not all(matched(one, False, set()) for one in doubtful):
        return False
    return _every(verdict(one, other) for other, one in partner.items())


def _distinct(items: Sequence[Node]) -> list[Node]:
    found: list[Node] = []
    for item in items[:MAX_UNORDERED]:
        if not any(equal(item, other) is True for other in found):
            found.append(item)
    return [*found, *items[MAX_UNORDERED:]]


def _groups(a: Group, b: Group) -> Verdict:
    a, b = sorted((a, b), key=lambda group: group.shape)  # "", then "()", "[]", "{}"
    if a.shape == b.shape:
        if a.shape == "{}":
            return _unordered(_distinct(a.items), _distinct(b.items))
        if a.shape == "" and all(isinstance(item, Group) for item in (*a.items, *b.items)):
            return _unordered(_distinct(a.items), _distinct(b.items))  # solutions, of which one may be written twice
        ordered = a.shape != "" or all(isinstance(item, Text | Quantity) and item.text in _TRUTHS for item in a.items)
        return _all_equal(a.items, b.items) if ordered else _unordered(a.items, b.items)
    if a.shape == "":
        if b.shape == "{}":
            return _unordered(a.items, _distinct(b.items))
        if b.shape == "()" or (b.shape == "[]" and len(b.items) > 2):
            return _all_equal(a.items, b.items)
    if (a.shape, b.shape) == ("()", "[]") and len(a.items) > 2:
        return _all_equal(a.items, b.items)
    return False


def _named(a: Named, b: Named) -> Verdict:
    bodies = dict(zip(b.labels, b.bodies, strict=True))
    if set(a.labels) != set(b.labels):
        return False
    return _every(equal(body, bodies[label]) for label, body in zip(a.labels, a.bodies, strict=True))


def _listed(named: Named, group: Group) -> Verdict:
    if group.shape == "" and sequence(named):
        return _unordered(named.bodies, group.items)
    bodies = named.bodies
    if "".join(sorted(named.labels)).lower() in ascii_lowercase:  # x and y, a, b and c: in their order, whichever came first
        bodies = tuple(body for _, body in sorted(zip(named.labels, bodies, strict=True), key=lambda pair: pair[0]))
    return group.shape in ("", "()") and _all_equal(bodies, group.items)


def _reals(a: Reals, b: Reals) -> Verdict:
    if len(a.parts) != len(b.parts):
        return False
    return _every(_intervals(one, other) for one, other in zip(a.parts, b.parts, strict=True))


def _intervals(a: Interval, b: Interval) -> Verdict:
    if (a.closed_low, a.closed_high) != (b.closed_low, b.closed_high):
        return False
    return _every((equal(a.low, b.low), equal(a.high, b.high)))


def _proportional(a: Value | None, b: Value | None, positive: bool = False) -> bool:
    """Whether one side is the other times a rational number other than 0: then both are 0 at the same places."""
    if a is None or b is None or not a.top or not b.top:
        return False
    monomial = next(iter(a.top))
    if monomial not in b.top or len(a.top) != len(b.top):
        return False
    ratio = b.top[monomial] / a.top[monomial]
    try:
        return (ratio > 0 or not positive) and (a * number(ratio)).same(b)
    except TooLargeError:
        return False


def _quantities(a: Quantity, b: Quantity) -> Verdict:
    if a.unit and b.unit and a.unit != b.unit:
        return False
    if a.percent != b.percent:
        if a.unit or b.unit:
            return False
        percent, other = (a, b) if a.percent else (b, a)
        if percent.value is None or other.value is None:
            return percent.text == other.text
        try:
            hundredth = Quantity("", percent.value * number(Fraction(1, 100)), half=percent.half / 100)
        except TooLargeError:
            return False
        return _values(percent, other) is True or _values(hundredth, other) is True
    return _values(a, b)


def _values(a: Quantity, b: Quantity) -> Verdict:
    """Exactly, where both can be worked out; a decimal also equals what rounds to it; numbers tell most of the rest apart.

    A judge is asked about expressions with letters alone: constants that are beyond this arithmetic it compares as floats, for
    which (2/3)^100000 is (2/3)^100001.
    """
    if a.text == b.text and a.text:
        return True
    lettered = a.text and b.text and (_has_letters(a.text) or _has_letters(b.text))
    judged = ((_braced(a.text), _braced(b.text)),) if lettered else False
    if a.value is None or b.value is None:
        return judged
    try:
        if a.value.same(b.value):
            return True
    except TooLargeError:
        return judged
    if _rounds(a, b) or _rounds(b, a):
        return True
    if a.value.exact and b.value.exact:
        return False
    if _called(a.value) & b.value.letters or _called(b.value) & a.value.letters:
        return judged  # h(a+b) may be a product after all
    if not agree(a.value, b.value):
        return False
    return judged or (not a.value.letters | b.value.letters and agree(a.value, b.value, PRECISE))


def _has_letters(text: str) -> bool:
    """Whether anything in an expression stands for something unknown."""
    names = _NAME.findall(text)
    return any(name[1:] in GREEK if name[0] == "\\" else name not in ("e", "i") for name in names)


def _braced(text: str) -> str:
    r"""With braces around what `\frac` divides: the judge reads `\frac\pi4` otherwise.

    >>> _braced(r"\frac\pi x+1")
    '\\frac{\\pi}{x}+1'
    """

    def braces(match: re.Match[str]) -> str:
        return rf"\frac{{{match[1]}}}" if match[1] else f"{match[2]}{{{match[3]}}}"

    before = None
    while text != before:
        before, text = text, _FRACTION.sub(braces, text)
    return text


def _called(value: Value) -> set[str]:
    """Symbols that were read as functions, since they stand before a bracket."""
    calls = (base.name for base in value.bases if isinstance(base, Atom))
    return {name.removeprefix("call ") for name in calls if name.startswith("call ")}


def _rounds(rounded: Quantity, other: Quantity) -> bool:
    """Whether a decimal is another value rounded to as many places as it has."""
    if not rounded.half or rounded.value is None or other.value is None or other.value.letters:
        return False
    decimal, exact = rounded.value.rational, other.value.rational
    assert decimal is not None
    if exact is not None:
        return exact.denominator > 1 and abs(exact - decimal) <= rounded.half
    try:
        approximate(other.value)  # precise numbers have no range
        value, error = approximate(other.value, numbers=PRECISE)
        near = abs(float((value - PRECISE.of(decimal)).real)) <= rounded.half
        return near and abs(float(value.imag)) <= float(error) < rounded.half / 10
    except (ArithmeticError, ValueError):
        return False
