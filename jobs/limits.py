"""What limits a run on the tiny domain: which mistakes its Solver makes round by round, and which questions it is trained on.

`python -m jobs.limits runs/NAME`; the domain's oracle reads the files of a run, and changes nothing.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from conf.errors import ConfigError
from jobs.cli import command
from pipeline.domain.tiny import words
from pipeline.domain.tiny.mistakes import KINDS, RIGHT, mistake
from pipeline.domain.tiny.read import form_of, parse
from pipeline.domain.tiny.words import run
from pipeline.observe import markdown
from pipeline.store.manifest import FILE, read_manifest
from pipeline.store.runs import is_run
from pipeline.store.tables import EvaluationRow, kept_questions, read_table

HELD_OUT = "heldout"
FORMS = (*words.FORMS, words.TRANSFER_FORM)
BAND = "hard"
GREEDY = "all forms, greedy"


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 shown, 2 not a run that was measured on the held-out set of the tiny domain."""
    parser = argparse.ArgumentParser(prog="python -m jobs.limits", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a run on the tiny domain")
    folder = parser.parse_args(arguments).run
    measured = rounds(folder)
    print(f"Held-out answers by their first mistake, in %, the band {BAND} but for {words.TRANSFER_FORM}\n")
    print(markdown.table(["round", "form", RIGHT, *KINDS], [row for number in measured for row in mistakes(folder, number)]))
    print("\nKept questions: well-posed ones by form, in %; their largest number; those with a negative one, in %\n")
    print(
        markdown.table(
            ["round", "kept", "well-posed", *FORMS, "median", "90th percentile", "negative"], questions(folder, measured)
        )
    )
    return 0


def rounds(folder: Path) -> list[int]:
    """Those of a run that were measured on the held-out set.

    Raises:
        ConfigError: there are none.
    """
    if not is_run(folder):
        raise ConfigError(f"{folder}: not the folder of a run; valid: one under runs/ that has a {FILE}.")
    found = [number for number, _ in read_manifest(folder).measured() if evaluation(folder, number).is_file()]
    if not found:
        raise ConfigError(f"{folder}: no round was measured on {HELD_OUT}.parquet, the held-out set of the tiny domain.")
    return found


def evaluation(folder: Path, number: int) -> Path:
    return folder / f"round-{number}" / "evaluation" / f"{HELD_OUT}.parquet"


def mistakes(folder: Path, number: int) -> Iterator[list[object]]:
    """A row a form, and one of the greedy answers of the band: the share that is right, and of each kind of first mistake."""
    counts = {form: Counter[str]() for form in (*FORMS, GREEDY)}
    for row in read_table(evaluation(folder, number), EvaluationRow):
        form = form_of(row.question)
        if form is None or (row.band != BAND and form != words.TRANSFER_FORM):
            continue
        counts[form].update(kind for response in row.responses if (kind := mistake(row.question, response)))
        if row.band == BAND and (kind := mistake(row.question, row.greedy_response)):
            counts[GREEDY][kind] += 1
    for form, kinds in counts.items():
        if total := kinds.total():
            yield [number, form, *(percent(kinds[kind], total) for kind in (RIGHT, *KINDS))]


def questions(folder: Path, measured: Sequence[int]) -> Iterator[list[object]]:
    """A row a round."""
    for number in measured:
        if not (folder / f"round-{number}" / "curriculum.parquet").is_file():
            continue
        kept = [item.question or "" for item in kept_questions(folder / f"round-{number}")]
        problems = [problem for question in kept if (problem := parse(question))]
        forms = Counter(problem.form for problem in problems)
        results = [run(problem) for problem in problems]
        largest = sorted(max(map(abs, values)) for values in results)
        if largest:
            shares = [percent(forms[form], len(problems)) for form in FORMS]
            extremes = [f"{median(largest):.0f}", largest[math.ceil(0.9 * len(largest)) - 1]]
            negative = percent(sum(min(values) < 0 for values in results), len(problems))
            yield [number, len(kept), percent(len(problems), len(kept)), *shares, *extremes, negative]


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
