"""Hostile text against everything that reads model output: `python -m tests.fuzz [--seconds 3600] [--seed 0]`.

Texts are grown from the hostile corpus and from LaTeX fragments by cutting, joining, nesting and repeating. Each has to leave
`parse_question`, `extract_boxed` and the grader quickly and with their promises kept; every batch of pairs has to leave the
sandbox in time, symmetric, and with the honest pairs among them judged right. A text that breaks one is printed, and belongs into
`tests/hostile_answers.py` or a test of its own.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence

from actors.reward.sandbox import AnswerSandbox
from pipeline.domain.graders.math.grader import MathGrader
from pipeline.domain.prompts import extract_boxed, parse_question
from tests.hostile_answers import HOSTILE

LATEX = r"""
    \boxed{ } { ( ) [ ] \{ \} <question> </question> <| |> \frac \frac{1}{2} \sqrt{ ^ _ ! % $ & \\ \left( \right) \text{ \sum_{
    \int \begin{pmatrix} \end{pmatrix} \cup \infty \pi e i x = < > \le 0 1 7 9 12 0.5 1/3 10^{9} , ; : - + * / | \cdot \pm
    \log \sin None inf nan 1e999 __import__('os') ² ½ ٣ 𝟕
"""
FRAGMENTS = (*LATEX.split(), "\u202e", "\u0000", "\ufeff", "\u2212", "\t", "\n", " ")
HONEST = (("x^2-1", "(x-1)(x+1)", True), ("x^2-1", "x^2+1", False), (r"\ln 4", r"2\ln 2", True), (r"\sqrt{x^2}", "x", False))
GRADER = MathGrader()
TIMEOUT_S = 2.0
SLOW_S = 0.2  # for a reader without a parser, on a text of at most a few thousand characters


def grow(rng: random.Random) -> str:
    """A text of at most a few thousand characters."""
    parts = [rng.choice(HOSTILE)[:200] if rng.random() < 0.2 else rng.choice(FRAGMENTS) for _ in range(rng.randint(1, 14))]
    text = rng.choice(("", " ")).join(parts)
    match rng.randrange(5):
        case 0:
            text = text[: rng.randrange(len(text) + 1)] + text[rng.randrange(len(text) + 1) :]
        case 1:
            text = (text[:30] * rng.randint(2, 60))[:4000]
        case 2:
            depth, (opening, closing) = (
                rng.randint(1, 40),
                rng.choice((("(", ")"), ("{", "}"), (r"\frac{", "}{2}"), (r"\sqrt{", "}"))),
            )
            text = opening * depth + text + closing * rng.choice((depth, depth - 1))
        case 3:
            text = f"<question>{text}</question> \\boxed{{{rng.choice(FRAGMENTS)}}}"
    return text


def timed(name: str, function: Callable[[str], object], text: str) -> object:
    started = time.process_time()
    result = function(text)
    seconds = time.process_time() - started
    assert seconds < SLOW_S, f"{name} took {seconds:.2f} s of CPU time"
    return result


def check_readers(text: str) -> None:
    question, box = timed("parse_question", parse_question, text), timed("extract_boxed", extract_boxed, text)
    assert question is None or (question in text and str(question).strip() == question != "" and box is not None)
    assert box is None or (box in text and str(box).strip() == box != "")
    key = str(timed("canonical", GRADER.canonical, text))
    assert GRADER.equivalent(key, key) is (key != "")
    timed("equivalent", lambda other: GRADER.equivalent(key, other), "7")


def check_sandbox(sandbox: AnswerSandbox, pairs: Sequence[tuple[str, str]]) -> None:
    honest = [(a, b) for a, b, _ in HONEST]
    started = time.monotonic()
    verdicts = sandbox.equivalents([*pairs, *[(b, a) for a, b in pairs], *honest])
    seconds = time.monotonic() - started
    assert verdicts[-len(HONEST) :] == [equal for _, _, equal in HONEST], "an honest pair was not judged right"
    assert seconds < 10 + 2 * len(pairs) * TIMEOUT_S * 3, f"{len(pairs)} pairs took {seconds:.1f} s"
    for one, other, pair in zip(verdicts, verdicts[len(pairs) :], pairs, strict=False):
        assert one is other or None in (one, other), f"not symmetric: {pair!r}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, started, texts, pairs, found = random.Random(options.seed), time.monotonic(), 0, 0, 0
    undecided: dict[str, float] = {}
    with AnswerSandbox(workers=1, timeout_s=TIMEOUT_S) as sandbox:
        while time.monotonic() - started < options.seconds:
            batch = [grow(rng) for _ in range(400)]
            asked = [(rng.choice(batch), rng.choice(batch)) for _ in range(4)]
            for text in batch:
                try:
                    check_readers(text)
                except Exception as error:
                    found += 1
                    print(f"{type(error).__name__}: {error}: {text!r}", flush=True)
            try:
                check_sandbox(sandbox, asked)
            except Exception as error:
                found += 1
                print(f"{type(error).__name__}: {error}: {asked!r}", flush=True)
            texts, pairs = texts + len(batch), pairs + 2 * len(asked)
            for name, count in sandbox.take_counts().items():
                undecided[name] = undecided.get(name, 0) + count
    print(f"{texts} texts, {pairs} pairs in {time.monotonic() - started:.0f} s: {found} findings; {undecided}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
