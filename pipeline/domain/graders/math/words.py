r"""The part of the normaliser that tells words and units from products of variables, and puts them into `\text{}`."""

import re
from collections.abc import Callable

from pipeline.domain.graders.math.units import LETTERS, UNITS
from pipeline.domain.graders.math.vocabulary import SHORT_WORDS, alternatives

TEXT = re.compile(r"\\text\{([^{}]*)\}")
_NAMES = frozenset(name for name in UNITS if len(name) > 1 and name.isalpha() and UNITS[name] not in ("AD", "th"))
_ANY_NAME = alternatives(_NAMES | {f"{name}s" for name in _NAMES})
_END = r"(?![a-zA-Z]|-[a-zA-Z])(?: ?\^ ?(?:\{ ?-?[0-9] ?\}|-?[0-9]))?"
_UNIT = rf"(?:{_ANY_NAME}){_END}"
_QUOTIENT = rf"(?:/(?:{_ANY_NAME}|[smhgLK]){_END})"
_OF_LETTER = rf"(?:/(?:s|h|min|mol|mL|ml|cm|kg){_END})"  # 2m/s; 2g/L and 2m/M are quotients of symbols
_LETTERS_TOO = "hr|mh|ms|ns|us|lb|mg|ml|ha|wk|mo|yr|th|kg"  # products of letters after pi, where 2\\pi hr is 2\\pi rh
_BARE_UNIT = re.compile(
    rf"(?<=[0-9}}).]) ?(?:{_UNIT}{_QUOTIENT}*|[mgs]{_OF_LETTER})|(?<=\\pi) (?!(?:{_LETTERS_TOO}){_END}){_UNIT}{_QUOTIENT}*"
    rf"|(?<=[0-9]) (?:{'|'.join(LETTERS)})(?: ?\^ ?(?:\{{ ?[0-9] ?\}}|[0-9]))?(?=$|[,;)]|\\text)"
)
_RAISED = r" ?\^? ?\{? ?(?:\\text\{ ?)?"
_ORDINAL = re.compile(
    rf"(?:(?<=1){_RAISED}(st)|(?<=2){_RAISED}(nd)|(?<=3){_RAISED}(rd)|(?<=[0-9]){_RAISED}(th))(?![a-zA-Z]) ?\}}? ?\}}?"
)
_ERAS = ("bc", "ad", "bce", "ce")
_PERCENT = re.compile(r"(?<!\\)%|(?:\\text\{ ?)?(?<![a-zA-Z])(?:percent|per cent|pct)\.?(?![a-zA-Z])(?: ?\})?")
_PHRASE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z][a-zA-Z'-]*(?:\.? [a-zA-Z][a-zA-Z'-]*)*(?:\.[a-zA-Z]\.?)?")
_EAST_ASIAN = re.compile(r"((?:[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af] ?)+)")
_PROTECTED = re.compile(r"\\text\{[^{}]*\}|\\(?:begin|end|mathbb|mathcal) ?\{[^{}]*\}|_ ?\{[^{}]*\}")


def words(text: str) -> str:
    r"""Bare units and words are put into `\text{}`: `12 cm`, `5th`, `15 apples`, `8个`, `12:30 p.m.`; `percent` is `\%`."""
    text = _ORDINAL.sub(lambda match: rf"\text{{{match[match.lastindex or 0]}}}", _PERCENT.sub(r"\\%", text))
    text = outside_texts(text, lambda part: _BARE_UNIT.sub(lambda match: rf"\text{{{match[0].strip()}}}", part))
    text = outside_texts(text, lambda part: _EAST_ASIAN.sub(r"\\text{\1}", part))
    return outside_texts(text, lambda part: _PHRASE.sub(_phrase, part))


def without_texts(text: str) -> str:
    r"""The same words without `\text{}` around them, single spaces between."""
    return " ".join(TEXT.sub(r" \1 ", text).split())


def outside_texts(text: str, function: Callable[[str], str]) -> str:
    r"""The text with `function` applied to whatever is not inside `\text{}` or a subscript."""
    parts, position = [], 0
    for match in _PROTECTED.finditer(text):
        parts += [function(text[position : match.start()]), match[0]]
        position = match.end()
    return "".join([*parts, function(text[position:])])


def _phrase(match: re.Match[str]) -> str:
    """Words, as far as they are words and not products of variables."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    short = match[0].lower().replace(".", "")
    number = re.search(r"[0-9] ?$", before)
    time = short in ("am", "pm") and (number or "." in match[0])
    if time or (short in _ERAS and number and before.endswith(" ") and not after.strip()):
        return rf"\text{{{match[0].replace('.', '')}}}"
    runs = re.split(r"[ .'-]+", match[0])
    if any(len(run) > 3 or (len(run) > 2 and run.lower() in SHORT_WORDS) for run in runs):
        return rf"\text{{{match[0]}}}"
    # Two letters are a word alone, beside words, or with spaces to what is around them (2 by 3); else a product (ab+bc+ca, 2as).
    alone = not before.strip() and not after.strip() and len(runs) == 1 and short not in (*_ERAS, "be", "xi")
    alone |= short == "no" and before.strip()[-1:] in ("", ",", ";") and after.strip()[:1] in ("", ",", ";")  # Yes, No, Yes
    apart = re.search(r"(?:[0-9})]|(?<![a-zA-Z\\])[a-zA-Z]) $", before) and (not after or re.match(r" [0-9a-zA-Z\\]", after))
    word = any(run.lower() in SHORT_WORDS for run in runs) and (alone or apart or " " in match[0])
    return rf"\text{{{match[0]}}}" if word else match[0]


_VARIABLE = re.compile(r"\\text\{ ?([eixyz]) ?\}")
_POWER = re.compile(r"\\text\{([^{}]*)\} ?\^ ?(?:\{ ?(-?[0-9]) ?\}|(-?[0-9]))")
_PRODUCT = re.compile(r"(\\text\{[^{}]*)\} ?(/|\\cdot) ?\\text\{")
_FRACTION = re.compile(r"\\frac ?\{ ?\\text\{([^{}]*)\} ?\} ?\{ ?\\text\{([^{}]*)\} ?\}")
_NEIGHBOURS = re.compile(r"(\\text\{(?!and\}|or\})[^{}]*)\} ?\\text\{(?!and\}|or\})")
_SYMBOL = re.compile(
    r"(?:(?<!(?<!_)[0-9})])(?<![0-9})] )(?<!\\pi)(?<!\\pi )|(?<=\\text\{and\})|(?<=\\text\{or\}))\\text\{([a-zA-Z])\}"
)


def joined_texts(text: str) -> str:
    r"""Texts side by side, and the powers and quotients of units, are one text: `\text{m}/\text{s}^2` is `\text{m/s^2}`.

    A single letter is a unit after a number, and a symbol everywhere else; e, i, x, y and z always are: `2\text{i}` is `2i`.
    """
    text = _VARIABLE.sub(lambda match: " " * (match.start() > 0 and text[match.start() - 1].isalnum()) + match[1], text)
    text = _FRACTION.sub(r"\\text{\1/\2}", _POWER.sub(lambda match: rf"\text{{{match[1]}^{match[2] or match[3]}}}", text))
    for pattern, joined in ((_PRODUCT, r"\1\2"), (_NEIGHBOURS, r"\1 ")):
        for _ in range(4):
            text = pattern.sub(joined, text)
    return _SYMBOL.sub(r"\1", text)
