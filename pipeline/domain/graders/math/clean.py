r"""The normaliser: small rules that take an answer from the ways it is written to one, `\text{}` around words and nothing else.

`RULES` are applied in order; each is one idea, with its examples in tests/unit/test_clean.py. Text is hostile: every pattern is
linear, and whatever a rule does not recognise it leaves as it is.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from pipeline.domain.graders.math.calculator import calculator
from pipeline.domain.graders.math.operators import synonyms
from pipeline.domain.graders.math.scan import group_end
from pipeline.domain.graders.math.symbols import to_latex
from pipeline.domain.graders.math.units import UNITS
from pipeline.domain.graders.math.vocabulary import (
    BASES,
    DROPPED,
    FUNCTIONS,
    GREEK,
    OF_LISTS,
    STYLES,
    SWITCHES,
    TEXTS,
    alternatives,
    command,
)
from pipeline.domain.graders.math.words import joined_texts, outside_texts, words


def _replace(text: str, pattern: re.Pattern[str], replacement: Callable[[str], str]) -> str:
    r"""Every `\name{content}` by `replacement(content)`, inner ones first. A name without a group goes alone."""
    for match in reversed(list(pattern.finditer(text))):
        start = match.end()
        while start < len(text) and text[start] in " *":
            start += 1
        end = group_end(text, start) if text[start : start + 1] == "{" else -1
        if end >= 0:
            text = text[: match.start()] + replacement(text[start + 1 : end]) + text[end + 1 :]
    return text


def symbols(text: str) -> str:
    """Unicode symbols become LaTeX, white space single spaces."""
    return " ".join(to_latex(text).split())


_DELIMITERS = re.compile(r"(?<!\\)\\[\[\]()]|(?<![\w)}\]])\*\*([^*]+)\*\*(?![\w(\[{\\])|(?<!\\)`+|\\\\\[[^\]]{0,9}\]")
_BOX = re.compile(r"\\(?:boxed|fbox|framebox) ?\{")
_QUOTED = re.compile(r"""(['"*]|__?)([^'"*_]+)\1""")


def delimiters(text: str) -> str:
    r"""What marks mathematics, a result or emphasis goes: `$5$`, `\(5\)`, `\boxed{5}`, `**5**`, `"5"`; `\$` is a currency."""
    text = text.replace("\\$", r"\text{dollar}").replace("$", " ")
    text = _DELIMITERS.sub(lambda match: r"\\" if match[0].startswith("\\\\") else match[1] or " ", text).strip()
    while (box := _BOX.match(text)) and group_end(text, box.end() - 1) == len(text) - 1:
        text = text[box.end() : -1].strip()
    quoted = _QUOTED.fullmatch(text)
    return quoted[2] if quoted else text


_DIGIT_GROUPS = re.compile(r"(?<=[0-9])(?:\{,\}|\{\\,\}|, ?\\! ?|\\,)(?=[0-9]{3}(?![0-9]))")
_SPACES = re.compile(r"(?<!\\)(?:\\[,;:!> ]|~)")
_SWITCH = re.compile(command(SWITCHES) + r"(?!\{\\)(?:\.(?=[^0-9]|$))?")
_ROMAN = re.compile(r"\{ ?\\(?:rm|sf|tt) ([^{}]*)\}")
_INVISIBLE = re.compile(command(DROPPED))


def layout(text: str) -> str:
    r"""Spacing, sizes and colours go; digits grouped by thin spaces or `{,}` become one number: `12\,345` is `12345`."""
    text = _ROMAN.sub(r"\\text{\1}", _SPACES.sub(" ", _DIGIT_GROUPS.sub("", text)))
    text = _SWITCH.sub(" ", _replace(text, _INVISIBLE, lambda content: ""))
    return " ".join(text.replace("{,}", ",").replace("{:}", ":").split())


_STYLE = re.compile(command(STYLES))
_VECTOR = r"\\(?:vec|mathbf|boldsymbol|bm|mathbb)(?![a-zA-Z]) ?(?:\{ ?\\?[a-zA-Z][^{}]*\}|[a-zA-Z])"
_CROSS = re.compile(rf"({_VECTOR} ?)\\times(?= ?{_VECTOR})|(\\nabla ?)\\times(?![a-zA-Z])")


def styles(text: str) -> str:
    r"""Bold and italic is what it would be without: `\mathbf{73}` is `73`. But `\vec{a}\times\vec{b}` is no product of numbers.

    >>> styles(r"\mathbf{a}\times\mathbf{b}"), styles(r"2\times\mathbf{3}")
    ('a\\cross b', '2\\times3')
    """
    return _replace(_CROSS.sub(r"\1\2\\cross ", text), _STYLE, str)


_TEXT = re.compile(command(TEXTS))
_SUBSCRIPT_TEXT = re.compile(rf"_ ?\{{ ?(?:{command(TEXTS)} ?\{{ ?([a-zA-Z]+) ?\}}) ?\}}")
_MINUTES = re.compile(r"(?<=[0-9]) ?\\min (?=$|[^({\[a-zA-Z0-9_\\])")
_OPTION = re.compile(r"\([A-J]\)")
_CONJUNCTION = re.compile(r"\b(and|or)\b|(\\?[$%])|^([,;:])|([,;:])$")
_CONJOINED = re.compile(r"(?<=[^a-zA-Z\\])(?:\\?&|and|or)(?=[^a-zA-Z])")


def texts(text: str) -> str:
    r"""One macro for all text: `\mathrm{cm}`, `\mbox{cm}` are `\text{cm}`. `and`, `or`, outer punctuation stand by themselves."""

    def rewritten(content: str) -> str:
        content = " ".join(re.sub(r"\\text|[{}]", "", re.sub(r"\\ |~", " ", content)).split())
        if content.lower() == "infinity":
            return r"\infty "
        if content in FUNCTIONS or content in OF_LISTS:
            return rf"\{content} "
        if _OPTION.fullmatch(content):
            return content
        if not any(char.isalpha() for char in content):
            return content.rstrip(".") if any(char.isdigit() for char in content) or len(content) == 1 else content.strip(". ")
        pieces = [piece.strip() for piece in _CONJUNCTION.split(content) if piece and piece.strip()]
        return "".join(piece if piece in ",;:%$" or piece == "\\%" else rf"\text{{{piece}}}" for piece in pieces)

    text = _MINUTES.sub(r"\\text{min}", _replace(_SUBSCRIPT_TEXT.sub(r"_{\1}", text), _TEXT, rewritten))
    return text if r"\begin" in text else outside_texts(text, lambda part: _CONJOINED.sub(_conjunction, part))


def _conjunction(match: re.Match[str]) -> str:
    return r"\text{or}" if match[0].endswith("or") else r"\text{and}"


_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_SPACED_THOUSANDS = re.compile(r"(?<![0-9.,/])(?<![0-9.,/] )[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9]| ?/| [0-9])")
_NAMED_BASE = re.compile(rf"(?<=[0-9A-F]) ?_ ?(?:\{{ ?)?(?:\\text\{{ ?)?({'|'.join(BASES)}) ?\}}(?: ?\}})?")
_GOES_ON = re.compile(r"([0-9]{0,50})\.([0-9]{0,50}?)(?:([0-9])\3{2,50}|([0-9]{2,6})\4{1,20}) ?\\ldots(?![a-zA-Z])(?![0-9])")
_REPEATING = re.compile(
    r"([0-9]{0,50})\.([0-9]{0,50}) ?(?:\\(?:overline|bar|dot) ?(?:\{ ?([0-9]{1,50}) ?\}|([0-9]))|\(([0-9]{1,50})\))"
)


def numbers(text: str) -> str:
    r"""`1,000` and `1 000` are `1000`, except between brackets, where a comma separates; `0.\overline{3}` and `0.333\ldots` are
    `\frac{1}{3}`; `101_{\text{two}}` is `101_2`."""

    def joined(match: re.Match[str]) -> str:
        before = text[: match.start()]
        inside = any(before.count(opening) > before.count(closing) for opening, closing in ("()", "[]", (r"\{", r"\}")))
        return match[0] if inside else match[0].replace(",", "")

    def fraction(match: re.Match[str]) -> str:
        fixed, repeated = match[2], next(filter(None, match.groups()[2:]))
        value = Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(fixed)) + Fraction(f"{match[1] or 0}.{fixed or 0}")
        return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"

    text = _NAMED_BASE.sub(lambda match: BASES[match[1]], text)
    text = _SPACED_THOUSANDS.sub(lambda match: match[0].replace(" ", ""), _THOUSANDS.sub(joined, text))
    return _GOES_ON.sub(fraction, _REPEATING.sub(fraction, text))


_LEADING = re.compile(
    r"^(?:\\text\{(?i:the )?(?:(?i:final|correct) )?(?i:answer|result)(?: is| =)?:?\}:?|[=,;]"
    r"|\\text\{(?i:so|thus|hence|therefore),?\},?"
    r"|\\text\{(?i:approximately|approx\.?|about|roughly)\}"
    r"|\\(?:approx|sim|implies|therefore|Rightarrow|to|equiv)(?![a-zA-Z])) ?"
)
_REMARKS = r"(?i:approx[a-z]*|exact[a-z]*|rounded)\.?"
_REMARK = re.compile(
    rf"(?<=[0-9}}]) ?(?:\( ?\\text\{{ ?{_REMARKS} ?\}} ?\)|\\text\{{ ?\({_REMARKS}\) ?\}})$| ?\({_REMARKS}\) ?(?=\}}$)"
)
_UNIT_IN_BRACKETS = re.compile(r"(?<=[0-9}])(?: ?[(\[] ?\\text\{ ?([^{}()]+?) ?\}| [(\[] ?([a-zA-Z]{2,}))(\^[0-9])? ?[)\]]$")
_TRAILING = (".", ",", ";", "\\\\", "?", "~", "\\")


def edges(text: str) -> str:
    r"""What stands around an answer without changing it: `=5`, `5.`, `5;`, `5 \\`, `{5}`."""
    before = None
    while text != before:
        before, text = text, _UNIT_IN_BRACKETS.sub(_unit, _REMARK.sub("", _LEADING.sub("", text))).strip()
        for mark in _TRAILING:
            if text.endswith(mark) and not text.endswith(("\\,", "\\;")):
                text = text.removesuffix(mark).rstrip()
        if text[:1] == "{" and group_end(text, 0) == len(text) - 1:
            inner = text[1:-1].strip()
            text = rf"\{{{inner}\}}" if "," in inner or ";" in inner else inner
    return text


def _unit(match: re.Match[str]) -> str:
    """`5 (cm)` is 5 cm."""
    name = match[1] or match[2]
    return rf"\text{{{name}}}{match[3] or ''}" if name in UNITS else match[0]


_NEEDLESS = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])")
_AFTER_COMMAND = re.compile(r"(\\[a-zA-Z]+) (?=[0-9])")


def spaces(text: str) -> str:
    """No space but between letters and digits, where it may separate: `3 1/2`."""
    return _AFTER_COMMAND.sub(r"\1", _NEEDLESS.sub("", text))


_DEGREES, _RADIANS = re.compile(r"\\text\{deg(?:rees?)?(?: ([^{}]*))?\}"), r"\frac{\pi}{180}"
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])(?:\^(?:[0-9]|\{[0-9]+\}))?")
_FACTORS = re.compile(
    rf"(?:[ 0-9.a-zA-Z]|\\(?:{alternatives(GREEK)})(?![a-zA-Z])|\\frac(?:[0-9]|\{{[^{{}}]*\}}){{2}})+(?={_DEGREES.pattern})"
)


def radians(text: str) -> str:
    r"""Degrees under a trigonometric function are a factor, and no unit: `\sin30\text{deg}`, `\cos^2(x+10\text{deg})`."""
    for match in reversed(list(_TRIGONOMETRIC.finditer(text))):
        start = end = match.end()
        if text[start : start + 1] in ("(", "[", "{"):
            end = max(start, group_end(text, start) + 1)
        elif factors := _FACTORS.match(text, start):
            end = factors.end()
        argument = text[start:end].replace(r"\text{deg}", _RADIANS)
        if end > start and (unit := _DEGREES.match(text, end)):
            argument = f"({argument.strip()}{_RADIANS})" + (rf"\text{{{unit[1]}}}" if unit[1] else "")
            end = unit.end()
        text = text[:start] + argument + text[end:]
    return text


RULES: tuple[Callable[[str], str], ...] = (
    symbols, delimiters, layout, styles, texts, synonyms, edges, calculator, numbers, words, joined_texts, edges, spaces, radians,
)  # fmt: skip


def clean(text: str) -> str:
    """The text after all rules."""
    for rule in RULES:
        text = rule(text)
    return text
