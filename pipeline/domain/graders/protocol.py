"""What compares answers: a grader reads the answer of a response, spells it canonically and says which spellings are equal."""

from collections.abc import Sequence
from typing import Protocol

# True or False; or pairs of expressions, in LaTeX, all of which a symbolic judge has to find equal for the answers to be equal.
# Only mathematics needs a judge: math-verify, in processes that can be killed (actors/reward/sandbox.py).
Verdict = bool | tuple[tuple[str, str], ...]


class Grader(Protocol):
    """Stateless, and safe on any text: answers are written by a model. docs/answers.md shows a grader of one's own."""

    def extract(self, response: str, options: Sequence[str] = ()) -> str | None:
        """The answer that a response gives, None where it gives none; `options` are those of a multiple-choice question."""
        ...

    def canonical(self, answer: str) -> str:
        """One spelling for answers that differ in formatting alone: answers with the same canonical form are equal.

        Empty for an answer that says nothing: it is equal to no answer, itself included.
        """
        ...

    def equivalent(self, a: str, b: str) -> Verdict:
        """Whether two answers, given in canonical form, are equal. Symmetric, and True for a form and itself.

        Need not be transitive: `50%` is equal to `50` and to `0.5`. pipeline/algorithm/votes.py puts it into one class only.
        """
        ...
