"""Random questions of the tiny domain, used only to make the base model and its held-out set."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from random import Random

from pipeline.domain.tiny import words
from pipeline.domain.tiny.words import Line, Move, Operand, Problem, Ref, backwards, chain, pronoun, run, together, value_of


def draw_number(rng: Random, large: float) -> int:
    """An operand of a sum: up to 20, or with probability `large` up to 999, small ones more often."""
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
        if not lowest <= after <= words.LIMIT:
            continue
        if move.op != "*" or (value > 1 and (after <= 120 or (rng.random() < large and after <= 999))):
            moves.append(move)
            value, steps = after, steps - len(move.factors)
    return moves


def draw_lowest(rng: Random, large: float) -> int:
    """The lowest value of bare numbers, sometimes negative; counts cannot be."""
    return -99 if rng.random() < large else 0


def draw_sum(rng: Random, steps: int, large: float) -> tuple[str, int, list[Move]]:
    """An expression of `steps` lines, e.g. "2 * 6 - 5", its start value and its moves."""
    start, moves = draw_start(rng, large), []
    if rng.random() < 2.5 * large:  # a product can only come first: later ones bind more tightly than the preceding sum
        start, moves = rng.randint(2, 12 if rng.random() >= large else 99), [Move("*", (rng.randint(2, 9),))]
    value = run(chain("", start, moves))[-1] if moves else start
    moves += draw_moves(rng, value, steps - len(moves), large, "+-k", draw_lowest(rng, large))
    return " ".join([str(start), *(f"{op} {' * '.join(map(str, factors))}" for op, factors in moves)]), start, moves


def write_expression(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    text, start, moves = draw_sum(rng, steps, large)
    ask = rng.choice(words.ASK_EXPRESSION)
    return f"{ask} {text}{'?' if ask == 'What is' else '.'}", chain("expression", start, moves)


def write_steps(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    start = draw_start(rng, large)
    opening = str(start)
    head: list[Move] = []
    if steps > 1 and rng.random() < large:
        opening, start, head = draw_sum(rng, rng.randint(1, steps - 1), large)
    opened = chain("", start, head)
    value = value_of(opened.answer, run(opened))
    moves = draw_moves(rng, value, steps - len(opened.lines), large, lowest=draw_lowest(rng, large))
    sentences = [words.OPEN_STEPS.say(rng, e=opening), *(words.MOVE_STEPS.say(m, rng) for m in moves), words.ASK_STEPS.say(rng)]
    return " ".join(sentences), chain("steps", start, head + moves)


def write_story(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    start, a, thing = draw_start(rng, large), rng.choice(words.NAMES), rng.choice(words.THINGS)
    moves = draw_moves(rng, start, steps, large)
    middle = (words.MOVE_STORY.say(m, rng, p=pronoun(a), packs=rng.choice(words.PACKS)) for m in moves)
    sentences = [words.OPEN_STORY.say(rng, a=a, n=start, thing=thing), *middle, words.ASK_STORY.say(rng, a=a, thing=thing)]
    return " ".join(sentences), chain("story", start, moves)


def write_machine(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    subject = rng.choice(words.SUBJECTS)
    while True:
        start, lowest = draw_start(rng, large), draw_lowest(rng, large)
        # Both letters have a rule, used or not, so that a Challenger may send a number through any of them.
        rules = {letter: draw_moves(rng, max(start, 40), 1, large, "+-*")[0] for letter in words.LETTERS}
        sequence = rng.choices(words.LETTERS, k=steps)
        moves = [rules[letter] for letter in sequence]
        values = run(chain("", start, moves))
        if lowest <= min(values) and max(values) <= words.LIMIT and (start > 60 or max(values) <= 120 or rng.random() < large):
            break
    sentences = [words.MOVE_MACHINE.say(rules[letter], rng, subject=subject, letter=letter) for letter in words.LETTERS]
    sentences += [words.OPEN_MACHINE.say(rng, n=start, sequence=" ".join(sequence)), words.ASK_MACHINE.say(rng)]
    return " ".join(sentences), chain("machine", start, moves)


def draw_people(rng: Random, count: int) -> list[str]:
    """Each name is one or two places after the previous one, cyclically, so that a longer chain does not repeat a name."""
    at = [rng.randrange(len(words.NAMES))]
    while len(at) < count:
        at.append((at[-1] + rng.randint(1, 2)) % len(words.NAMES))
    return [words.NAMES[i] for i in at]


def write_compare(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    total = steps % 2 == 0 and rng.random() < 0.4  # adding up the people costs as many lines as relating them
    people = draw_people(rng, steps // 2 + 1 if total else steps + 1)
    thing, start = rng.choice(words.THINGS), draw_start(rng, large)
    owned: dict[str, Operand] = {people[0]: start}
    lines: list[Line] = []
    sentences = [words.OPEN_COMPARE.say(rng, a=people[0], n=start, thing=thing)]
    for before, person in pairwise(people):
        (move,) = draw_moves(rng, value_of(owned[before], run(Problem("", tuple(lines), 0))), 1, large, "+-*")
        sentences.append(words.MOVE_COMPARE.say(move, rng, a=person, b=before))
        lines.append(Line(move.op, owned[before], move.factors[0]))
        owned[person] = Ref(len(lines) - 1)
    sentences.append(words.ASK_TOTAL.say(rng, thing=thing) if total else words.ASK_COMPARE.say(rng, thing=thing, a=people[-1]))
    return " ".join(sentences), together(lines, owned) if total else Problem("compare", tuple(lines), owned[people[-1]])


def write_reverse(rng: Random, steps: int, large: float) -> tuple[str, Problem]:
    start, a = draw_start(rng, large), rng.choice(words.NAMES)
    moves = draw_moves(rng, start, steps, large, "+-")
    end, p = run(chain("", start, moves))[-1], pronoun(a)
    sentences = [
        words.OPEN_REVERSE.say(rng, a=a),
        *(words.MOVE_REVERSE.say(m, rng, p=p) for m in moves),
        words.RESULT_REVERSE.say(rng, p=p, n=end),
    ]
    return " ".join([*sentences, words.ASK_REVERSE.say(rng)]), backwards(end, moves)


WRITERS: Mapping[str, Callable[[Random, int, float], tuple[str, Problem]]] = {
    "expression": write_expression, "steps": write_steps, "story": write_story, "machine": write_machine,
    "compare": write_compare, words.TRANSFER_FORM: write_reverse,
}  # fmt: skip


def write(rng: Random, form: str, steps: int, large: float) -> tuple[str, Problem]:
    """A question of the form with `steps` worked lines (one or two more at times).

    `large` is the share of products, and of operands above 20.
    """
    return WRITERS[form](rng, steps, large)
