"""What is wrong with a worked answer of the tiny domain: which kind of mistake comes first."""

from collections.abc import Mapping, Sequence

from pipeline.domain.tiny.read import parse, solution

# A mistake by its name: what it says of the Solver. A slip is noise that training removes; the others are about reading.
KINDS: Mapping[str, str] = {
    "slip": "the right operands, a wrong result",
    "operand": "a number or an operation that is not the question's next one",
    "length": "a step too few or too many",
    "box": "all steps right, another answer in the box",
}
RIGHT = "right"


def mistake(question: str, response: str) -> str | None:
    """`RIGHT` where the answer in the box is, else the kind of the first mistake; None if the question is not well-posed.

    >>> mistake("Compute 29 + 21 - 11.", "29+21=50\\n50-11=39\\n\\\\boxed{39}")
    'right'
    >>> mistake("Compute 29 + 21 - 11.", "29+21=51\\n51-11=40\\n\\\\boxed{40}")
    'slip'
    """
    problem = parse(question)
    return None if problem is None else first_mistake(solution(problem).split("\n"), response.strip().split("\n"))


def first_mistake(right: Sequence[str], work: Sequence[str]) -> str:
    if work[-1] == right[-1]:
        return RIGHT
    for own, expected in zip(work, right, strict=False):
        if own == expected:
            continue
        if own.startswith("\\boxed") != expected.startswith("\\boxed"):
            return "length"
        if expected.startswith("\\boxed"):
            return "box"
        return "slip" if own.partition("=")[0] == expected.partition("=")[0] else "operand"
    return "length"  # cut off, or text behind the box
