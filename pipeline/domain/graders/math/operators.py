r"""One spelling for each symbol of mathematics: a part of the normaliser."""

import re

from pipeline.domain.graders.math.vocabulary import SYNONYMS

_SYNONYM = re.compile(r"\\(not ?=|[a-zA-Z]+)")
_MOD = r"\\bmod|\\text\{ ?mod ?\}|(?<![a-zA-Z\\])mod"
_OPERATORS = (
    (re.compile(r"<=|=<"), r"\\le "), (re.compile(r">=|=>"), r"\\ge "), (re.compile(r"!=|<>"), r"\\ne "), (re.compile("=="), "="),
    (re.compile(r"\*\*"), "^"), (re.compile(r"(?<=[0-9a-zA-Z)}\]]) ?\* ?"), r" \\cdot "),
    (re.compile(r"\+ ?/ ?-|\+-"), r"\\pm "), (re.compile(r" ?\.\.\. ?"), r"\\ldots "),
    (re.compile(r"([\[(][^()\[\]]*[,;][^()\[\]]*[\])]) ?U ?(?=[\[(][^()\[\]]*[,;])"), r"\1\\cup "),
    (re.compile(r"\^ ?(?:\{ ?\\(?:circ|degree) ?\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])"), r"\\text{deg}"),
    (re.compile(r"\\text\{deg\} ?(?:\\text\{ ?)?([CF])(?![a-zA-Z])\}?"), r"\\text{deg\1}"),
    (re.compile(r"\^ ?\{ ?('+) ?\}|\^ ?(?=')"), r"\1"),
    (re.compile(r"\^ ?(\{[^{}]*\}|[0-9a-zA-Z]) ?_ ?(\{[^{}]*\}|[0-9a-zA-Z])"), r"_\2^\1"),
    (re.compile(r"\( ?(?:\\bmod|mod) ?([0-9a-zA-Z]+) ?\)|\\pmod ?(?:\{ ?([0-9a-zA-Z]+) ?\}|([0-9a-zA-Z]))"), r"\\pmod{\1\2\3}"),
    (re.compile(r"([_^]) ?\{ ?([0-9a-zA-Z]) ?\}(?![0-9])"), r"\1\2"),
    (re.compile(r"(?<![\\a-zA-Z])\{?([^{}=<>,;\\]{1,60})\\over(?![a-zA-Z])([^{}=<>,;\\]{1,60})\}?"), r"\\frac{\1}{\2}"),
    (re.compile(r"(?<![\\a-zA-Z])\{?([^{}=<>,;\\]{1,60})\\choose(?![a-zA-Z])([^{}=<>,;\\]{1,60})\}?"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?<=[0-9]) ?x ?(?=10 ?\^)"), r" \\cdot "),
    (re.compile(rf"(\\equiv[^,;]{{1,40}}?)\(? ?(?:{_MOD}) ?\{{? ?([0-9a-zA-Z]+) ?\}}?(?: ?\))?"), r"\1\\pmod{\2}"),
    (re.compile(r"_ ?\{ ?\\(max|min) ?\}|_ ?\\(max|min)(?![a-zA-Z])"), r"_{\1\2}"),
    (re.compile(r"\( ?([0-9A-F]+) ?\) ?(?=_ ?(?:\{ ?\(? ?[0-9]|[0-9]))"), r"\1"),
    (re.compile(r"(?<=_)\{ ?\( ?([0-9]{1,2}) ?\) ?\}"), r"{\1}"),
    (re.compile(r"\\(?:mathbb|Bbb) ?(?:\{ ?([A-Z]) ?\}|([A-Z])(?![a-zA-Z]))"), r"\\mathbb{\1\2}"),
    (re.compile(r"(?<=\\mathbb\{R\}) ?- ?(?=\\\{)"), r"\\setminus "),
    (re.compile(r"\\(?:hat|vec) ?(?:\{ ?\\?([ijk])(?:math)? ?\}|\\?([ijk])(?:math)?(?![a-zA-Z]))"), r" \1\2 "),
)  # fmt: skip


def synonyms(text: str) -> str:
    r"""One spelling for each symbol: `\dfrac`, `\leqslant`, `!=`, `**`, `\langle`, `^{\circ}`."""
    text = _SYNONYM.sub(lambda match: SYNONYMS.get(match[1].replace(" ", ""), match[0]), text)
    for pattern, replacement in _OPERATORS:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())
