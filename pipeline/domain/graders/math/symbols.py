r"""Unicode to LaTeX: what models and web pages write for `\sqrt{2}`, `x^2` or `\le`."""

import re
import unicodedata

from pipeline.domain.graders.math.vocabulary import GREEK_ALPHABET

FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # by code point
_GREEK = dict(zip("αβγδεζηθικλμνξρστυφχψωΓΔΘΛΞΠΣΥΦΨΩϵϑϕµ", (*GREEK_ALPHABET, "epsilon", "theta", "phi", "mu"), strict=True))
_NAMES = {
    "π": "pi", "∞": "infty", "×·⋅∙•": "cdot", "÷": "div", "±": "pm", "∓": "mp", "≤⩽≦": "le", "≥⩾≧": "ge", "≠": "ne",
    "≈≃": "approx", "≅": "cong", "≡": "equiv", "∈": "in", "∉": "notin", "∪": "cup", "∩": "cap", "∅⌀": "emptyset",
    "∖": "setminus", "⟨〈": "langle", "⟩〉": "rangle", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil",
    "∠": "angle", "△": "triangle", "→": "to", "⇒": "implies", "∴": "therefore", "∼": "sim", "∑": "sum", "∏": "prod",
    "ℓ": "ell", "ħℏ": "hbar", "…": "ldots", "√": "sqrt", "∧": "wedge", "∨": "vee", "¬": "neg", "⊥": "perp",
    "∥": "parallel", "∣": "mid", "°º˚": "degree",
}  # fmt: skip
_COMMANDS = _GREEK | {char: name for chars, name in _NAMES.items() for char in chars}
_OTHERS = {
    **{char: rf"\mathbb{{{letter}}}" for char, letter in zip("ℝℤℕℚℂ", "RZNQC", strict=True)},
    **dict.fromkeys("−–—‒―﹣", "-"), **dict.fromkeys("′ʹ’‘´", "'"), **dict.fromkeys("″“”„", '"'),
    "。": ".", "、": ",", "∶": ":", "∗": "*", "⁄": "/", "∕": "/", "‰": r"\text{per mille}",
    "℃": r"\degree C", "℉": r"\degree F", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]",
    "€": r"\text{euro}", "£": r"\text{pound sterling}", "¥": r"\text{yen}", "₹": r"\text{rupee}", "¢": r"\text{cent}",
    **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u2061\u2062\u2063", ""),
}  # fmt: skip
_TABLE = {ord(char): rf"\{name} " for char, name in _COMMANDS.items()} | {ord(char): text for char, text in _OTHERS.items()}
_TABLE |= FULL_WIDTH
for _first, _size in ((0x1D7CE, 10), (0x1D7D8, 10), (0x1D7E2, 10), (0x1D7EC, 10), (0x1D7F6, 10)):
    _TABLE |= {_first + digit: str(digit) for digit in range(_size)}
_TABLE |= {0x1D400 + index: chr((65 if index % 52 < 26 else 71) + index % 52) for index in range(0x2A4)}  # italic, bold, ...
_UP = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni")
_DOWN = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢ", "0123456789+-()ni")
_FRACTIONS = {
    char: rf"\frac{{{top}}}{{{bottom}}}"
    for char in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
    for top, _, bottom in [unicodedata.normalize("NFKC", char).partition("⁄")]
}
_RAISED = re.compile(f"[{''.join(map(chr, _UP))}]+")
_LOWERED = re.compile(f"[{''.join(map(chr, _DOWN))}]+")
_ROOT = re.compile(r"√ ?([0-9]+(?:\.[0-9]+)?)")


def to_latex(text: str) -> str:
    r"""The text with the Unicode symbols of mathematics in LaTeX: `√2` is `\sqrt{2}`, `x²` is `x^{2}`."""
    if text.isascii():
        return text
    text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_UP)}}}", text)
    text = _LOWERED.sub(lambda match: f"_{{{match[0].translate(_DOWN)}}}", text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = "".join(_FRACTIONS.get(char, char) for char in text)
    return text.translate(_TABLE)
