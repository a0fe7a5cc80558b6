r"""Equations and inequalities: what they say of a label (`x=5`, `f(x)=2x`, `-1<x\le3`), or a relation of their own."""

import re
from collections.abc import Callable
from fractions import Fraction

from pipeline.domain.graders.math.expression import parse
from pipeline.domain.graders.math.functions import UnreadableError
from pipeline.domain.graders.math.nodes import Group, Labelled, Named, Node, Quantity, Relation
from pipeline.domain.graders.math.numeric import approximate
from pipeline.domain.graders.math.quantities import text
from pipeline.domain.graders.math.reals import INFINITY, MINUS_INFINITY, reals, without
from pipeline.domain.graders.math.scan import split
from pipeline.domain.graders.math.value import Atom, TooLargeError, Value, function

_OPERATORS = (
    "=",
    "<",
    ">",
    r"\le",
    r"\ge",
    r"\ne",
    r"\approx",
    r"\in",
    r"\equiv",
    r"\notin",
    r"\cong",
    r"\sim",
    r"\to",
    r"\implies",
)
_FLIPPED = {">": "<", r"\ge": r"\le"}
# No names of a value: conditions, words of a sentence, plain numbers.
_NO_LABEL = re.compile(
    r"^[0-9./ ]*$|\\mid|\b(?i:at|for|when|if|where|with|except|no|not|so|since|undefined|true|false|then|because)\b"
)
_TWO_EQUATIONS = re.compile(r"\\text|\\\\|[0-9)}\]] [a-zA-Z](?:_.{1,9})?$")  # x=3 y=2, x=5 when y=2
_COORDINATES = frozenset("xyz")
Reader = Callable[[str], Node]


def related(content: str, read: Reader) -> Node | None:
    """An equation, inequality or membership; None where the text has none outside its brackets. `read` reads its sides."""
    parts, operators = split(content, _OPERATORS)
    parts = [part.strip() for part in parts]
    if not operators:
        return None
    if not all(parts):
        return text(content)
    kinds = set(operators)
    if kinds <= {"=", r"\approx"}:
        return _equality(parts, operators, read) or text(content)
    if operators == [r"\in"]:
        label = _label(parts[0]) if r"\text" not in parts[0] and r"\mid" not in parts[0] else None
        return Labelled(label, read(parts[1])) if label else text(content)
    if operators == [r"\equiv"] and r"\pmod" in parts[1] and (label := _symbol(parts[0])):
        return Labelled(label, text(parts[1]))
    if operators == [r"\ne"]:
        return _inequation(parts[0], parts[1], read) or text(content)
    if kinds <= {"<", r"\le"} or kinds <= {">", r"\ge"}:
        return _inequality(parts, operators, read) or text(content)
    return text(content)


def _value(content: str) -> Value | None:
    """The value of an expression, None for what is none or is too large."""
    try:
        return parse(content)
    except (UnreadableError, TooLargeError):
        return None


def _symbol(content: str) -> str | None:
    """The name of a single symbol."""
    value = _value(content)
    if value is None or len(value.top) != 1 or len(value.bottom) > 1:
        return None
    ((monomial, factor),) = value.top.items()
    names = list(monomial)
    return names[0][0] if factor == 1 and len(names) == 1 and names[0][1] == 1 and isinstance(names[0][0], str) else None


def _label(content: str) -> str | None:
    r"""What an equation gives a value to, so that `V=12` can be shortened to 12; None for the left side of any other equation.

    A symbol, f(x), |AB|, \sin A, \angle A, words, and a sum or product of different symbols: `m+n=7` asks for m+n. Not so in x, y
    and z, where x+y=7 is a line.
    """
    value = _value(content)
    if value is None:
        return None if _NO_LABEL.search(content) else content.replace(" ", "")
    if name := _symbol(content):
        return name
    if _is_call(value):
        return content.replace(" ", "")
    if not value.letters or len(value.bottom) > 1 or value.letters == _of_one(value):
        return None
    for monomial, factor in value.top.items():
        if abs(factor) != 1 or not monomial or (len(monomial) > 1 and len(value.top) > 1):
            return None
        for base, exponent in monomial:
            if abs(exponent) != 1 or isinstance(base, int):
                return None
            if isinstance(base, Atom) and not _names_value(base, len(value.top) * len(monomial)):
                return None
    return None if len(value.letters) > 1 and value.letters & _COORDINATES and value.exact else content.replace(" ", "")


def _is_call(value: Value) -> bool:
    """Whether a value is that of a function, f(2), which has no letter."""
    calls = (base for base in value.bases if isinstance(base, Atom) and base.name.startswith("call "))
    return any(value == function(base.name, *base.args) for base in calls)


def _of_one(value: Value) -> frozenset[str] | None:
    """The letter of a value that is a power or multiple of a single one, as 1/x and -x; None for any other."""
    if len(value.top) != 1:
        return None
    ((monomial, _),) = value.top.items()
    names = [base for base, _ in monomial]
    return frozenset([names[0]]) if len(names) == 1 and isinstance(names[0], str) else None


def _names_value(atom: Atom, factors: int) -> bool:
    """Whether an atom by itself is what a problem may ask for: f(2), |AB|, the sine of an angle."""
    if atom.name.startswith("call "):
        return factors == 1
    if atom.name == "abs":  # a length, and not a circle or two points
        return factors == 1 and not atom.args[0].letters & _COORDINATES
    return (
        atom.name in ("sin", "cos", "tan", "cot", "sec", "csc", "binom", "floor", "ceil", "max", "min")
        and not atom.args[0].letters & _COORDINATES
    )


def _equality(parts: list[str], operators: list[str], read: Reader) -> Node | None:
    if r"\approx" in operators:  # what follows is rounded, unless it is all there is
        cut = operators.index(r"\approx")
        parts = parts[:2] if cut == 0 and _label(parts[0]) else parts[: cut + 1]
        if len(parts) == 1:
            return read(parts[0])
    first, last = parts[0], parts[-1]
    if any(map(_TWO_EQUATIONS.search, parts[1:-1])) or _forgets(parts):
        return None
    if len(parts) == 2 and _symbol(last) and not _symbol(first) and (value := _value(first)) is not None and not value.letters:
        first, last = last, first
    symbols = [_symbol(part) for part in parts[:-1]]
    names = [name for name in symbols if name]
    if len(names) > 1:  # a = b = 5
        return Named(tuple(names), (read(last),) * len(names)) if len(names) == len(symbols) == len(set(names)) else None
    if first[0] in "([" and (named := _named(first, last, read)):
        return named
    left, right = _value(first), _value(last)
    difference = left - right if left is not None and right is not None else None
    if label := _label(first):
        body = read(last)
        if isinstance(body, Group) and body.shape == "" and body.items and isinstance(body.items[0], Labelled):
            return None
        return Labelled(label, body, difference)
    if left is not None and right is not None and not left.letters | right.letters and _rounds(last, left):
        return read(first)  # 7/3=2.33
    if left is not None and not left.letters:  # 2+3=5
        if difference is None and right is None:
            return read(last)
        if difference is not None and not difference.letters and (not difference.top or not difference.exact):
            return read(last)
    if difference is not None and not difference.top:  # x^2-1=(x-1)(x+1)
        return read(last)
    return Relation("=", difference) if difference is not None and difference.letters and len(parts) == 2 else None


def _forgets(parts: list[str]) -> bool:
    """Whether a chain says more than its ends: x=y/2=z/3."""
    last = _value(parts[-1])
    middle = [_value(part) for part in parts[1:-1]]
    return last is not None and bool(last.letters) and any(each is not None and not each.same(last) for each in middle)


def _rounds(decimal: str, value: Value) -> bool:
    """Whether a text is a decimal that a value rounds to at its last place."""
    if not (match := re.fullmatch(r"-?[0-9]*\.([0-9]{1,15})", decimal)):
        return False
    try:
        exact, _ = approximate(value)
    except (ArithmeticError, ValueError):
        return False
    return abs(exact - float(decimal)) <= 0.5000001 * 10.0 ** -len(match[1])


def _named(first: str, last: str, read: Reader) -> Node | None:
    """(a,b)=(1,2)"""
    names, values = read(first), read(last)
    if not isinstance(names, Group) or len(names.items) < 2:
        return None
    labels = [_symbol(item.text) if isinstance(item, Quantity) else None for item in names.items]
    known = [label for label in labels if label]
    if len(known) < len(labels):
        return None
    if isinstance(values, Group) and values.shape == names.shape and len(values.items) == len(known) == len(set(known)):
        return Named(tuple(known), values.items)
    return Labelled(",".join(known), values) if isinstance(values, Group) else None


def _inequation(left: str, right: str, read: Reader) -> Node | None:
    if label := _symbol(left):
        points = read(right)
        parts = points.items if isinstance(points, Group) and points.shape == "" else (points,)
        if found := without(parts):
            return Labelled(label, found)
    return None


def _inequality(parts: list[str], operators: list[str], read: Reader) -> Node | None:
    if operators[0] in _FLIPPED:
        parts, operators = parts[::-1], [_FLIPPED[operator] for operator in operators[::-1]]
    if len(parts) == 3:
        low, middle, high = parts
        if (label := _symbol(middle)) is None:
            return None
        ends = read(low), read(high)
        return Labelled(label, _between(*ends, *(operator == r"\le" for operator in operators)))
    if len(parts) > 3:
        return None
    left, right = _value(parts[0]), _value(parts[1])
    closed = operators[0] == r"\le"
    if left is None or right is None:
        return None
    difference = left - right
    for side, place in ((parts[0], 0), (parts[1], 1)):
        if (label := _symbol(side)) and label in difference.letters and len(difference.letters) == 1:
            end = read(parts[1 - place])
            return Labelled(
                label, _between(MINUS_INFINITY, end, False, closed) if place == 0 else _between(end, INFINITY, closed, False)
            )
    return _solved(difference, closed) or Relation(operators[0], difference)


def _between(low: Node, high: Node, closed_low: bool, closed_high: bool) -> Node:
    shape = ("[" if closed_low else "(") + ("]" if closed_high else ")")
    found = reals(Group(shape, (low, high)))
    assert found is not None
    return found


def _solved(difference: Value, closed: bool) -> Node | None:
    """a x + b < 0 for rational a, solved for x."""
    if len(difference.letters) != 1 or len(difference.bottom) > 1 or not difference.exact:
        return None
    (label,) = difference.letters
    slope, rest = Fraction(0), {}
    for monomial, factor in difference.top.items():
        if monomial == frozenset([(label, Fraction(1))]):
            slope = factor
        elif any(base == label for base, _ in monomial):
            return None
        else:
            rest[monomial] = factor
    if not slope:
        return None
    end = Quantity("", Value({monomial: -factor / slope for monomial, factor in rest.items()}))
    return Labelled(label, _between(MINUS_INFINITY, end, False, closed) if slope > 0 else _between(end, INFINITY, closed, False))
