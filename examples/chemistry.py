r"""A domain of one's own: questions whose answers are formulas. This is its grader and its oracle; examples/chemistry.yaml holds
its prompts and the command that runs it, examples/chemistry.jsonl held-out problems.

Molecules are compared by the atoms in them: `C2H5OH`, `\ce{CH3CH2OH}` and `\text{C}_2\text{H}_6\text{O}` are one formula; isomers
are not told apart.
"""

import re
from collections import Counter
from collections.abc import Sequence

from pipeline.domain.prompts import extract_boxed

_PART = re.compile(r"([A-Z][a-z]?)([0-9]{0,4})|([(\[])|([)\]])([0-9]{0,4})")


class FormulaGrader:
    r"""
    >>> grader = FormulaGrader()
    >>> grader.canonical(r"\ce{Ca(OH)2}")
    'Ca1 H2 O2'
    """

    def extract(self, response: str, options: Sequence[str] = ()) -> str | None:
        return extract_boxed(response)

    def canonical(self, answer: str) -> str:
        """Atoms in alphabetical order with their numbers; the text itself, where it is no formula."""
        text = re.sub(r"\\(?:ce|text|mathrm|mathbf)(?![a-z])|[{}_$\s]", "", answer)
        counts, position = [Counter[str]()], 0
        while match := _PART.match(text, position):
            element, count, opening, closing, times = match.groups()
            if element:
                counts[-1][element] += int(count or 1)
            elif opening:
                counts.append(Counter())
            elif closing and len(counts) > 1:
                group = counts.pop()
                counts[-1].update({atom: number * int(times or 1) for atom, number in group.items()})
            else:
                break
            position = match.end()
        whole = position == len(text) and len(counts) == 1 and counts[0]
        return " ".join(f"{atom}{number}" for atom, number in sorted(counts[0].items())) if whole else text

    def equivalent(self, a: str, b: str) -> bool:
        return a == b != ""


COMPOUNDS = {"water": "H2O", "methane": "CH4", "ammonia": "NH3", "slaked lime": "Ca(OH)2", "table salt": "NaCl"}


def true_answer(question: str) -> str | None:
    """The oracle, for reports alone: the formula of the one compound that a question names, None where it cannot tell.

    >>> true_answer("What is the formula of ammonia?")
    'NH3'
    """
    named = [formula for name, formula in COMPOUNDS.items() if name in question.lower()]
    return named[0] if len(named) == 1 else None
