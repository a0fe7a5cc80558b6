"""The words of the tiny domain: programs over whole numbers, and the phrases that express them.

A problem is a straight-line program; a form is one way to express it in words:

    expression  "Compute 12 + 3 * 4 - 5."
    steps       "Start with 12. Add 7. Double it. What is the result?"
    story       "Mia has 12 pens. She buys 3 bags of 4. She loses 5. How many pens does Mia have now?"
    machine     "Machine A adds 7. Machine B doubles. Send 12 through A B A. What comes out?"
    compare     "Mia has 12 pens. Leo has 7 more than Mia. How many pens do they have together?"
    reverse     "Mia thinks of a number. She adds 7. She gets 19. What was the number?"

`write.py` writes questions at random, `read.py` reads text back.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

FORMS = ("expression", "steps", "story", "machine", "compare")
TRANSFER_FORM = "reverse"  # solved in the base's text, never posed in it
LIMIT = 9999  # no value in generated text is larger, except a total

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
    """A phrase's change of the running value: Move("+", (3, 4)) adds three fours, in two lines."""

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
    """A step's contribution to difficulty and slip probability: 1 if small, as 37+15, 2 for a product or large numbers."""
    return 1 if op != "*" and right <= 20 and left < 100 else 2


def chain(form: str, start: int, moves: Sequence[Move]) -> Problem:
    """The program that applies `moves` to `start`."""
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


def together(lines: Sequence[Line], owned: Mapping[str, Operand]) -> Problem:
    """The lines so far, then the sum of all that is owned."""
    lines, (total, *others) = list(lines), owned.values()
    for other in others:
        lines.append(Line("+", total, other))
        total = Ref(len(lines) - 1)
    return Problem("compare", tuple(lines), total)


def backwards(end: int, moves: Sequence[Move]) -> Problem:
    return chain(TRANSFER_FORM, end, [Move("-" if op == "+" else "+", factors) for op, factors in reversed(moves)])


# --- phrases --------------------------------------------------------------------------------------------------------------------

NUMBER = r"(?:0|[1-9]\d{0,3})"
SLOTS = {
    "e": rf"{NUMBER}(?: [-+*] {NUMBER})*", "n": NUMBER, "k": NUMBER,
    "a": "|".join(NAMES), "b": "|".join(NAMES), "p": "She|He",
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

    def __init__(self, linked: bool, table: Mapping[str, Sequence[str]]) -> None:
        self.linked = linked  # may be joined to the sentence before by "Then" and the like
        self.table = {key: [Phrase(t) for t in templates] for key, templates in table.items()}

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


ASK_EXPRESSION = ("Compute", "Evaluate", "Calculate", "Work out", "Find", "What is")

OPEN_STEPS = Phrases("Start with {e}.", "Begin with {e}.", "Take {e}.", "Think of {e}.", "Write down {e}.")
MOVE_STEPS = Moves(True, {
    "+": ("Add {n}.", "Increase it by {n}."), "-": ("Subtract {n}.", "Take away {n}.", "Decrease it by {n}."),
    "*": ("Multiply by {n}.",), "*2": ("Double it.",), "*3": ("Triple it.",),
    "+k": ("Add {k} times {n}.",), "-k": ("Subtract {k} times {n}.",),
})  # fmt: skip
ASK_STEPS = Phrases("What is the result?", "What do you get?", "What number is it now?", "Where do you end?")

OPEN_STORY = Phrases("{a} has {n} {thing}.", "{a} owns {n} {thing}.", "{a} starts with {n} {thing}.", "{a} keeps {n} {thing}.")
MOVE_STORY = Moves(True, {
    "+": ("{p} buys {n} more.", "{p} finds {n} more.", "{p} wins {n}.", "{p} gets {n} more."),
    "-": ("{p} loses {n}.", "{p} sells {n}.", "{p} gives away {n}.", "{p} breaks {n}."),
    "*": ("{p} swaps each for {n} new ones.",), "*2": ("The number doubles.",), "*3": ("The number triples.",),
    "+k": ("{p} buys {k} {packs} of {n}.", "{p} finds {k} {packs} of {n}."), "-k": ("{p} sells {k} {packs} of {n}.",),
})  # fmt: skip
ASK_STORY = Phrases(
    "How many {thing} does {a} have now?",
    "How many {thing} are left?",
    "How many {thing} does {a} have at the end?",
    "Count the {thing}.",
)

MOVE_THIRD = {"+": ("adds {n}.",), "-": ("subtracts {n}.", "takes away {n}.")}
OPEN_MACHINE = Phrases("Send {n} through {sequence}.", "Put {n} into {sequence}.", "Feed {n} to {sequence}.")
MOVE_MACHINE = Moves(False, {
    key: [f"{{subject}} {{letter}} {t}" for t in templates]
    for key, templates in (MOVE_THIRD | {"*": ("multiplies by {n}.",), "*2": ("doubles.",), "*3": ("triples.",)}).items()
})  # fmt: skip
ASK_MACHINE = Phrases("What comes out?", "What is the output?", "Which number comes out?")

OPEN_COMPARE = Phrases("{a} has {n} {thing}.", "{a} owns {n} {thing}.", "{a} holds {n} {thing}.")
MOVE_COMPARE = Moves(False, {
    key: [f"{{a}} {verb} {than} {{b}}." for verb in ("has", "owns")]
    for key, than in {"+": "{n} more than", "-": "{n} fewer than", "*": "{n} times as many as", "*2": "twice as many as"}.items()
})  # fmt: skip
ASK_COMPARE = Phrases("How many {thing} does {a} have?", "How many {thing} does {a} own?")
ASK_TOTAL = Phrases("How many {thing} do they have together?", "How many {thing} do they have in all?")

OPEN_REVERSE = Phrases("{a} thinks of a number.", "{a} picks a secret number.", "{a} hides a number.")
MOVE_REVERSE = Moves(True, {key: [f"{{p}} {t}" for t in templates] for key, templates in MOVE_THIRD.items()})
RESULT_REVERSE = Phrases("{p} gets {n}.", "{p} ends with {n}.")
ASK_REVERSE = Phrases("What was the number?", "Which number was it?")


def pronoun(name: str) -> str:
    return "She" if name in HER else "He"
