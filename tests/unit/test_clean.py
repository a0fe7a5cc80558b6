r"""The normaliser, rule by rule: what each makes of what it is for, and that it leaves everything else alone."""

from collections.abc import Callable

import pytest

from pipeline.domain.graders.math import clean as rules
from pipeline.domain.graders.math.clean import clean

EXAMPLES: list[tuple[Callable[[str], str], str, str]] = [
    (rules.symbols, "√7", r"\sqrt{7}"),
    (rules.symbols, "x⁻²", "x^{-2}"),
    (rules.symbols, "a₁₀", "a_{10}"),
    (rules.symbols, "⅝", r"\frac{5}{8}"),
    (rules.symbols, "–4", "-4"),
    (rules.symbols, "（１，２）", "(1,2)"),
    (rules.symbols, "𝟕𝑥", "7x"),
    (rules.symbols, "𝛼", r"\alpha"),
    (rules.symbols, "Ⅳ", "Ⅳ"),
    (rules.symbols, "9。", "9."),
    (rules.symbols, "\u200b8\ufeff", "8"),
    (rules.symbols, " a \n b ", "a b"),
    (rules.delimiters, r"$x$+\(y\)", "x + y"),
    (rules.delimiters, r"\[7\]", "7"),
    (rules.delimiters, r"\$7", r"\text{dollar}7"),
    (rules.delimiters, r"\boxed{\fbox{7}}", "7"),
    (rules.delimiters, r"\boxed{7}\boxed{8}", r"\boxed{7}\boxed{8}"),
    (rules.delimiters, "**7**", "7"),
    (rules.delimiters, "x**2+y**2", "x**2+y**2"),
    (rules.delimiters, "`7`", "7"),
    (rules.delimiters, "'B'", "B"),
    (rules.delimiters, "f'(x)", "f'(x)"),
    (rules.delimiters, r"1\\[4pt]2", r"1\\2"),
    (rules.layout, r"\left(1,\;2\right)", "(1, 2 )"),
    (rules.layout, r"9\,876\,543", "9876543"),
    (rules.layout, r"9{,}876", "9876"),
    (rules.layout, r"1,\,200", "1, 200"),
    (rules.layout, r"\displaystyle 7", "7"),
    (rules.layout, r"7\,{\rm cm}", r"7 \text{cm}"),
    (rules.layout, r"\textcolor{red}{7}\hspace{2cm}", "{7}"),
    (rules.layout, r"\leftarrow", r"\leftarrow"),
    (rules.layout, r"3{:}4", "3:4"),
    (rules.styles, r"\mathbf{7}\boldsymbol{\pi}", r"7\pi"),
    (rules.styles, r"\textbf{(B)}", "(B)"),
    (rules.styles, r"\textit{\mathbf{7}}", "7"),
    (rules.styles, r"\mathbb{R}", r"\mathbb{R}"),
    (rules.texts, r"\mathrm{cm}", r"\text{cm}"),
    (rules.texts, r"2\mbox{ and }3", r"2\text{and}3"),
    (rules.texts, "2 and 3", r"2 \text{and} 3"),
    (rules.texts, r"2\text{ red, }3\text{ blue}", r"2\text{red},3\text{blue}"),
    (rules.texts, r"\operatorname{sin} x", r"\sin  x"),
    (rules.texts, r"7\text{.}", "7"),
    (rules.texts, r"\text{ }", ""),
    (rules.texts, "brand", "brand"),
    (rules.synonyms, r"\dfrac12", r"\frac12"),
    (rules.synonyms, r"x\leqslant3", r"x\le3"),
    (rules.synonyms, "x!=3", r"x\ne 3"),
    (rules.synonyms, "x<=3", r"x\le 3"),
    (rules.synonyms, r"\langle1,2\rangle", "(1,2)"),
    (rules.synonyms, r"30^{\circ}", r"30\text{deg}"),
    (rules.synonyms, r"30^\circ C", r"30\text{degC}"),
    (rules.synonyms, "x**2", "x^2"),
    (rules.synonyms, "2*3", r"2 \cdot 3"),
    (rules.synonyms, r"y^{\prime}", "y'"),
    (rules.synonyms, r"v^2_0", "v_0^2"),
    (rules.synonyms, r"1\over2", r"\frac{1}{2}"),
    (rules.synonyms, r"2{n+1 \choose k}-1", r"2\binom{n+1 }{ k}-1"),
    (rules.synonyms, r"n-1\choose2", r"\binom{n-1}{2}"),
    (rules.synonyms, "3 x 10^8", r"3 \cdot 10^8"),
    (rules.synonyms, "3x 10", "3x 10"),
    (rules.synonyms, r"(\bmod 5)", r"\pmod{5}"),
    (rules.synonyms, "a_{1}x^{12}", "a_1x^{12}"),
    (rules.synonyms, r"\lesssim", r"\lesssim"),
    (rules.edges, "=7.", "7"),
    (rules.edges, r"\approx 7", "7"),
    (rules.edges, r"7 \\", "7"),
    (rules.edges, "7;", "7"),
    (rules.edges, "{7}", "7"),
    (rules.edges, "{7,8}", r"\{7,8\}"),
    (rules.edges, r"\text{The answer is}7", "7"),
    (rules.edges, "{7}{8}", "{7}{8}"),
    (rules.edges, "7!", "7!"),
    (rules.calculator, "sqrt(2)+pi", r"\sqrt {2}+\pi "),
    (rules.calculator, "e^(-x)", "e^{-x}"),
    (rules.calculator, "max(1,2)", r"\max (1,2)"),
    (rules.calculator, "spin", "spin"),
    (rules.numbers, "1,234,567.5", "1234567.5"),
    (rules.numbers, "1 234", "1234"),
    (rules.numbers, "(1,234)", "(1,234)"),
    (rules.numbers, "1,23", "1,23"),
    (rules.numbers, "1,2345", "1,2345"),
    (rules.numbers, "3 100/200", "3 100/200"),
    (rules.numbers, r"0.1\overline{6}", r"\frac{1}{6}"),
    (rules.numbers, r"101_{\text{two}}", "101_2"),
    (rules.numbers, r"1F_\text{sixteen}", "1F_{16}"),
    (rules.numbers, r"v_{\text{one}}", r"v_{\text{one}}"),
    (rules.numbers, "0.(3)", r"\frac{1}{3}"),
    (rules.words, "12cm", r"12\text{cm}"),
    (rules.words, "12 m", r"12\text{m}"),
    (rules.words, "12m", "12m"),
    (rules.words, "3 m/s^2", r"3\text{m/s^2}"),
    (rules.words, "21st", r"21\text{st}"),
    (rules.words, r"2^{\text{nd}}", r"2\text{nd}"),
    (rules.words, "8 percent", r"8 \%"),
    (rules.words, "8%", r"8\%"),
    (rules.words, "8 p.m.", r"8 \text{pm}"),
    (rules.words, "7 green apples", r"7 \text{green apples}"),
    (rules.words, "ab+xyz", "ab+xyz"),
    (rules.words, r"\alpha+\sin x", r"\alpha+\sin x"),
    (rules.joined_texts, r"\text{m}/\text{s}^2", r"\text{m/s^2}"),
    (rules.joined_texts, r"\frac{\text{km}}{\text{h}}", r"\text{km/h}"),
    (rules.joined_texts, r"9\text{a} \text{b}", r"9\text{a b}"),
    (rules.joined_texts, r"\text{a b}\text{and}\text{c d}", r"\text{a b}\text{and}\text{c d}"),
    (rules.joined_texts, r"\frac{1}{\text{e}}", r"\frac{1}{e}"),
    (rules.joined_texts, r"3\text{m}", r"3\text{m}"),
    (rules.spaces, "x + 1, 2", "x+1,2"),
    (rules.spaces, "3 1/2", "3 1/2"),
    (rules.spaces, r"\sin x", r"\sin x"),
    (rules.radians, r"2\sin20\text{deg}", r"2\sin(20\frac{\pi}{180})"),
    (rules.radians, r"\sin10k\text{deg}", r"\sin(10k\frac{\pi}{180})"),
    (rules.radians, r"\tan\frac{45}{2}\text{degrees}", r"\tan(\frac{45}{2}\frac{\pi}{180})"),
    (rules.radians, r"\cos^2(x+10\text{deg})", r"\cos^2(x+10\frac{\pi}{180})"),
    (rules.radians, r"\cos(x)\text{deg cm}+1", r"\cos((x)\frac{\pi}{180})\text{cm}+1"),
    (rules.radians, r"\frac{\sin8\text{deg}}{\cos8\text{deg}}", r"\frac{\sin(8\frac{\pi}{180})}{\cos(8\frac{\pi}{180})}"),
    (rules.radians, r"\sin x=1,x=30\text{deg}", r"\sin x=1,x=30\text{deg}"),
    (rules.radians, r"\sin(x", r"\sin(x"),
    (rules.radians, r"\sin^{-1}(1)\text{deg}", r"\sin^{-1}(1)\text{deg}"),
]


@pytest.mark.parametrize(("rule", "before", "after"), EXAMPLES)
def test_a_rule_by_its_examples(rule: Callable[[str], str], before: str, after: str) -> None:
    assert rule(before) == after


def test_every_rule_has_examples_of_what_it_changes_and_of_what_it_leaves() -> None:
    for rule in rules.RULES:
        changed = {before != after for tried, before, after in EXAMPLES if tried is rule}
        assert changed == {True, False}, rule.__name__


@pytest.mark.parametrize(
    ("before", "after"), [(r"$\dfrac{1}{2}\,\mathrm{cm}$.", r"\frac{1}{2}\text{cm}"), ("x ∈ [0，１)", r"x\in[0,1)")]
)
def test_all_rules_together(before: str, after: str) -> None:
    assert clean(before) == after
    assert clean(after) == after
