r"""Quantities: an expression with a percent sign, a currency, a scale word or a unit; and words mixed with numbers."""

import re
from fractions import Fraction

from pipeline.domain.graders.math.expression import parse
from pipeline.domain.graders.math.functions import UnreadableError
from pipeline.domain.graders.math.nodes import Mixed, Node, Quantity, Text
from pipeline.domain.graders.math.units import UNITS, scale, unit
from pipeline.domain.graders.math.value import TooLargeError, number
from pipeline.domain.graders.math.vocabulary import SHORT_WORDS, alternatives
from pipeline.domain.graders.math.words import TEXT, without_texts

MIN_DIGITS = 6  # a decimal of fewer significant digits is taken as exact: 0.33 is not 1/3
# Of a number in double precision that is printed whole: 0.30000000000000004.
FLOAT_DIGITS, FLOAT_ERROR = range(15, 18), Fraction(4, 10**16)
MAX_PIECES = 15  # of words and expressions in turn
_CURRENCIES = ("dollar", "euro", "pound sterling", "yen", "rupee", "cent")
_DECIMAL = re.compile(r"[+-]? ?([0-9]*)\.([0-9]+)(?:[eE]([+-]?[0-9]{1,4})| ?\\cdot ?10 ?\^ ?(?:\{ ?(-?[0-9]{1,4}) ?\}|([0-9])))?")
_SHORT = alternatives(SHORT_WORDS)
_FORMULA = re.compile(rf"(?!(?i:{_SHORT})$)[a-zA-Z]{{2}}|(?=[a-zA-Z]*[a-z])[a-zA-Z]+[A-Z][a-zA-Z]*")
_PHRASES = {"no solutions": "no solution", "no real solutions": "no real solution", "dne": "does not exist"}
_TO = re.compile(r"([0-9.]+)\\text\{to\}([0-9.]+)")
_WORDS = re.compile(r"(?:[^\W\d_]|['\-. ])*")


def text(content: str) -> Text:
    """Words in lower case, except for formulas such as CO and AaBb; any other text, of which the case may matter, as it is."""
    plain = without_texts(content)
    words = " ".join(word if _FORMULA.fullmatch(word) else word.lower() for word in plain.split(" ")).replace(".", "")
    return Text(_PHRASES.get(words, words) if _WORDS.fullmatch(plain) else plain)


def expression(content: str) -> Node:
    """A quantity without unit; `Text` for what is no expression."""
    percent = content.endswith("%")
    bare = content.removesuffix("%").removesuffix("\\").strip() if percent else content
    try:
        return Quantity(bare, parse(bare), percent=percent, half=_half_unit(bare))
    except TooLargeError:
        return Quantity(bare, None, percent=percent)
    except UnreadableError:
        return text(content)


def _half_unit(content: str) -> Fraction:
    """Half a unit in the last place, trailing zeros not counted, of a decimal with enough digits to have been rounded.

    That of a floating-point number, with all its digits, is its error.
    """
    match = _DECIMAL.fullmatch(content)
    if not match:
        return Fraction(0)
    whole, places = match[1], match[2].rstrip("0")
    digits = (whole + places).lstrip("0")
    if not places or len(digits) < MIN_DIGITS:
        return Fraction(0)
    last = Fraction(10) ** (int(match[3] or match[4] or match[5] or 0) - len(places))
    return max(last / 2, int(digits) * last * FLOAT_ERROR if len(digits) in FLOAT_DIGITS else Fraction(0))


def quantity(content: str) -> Node:
    """Whatever has no structure but words: a quantity, words, or both."""
    if ratio := _TO.fullmatch(content):
        return expression(f"{ratio[1]}/{ratio[2]}")
    pieces = [piece.strip() for piece in TEXT.split(content)]  # expression, words, expression, words, ..., expression
    if len(pieces) == 1:
        return expression(content)
    if len(pieces) > MAX_PIECES or (len(pieces) == 3 and not pieces[0] and not pieces[2]):
        return text(content)
    currency = _currency(pieces[1]) if pieces[0] in ("", "-", "+") else ""
    if currency:
        sign, _, first, *rest = pieces
        pieces = [sign + first, *rest]
    if len(pieces) == 3 and pieces[0] and not pieces[2]:
        if currency:  # \$12/hour, \$12 per hour
            pieces = [pieces[0].removesuffix("/"), pieces[1].removeprefix("per ").lstrip("/ "), ""]
        factor, words = scale(pieces[1])
        name = unit(words) if words else ""
        found = _with_unit(pieces[0], factor, "/".join(filter(None, (currency, name)))) if name is not None else None
        if found:
            return found
    elif len(pieces) == 1 and (found := _with_unit(pieces[0], 1, currency)):
        return found
    if currency:
        pieces = ["", currency, *pieces]
    parts = [_words(piece) if place % 2 else _inner(piece) for place, piece in enumerate(pieces) if piece]
    return Mixed(tuple(parts)) if len(parts) > 1 else parts[0]


def _currency(piece: str) -> str:
    """The currency that words before a number name; empty where they name none. `rs` is that there alone: `4rs` is a product."""
    name = piece.rstrip(". ")
    name = "rupee" if name in ("Rs", "rs") else UNITS.get(name, name)
    return name if name in _CURRENCIES else ""


def _words(piece: str) -> Text:
    """Words between expressions; units in one spelling, as in `2 hours and 30 minutes`."""
    name = unit(piece.removesuffix(" and").removesuffix(","))
    return Text(name) if name in UNITS else text(piece)


def _inner(piece: str) -> Node:
    """An expression between words; a colon there is that of a time."""
    return text(piece) if ":" in piece else expression(piece)


def _with_unit(content: str, factor: int, name: str) -> Quantity | None:
    found = expression(content)
    if not isinstance(found, Quantity) or (found.percent and (name or factor != 1)):
        return None
    if factor == 1:
        return Quantity(found.text, found.value, name or None, found.percent, found.half)
    value = None if found.value is None else found.value * number(factor)
    return Quantity(rf"{factor}\cdot({found.text})", value, name or None, half=found.half * factor)
