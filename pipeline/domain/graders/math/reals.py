"""Sets of real numbers as unions of intervals."""

from collections.abc import Sequence
from itertools import pairwise, product

from pipeline.domain.graders.math.nodes import Group, Interval, Node, Quantity, Reals, Text
from pipeline.domain.graders.math.numeric import approximate

MINUS_INFINITY, INFINITY = Text(r"-\infty"), Text(r"\infty")
ALL = Reals((Interval(MINUS_INFINITY, INFINITY, False, False),))


def reals(node: Node) -> Reals | None:
    """The node as a set of reals: an interval, a pair that can be one, a set of numbers; None for any other."""
    if isinstance(node, Reals):
        return node
    if not isinstance(node, Group):
        return None
    if node.shape == "{}":
        return union([Interval(item, item, True, True) for item in node.items])
    if len(node.items) == 2 and node.shape in ("()", "[]", "(]", "[)"):
        low, high = node.items
        return Reals((Interval(low, high, node.shape[0] == "[", node.shape[1] == "]"),))
    return None


def position(node: Node) -> float | None:
    """Where an end of an interval lies; None where that is not known."""
    if node in (MINUS_INFINITY, INFINITY):
        return float("inf") if node == INFINITY else float("-inf")
    if not isinstance(node, Quantity) or node.value is None or node.value.letters or node.unit or node.percent:
        return None
    try:
        value, _ = approximate(node.value)
    except (ArithmeticError, ValueError):
        return None
    return value.real if abs(value.imag) < 1e-9 else None


def union(parts: Sequence[Interval]) -> Reals | None:
    """The union in normal form: in order, with what touches or overlaps joined. None where the order is not known."""
    if len(parts) == 1:
        return Reals(tuple(parts))
    placed = [(position(part.low), position(part.high), part) for part in parts]
    known = [(low, high, part) for low, high, part in placed if low is not None and high is not None and low <= high]
    if len(known) < len(parts):
        return None
    joined: list[tuple[float, Interval]] = []
    for low, high, part in sorted(known, key=lambda entry: (entry[0], not entry[2].closed_low)):
        if joined:
            end, last = joined[-1]
            if low < end or (low == end and (part.closed_low or last.closed_high)):
                if high < end:
                    continue
                closed = part.closed_high or (last.closed_high and high == end)
                joined[-1] = (high, Interval(last.low, part.high, last.closed_low, closed))
                continue
        joined.append((high, part))
    return Reals(tuple(part for _, part in joined))


def intersection(sets: Sequence[Reals]) -> Reals | None:
    """What is in each of the sets, perhaps nothing. None where the order of their ends is not known."""
    found, *others = sets
    for other in others:
        parts = []
        for one, two in product(found.parts, other.parts):
            ends = [position(end) for end in (one.low, two.low, one.high, two.high)]
            known = [end for end in ends if end is not None]
            if len(known) < len(ends):
                return None
            lows = ((known[0], not one.closed_low, one.low), (known[1], not two.closed_low, two.low))
            highs = ((known[2], one.closed_high, one.high), (known[3], two.closed_high, two.high))
            low, open_low, start = max(lows, key=lambda end: end[:2])
            high, closed_high, stop = min(highs, key=lambda end: end[:2])
            if low < high or (low == high and closed_high and not open_low):
                parts.append(Interval(start, stop, not open_low, closed_high))
        found = Reals(tuple(parts))
    return found


def without(points: Sequence[Node]) -> Reals | None:
    """All reals but some points."""
    placed = [(position(point), point) for point in points]
    known = sorted(((place, point) for place, point in placed if place is not None), key=lambda entry: entry[0])
    if len(known) < len(points) or not known:
        return None
    ends = [MINUS_INFINITY, *(point for _, point in known), INFINITY]
    return Reals(tuple(Interval(low, high, False, False) for low, high in pairwise(ends)))
