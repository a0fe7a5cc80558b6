"""Answers compared word by word: BIG-Bench Extra Hard's words, lists and numbers, and anything else that is short and exact."""

import re
from collections.abc import Sequence
from fractions import Fraction

from pipeline.domain.graders.protocol import Verdict
from pipeline.domain.prompts import extract_boxed

_MACRO = re.compile(r"\\(?:text|textbf|textit|texttt|mathrm|mathbf|mbox|emph) ?\{([^{}]*)\}")
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
    r"""Lower case, single spaces, without text macros, quotes and, unless told otherwise, outer brackets.

    >>> plain(r"\text{[Yes, it is]}")
    'yes, it is'
    """
    for _ in range(3):  # macros inside macros
        text = _MACRO.sub(r"\1", text)
    text = " ".join(text.replace("\\ ", " ").replace("~", " ").lower().split()).rstrip(".")
    for opening, closing in _OUTER:
        if (
            (brackets or opening not in "[({")
            and len(text) > len(opening + closing)
            and text.startswith(opening)
            and text.endswith(closing)
        ):
            text = text[len(opening) : -len(closing)].strip()
    return text.strip(" \"'")


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
