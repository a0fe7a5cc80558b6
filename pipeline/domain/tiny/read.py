"""The oracle of the tiny domain: parses a question into a program, which gives its right answer and its difficulty.

It accepts any text, also a model's, and returns None for what is no well-posed problem of the domain. Reading and writing
(`write.py`) share only the phrase tables, so that parsing a question back into the program it was written from is a real test
of the oracle. It serves evaluation and reports only: no reward and no training label uses it. The worked solutions and the
held-out set of the tiny base model are made here as well.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from pipeline.domain.tiny import words
from pipeline.domain.tiny.words import Line, Move, Operand, Problem, Ref, apply, chain, effort, run, value_of
from pipeline.domain.tiny.write import write

MAX_CHARS = 2000  # longer than any text of the domain; the patterns below take time quadratic in the length
MOST_SLIPS = 0.4  # so that the right result of a step stays by far the most likely
BANDS: Mapping[str, tuple[int, int]] = {"easy": (1, 3), "medium": (4, 6), "hard": (8, 12)}  # difficulty, both ends included


# --- from text to programs ------------------------------------------------------------------------------------------------------


def read_sum(text: str) -> tuple[int, list[Move]]:
    """The start value of an expression and its moves."""
    terms = re.split(r" ([-+]) ", text)
    start, *rest = (int(f) for f in terms[0].split(" * "))
    moves = [Move("*", (factor,)) for factor in rest]
    moves += [Move(op, tuple(int(f) for f in term.split(" * "))) for op, term in zip(terms[1::2], terms[2::2], strict=True)]
    return start, moves


def read_expression(text: str) -> Problem | None:
    match = re.fullmatch(rf"(?:{'|'.join(words.ASK_EXPRESSION)}) ({words.SLOTS['e']})[.?]", text)
    return chain("expression", *read_sum(match[1])) if match else None


def read_moves(book: words.Moves, sentences: Sequence[str], fixed: Mapping[str, str]) -> list[Move] | None:
    """The moves of a chain; None if a sentence is not a move or its slots differ from the `fixed` ones."""
    readings = [book.read(s) for s in sentences]
    moves = [r[0] for r in readings if r is not None and all(r[1].get(slot, word) == word for slot, word in fixed.items())]
    return moves if len(moves) == len(sentences) else None


def read_steps(first: str, middle: Sequence[str], last: str) -> Problem | None:
    opening, moves = words.OPEN_STEPS.read(first), read_moves(words.MOVE_STEPS, middle, {})
    if opening is None or moves is None or words.ASK_STEPS.read(last) is None:
        return None
    start, head = read_sum(opening["e"])
    return chain("steps", start, head + moves)


def read_story(first: str, middle: Sequence[str], last: str) -> Problem | None:
    opening, ask = words.OPEN_STORY.read(first), words.ASK_STORY.read(last)
    if opening is None or ask is None or any(opening[slot] != ask.get(slot, opening[slot]) for slot in ("a", "thing")):
        return None
    moves = read_moves(words.MOVE_STORY, middle, {"p": words.pronoun(opening["a"])})
    return None if moves is None else chain("story", int(opening["n"]), moves)


def read_machine(first: str, middle: Sequence[str], last: str) -> Problem | None:
    *rule_sentences, sending = [first, *middle]
    rules: dict[str, Move] = {}
    subjects = set()
    for sentence in rule_sentences:
        if (reading := words.MOVE_MACHINE.read(sentence)) is None or reading[1]["letter"] in rules:
            return None
        move, slots = reading
        rules[slots["letter"]] = move
        subjects.add(slots["subject"])
    opening = words.OPEN_MACHINE.read(sending)
    if opening is None or len(subjects) != 1 or words.ASK_MACHINE.read(last) is None:
        return None
    letters = opening["sequence"].split()
    return chain("machine", int(opening["n"]), [rules[letter] for letter in letters]) if rules.keys() >= set(letters) else None


def read_compare(first: str, middle: Sequence[str], last: str) -> Problem | None:
    opening, ask, total = words.OPEN_COMPARE.read(first), words.ASK_COMPARE.read(last), words.ASK_TOTAL.read(last)
    if opening is None or (closing := ask or total) is None or closing["thing"] != opening["thing"]:
        return None
    owned: dict[str, Operand] = {opening["a"]: int(opening["n"])}
    lines: list[Line] = []
    for sentence in middle:
        if (reading := words.MOVE_COMPARE.read(sentence)) is None or reading[1]["a"] in owned or reading[1]["b"] not in owned:
            return None
        move, slots = reading
        lines.append(Line(move.op, owned[slots["b"]], move.factors[0]))
        owned[slots["a"]] = Ref(len(lines) - 1)
    if total:
        return words.together(lines, owned)
    return Problem("compare", tuple(lines), owned[closing["a"]]) if closing["a"] in owned else None


def read_reverse(first: str, middle: Sequence[str], last: str) -> Problem | None:
    opening, result = words.OPEN_REVERSE.read(first), words.RESULT_REVERSE.read(middle[-1]) if middle else None
    if opening is None or result is None or result["p"] != words.pronoun(opening["a"]) or words.ASK_REVERSE.read(last) is None:
        return None
    moves = read_moves(words.MOVE_REVERSE, middle[:-1], {"p": result["p"]})
    return None if moves is None else words.backwards(int(result["n"]), moves)


READERS = (read_steps, read_story, read_machine, read_compare, read_reverse)


def parse(question: str) -> Problem | None:
    """The program of any text, also a model's; None if the text is no well-posed problem of the domain.

    Counts cannot be negative, so a story or comparison that takes away too much is ill-posed; bare numbers may be negative. At
    least one step is required.
    """
    text = question.strip()
    if len(text) > MAX_CHARS:
        return None
    problem = read_expression(text)
    sentences = re.findall(r"[^.?]+[.?]", text)
    if problem is None and len(sentences) >= 2 and " ".join(s.strip() for s in sentences) == text:
        first, *middle, last = (s.strip() for s in sentences)
        problem = next((p for read in READERS if (p := read(first, middle, last))), None)
    if problem is None or not problem.lines or (problem.form in ("story", "compare") and min(run(problem)) < 0):
        return None
    return problem


def answer_of(problem: Problem) -> int:
    return value_of(problem.answer, run(problem))


def true_answer(question: str) -> str | None:
    """The right answer, e.g. "49"; None if the text is no well-posed problem of the domain."""
    problem = parse(question)
    return None if problem is None else str(answer_of(problem))


def form_of(question: str) -> str | None:
    problem = parse(question)
    return None if problem is None else problem.form


def difficulty(question: str) -> int | None:
    """The effort of the worked steps, summed: 1 for a small step, 2 for a product or a step with large numbers."""
    problem = parse(question)
    return None if problem is None else effort_of(problem)


def effort_of(problem: Problem) -> int:
    values = run(problem)
    return sum(effort(op, value_of(left, values), value_of(right, values)) for op, left, right in problem.lines)


# --- worked solutions and the held-out set --------------------------------------------------------------------------------------


def solution(problem: Problem, rng: Random | None = None, slip: float = 0.0) -> str:
    """The worked lines and the boxed answer, e.g. "12+7=19\n19-5=14\n\\boxed{14}".

    With a probability of `slip` times its effort times its position squared, at most `MOST_SLIPS`, a step's result is slightly
    wrong and the work continues from it: noise that voting removes, since wrong answers scatter, and that grows with position,
    so that the errors of long work are not learned from short questions.
    """
    values: list[int] = []
    work = []
    for place, (op, left, right) in enumerate(problem.lines, start=1):
        a, b = value_of(left, values), value_of(right, values)
        value = apply(op, a, b)
        if rng is not None and rng.random() < min(MOST_SLIPS, slip * effort(op, a, b) * place**2):
            value += rng.choice((-20, -10, -3, -2, -1, 1, 2, 3, 10, 20))
        values.append(value)
        work.append(f"{a}{op}{b}={value}")
    return "\n".join([*work, f"\\boxed{{{value_of(problem.answer, values)}}}"])


def is_held_out(question: str) -> bool:
    """True for the eighth of all texts that the base model never trains on."""
    return zlib.crc32(question.encode()) % 8 == 0


def held_out(seed: int = 0, per_band: int = 80, transfer: int = 60) -> Iterator[dict[str, str | int]]:
    """Rows of the held-out set: question, answer, band, form, difficulty; the forms alternate within a band."""
    rng = Random(f"held-out {seed}")
    seen: set[str] = set()
    bands = [(band, span, words.FORMS, per_band) for band, span in BANDS.items()]
    for band, (low, high), forms, count in [*bands, ("transfer", (1, 8), (words.TRANSFER_FORM,), transfer)]:
        for i in range(count):
            while True:
                text, problem = write(rng, forms[i % len(forms)], rng.randint(1, high), large=0.1)
                if is_held_out(text) and text not in seen and low <= effort_of(problem) <= high:
                    break
            seen.add(text)
            yield {
                "question": text,
                "answer": str(answer_of(problem)),
                "band": band,
                "form": problem.form,
                "difficulty": effort_of(problem),
            }
