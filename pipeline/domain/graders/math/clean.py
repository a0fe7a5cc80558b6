r"""The normaliser: small rules that take an answer from the ways it is written to one, `\text{}` around words and nothing else.

`RULES` are applied in order; each is one idea, with its examples in tests/unit/test_clean.py. Text is hostile: every pattern is
linear, and whatever a rule does not recognise it leaves as it is.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from pipeline.domain.graders.math.expression import FUNCTIONS, GREEK
from pipeline.domain.graders.math.symbols import to_latex
from pipeline.domain.graders.math.units import LETTERS, UNITS

_STYLES = (
    "boldsymbol bm mathbf mathit mathsf mathtt textbf textit texttt textsc textsl emph underline pmb mathop boxed fbox framebox mbox*"
)
_TEXTS = "text mathrm textrm textnormal textsf textup mbox hbox operatorname rm"
_DROPPED = "hspace vspace phantom hphantom vphantom label tag color textcolor colorbox"
_SWITCHES = (
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle limits nolimits "
    "tiny scriptsize footnotesize small normalsize large Large LARGE huge Huge rm bf it sf tt cal mathstrut strut hfill hline "
    "centering noindent quad qquad enspace thinspace middle"
)
_SYNONYMS = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac", "xfrac"), r"\frac"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), r"\le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), r"\ge"),
    **dict.fromkeys(("neq", "not="), r"\ne"),
    **dict.fromkeys(("times", "ast", "bullet"), r"\cdot"),
    **dict.fromkeys(("lvert", "rvert", "vert"), "|"),
    **dict.fromkeys(("langle", "lparen"), "("),
    **dict.fromkeys(("rangle", "rparen"), ")"),
    **dict.fromkeys(("varnothing", "O"), r"\emptyset"),
    **dict.fromkeys(("simeq", "approxeq", "doteq", "thickapprox"), r"\approx"),
    "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "lt": "<", "gt": ">", "colon": ":", "ratio": ":", "dots": r"\ldots",
    "cdots": r"\ldots", "prime": "'", "lg": r"\log_{10}", "tg": r"\tan", "ctg": r"\cot", "imath": "i", "mod": r"\bmod", "degrees": r"\degree",
    "smallsetminus": r"\setminus", "backslash": r"\setminus", "bigcup": r"\cup", "land": r"\text{and}", "lor": r"\text{or}", "lnot": r"\neg",
    "Z": r"\mathbb{Z}", "R": r"\mathbb{R}", "N": r"\mathbb{N}", "Q": r"\mathbb{Q}", "reals": r"\mathbb{R}", "lcm": r"\lcm",
    "euro": r"\text{euro}", "EUR": r"\text{euro}", "pounds": r"\text{pound sterling}", "cent": r"\text{cent}", "textdollar": r"\text{dollar}",
}  # fmt: skip
_CALLED = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "inf": "infty", "infinity": "infty", "oo": "infty", "Infinity": "infty"}
_CALLED |= {name: name for name in (*FUNCTIONS, *GREEK, "sqrt", "pi", "max", "min", "gcd", "lcm") if name not in ("ell", "eta", "xi", "nu", "mu")}
_SHORT_WORDS = frozenset(
    "no on yes all any not red men box cup day bag pen egg car cat dog pie toy hat key ten six two one the per now big odd few am pm "
    "AM PM BC AD BCE CE is it in of to at if as by up at an so we he go do us my me be old new boy bus cow hen pig day way low net".split()
)


def _names(words: str) -> str:
    return r"\\(?:%s)(?![a-zA-Z])" % "|".join(sorted(words.replace("*", "").split(), key=len, reverse=True))


def group_end(text: str, start: int) -> int:
    """Where the bracket that opens at `start` is closed; -1 where it never is. Escaped braces are printed, and group nothing."""
    opening = text[start]
    closing, depth, position = {"{": "}", "(": ")", "[": "]"}[opening], 0, start
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
        elif char == opening:
            depth += 1
        elif char == closing:
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1


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


_DELIMITERS = re.compile(r"(?<!\\)\\[\[\]()]|\*\*(?=\S)([^*]*)\*\*|(?<!\\)`+|\\\\\[[^\]]{0,9}\]")
_QUOTED = re.compile(r"""(['"*_])([^'"*_]+)\1""")


def delimiters(text: str) -> str:
    r"""What marks mathematics or emphasis, and is not part of it: `$5$`, `\(5\)`, `**5**`, `"5"`; `\$` is a currency."""
    text = text.replace("\\$", r"\text{dollar}").replace("$", "")
    text = _DELIMITERS.sub(lambda match: r"\\" if match[0].startswith("\\\\") else match[1] or "", text).strip()
    quoted = _QUOTED.fullmatch(text)
    return quoted[2] if quoted else text


_DIGIT_GROUPS = re.compile(r"(?<=[0-9])(?:\{,\}|, ?\\! ?|\\,)(?=[0-9]{3}(?![0-9]))")
_SPACES = re.compile(r"(?<!\\)(?:\\[,;:!> ]|~)")
_SWITCH = re.compile(_names(_SWITCHES) + r"(?!\{\\)(?:\.(?=[^0-9]|$))?")
_INVISIBLE = re.compile(_names(_DROPPED))


def layout(text: str) -> str:
    r"""Spacing, sizes and colours go; digits grouped by thin spaces or `{,}` become one number: `12\,345` is `12345`."""
    text = _SPACES.sub(" ", _DIGIT_GROUPS.sub("", text))
    text = _SWITCH.sub(" ", _replace(text, _INVISIBLE, lambda content: ""))
    return " ".join(text.replace("{,}", ",").replace("{:}", ":").split())


_STYLE = re.compile(_names(_STYLES.replace("mbox*", "")))


def styles(text: str) -> str:
    r"""Bold, italic and framed is what it would be without: `\mathbf{73}` is `73`."""
    return _replace(text, _STYLE, str)


_TEXT = re.compile(_names(_TEXTS))
_CONJUNCTION = re.compile(r"\b(and|or)\b|(\\?[$%])|^([,;:])|([,;:])$")
_CONJOINED = re.compile(r"(?<=[^a-zA-Z\\])(?:\\?&|and|or)(?=[^a-zA-Z])")


def texts(text: str) -> str:
    r"""One macro for all text: `\mathrm{cm}`, `\mbox{cm}` are `\text{cm}`; `and`, `or` and outer punctuation stand by themselves."""

    def rewritten(content: str) -> str:
        content = " ".join(content.replace(r"\text", "").replace("\\ ", " ").replace("~", " ").replace("{", "").replace("}", "").split())
        if content in FUNCTIONS or content in ("lcm", "gcd", "max", "min"):
            return rf"\{content} "
        if not any(char.isalpha() for char in content):
            return content.rstrip(".") if any(char.isdigit() for char in content) or len(content) == 1 else content.strip(". ")
        pieces = [piece.strip() for piece in _CONJUNCTION.split(content) if piece and piece.strip()]
        return "".join(piece if piece in ",;:%$" or piece == "\\%" else rf"\text{{{piece}}}" for piece in pieces)

    text = _replace(text, _TEXT, rewritten)
    return text if r"\begin" in text else _outside_texts(text, lambda part: _CONJOINED.sub(_conjunction, part))


def _conjunction(match: re.Match[str]) -> str:
    return r"\text{or}" if match[0].endswith("or") else r"\text{and}"


_SYNONYM = re.compile(r"\\(not ?=|[a-zA-Z]+)")
_OPERATORS = (
    (re.compile(r"<=|=<"), r"\\le "), (re.compile(r">=|=>"), r"\\ge "), (re.compile(r"!=|<>"), r"\\ne "), (re.compile("=="), "="),
    (re.compile(r"\*\*"), "^"), (re.compile(r"(?<=[0-9a-zA-Z)}\]]) ?\* ?"), r" \\cdot "),
    (re.compile(r"\+ ?/ ?-|\+-"), r"\\pm "),
    (re.compile(r"\^ ?(?:\{ ?\\(?:circ|degree) ?\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])"), r"\\text{deg}"),
    (re.compile(r"\\text\{deg\} ?(?:\\text\{ ?)?([CF])(?![a-zA-Z])\}?"), r"\\text{deg\1}"),
    (re.compile(r"\^ ?\{ ?('+) ?\}|\^ ?(?=')"), r"\1"),
    (re.compile(r"\^ ?(\{[^{}]*\}|[0-9a-zA-Z]) ?_ ?(\{[^{}]*\}|[0-9a-zA-Z])"), r"_\2^\1"),
    (re.compile(r"\( ?(?:\\bmod|mod) ?([0-9a-zA-Z]+) ?\)|\\pmod ?(?:\{ ?([0-9a-zA-Z]+) ?\}|([0-9a-zA-Z]))"), r"\\pmod{\1\2\3}"),
    (re.compile(r"(?<=[0-9] )mod(?= [0-9])"), r"\\bmod"),
    (re.compile(r"(?<![\\a-zA-Z])\{?([^{}=<>,;\\]{1,60})\\over(?![a-zA-Z])([^{}=<>,;\\]{1,60})\}?"), r"\\frac{\1}{\2}"),
)  # fmt: skip


def synonyms(text: str) -> str:
    r"""One spelling for each symbol: `\dfrac`, `\leqslant`, `!=`, `**`, `\langle`, `^{\circ}`."""
    text = _SYNONYM.sub(lambda match: _SYNONYMS.get(match[1].replace(" ", ""), match[0]), text)
    for pattern, replacement in _OPERATORS:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


_CALL = re.compile(r"(?<![\\a-zA-Z{])(?:%s)(?![a-zA-Z}])" % "|".join(sorted(_CALLED, key=len, reverse=True)))
_IN_PARENTHESES = re.compile(r"(?:\\sqrt|\^) ?\(")


def calculator(text: str) -> str:
    r"""What is typed into a calculator: `sqrt(2)`, `2*pi`, `e^(-x)`."""
    text = _CALL.sub(lambda match: "\\" + _CALLED[match[0]] + " ", text)
    for match in reversed(list(_IN_PARENTHESES.finditer(text))):
        end = group_end(text, match.end() - 1)
        if end >= 0:
            text = f"{text[: match.end() - 1]}{{{text[match.end() : end]}}}{text[end + 1 :]}"
    return text


_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_SPACED_THOUSANDS = re.compile(r"(?<![0-9.,/])(?<![0-9.,/] )[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9]| ?/| [0-9])")
_REPEATING = re.compile(r"([0-9]{0,50})\.([0-9]{0,50}) ?(?:\\(?:overline|bar|dot) ?(?:\{ ?([0-9]{1,50}) ?\}|([0-9]))|\(([0-9]{1,50})\))")


def numbers(text: str) -> str:
    r"""`1,000` and `1 000` are `1000`, except between brackets, where a comma separates; `0.\overline{3}` is `\frac{1}{3}`."""

    def joined(match: re.Match[str]) -> str:
        before = text[: match.start()]
        inside = any(before.count(opening) > before.count(closing) for opening, closing in ("()", "[]", (r"\{", r"\}")))
        return match[0] if inside else match[0].replace(",", "")

    def fraction(match: re.Match[str]) -> str:
        fixed, repeated = match[2], match[3] or match[4] or match[5]
        value = Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(fixed)) + Fraction(f"{match[1] or 0}.{fixed or 0}")
        return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"

    text = _SPACED_THOUSANDS.sub(lambda match: match[0].replace(" ", ""), _THOUSANDS.sub(joined, text))
    return _REPEATING.sub(fraction, text)


_UNIT_NAMES = sorted((name for name in UNITS if len(name) > 1 and " " not in name and "/" not in name), key=len, reverse=True)
_FACTOR = r"(?:%s)(?![a-zA-Z])(?: ?\^ ?(?:\{ ?-?[0-9] ?\}|-?[0-9]))?" % "|".join(map(re.escape, _UNIT_NAMES))
_ANY_FACTOR = r"(?:%s|[a-zA-Z])(?![a-zA-Z])(?: ?\^ ?(?:\{ ?-?[0-9] ?\}|-?[0-9]))?" % "|".join(map(re.escape, _UNIT_NAMES))
_BARE_UNIT = re.compile(
    rf"(?<=[0-9}}).]) ?(?:{_FACTOR}(?:/{_ANY_FACTOR})*|[mgs]/{_ANY_FACTOR})"
    rf"|(?<=[0-9]) (?:{'|'.join(LETTERS)})(?: ?\^ ?(?:\{{ ?[0-9] ?\}}|[0-9]))?(?=$|[,;)]|\\text)"
)
_ORDINAL = re.compile(r"(?<=[0-9]) ?\^? ?\{? ?(?:\\text\{ ?)?(st|nd|rd|th)(?![a-zA-Z]) ?\}? ?\}?")
_PERCENT = re.compile(r"(?<!\\)%|(?:\\text\{ ?)?(?<![a-zA-Z])(?:percent|per cent|pct)\.?(?![a-zA-Z])(?: ?\})?")
_PHRASE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z][a-zA-Z'-]*(?:\.? [a-zA-Z][a-zA-Z'-]*)*(?:\.[a-zA-Z]\.?)?")
_MACRO_OR_TEXT = re.compile(r"\\text\{[^{}]*\}|\\(?:begin|end|mathbb|mathcal) ?\{[^{}]*\}|_ ?\{[^{}]*\}")


def words(text: str) -> str:
    r"""Bare units and words are put into `\text{}`: `12 cm`, `5th`, `15 apples`, `12:30 p.m.`; `percent` is `\%`."""
    text = _PERCENT.sub(r"\\%", text)
    text = _ORDINAL.sub(r"\\text{\1}", text)
    text = _outside_texts(text, lambda part: _BARE_UNIT.sub(lambda match: rf"\text{{{match[0].strip()}}}", part))
    return _outside_texts(text, lambda part: _PHRASE.sub(_phrase, part))


def _outside_texts(text: str, function: Callable[[str], str]) -> str:
    parts, position = [], 0
    for match in _MACRO_OR_TEXT.finditer(text):
        parts += [function(text[position : match.start()]), match[0]]
        position = match.end()
    return "".join([*parts, function(text[position:])])


def _phrase(match: re.Match[str]) -> str:
    """Words, as far as they are words and not products of variables."""
    runs = re.split(r"[ .'-]+", match[0])
    if match[0].lower().replace(".", "").strip() in ("am", "pm", "bc", "ad", "bce", "ce"):
        return rf"\text{{{match[0].replace('.', '')}}}"
    if any(len(run) > 3 or run in _SHORT_WORDS for run in runs):
        return rf"\text{{{match[0]}}}"
    return match[0]


_POWER = re.compile(r"\\text\{([^{}]*)\} ?\^ ?(?:\{ ?(-?[0-9]) ?\}|(-?[0-9]))")
_PRODUCT = re.compile(r"(\\text\{[^{}]*)\} ?(/|\\cdot) ?\\text\{")
_QUOTIENT = re.compile(r"\\frac ?\{ ?\\text\{([^{}]*)\} ?\} ?\{ ?\\text\{([^{}]*)\} ?\}")
_NEIGHBOURS = re.compile(r"(\\text\{(?!and\}|or\})[^{}]*)\} ?\\text\{(?!and\}|or\})")
_SYMBOL = re.compile(r"(?<![0-9})])(?<![0-9})] )\\text\{([a-zA-Z])\}")


def joined_texts(text: str) -> str:
    r"""Texts side by side, and the powers and quotients of units, are one text: `\text{m}/\text{s}^2` is `\text{m/s^2}`."""
    text = _QUOTIENT.sub(r"\\text{\1/\2}", _POWER.sub(lambda match: rf"\text{{{match[1]}^{match[2] or match[3]}}}", text))
    for pattern, between in ((_PRODUCT, r"\1\2"), (_NEIGHBOURS, r"\1 ")):
        for _ in range(4):
            text = pattern.sub(between, text)
    return _SYMBOL.sub(r"\1", text)


_LEADING = re.compile(r"^(?:=|\\approx|\\sim|\\implies|\\therefore|\\Rightarrow|\\rightarrow|\\to|\\equiv|,|;)(?![a-zA-Z]) ?")
_TRAILING = (".", ",", ";", "\\\\", "?", "~", "\\")


def edges(text: str) -> str:
    r"""What stands around an answer without changing it: `=5`, `5.`, `5;`, `5 \\`, `{5}`."""
    before = None
    while text != before:
        before, text = text, _LEADING.sub("", text).strip()
        for mark in _TRAILING:
            if text.endswith(mark) and not text.endswith(("\\,", "\\;", "...")):
                text = text.removesuffix(mark).rstrip()
        if text[:1] == "{" and group_end(text, 0) == len(text) - 1:
            inner = text[1:-1].strip()
            text = rf"\{{{inner}\}}" if "," in inner or ";" in inner else inner
    return text


_NEEDLESS = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])")
_AFTER_COMMAND = re.compile(r"(\\[a-zA-Z]+) (?=[0-9])")


def spaces(text: str) -> str:
    """No space but between letters and digits, where it may separate: `3 1/2`."""
    return _AFTER_COMMAND.sub(r"\1", _NEEDLESS.sub("", text))


RULES: tuple[Callable[[str], str], ...] = (
    symbols, delimiters, layout, styles, texts, synonyms, edges, calculator, numbers, words, joined_texts, edges, spaces,
)  # fmt: skip


def clean(text: str) -> str:
    """The text after all rules."""
    for rule in RULES:
        text = rule(text)
    return text
