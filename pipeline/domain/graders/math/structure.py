r"""How an answer is built: lists, brackets, unions, options; relations and quantities are read by modules of their own."""

import re
from functools import lru_cache
from typing import TypeGuard

from pipeline.domain.graders.math.clean import clean
from pipeline.domain.graders.math.matrices import matrix
from pipeline.domain.graders.math.nodes import Choice, Clock, Group, Labelled, Named, Node, Quantity, Reals, Text
from pipeline.domain.graders.math.quantities import quantity, text
from pipeline.domain.graders.math.reals import ALL, INFINITY, MINUS_INFINITY, intersection, reals, union, without
from pipeline.domain.graders.math.relations import related
from pipeline.domain.graders.math.scan import closing, split
from pipeline.domain.graders.math.value import TooLargeError
from pipeline.domain.graders.math.words import TEXT, without_texts

_AND, _OR = r"\text{and}", r"\text{or}"
_DATE = re.compile(r"[0-9]{4}([-/.])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/.])[0-9]{1,2}\2[0-9]{4}|[0-9]{1,2}:0[0-9](?::[0-9]{2})?")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9](?::[0-5][0-9])?)")
_CHOICE = re.compile(
    r"(?:\(([A-J])\)|([A-J])(?:[.:)](?=[ \\])|[.)])) ?(?!\\c[ua]p|\\setminus|[-+*/^=<>()_,;:]|\\cdot|\\le|\\ge|\\in)(.+)"
)
_MEMBER = re.compile(r"([a-zA-Z])(?: ?\\in ?\\mathbb\{?R\}?)? ?(?:\\mid|\||:) ?(.+)")
_SIGNS = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])")
_UNEQUAL = re.compile(r"([^=<>,;]{1,40}?)\\ne(?![a-zA-Z])((?:(?!\\[lg]e(?![a-zA-Z]))[^=<>;])+)")
_SMALLER = {  # units, and those that count what is over
    "week weeks": "days?", "year years": "months?", "day days": "h|hrs?|hours?", "h hr hrs hour hours": "mins?|minutes?",
    "min mins minute minutes": "s|secs?|seconds?", "foot feet ft": "in|inch|inches", "pound pounds lb lbs": "oz|ounces?",
}  # fmt: skip
_COMPOUND = re.compile(  # 2 hours and 30 minutes
    "|".join(
        rf"(?<=[0-9]\\text\{{{unit}\}}),?\\text\{{and\}}(?=[0-9.]+\\text\{{(?:{smaller})\}}$)"
        for larger, smaller in _SMALLER.items()
        for unit in larger.split()
    )
)
_POSITIVE = re.compile(r"\\mathbb\{R\} ?(?:\^ ?|_ ?)\{? ?([+-]|> ?0) ?\}?")
_HEXADECIMAL = re.compile(r"0[xX][0-9A-Fa-f]+|0[A-F]+")
_RESPECTIVELY = re.compile(r"(.+?),? ?\\text\{(?:([^{}]+?),? )?respectively\}", re.DOTALL)
_BASE = re.compile(r"[A-F]*[0-9][0-9A-F]* ?_ ?(?:\{[^{}]*\}|[0-9])")


@lru_cache(maxsize=2048)
def read(content: str) -> Node:
    """What a cleaned answer says; `Text` for whatever is not understood or beyond the limits of the arithmetic."""
    try:
        return _read(_COMPOUND.sub("", content.strip()))
    except (TooLargeError, ZeroDivisionError, RecursionError):
        return text(content)


def _read(content: str) -> Node:
    if clock := _CLOCK.fullmatch(content):  # no ratio has a number with a zero in front
        return Clock(int(clock[1]), clock[2], text(content) if ":0" in content else _ratio(content) or text(content))
    if _HEXADECIMAL.fullmatch(content):
        return Text(content.upper())
    if _DATE.fullmatch(content) or _BASE.fullmatch(content):
        return Text(content.replace(" ", "").replace("{", "").replace("}", ""))
    if (words := TEXT.fullmatch(content)) and any(not char.isalpha() and char not in " -'" for char in words[1]):
        inner = clean(words[1])
        return read(inner) if inner != content else text(content)
    if choice := _CHOICE.fullmatch(content):
        return _choice(choice[1] or choice[2], choice[3], content)
    if content.isascii() and content.isalpha() and (len(content) > 2 or (len(content) == 2 and content.isupper())):
        return text(content)
    for reader in (_matrix, _unequal, _listed, _united, _related, _bracketed, _ratio, _signed):
        if (found := reader(content)) is not None:
            return found
    if positive := _POSITIVE.fullmatch(content):
        return _read(r"(-\infty,0)" if positive[1] == "-" else r"(0,\infty)")
    if content == r"\mathbb{R}" or without_texts(content).lower() in ("all real numbers", "all reals", "the real numbers"):
        return ALL
    return Group("{}", ()) if content == r"\emptyset" else _plain(content)


def _plain(content: str) -> Node:
    if content.replace("+", "") in (r"\infty", r"-\infty"):
        return Text(content.replace("+", ""))
    return quantity(content)


def _choice(letter: str, rest: str, content: str) -> Node:
    return text(content) if "=" in rest or re.search(r"\([A-J]\)|(?<![A-Z])[A-J][:)]", rest) else Choice(letter, read(rest))


def _unequal(content: str) -> Node | None:
    r"""A number that is none of several: `x\ne1,2`, `x\ne1, x\ne2`."""
    if (match := _UNEQUAL.fullmatch(content)) is None:
        return None
    again = rf" ?(?:,|\\text\{{and\}}) ?(?:{re.escape(match[1].strip())} ?\\ne(?![a-zA-Z]) ?)?"
    points = re.sub(again, ",", match[2])
    found = _related(rf"{match[1]}\ne {points}") if "," in points and r"\ne" not in points else None
    return found if isinstance(found, Labelled) else None


def _listed(content: str) -> Node | None:
    """Items between commas, semicolons, `and` and `or`: an unordered list, unless they are told to be in order."""
    if ordered := _RESPECTIVELY.fullmatch(content):
        found = _listed(ordered[1] + (rf"\text{{{ordered[2]}}}" if ordered[2] else ""))
        return Group("()", found.items) if found is not None and _is_list(found) else found
    parts, separators = split(content, (r"\lor", r"\vee"))
    if separators and all(re.search(r"[=<>]|\\[lg]e(?![a-z])", part) for part in parts):
        content = _OR.join(parts)
    parts, separators = split(content, (";", _OR))  # x=1, y=2 or x=2, y=1
    if not separators:
        parts, separators = split(content, (",", _AND))
    if not separators:
        return None
    items = [read(part) for part in parts if part.strip()]
    if not items:
        return text(content)
    lengths = [len(split(part, (",", _AND))[0]) for part in parts if part.strip()]
    if separators[0] in (";", _OR) and len(items) > 1 and len(set(lengths)) == 1 < lengths[0]:  # 1,2; 3,4
        items = [Group("()", item.items) if _is_list(item) else item for item in items]
    labelled = [item for item in items if isinstance(item, Labelled)]
    if _OR not in separators and len(labelled) == len(items) > 1 and (found := _bounds(labelled, both=_AND in separators)):
        return found
    if not labelled and any(_is_endless(item) for item in items) and (whole := _united_items(items)):
        return whole  # (-\infty,2), (3,\infty)
    if set(separators) == {_OR} and labelled:
        if all(isinstance(item.body, Reals) for item in labelled) and (found := _united_items(items)):
            return found
        if len({item.label for item in labelled}) > 1:
            return text(content)
    return _collected(items) or text(content)


def _is_list(node: Node) -> TypeGuard[Group]:
    return isinstance(node, Group) and node.shape == ""


def _is_endless(node: Node) -> bool:
    """Whether a pair is an interval, as one end is infinite, and no point."""
    return isinstance(node, Group) and node.shape in ("()", "(]", "[)") and not {MINUS_INFINITY, INFINITY}.isdisjoint(node.items)


def _bounds(items: list[Labelled], both: bool) -> Node | None:
    r"""Bounds of one letter: what all of them leave (`x>1, x\ne2`), or each side where that is nothing (`x<1, x>3`).

    Between commas, all of them are meant only where either would leave every number.
    """
    known = [each for each in map(reals, (item.body for item in items)) if each]
    some_bound = any(isinstance(item.body, Reals) for item in items)  # x=(1,2), x=(3,4) are two points
    if len({item.label for item in items}) > 1 or len(known) < len(items) or not some_bound:
        return None
    common, either = intersection(known), union([part for each in known for part in each.parts])
    if common is None or either is None:
        return None
    if common.parts:
        return Labelled(items[0].label, common) if both or either == ALL else None
    return Labelled(items[0].label, either)


def _collected(items: list[Node]) -> Node | None:
    """A list of items, of which `x=1, 2` is one about x, and `x=1, y=2` one with names."""
    if len(items) == 1:
        return items[0]
    labels = [item.label if isinstance(item, Labelled) else None for item in items]
    if labels[0] is not None and set(labels[1:]) <= {labels[0], None}:
        bodies = [item.body if isinstance(item, Labelled) else item for item in items]
        return Labelled(labels[0], Group("", _flat(bodies)))
    names = [label for label in labels if label is not None]
    if len(set(names)) > 1 and len(names) < len(items):  # x=1,2 and y=3: whose is the 2?
        return None
    if len(names) == len(items):
        bodies = [item.body for item in items if isinstance(item, Labelled)]
        size = len(set(names))  # x=1, y=2, x=2, y=1: two solutions
        if names != names[:size] * (len(names) // size):
            return None
        solutions = [Named(tuple(names[:size]), tuple(bodies[start : start + size])) for start in range(0, len(bodies), size)]
        return solutions[0] if len(solutions) == 1 else Group("", tuple(solutions))
    return Group("", _flat(items))


def _flat(items: list[Node]) -> tuple[Node, ...]:
    r"""The items, with the two values of 1 \pm x as two."""
    return tuple(part for item in items for part in (item.items if isinstance(item, Group) and item.shape == "" else (item,)))


def _united(content: str) -> Node | None:
    r"""A union, or the reals without some points; None for any other operation on sets."""
    parts, separators = split(content, (r"\cup", r"\setminus"))
    if not separators:
        return None
    first, *others = (read(re.sub(r"^ ?\{(.*)\} ?$", r"\\{\1\\}", part)) for part in parts)
    if isinstance(first, Labelled) and not any(isinstance(other, Labelled) for other in others):  # x in (0,1) or (2,3)
        found = _combined([first.body, *others], separators)
        return Labelled(first.label, found) if found else None
    return _combined([first, *others], separators)


def _combined(items: list[Node], separators: list[str]) -> Node | None:
    if separators == [r"\setminus"] and items[0] == ALL and isinstance(items[1], Group) and items[1].shape == "{}":
        return without(items[1].items)
    return None if r"\setminus" in separators else _united_items(items)


def _united_items(items: list[Node]) -> Node | None:
    """The union of sets of reals, all about the same label if about any."""
    labels = {item.label if isinstance(item, Labelled) else None for item in items}
    sets = [reals(item.body if isinstance(item, Labelled) else item) for item in items]
    if len(labels) > 1 or None in sets:
        return None
    label, whole = labels.pop(), union([part for each in sets if each for part in each.parts])
    return whole if label is None or whole is None else Labelled(label, whole)


def _matrix(content: str) -> Node | None:
    return matrix(content, read)


def _related(content: str) -> Node | None:
    return related(content, read)


def _bracketed(content: str) -> Node | None:
    opening = r"\{" if content.startswith(r"\{") else content[:1]
    if opening not in ("(", "[", r"\{") or closing(content) != len(content):
        return None
    end = r"\}" if content.endswith(r"\}") else content[-1]
    inner = content[len(opening) : -len(end)].strip()
    shape = opening[-1] + end[-1]
    if shape == "{}" and (member := _MEMBER.fullmatch(inner)):
        found = read(member[2])
        return (
            found.body
            if isinstance(found, Labelled) and found.label == member[1] and isinstance(found.body, Reals)
            else text(content)
        )
    parts, separators = split(inner, (",", ";"))
    if not separators and shape == "()":
        return read(inner)
    if shape == "()" and len(_SIGNS.findall(inner)) == 1:  # (1 \pm x, 2): two points
        return _signed(content)
    items = [read(part) for part in parts if part.strip()]
    if shape == "{}" and len(set(separators)) > 1 and _is_list(found := read(inner)):
        return Group(shape, found.items)  # {1,2; 3,4}
    if inner and (len(items) < len(parts) or (shape in ("(]", "[)") and len(items) != 2)):
        return text(content)
    return Group(shape, _flat(items) if shape == "{}" else tuple(items))


def _ratio(content: str) -> Node | None:
    parts, separators = split(content, (":",))
    if not separators or r"\text" in content:
        return None
    items = [quantity(part.strip()) if part.strip() else Text("") for part in parts]
    values = [item.value for item in items if isinstance(item, Quantity) and not item.percent and item.unit is None]
    known = [value for value in values if value is not None and value.top]
    if len(known) < len(items):
        return text(content)
    scaled = [value / known[-1] for value in known]
    texts = [item.text for item in items if isinstance(item, Quantity)]
    found = tuple(Quantity(rf"\frac{{{name}}}{{{texts[-1]}}}", value) for name, value in zip(texts, scaled, strict=True))
    return found[0] if len(found) == 2 else Group(":", found)


def _signed(content: str) -> Node | None:
    r"""Both values of an expression with one \pm."""
    places = len(_SIGNS.findall(content))
    if not places:
        return None
    if places > 1:
        return text(content)
    both = [_SIGNS.sub(sign, content) for sign in "+-"]
    return Group("", tuple(read(each.strip()) for each in both))


def sequence(node: Named) -> bool:
    """Whether the names are x_1, x_2, ...: solutions of one equation, of which the order says nothing."""
    bases = {name.partition("_") for name in node.labels}
    return len({base for base, *_ in bases}) == 1 and all(index.isdigit() for *_, index in bases)
