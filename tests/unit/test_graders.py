"""Graders by name, the two that are not mathematics, and one of a user's own in the real sandbox."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.reward.sandbox import AnswerSandbox
from conf.load import ROOT
from pipeline.answers import answer_of
from pipeline.domain.graders.choice import ChoiceGrader
from pipeline.domain.graders.exact import ExactGrader
from pipeline.domain.graders.find import GRADERS, find_grader
from pipeline.domain.graders.protocol import Grader
from pipeline.errors import GraderError
from pipeline.types import Sample, Vote

OPTIONS = ["12", r"\frac{1}{2}", "both of them", "Both of these", "both of them"]


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        (r"It is \boxed{C}.", "C"),
        (r"\boxed{c}", "C"),
        (r"\boxed{\text{(C)}}", "C"),
        (r"\boxed{\textbf{(C)}\ 12}", "C"),
        (r"\boxed{C. both of them}", "C"),
        (r"\boxed{C) 7}", "C"),
        (r"\boxed{C: 7}", "C"),
        (r"\boxed{Option C}", "C"),
        (r"\boxed{(C): both of them}", "C"),  # as the prompt shows the options
        (r"\boxed{\text{(C): both of them}}", "C"),
        (r"\boxed{C both of them}", "C"),
        (r"\boxed{C - both of them}", "C"),
        (r"\boxed{C (both of them)}", "C"),
        (r"\boxed{[C]}", "C"),
        (r"\boxed{{C}}", "C"),
        (r"\boxed{C,}", "C"),
        (r"\boxed{C\,}", "C"),
        (r"\boxed{\boldsymbol{C}}", "C"),
        (r"\boxed{\bf C}", "C"),
        (r"\boxed{\textrm{C}}", "C"),
        (r"\boxed{Answer: C}", "C"),
        (r"\boxed{（Ｃ）}", "C"),
        (r"\boxed{C none of them}", None),
        (r"\boxed{a number}", None),
        (r"\boxed{A} or rather \boxed{J}", "J"),
        (r"\boxed{12}", "A"),
        (r"\boxed{\frac{1}{2}}", "B"),
        (r"\boxed{Both of these}", "D"),
        (r"\boxed{both of them}", None),  # two options read so
        (r"\boxed{Certainly}", None),
        (r"\boxed{13}", None),
        (r"\boxed{C and D}", None),
    ],
)
def test_choice_reads_a_letter_or_the_text_of_one_option(response: str, letter: str | None) -> None:
    grader = ChoiceGrader()
    answer = grader.extract(response, OPTIONS)
    assert answer is not None
    assert grader.canonical(answer) == (letter or "")
    for other in "ABCDEFGHIJ":
        assert grader.equivalent(grader.canonical(answer), grader.canonical(other)) is (letter == other)


@pytest.mark.parametrize(("box", "letter"), [("A", "A"), (r"\text{(A)}", "A"), ("a", "B"), ("C", "C"), ("c", "C"), ("5", "C")])
def test_a_capital_letter_is_that_option_even_where_it_is_the_text_of_another(box: str, letter: str) -> None:
    assert ChoiceGrader().extract(rf"\boxed{{{box}}}", ["I", "a", "5"]) == letter


@pytest.mark.parametrize(
    "box",
    [
        "(A) and (C)",
        "(A) or (C)",
        "A, C",
        "A and C",
        "A) one, C) two",
        "A, B, C",
        "A; C; D",
        "A, C, and D",
        "A. B. C.",
        "A, then C",
        "(A), B, C",
        "(A) is wrong",
    ],
)
def test_two_letters_are_no_choice(box: str) -> None:
    assert ChoiceGrader().canonical(box) == ""
    assert ChoiceGrader().extract(rf"\boxed{{{box}}}", ["one", "two", "three"]) == box


@pytest.mark.parametrize(
    "box",
    [
        "(C) a gene, and more",
        "C, because it is",
        "C. vitamin B",
        "(C): the dog and a cat",
        "c) 12",
        "The answer is C",
        "C;",
        "**C.** two",
        "C。",
        r"\textcolor{red}{C}",
        r"C\\",
        "C. I and II",
    ],
)
def test_a_letter_before_a_text_is_a_choice(box: str) -> None:
    assert ChoiceGrader().canonical(box) == "C"


def test_choice_without_a_box_is_no_answer() -> None:
    assert ChoiceGrader().extract("The answer is (C).", OPTIONS) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Yes", "yes"),
        (r"\text{Yes}", " yes."),
        ("(a)", "A"),
        ("[friday]", "Friday"),
        ("5.0", "5"),
        ("1,095", "1095"),
        ("007", "7"),
        ("yes, no,  Unknown", "Yes, no, unknown"),
        ("['tall', 'short']", "tall, short"),
        ("1.0, 2, 3", "(1,2,3)"),
        (r"\textbf{\text{jeans}}", '"jeans"'),
        ("04-22-2021", "04-22-2021"),
        ("els  pisos", "els pisos"),
        ("$(B)$", "b"),
        ('"(B)"', "(B)"),
        ("**(A)**", "A"),
        (r"\(\text{(A)}\)", "(A)"),
        ('"[Dan, Kyle]"', "dan, kyle"),
        ("1{,}798", "1798"),
        (r"1\,798", "1798"),
        ("−76897", "-76897"),
        (r"\text{same\_day, 06:24:24}", "same_day, 06:24:24"),
        (r"65,\,1", "65, 1"),
        (r"\text{proved}\,", "proved"),
        (r"\underline{No}", "no"),
        ("[ ]", "[]"),
        ("[[1, 2], [3, 4]]", "[1, 2], [3, 4]"),
    ],
)
def test_exact_is_blind_to_case_quotes_brackets_and_how_a_number_is_written(a: str, b: str) -> None:
    grader = ExactGrader()
    assert grader.equivalent(grader.canonical(a), grader.canonical(b)) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("yes", "no"),
        ("a, b", "b, a"),
        ("1.5", "15"),
        ("1, 2", "12"),
        ("1, 2, 3", "1, 2"),
        ("04-22-2021", "22-04-2021"),
        ("-5", "5"),
        ("", ""),
        ("x+1", "1+x"),
        ("[1, 2], [3, 4]", "1, 2], [3, 4"),
    ],
)
def test_exact_knows_these_to_be_different(a: str, b: str) -> None:
    grader = ExactGrader()
    assert grader.equivalent(grader.canonical(a), grader.canonical(b)) is False


def test_a_grader_is_found_by_name_and_is_used_by_the_vote_and_by_comparisons() -> None:
    for name, grader in GRADERS.items():
        assert find_grader(name) is grader is find_grader(grader)
    with AnswerSandbox(workers=1) as sandbox:
        assert sandbox.equivalents([("(B)", "b"), ("B", "C"), ("seven", "seven")], grader="choice") == [True, False, False]
        assert sandbox.vote(["(B) 7", "b", "C", None, "7"], grader="choice") == Vote("b", 2, 5)
        assert sandbox.vote(["Yes", "yes", "'Yes'", "no"], grader="exact") == Vote("Yes", 3, 4)
        assert sandbox.equivalent("x+1", "1+x") is True
        assert sandbox.equivalent("x+1", "1+x", grader="exact") is False


def test_a_grader_of_a_file_needs_no_change_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    name = "examples/chemistry.py:FormulaGrader"
    grader: Grader = find_grader(name)
    assert grader.extract(r"so it is \boxed{\ce{H2SO4}}") == r"\ce{H2SO4}"
    with AnswerSandbox(workers=1) as sandbox:
        formulas = [r"\ce{C2H5OH}", r"\text{C}_2\text{H}_6\text{O}", "CH3CH2OH", "CH3OH", None, "alcohol"]
        assert sandbox.vote(formulas, grader=name) == Vote("CH3CH2OH", 3, 6)
        pairs = [("Ca(OH)2", "CaO2H2"), ("Ca(OH)2", "CaOH2"), ("Co", "CO"), ("K4[Fe(CN)6]", "K4FeC6N6"), (")H", ")H"), ("", "")]
        assert sandbox.equivalents(pairs, grader=name) == [True, False, False, True, True, False]


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (None, "chemistry", "no such grader; valid: math, choice, exact, or path/to/file.py:class"),
        ("class A: pass", "B", "has no class B"),
        ("class A: pass", "A", "it lacks the method extract"),
        (
            "class A:\n    def __init__(self, tolerance): pass",
            "A",
            "cannot be made: TypeError.*; valid: a class that is made without",
        ),
        ("1/0", "A", "ZeroDivisionError"),
    ],
)
def test_a_grader_that_cannot_be_used_is_refused_by_name(tmp_path: Path, code: str | None, name: str, message: str) -> None:
    if code is not None:
        (tmp_path / "mine.py").write_text(code)
        name = f"{tmp_path / 'mine.py'}:{name}"
    with pytest.raises(ValueError, match=message) as error:
        find_grader(name)
    assert name in str(error.value)


class Unreadable(ExactGrader):
    def extract(self, response: str, options: Sequence[str] = ()) -> str | None:
        return response.split("####")[1]


def test_a_grader_that_fails_on_a_response_is_named_with_the_place() -> None:
    finished, cut_off = (Sample((1,), (2,), (0.0,), "7", reason, "solver-r1-s0", 0) for reason in ("stop", "length"))
    assert answer_of(cut_off, Unreadable()) is None
    with pytest.raises(GraderError, match=r"^grader Unreadable: IndexError: list .* \(.*test_graders.py, line \d+\)$"):
        answer_of(finished, Unreadable())
