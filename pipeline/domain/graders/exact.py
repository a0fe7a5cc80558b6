"""Answers compared word by word: BIG-Bench Extra Hard's words, lists and numbers, and anything else that is short and exact."""

import re
from collections.abc import Sequence
from fractions import Fraction

from pipeline.domain.graders.math.symbols import FULL_WIDTH
from pipeline.domain.graders.protocol import Verdict
from pipeline.domain.prompts import extract_boxed

_MACRO = re.compile(
    r"\\(?:(?:text|math)(?:bf|it|rm|sf|sc|tt|normal)?|boldsymbol|bm|mbox|emph|underline|operatorname|boxed|f(?:rame)?box"
    r"|(?:text)?color ?\{[^{}]*\}) ?\{([^{}]*)\}"
)
_SWITCH = re.compile(r"\\(?:bf|it|rm|sf|tt|bfseries|displaystyle)(?![a-zA-Z])|\\[,;:! ]|\\q?quad(?![a-zA-Z])|~")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|\\[,;! ])(?=[0-9]{3}(?![0-9]))")
_ESCAPED = re.compile(r"\\([_$%&#])")
_TYPED = FULL_WIDTH | dict(zip(map(ord, "−–‐‑’‘“”。"), "----''\"\".", strict=True))
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,300})(?:\.[0-9]{0,300})?|[+-]?\.[0-9]{1,300}")
_OUTER = (
    ("[", "]"),
    ("(", ")"),
    ("{", "}"),
    (r"\{", r"\}"),
    (r"\(", r"\)"),
    ("$", "$"),
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("**", "**"),
)


def plain(text: str, brackets: bool = True) -> str:
    r"""Lower case, single spaces, without fonts, quotes and, unless told otherwise, outer brackets.

    >>> plain(r"\text{[Yes, it is]}")
    'yes, it is'
    """
    text = _THOUSANDS.sub(",", text.translate(_TYPED))
    before = None
    while text != before:  # marks inside marks
        before = text
        text = " ".join(_SWITCH.sub(" ", _MACRO.sub(r"\1", text)).lower().split()).rstrip(".,\\")
        for opening, closing in _OUTER:
            if (brackets or opening not in "[({") and _around(text, opening, closing):
                text = text[len(opening) : -len(closing)].strip() or f"{opening}{closing}"  # an empty list is an answer
    return _ESCAPED.sub(r"\1", text).strip(" \"'")


def _around(text: str, opening: str, closing: str) -> bool:
    """Whether the marks are around the whole text: the brackets of `(a), (b)` are not."""
    if not (len(text) > len(opening + closing) and text.startswith(opening) and text.endswith(closing)):
        return False
    inner = text[len(opening) : -len(closing)]
    return opening == closing or closing not in inner or 0 <= inner.find(opening) < inner.find(closing)


class ExactGrader:
    """Two answers are equal where their words are; numbers, also those in a list, by value: `(a)` is `a`, `5.0` is `5`."""

    def extract(self, response: str, options: Sequence[str] = ()) -> str | None:
        r"""What the last `\boxed{}` holds."""
        return extract_boxed(response)

    def canonical(self, answer: str) -> str:
        text = plain(answer)
        if number := _value(text):  # with commas between thousands
            return number
        parts = [part.strip(" \"'") for part in text.split(",")]
        return ", ".join(_value(part) or part for part in parts)

    def equivalent(self, a: str, b: str) -> Verdict:
        return a == b != ""


def _value(text: str) -> str | None:
    return str(Fraction(text.replace(",", "").removesuffix("."))) if _NUMBER.fullmatch(text) else None
