"""The words of the tiny domain: programs over whole numbers, the phrases that tell them, and questions written at random.

A problem is a straight-line program; a form is one way to put it into words:

    expression  "Compute 12 + 3 * 4 - 5."
    steps       "Start with 12. Add 7. Double it. What is the result?"
    story       "Mia has 12 pens. She buys 3 bags of 4. She loses 5. How many pens does Mia have now?"
    machine     "Machine A adds 7. Machine B doubles. Send 12 through A B A. What comes out?"
    compare     "Mia has 12 pens. Leo has 7 more than Mia. How many pens do they have together?"
    reverse     "Mia thinks of a number. She adds 7. She gets 19. What was the number?"

Written text is for making the base model and its held-out set alone. `domain.py` reads text back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import NamedTuple

FORMS = ("expression", "steps", "story", "machine", "compare")
TRANSFER_FORM = "reverse"  # solved in the base's text, never posed in it
LIMIT = 9999  # no value in rule-written text is larger, but for a total

HER = ("Mia", "Ana", "Eva", "Lena", "Zoe", "Nora", "Ivy", "Ruth", "Uma", "Tess")
HIS = ("Leo", "Tom", "Ben", "Max", "Sam", "Omar", "Finn", "Hugo", "Raj", "Karl")
NAMES = HER + HIS
THINGS = (
    "pens", "coins", "cards", "shells", "marbles", "stamps", "apples",
    "nuts", "beads", "books", "eggs", "plums", "keys", "stones",
)  # fmt: skip
PACKS = ("bags", "boxes", "packs", "jars", "baskets")
SUBJECTS = ("Machine", "Robot", "Rule", "Button")
LETTERS = "AB"
LINKS = ("Then", "Next", "Later")

# --- programs -------------------------------------------------------------------------------------------------------------------


class Ref(NamedTuple):
    """The result of an earlier line of the program."""

    line: int


Operand = int | Ref


class Line(NamedTuple):
    """One worked step, e.g. Line("+", Ref(0), 7)."""

    op: str
    left: Operand
    right: Operand


class Move(NamedTuple):
    """What a phrase does to the running value: Move("+", (3, 4)) adds three fours, in two lines."""

    op: str
    factors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A well-posed question: `lines` in the order of the worked solution, `answer` one of their results or a literal."""

    form: str
    lines: tuple[Line, ...]
    answer: Operand


def apply(op: str, left: int, right: int) -> int:
    return left + right if op == "+" else left - right if op == "-" else left * right


def value_of(operand: Operand, values: Sequence[int]) -> int:
    return values[operand.line] if isinstance(operand, Ref) else operand


def run(problem: Problem) -> list[int]:
    """The result of every line."""
    values: list[int] = []
    for op, left, right in problem.lines:
        values.append(apply(op, value_of(left, values), value_of(right, values)))
    return values


def effort(op: str, left: int, right: int) -> int:
    """What a step adds to the difficulty and to the chance of a slip: 1 if small, as 37+15, 2 for a product or large numbers."""
    return 1 if op != "*" and right <= 20 and left < 100 else 2


def chain(form: str, start: int, moves: Sequence[Move]) -> Problem:
    """The program that takes `start` through `moves`."""
    lines: list[Line] = []
    value: Operand = start
    for op, (first, *rest) in moves:
        operand: Operand = first
        for factor in rest:
            lines.append(Line("*", operand, factor))
            operand = Ref(len(lines) - 1)
        lines.append(Line(op, value, operand))
        value = Ref(len(lines) - 1)
    return Problem(form, tuple(lines), value)


# --- phrases --------------------------------------------------------------------------------------------------------------------

NUMBER = r"(?:0|[1-9]\d{0,3})"
SLOTS = {
    "e": rf"{NUMBER}(?: [-+*] {NUMBER})*", "n": r"0|[1-9]\d{0,3}", "k": r"0|[1-9]\d{0,3}", "a": "|".join(NAMES), "b": "|".join(NAMES), "p": "She|He",
    "thing": "|".join(THINGS), "packs": "|".join(PACKS), "subject": "|".join(SUBJECTS),
    "letter": f"[{LETTERS}]", "sequence": f"[{LETTERS}](?: [{LETTERS}])*",
}  # fmt: skip


class Phrase:
    """A sentence with slots, e.g. "{a} has {n} {thing}.", that can be said and read."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.pattern = re.compile(re.sub(r"\\\{(\w+)\\\}", lambda slot: f"(?P<{slot[1]}>{SLOTS[slot[1]]})", re.escape(template)))

    def read(self, sentence: str) -> dict[str, str] | None:
        match = self.pattern.fullmatch(sentence)
        return match.groupdict() if match else None


class Phrases:
    """Sentences that do not move the running value: openings and closing questions."""

    def __init__(self, *templates: str) -> None:
        self.phrases = [Phrase(t) for t in templates]

    def say(self, rng: Random, **slots: object) -> str:
        return rng.choice(self.phrases).template.format(**slots)

    def read(self, sentence: str) -> dict[str, str] | None:
        return next((slots for p in self.phrases if (slots := p.read(sentence)) is not None), None)


class Moves:
    """Sentences that move the running value. Keys: "+" and so on; "*2" with the number in the verb; "+k" for k times n."""

    def __init__(self, linked: bool, **table: Sequence[str]) -> None:
        self.linked = linked  # may be joined to the sentence before by "Then" and the like
        self.table = {OPS[key]: [Phrase(t) for t in templates] for key, templates in table.items()}

    def say(self, move: Move, rng: Random, **slots: object) -> str:
        op, factors = move
        keys = [op + "k"] if len(factors) == 2 else [key for key in (op, f"{op}{factors[0]}") if key in self.table]
        phrase = rng.choice([p for key in keys for p in self.table[key]])
        text = phrase.template.format(k=factors[0], n=factors[-1], **slots)
        return f"{rng.choice(LINKS)} {text[0].lower()}{text[1:]}" if self.linked and rng.random() < 0.25 else text

    def read(self, sentence: str) -> tuple[Move, dict[str, str]] | None:
        link, _, rest = sentence.partition(" ")
        if self.linked and link in LINKS and rest:
            sentence = rest[0].upper() + rest[1:]
        for key, phrases in self.table.items():
            for phrase in phrases:
                if (slots := phrase.read(sentence)) is not None:
                    factors = [int(slots[name]) for name in ("k", "n") if name in slots] or [int(key[1:])]
                    return Move(key[0], tuple(factors)), slots
        return None


OPS = {"add": "+", "sub": "-", "mul": "*", "double": "*2", "triple": "*3", "add_many": "+k", "sub_many": "-k"}

ASK_EXPRESSION = ("Compute", "Evaluate", "Calculate", "Work out", "Find", "What is")

OPEN_STEPS = Phrases("Start with {e}.", "Begin with {e}.", "Take {e}.", "Think of {e}.", "Write down {e}.")
MOVE_STEPS = Moves(
    True, add=("Add {n}.", "Increase it by {n}."), sub=("Subtract {n}.", "Take away {n}.", "Decrease it by {n}."),
    mul=("Multiply by {n}.",), double=("Double it.",), triple=("Triple it.",),
    add_many=("Add {k} times {n}.",), sub_many=("Subtract {k} times {n}.",),
)  # fmt: skip
ASK_STEPS = Phrases("What is the result?", "What do you get?", "What number is it now?", "Where do you end?")

OPEN_STORY = Phrases("{a} has {n} {thing}.", "{a} owns {n} {thing}.", "{a} starts with {n} {thing}.", "{a} keeps {n} {thing}.")
MOVE_STORY = Moves(
    True, add=("{p} buys {n} more.", "{p} finds {n} more.", "{p} wins {n}.", "{p} gets {n} more."),
    sub=("{p} loses {n}.", "{p} sells {n}.", "{p} gives away {n}.", "{p} breaks {n}."),
    mul=("{p} swaps each for {n} new ones.",), double=("The number doubles.",), triple=("The number triples.",),
    add_many=("{p} buys {k} {packs} of {n}.", "{p} finds {k} {packs} of {n}."), sub_many=("{p} sells {k} {packs} of {n}.",),
)  # fmt: skip
ASK_STORY = Phrases(
    "How many {thing} does {a} have now?",
    "How many {thing} are left?",
    "How many {thing} does {a} have at the end?",
    "Count the {thing}.",
)

MOVE_THIRD: dict[str, Sequence[str]] = {"add": ("adds {n}.",), "sub": ("subtracts {n}.", "takes away {n}.")}
OPEN_MACHINE = Phrases("Send {n} through {sequence}.", "Put {n} into {sequence}.", "Feed {n} to {sequence}.")
MOVE_MACHINE = Moves(
    False, **{key: [f"{{subject}} {{letter}} {t}" for t in templates] for key, templates in MOVE_THIRD.items()},
    mul=("{subject} {letter} multiplies by {n}.",), double=("{subject} {letter} doubles.",),
    triple=("{subject} {letter} triples.",),
)  # fmt: skip
ASK_MACHINE = Phrases("What comes out?", "What is the output?", "Which number comes out?")

OPEN_COMPARE = Phrases("{a} has {n} {thing}.", "{a} owns {n} {thing}.", "{a} holds {n} {thing}.")
MOVE_COMPARE = Moves(
    False, add=("{a} has {n} more than {b}.", "{a} owns {n} more than {b}."),
    sub=("{a} has {n} fewer than {b}.", "{a} owns {n} fewer than {b}."),
    mul=("{a} has {n} times as many as {b}.", "{a} owns {n} times as many as {b}."),
    double=("{a} has twice as many as {b}.", "{a} owns twice as many as {b}."),
)  # fmt: skip
ASK_COMPARE = Phrases("How many {thing} does {a} have?", "How many {thing} does {a} own?")
ASK_TOTAL = Phrases("How many {thing} do they have together?", "How many {thing} do they have in all?")

OPEN_REVERSE = Phrases("{a} thinks of a number.", "{a} picks a secret number.", "{a} hides a number.")
MOVE_REVERSE = Moves(True, **{key: [f"{{p}} {t}" for t in templates] for key, templates in MOVE_THIRD.items()})
RESULT_REVERSE = Phrases("{p} gets {n}.", "{p} ends with {n}.")
ASK_REVERSE = Phrases("What was the number?", "Which number was it?")


def pronoun(name: str) -> str:
    return "She" if name in HER else "He"


# --- from programs to text ------------------------------------------------------------------------------------------------------


def draw_number(rng: Random, large: float) -> int:
    """An operand of a sum: up to 20, or with chance `large` up to 999, small ones more often."""
    return rng.randint(1, 20) if rng.random() >= large else round(10 ** rng.uniform(1.3, 2.99))


def draw_start(rng: Random, large: float) -> int:
    return rng.randint(10, 60) if rng.random() >= large else round(10 ** rng.uniform(1.8, 3.99))


def draw_moves(rng: Random, value: int, steps: int, large: float, ops: str = "+-*k", lowest: int = 0) -> list[Move]:
    """Moves of `steps` lines in all, starting from `value` and staying within `lowest` to LIMIT; see `write` for `large`."""
    moves: list[Move] = []
    while steps:
        kind, sign = rng.random(), "+" if rng.random() < 0.55 else "-"
        if kind < large and "*" in ops:
            move = Move("*", (rng.randint(2, 3) if rng.random() < 0.7 else rng.randint(4, 9),))
        elif kind < 2 * large and "k" in ops and steps >= 2:
            move = Move(sign, (rng.randint(2, 6), rng.randint(2, 9) if rng.random() > large else rng.randint(10, 99)))
        else:
            move = Move(sign, (draw_number(rng, large),))
        after = run(chain("", value, [move]))[-1]
        if lowest <= after <= LIMIT and (move.op != "*" or (value > 1 and (after <= 120 or rng.random() < large and after <= 999))):
            moves.append(move)
            value, steps = after, steps - len(move.factors)
    return moves


def draw_lowest(rng: Random, large: float) -> int:
    """Bare numbers go below zero now and then; what is counted or owned cannot."""
    return -99 if rng.random() < large else 0


def draw_sum(rng: Random, steps: int, large: float) -> tuple[str, int, list[Move]]:
    """An expression of `steps` lines, e.g. "2 * 6 - 5", and what it starts from and does."""
    start, moves = draw_start(rng, large), []
    if rng.random() < 2.5 * large:  # a product can only stand at the head: later ones bind more tightly than the sum before them
        start, moves = rng.randint(2, 12 if rng.random() >= large else 99), [Move("*", (rng.randint(2, 9),))]
    value = run(chain("", start, moves))[-1] if moves else start
    moves += draw_moves(rng, value, steps - len(moves), large, "+-k", draw_lowest(rng, large))
    return " ".join([str(start), *(f"{op} {' * '.join(map(str, factors))}" for op, factors in moves)]), start, moves


def write_expression(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    text, start, moves = draw_sum(rng, steps, large)
    ask = rng.choice(ASK_EXPRESSION)
    return f"{ask} {text}{'?' if ask == 'What is' else '.'}", chain("expression", start, moves)


def write_steps(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    start = draw_start(rng, large)
    opening, head = str(start), []
    if steps > 1 and rng.random() < large:
        opening, start, head = draw_sum(rng, rng.randint(1, steps - 1), large)
    before = chain("", start, head)
    moves = draw_moves(rng, value_of(before.answer, run(before)), steps - len(before.lines), large, lowest=draw_lowest(rng, large))
    sentences = [OPEN_STEPS.say(rng, e=opening), *(MOVE_STEPS.say(m, rng) for m in moves), ASK_STEPS.say(rng)]
    return " ".join(sentences), chain("steps", start, head + moves)


def write_story(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    start, a, thing = draw_start(rng, large), rng.choice(NAMES), rng.choice(THINGS)
    moves = draw_moves(rng, start, steps, large)
    middle = (MOVE_STORY.say(m, rng, p=pronoun(a), packs=rng.choice(PACKS)) for m in moves)
    sentences = [OPEN_STORY.say(rng, a=a, n=start, thing=thing), *middle, ASK_STORY.say(rng, a=a, thing=thing)]
    return " ".join(sentences), chain("story", start, moves)


def write_machine(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    subject = rng.choice(SUBJECTS)
    while True:
        start, lowest = draw_start(rng, large), draw_lowest(rng, large)
        rules = {letter: draw_moves(rng, max(start, 40), 1, large, "+-*")[0] for letter in LETTERS}  # both, or one may be used untold
        sequence = rng.choices(LETTERS, k=steps)
        moves = [rules[letter] for letter in sequence]
        values = run(chain("", start, moves))
        if lowest <= min(values) and max(values) <= LIMIT and (start > 60 or max(values) <= 120 or rng.random() < large):
            break
    sentences = [MOVE_MACHINE.say(rules[letter], rng, subject=subject, letter=letter) for letter in LETTERS]
    sentences += [OPEN_MACHINE.say(rng, n=start, sequence=" ".join(sequence)), ASK_MACHINE.say(rng)]
    return " ".join(sentences), chain("machine", start, moves)


def draw_people(rng: Random, count: int) -> list[str]:
    """Each is one or two names on from the one before, in a circle: so a chain that grows longer names nobody twice."""
    at = [rng.randrange(len(NAMES))]
    while len(at) < count:
        at.append((at[-1] + rng.randint(1, 2)) % len(NAMES))
    return [NAMES[i] for i in at]


def write_compare(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    total = steps % 2 == 0 and rng.random() < 0.4  # adding up the people costs as many lines as relating them
    people, thing, start = draw_people(rng, steps // 2 + 1 if total else steps + 1), rng.choice(THINGS), draw_start(rng, large)
    owned: dict[str, Operand] = {people[0]: start}
    lines: list[Line] = []
    sentences = [OPEN_COMPARE.say(rng, a=people[0], n=start, thing=thing)]
    for before, person in pairwise(people):
        (move,) = draw_moves(rng, value_of(owned[before], run(Problem("", tuple(lines), 0))), 1, large, "+-*")
        sentences.append(MOVE_COMPARE.say(move, rng, a=person, b=before))
        lines.append(Line(move.op, owned[before], move.factors[0]))
        owned[person] = Ref(len(lines) - 1)
    sentences.append(ASK_TOTAL.say(rng, thing=thing) if total else ASK_COMPARE.say(rng, thing=thing, a=people[-1]))
    return " ".join(sentences), together(lines, owned) if total else Problem("compare", tuple(lines), owned[people[-1]])


def write_reverse(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    start, a = draw_start(rng, large), rng.choice(NAMES)
    moves = draw_moves(rng, start, steps, large, "+-")
    end, p = run(chain("", start, moves))[-1], pronoun(a)
    sentences = [OPEN_REVERSE.say(rng, a=a), *(MOVE_REVERSE.say(m, rng, p=p) for m in moves), RESULT_REVERSE.say(rng, p=p, n=end)]
    return " ".join([*sentences, ASK_REVERSE.say(rng)]), backwards(end, moves)


def together(lines: Sequence[Line], owned: Mapping[str, Operand]) -> Problem:
    """The lines so far, then the sum of what everybody owns."""
    lines, (total, *others) = list(lines), owned.values()
    for other in others:
        lines.append(Line("+", total, other))
        total = Ref(len(lines) - 1)
    return Problem("compare", tuple(lines), total)


def backwards(end: int, moves: Sequence[Move]) -> Problem:
    return chain(TRANSFER_FORM, end, [Move("-" if op == "+" else "+", factors) for op, factors in reversed(moves)])


WRITERS: Mapping[str, Callable[[Random, int, float], tuple[str, Problem]]] = {
    "expression": write_expression, "steps": write_steps, "story": write_story, "machine": write_machine,
    "compare": write_compare, TRANSFER_FORM: write_reverse,
}  # fmt: skip


def write(rng: Random, form: str, steps: int, large: float) -> tuple[str, Problem]:
    """A question of the form with `steps` worked lines (one or two more at times).

    `large` is the share of products, and of operands above 20.
    """
    return WRITERS[form](rng, steps, large)
