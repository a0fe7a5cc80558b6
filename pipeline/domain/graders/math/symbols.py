r"""Unicode to LaTeX: what models and web pages write for `\sqrt{2}`, `x^2` or `\le`."""

import re
import unicodedata
from functools import cache

from pipeline.domain.graders.math.vocabulary import GREEK_ALPHABET


def _made(char: str) -> str:
    """How a character is made of another one: "<font>", "<super>", "<sub>"; empty where it is not."""
    kind, _, base = unicodedata.decomposition(char).partition(" ")
    return kind if base and " " not in base else ""


FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # by code point
_GREEK = dict(zip("αβγδεζηθικλμνξρστυφχψωΓΔΘΛΞΠΣΥΦΨΩϵϑϕµ", (*GREEK_ALPHABET, "epsilon", "theta", "phi", "mu"), strict=True))
_NAMES = {
    "π": "pi", "∞": "infty", "×·⋅∙•✕✖": "cdot", "÷": "div", "±": "pm", "∓": "mp", "≤⩽≦": "le", "≥⩾≧": "ge", "≠": "ne",
    "≈≃": "approx", "≅": "cong", "≡": "equiv", "∈": "in", "∉": "notin", "∪": "cup", "∩": "cap", "∅⌀": "emptyset",
    "∖": "setminus", "⟨〈": "langle", "⟩〉": "rangle", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil",
    "∠": "angle", "△": "triangle", "→": "to", "⇒": "implies", "∴": "therefore", "∼": "sim", "∑": "sum", "∏": "prod",
    "ℓ": "ell", "ħℏ": "hbar", "…": "ldots", "√": "sqrt", "∧": "wedge", "∨": "vee", "¬": "neg", "⊥": "perp",
    "∥": "parallel", "∣": "mid", "°º˚": "degree",
}  # fmt: skip
_COMMANDS = _GREEK | {char: name for chars, name in _NAMES.items() for char in chars}
_OTHERS = {
    **{char: rf"\mathbb{{{letter}}}" for char, letter in zip("ℝℤℕℚℂ", "RZNQC", strict=True)},
    **dict.fromkeys("−–—‒―﹣‐‑", "-"), **dict.fromkeys("′ʹ’‘´", "'"), **dict.fromkeys("″“”„", '"'),
    "。": ".", "、": ",", "∶": ":", "∗": "*", "⁄": "/", "∕": "/", "‰": r"\text{per mille}",
    "℃": r"\degree C", "℉": r"\degree F", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]",
    "€": r"\text{euro}", "£": r"\text{pound sterling}", "¥": r"\text{yen}", "₹": r"\text{rupee}", "¢": r"\text{cent}",
    **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u2061\u2062\u2063", ""),
}  # fmt: skip
_TABLE = {ord(char): rf"\{name} " for char, name in _COMMANDS.items()} | {ord(char): text for char, text in _OTHERS.items()}
_TABLE |= FULL_WIDTH
_SCRIPTS = [
    char
    for first, last in ((0xB2, 0xBA), (0x2B0, 0x2E5), (0x1D2C, 0x1D7F), (0x2070, 0x20A0))
    for char in map(chr, range(first, last))
]
_UP, _DOWN = (
    {ord(char): unicodedata.normalize("NFKC", char).replace("−", "-") for char in _SCRIPTS if _made(char) == kind}
    for kind in ("<super>", "<sub>")
)
_FRACTIONS = {
    char: rf"\frac{{{top}}}{{{bottom}}}"
    for char in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
    for top, _, bottom in [unicodedata.normalize("NFKC", char).partition("⁄")]
}
_RAISED = re.compile(f"[{''.join(map(chr, _UP))}]+")
_LOWERED = re.compile(f"[{''.join(map(chr, _DOWN))}]+")
_SLANTED = re.compile(r"\^\{([0-9]+)\}[/⁄∕]_\{([0-9]+)\}")
_ROOT = re.compile(r"√ ?([0-9]+(?:\.[0-9]+)?)")


@cache
def _upright(char: str) -> str:
    """A letter or digit without its font, a digit of any script as those of ASCII; any other character as it is."""
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    return unicodedata.normalize("NFKC", char) if _made(char) == "<font>" and ord(char) not in _TABLE else char


def to_latex(text: str) -> str:
    r"""The text with the Unicode symbols of mathematics in LaTeX: `√2` is `\sqrt{2}`, `x²` is `x^{2}`."""
    if text.isascii():
        return text
    text = "".join(char if char.isascii() else _upright(char) for char in text)
    text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_UP)}}}", text)
    text = _LOWERED.sub(lambda match: f"_{{{match[0].translate(_DOWN)}}}", text)
    text = _SLANTED.sub(r"\\frac{\1}{\2}", text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = "".join(_FRACTIONS.get(char, char) for char in text)
    return text.translate(_TABLE)
