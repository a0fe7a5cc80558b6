r"""What is typed into a calculator or a program, in LaTeX: a part of the normaliser."""

import re
from collections.abc import Callable

from pipeline.domain.graders.math.scan import group_end
from pipeline.domain.graders.math.vocabulary import FUNCTIONS, OF_LISTS, TYPED, alternatives

_TYPED = re.compile(
    rf"(?<![\\a-zA-Z{{])(?:{alternatives(frozenset(TYPED))})(?![a-zA-Z}}])"
    rf"|(?<!\\)(?<![\\a-zA-Z][a-zA-Z])(?:{alternatives(FUNCTIONS | OF_LISTS)})(?= ?[({{])"
)
_ROUNDED = re.compile(r"(?<![\\a-zA-Z])(abs|floor|ceil|ceiling) ?\(")
_AROUND = {
    "abs": ("|", "|"),
    "floor": (r"\lfloor ", r"\rfloor "),
    "ceil": (r"\lceil ", r"\rceil "),
    "ceiling": (r"\lceil ", r"\rceil "),
}
_CHOSEN = re.compile(
    r"(?<![0-9a-zA-Z_^{)\]}|])(?:(?:\{ ?\} ?)?[_^] ?(?:\{ ?([0-9]+) ?\}|([0-9])) ?(?:C|\\text\{C\}) ?"
    r"_ ?(?:\{ ?([0-9]+) ?\}|([0-9]))|([0-9]+)C([0-9]+))(?![0-9a-zA-Z_])"
)
_UNDERSCORES = re.compile(r"(?<![\w.])[0-9]{1,3}(?:_[0-9]{3})+(?![\w])")
_IN_PARENTHESES = re.compile(r"(?:\\sqrt|\^) ?\(")


def calculator(text: str) -> str:
    r"""What is typed into a calculator or a program: `sqrt(2)`, `2*pi`, `e^(-x)`, `abs(-3)`, `10C2`, `1_000`."""
    text = _UNDERSCORES.sub(lambda match: match[0].replace("_", ""), text)
    text = _CHOSEN.sub(_binomial, text)
    text = _TYPED.sub(lambda match: rf"\{TYPED.get(match[0], match[0])} ", text)
    text = _replace(text, _ROUNDED, lambda match, inner: f"{_AROUND[match[1]][0]}{inner}{_AROUND[match[1]][1]}")
    return _replace(text, _IN_PARENTHESES, lambda match, inner: f"{match[0][:-1]}{{{inner}}}")


def _replace(text: str, pattern: re.Pattern[str], replacement: Callable[[re.Match[str], str], str]) -> str:
    """Every match, which ends with a bracket, and what it holds by `replacement(match, content)`; an open bracket stays."""
    for match in reversed(list(pattern.finditer(text))):
        end = group_end(text, match.end() - 1)
        if end >= 0:
            text = text[: match.start()] + replacement(match, text[match.end() : end]) + text[end + 1 :]
    return text


def _binomial(match: re.Match[str]) -> str:
    n, k = filter(None, match.groups())
    return rf"\binom{{{n}}}{{{k}}}"
