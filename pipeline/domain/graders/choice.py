"""Answers to multiple-choice questions: letters."""

import re
from collections.abc import Sequence

from pipeline.domain.graders.exact import plain
from pipeline.domain.graders.protocol import Verdict
from pipeline.domain.prompts import extract_boxed

# A letter alone, in brackets, or before the text of its option: "C", "(c)", "C. 12", "C) 12", "C: 12", "(C) 12", "(C): 12".
_LETTER = re.compile(
    r"(?:(?:the )?(?:correct |final |best )?(?:option|answer|choice)(?: is)?:? )?"
    r"(?:[\[({]([a-z])[\])}][.:,;]?|([a-z])(?:[.):,;]|$))( .*|$)?",
    re.IGNORECASE | re.DOTALL,
)
# After the first, a letter that ends the answer, is marked as one, or is one of a list: "(A) and (C)", "A, B, C". Or a denial.
_NEXT = r"(?:[,;/&]|and\b|or\b|then\b)"
_ANOTHER = re.compile(
    rf"^[\])}}.:,;]* *(?:{_NEXT} *)?[\[({{]?[a-j][\])}}.:]*$|[ ,;/&][\[({{]?[a-j][\])](?=\W|$)"
    rf"|^[\])}}]? *{_NEXT} *(?:and |or |then )?[a-j] *(?:{_NEXT}|[.:])|^\. *[a-j]\. *[a-j](?:\.|$)"
    r"|^[\])}]? *(?:is|are) (?:not (?:correct|right|true|the answer)|incorrect|wrong|false)$",
    re.IGNORECASE,
)
_LETTER_AND_TEXT = re.compile(r"([a-z])[ .:,]+(.+)", re.DOTALL)  # of which the text has to be that option's


def _only_letter(match: re.Match[str] | None) -> str:
    """The letter of a match of `_LETTER`; empty where another follows it."""
    if match is None:
        return ""
    end = match.end(1) if match[1] else match.end(2)
    return "" if _ANOTHER.search(match.string[end:]) else (match[1] or match[2]).upper()


def _with_brackets(text: str) -> str:
    return plain(text.replace("**", ""), brackets=False)


class ChoiceGrader:
    r"""Two answers are equal where both give the same letter; an answer without a letter is equal to nothing.

    >>> ChoiceGrader().extract(r"so \boxed{\text{Paris}}", ["Rome", "Paris"])
    'B'
    >>> ChoiceGrader().extract(r"\boxed{A}", ["B", "A"])
    'A'
    """

    def extract(self, response: str, options: Sequence[str] = ()) -> str | None:
        """The letter of the last box, or of the one option whose text it holds; what the box holds, where it gives no letter."""
        boxed = extract_boxed(response)
        if boxed is None:
            return None
        # Before the texts: that of another option may be a letter, too.
        marked, said = _LETTER.fullmatch(_with_brackets(boxed)), plain(boxed)
        letter = _only_letter(marked)
        if letter and said == letter.lower() and letter in boxed:
            return letter
        texts = [plain(option) for option in options]
        if texts.count(said) == 1:
            return chr(ord("A") + texts.index(said))
        for both in (_LETTER_AND_TEXT.fullmatch(said), marked):
            if both is None or both[both.re.groups] is None:
                continue
            *letters, text = both.groups()
            first = next(filter(None, letters))
            its = texts[ord(first) - ord("a") :][:1]
            if plain(text) in its or plain(text.lstrip("- ")) in its:
                return first.upper()
        return letter or boxed

    def canonical(self, answer: str) -> str:
        return _only_letter(_LETTER.fullmatch(_with_brackets(answer)))

    def equivalent(self, a: str, b: str) -> Verdict:
        return a == b != ""
