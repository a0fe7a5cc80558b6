r"""Unicode to LaTeX: what models and web pages write for `\sqrt{2}`, `x^2` or `\le`."""

import re

_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξρστυφχψωΓΔΘΛΞΠΣΥΦΨΩϵϑϕµ",
        r"alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
        r"Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega epsilon theta phi mu".split(),
        strict=True,
    )
)
_COMMANDS = _GREEK | {
    "π": "pi", "∞": "infty", "×": "cdot", "·": "cdot", "⋅": "cdot", "∙": "cdot", "•": "cdot", "÷": "div", "±": "pm", "∓": "mp",
    "≤": "le", "⩽": "le", "≦": "le", "≥": "ge", "⩾": "ge", "≧": "ge", "≠": "ne", "≈": "approx", "≃": "approx", "≅": "cong", "≡": "equiv",
    "∈": "in", "∉": "notin", "∪": "cup", "∩": "cap", "∅": "emptyset", "⌀": "emptyset", "∖": "setminus", "⟨": "langle", "⟩": "rangle",
    "〈": "langle", "〉": "rangle", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil", "∠": "angle", "△": "triangle", "→": "to",
    "⇒": "implies", "∴": "therefore", "∼": "sim", "∑": "sum", "∏": "prod", "ℓ": "ell", "ħ": "hbar", "ℏ": "hbar", "…": "ldots",
    "√": "sqrt", "∧": "wedge", "∨": "vee", "¬": "neg", "⊥": "perp", "∥": "parallel", "∣": "mid", "°": "degree", "º": "degree", "˚": "degree",
}  # fmt: skip
_OTHERS = {
    **{char: r"\mathbb{%s}" % letter for char, letter in zip("ℝℤℕℚℂ", "RZNQC", strict=True)},
    **dict.fromkeys("−–—‒―﹣", "-"), **dict.fromkeys("′ʹ’‘´", "'"), **dict.fromkeys("″“”„", '"'), "。": ".", "．": ".", "、": ",", "∶": ":", "∗": "*",
    "℃": r"\degree C", "℉": r"\degree F", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "％": "%", "‰": r"\text{per mille}", "⁄": "/", "∕": "/",
    "€": r"\text{euro}", "£": r"\text{pound sterling}", "¥": r"\text{yen}", "₹": r"\text{rupee}", "¢": r"\text{cent}",
    **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u2061\u2062\u2063", ""),
}  # fmt: skip
_TABLE = {ord(char): rf"\{name} " for char, name in _COMMANDS.items()} | {ord(char): text for char, text in _OTHERS.items()}
_TABLE |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code) not in "％．"}  # full width
for _first, _size in ((0x1D7CE, 10), (0x1D7D8, 10), (0x1D7E2, 10), (0x1D7EC, 10), (0x1D7F6, 10)):
    _TABLE |= {_first + digit: str(digit) for digit in range(_size)}
_TABLE |= {0x1D400 + index: chr((65 if index % 52 < 26 else 71) + index % 52) for index in range(0x2A4)}  # italic, bold, ...
_UP = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
_DOWN = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢ", "0123456789+-()ni", strict=True))
_FRACTIONS = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6),
    "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8), "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
_RAISED = re.compile(f"[{re.escape(''.join(_UP))}]+")
_LOWERED = re.compile(f"[{re.escape(''.join(_DOWN))}]+")
_ROOT = re.compile(r"√ ?([0-9]+(?:\.[0-9]+)?)")


def to_latex(text: str) -> str:
    r"""The text with the Unicode symbols of mathematics in LaTeX: `√2` is `\sqrt{2}`, `x²` is `x^{2}`."""
    if text.isascii():
        return text
    text = _RAISED.sub(lambda match: "^{%s}" % "".join(map(_UP.__getitem__, match[0])), text)
    text = _LOWERED.sub(lambda match: "_{%s}" % "".join(map(_DOWN.__getitem__, match[0])), text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = "".join(r"\frac{%d}{%d}" % _FRACTIONS[char] if char in _FRACTIONS else char for char in text)
    return text.translate(_TABLE)
