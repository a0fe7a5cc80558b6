r"""Equivalence classes of answers, and the majority vote over them (the p_hat of arXiv 2508.05004, section 3).

A grader decides most pairs (pipeline/domain/graders); undecided expressions go to a judge, which is math-verify in a sandbox
(actors/reward/sandbox.py) and may fail to decide.

Equality is not transitive: `50\%` equals both `50` and `0.5`. Its transitive closure would join answers that differ, and a false
majority is a wrong label. So any two answers of a class are equal: an answer equal to two that differ joins the larger of their
classes. What could not be decided counts as different. Every pair is compared, and the result does not depend on the order of the
answers.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from itertools import combinations
from typing import Any, Protocol

from pipeline.domain.graders.protocol import Grader
from pipeline.types import Vote


class Judge(Protocol):
    """Decides whether two expressions are equal; yields requests and is sent replies, both opaque here."""

    def __call__(self, a: str, b: str) -> Generator[Any, Any, bool | None]: ...


def compare(a: str, b: str, grader: Grader, judge: Judge) -> Generator[Any, Any, bool | None]:
    """Whether two answers are equal; None if undecided. A blank answer is equal to none."""
    return (yield from _equal(_canonical(a, grader), _canonical(b, grader), grader, judge))


def _canonical(answer: str, grader: Grader) -> str:
    form: object = grader.canonical(answer)
    if not isinstance(form, str):
        raise TypeError(f"{type(grader).__name__}.canonical returned {form!r:.60} for {answer!r:.60}; valid: a text")
    return form


def _equal(a: str, b: str, grader: Grader, judge: Judge) -> Generator[Any, Any, bool | None]:
    """`compare` of canonical forms."""
    if not a or not b:
        return False
    verdict = True if a == b else grader.equivalent(*sorted((a, b)))
    if not isinstance(verdict, tuple):
        if verdict not in (True, False):  # a user's grader may return anything; NumPy's truth values are among these
            raise TypeError(f"{type(grader).__name__}.equivalent returned {verdict!r:.60}; valid: True, False or pairs of texts")
        return bool(verdict)
    decided: bool | None = True
    for one, other in verdict:
        equal = yield from judge(*sorted((one, other)))
        if equal is False:
            return False
        if equal is None:
            decided = None
    return decided


def majority(answers: Sequence[str | None], grader: Grader, judge: Judge) -> Generator[Any, Any, Vote]:
    """The vote over `answers`, one per requested response (None or blank: a response without an answer).

    Ties go to the class whose representative is shortest, then first in code-point order. The representative, which becomes
    the pseudo-label, is the most frequent spelling of the class, ties again to the shortest, then the first.
    `undecided` counts pairs of distinct canonical forms without a verdict.
    """
    spellings: dict[str, Counter[str]] = {}
    for answer in answers:
        if answer is not None and (key := _canonical(answer, grader)):
            spellings.setdefault(key, Counter())[answer.strip()] += 1
    verdicts: dict[tuple[str, str], bool | None] = {}
    for a, b in combinations(sorted(spellings), 2):
        verdicts[a, b] = verdicts[b, a] = yield from _equal(a, b, grader, judge)

    classes = _classes(spellings, verdicts)
    undecided = list(verdicts.values()).count(None) // 2  # a pair is there in both orders
    if not classes:
        return Vote(None, 0, len(answers), undecided)
    count, _, answer = _rank(classes[0], spellings)
    return Vote(answer, -count, len(answers), undecided)


def _classes(spellings: dict[str, Counter[str]], verdicts: dict[tuple[str, str], bool | None]) -> list[list[str]]:
    """Keys in classes, the majority first. Keys that equal two differing keys (ambiguous) are assigned last."""

    def ambiguous(key: str) -> bool:
        equals = [other for other in spellings if other != key and verdicts[key, other]]
        return not all(verdicts[a, b] for a, b in combinations(equals, 2))

    classes: list[list[str]] = []
    for key in sorted(spellings, key=lambda key: (ambiguous(key), -spellings[key].total(), len(key), key)):
        if fitting := [keys for keys in classes if all(verdicts[key, other] for other in keys)]:
            min(fitting, key=lambda keys: _rank(keys, spellings)).append(key)
        else:
            classes.append([key])
    return sorted(classes, key=lambda keys: _rank(keys, spellings))


def _rank(keys: Sequence[str], spellings: dict[str, Counter[str]]) -> tuple[int, int, str]:
    """Sort key, smallest for the winning class: minus its votes, then its representative by length and code points."""
    members = sum((spellings[key] for key in keys), Counter[str]())
    answer = min(members, key=lambda text: (-members[text], len(text), text))
    return -members.total(), len(answer), answer
