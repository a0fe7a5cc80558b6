"""`python -m jobs.bench.reward [--quick]`: what the reward costs, against the public code's way, measured in the same run.

The public way: NLTK's `sentence_bleu` for each pair and scikit-learn's clustering; a vote that compares each answer, in
order of arrival, with the answers found so far, by math-verify both ways round (equal strings excepted). Every comparison
is also checked: labels must be identical, votes must agree wherever pairwise `verify` is consistent with itself.
`--quick` takes fewer questions (a minute); without it the 512 of the paper's batch scale are done the public way too.
"""

import argparse
import logging
import math
import random
import resource
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from actors.reward.sandbox import AnswerSandbox
from jobs.bench.common import timed
from pipeline.algorithm.bleu import cluster_labels

Answers = list[str | None]

_PHRASES = [
    line.split()
    for line in """\
how many different ways are there to
find the smallest positive integer such that
what is the value of
in a right triangle with sides
the sum of the first
is divisible by
when divided by
a train leaves the station at
let f be a function such that
for all real numbers
the area of a circle with radius
at the same time as
the probability that a randomly chosen
and each of the other
exactly one of them is
as a common fraction in lowest terms
has the same number of
after the first day
a rectangle is inscribed in
no two of them are adjacent
if the average of these numbers is
then it is sold for
more than twice as many as
the greatest common divisor of
""".splitlines()
]


def questions_like_a_challengers(count: int, seed: int = 0) -> list[str]:
    """Word problems of about 60 words, stock phrases between rarer words; an eighth are rewordings of an earlier one."""
    rng = random.Random(seed)
    questions: list[list[str]] = []
    for _ in range(count):
        if questions and rng.random() < 0.125:
            words = list(rng.choice(questions))
            for _ in range(rng.randint(0, 12)):
                words[rng.randrange(len(words))] = f"word{rng.randint(0, 2000)}"
        else:
            words = []
            while len(words) < 58:
                words += rng.choice(_PHRASES)
                words += [f"word{int(2000 * rng.random() ** 3)}" for _ in range(rng.randint(3, 9))]
        questions.append(words)
    return [" ".join(words) for words in questions]


def numeric_answers(rng: random.Random) -> Answers:
    true = rng.randint(2, 500)

    def spell(value: int) -> str:
        return rng.choice((str(value), str(value), f"{value}.0", f"${value}$", rf"\frac{{{2 * value}}}{{2}}", f"{value}.5"))

    return [None if rng.random() < 0.05 else spell(true if rng.random() < 0.6 else true + rng.randint(1, 9)) for _ in range(10)]


def _families(rng: random.Random) -> tuple[Sequence[Sequence[str]], ...]:
    """Kinds of answer, each as classes of equivalent spellings, the right one first; with other numbers every time."""
    a, b, c = rng.sample(range(2, 30), 3)
    p, q = rng.sample((2, 3, 5, 7, 11, 13), 2)
    return (
        ((rf"\frac{{{p}}}{{{q}}}", f"{p}/{q}", rf"\dfrac{{{2 * p}}}{{{2 * q}}}"), (rf"\frac{{{q}}}{{{p}}}",), (f"{p}.{q}",)),
        (
            (rf"\sqrt{{{a * a * p}}}", rf"{a}\sqrt{{{p}}}", rf"{a} \sqrt {p}"),
            (rf"\sqrt{{{p}}}",),
            (rf"{b}\sqrt{{{p}}}",),
            (rf"\sqrt{{{a}}}",),
        ),
        (
            (rf"\{{{a}, {b}, {c}\}}", rf"\{{{c},{a},{b}\}}", rf"\left\{{{b},{a},{c}\right\}}"),
            (rf"\{{{a},{b}\}}",),
            (rf"\{{{c},{b}\}}",),
        ),
        (
            (rf"[0,{a})", rf"\left[0, {a}\right)", rf"[0,\frac{{{2 * a}}}{{2}})"),
            (f"[0,{a}]",),
            (f"(0,{a}]",),
            (rf"(-\infty,{a})",),
        ),
        (
            (f"({a},-{b},{c})", f"({a}, -{b}, {c})", rf"\left({a},-{b},\frac{{{2 * c}}}{{2}}\right)"),
            (f"({a},{b},{c})",),
            (f"({c},-{b},{a})",),
        ),
        (
            (f"x^2-{a * a}", f"(x-{a})(x+{a})", f"x^{{2}} - {a * a}"),
            (f"x^2+{a * a}",),
            (f"(x-{a})^2", f"x^2-{2 * a}x+{a * a}"),
            (f"x-{a}",),
        ),
        ((rf"{a}\text{{ cm}}", f"{a} cm", f"{a}"), (rf"{a * b}\text{{ cm}}",), (rf"{b}\text{{ cm}}", f"{b}"), (f"{c} cm",)),
        ((rf"{4 * a}\%", f"{4 * a}%", rf"\frac{{{a}}}{{25}}"), (rf"{b}\%", f"{b}%"), (rf"{a}\%",), (f"{c}.5%",)),
        ((r"\text{even}", "even", r"\text{Even}"), (r"\text{odd}", "odd"), (r"\text{neither}",), (r"\text{both}",)),
        (
            (rf"x=\frac{{{p}}}{{{q}}}", rf"x = \frac{{{p}}}{{{q}}}", rf"\frac{{{p}}}{{{q}}}"),
            (f"x={p}",),
            (rf"x=\frac{{{q}}}{{{p}}}",),
            (f"x = {a}",),
        ),
        (
            (rf"\frac{{\pi}}{{{a}}}", rf"\pi/{a}", rf"\frac{{1}}{{{a}}}\pi"),
            (rf"\frac{{\pi}}{{{b}}}",),
            (rf"{c}\pi",),
            (rf"{c}^\circ",),
        ),
        ((f"{p}^{{10}}", f"{p**10}", f"{p**10:,}"), (f"{p}^{{9}}", f"{p**9}"), (f"{p**10 - 1}",), (f"{a}",)),
    )


def mixed_answers(rng: random.Random) -> Answers:
    right, *wrong = rng.choice(_families(rng))
    return [None if rng.random() < 0.05 else rng.choice(right if rng.random() < 0.55 else rng.choice(wrong)) for _ in range(10)]


class PublicVote:
    """The vote of the public code, and the exhaustive one that shows where `verify` contradicts itself."""

    def __init__(self) -> None:
        from math_verify import parse, verify

        self._parse, self._verify, self.calls = parse, verify, 0

    def same(self, a: str, b: str) -> bool:
        self.calls += 1
        return self._verify(self._parse(rf"\boxed{{{a}}}"), self._parse(rf"\boxed{{{b}}}"))

    def count(self, answers: Answers) -> int:
        found: dict[str, int] = {}
        for answer in map(str, answers):
            for known in found:
                if answer == known or self.same(answer, known) or self.same(known, answer):
                    found[known] += 1
                    break
            else:
                found[answer] = 1
        return max(found.values())

    def exhaustive_count(self, answers: Answers) -> int | None:
        """Size of the largest class; None where equality as `verify` has it is not symmetric or not transitive."""
        texts = [answer for answer in answers if answer is not None]
        classes = {a: {b for b in set(texts) if a == b or self.same(a, b)} for a in set(texts)}
        if any(classes[b] != classes[a] for a in classes for b in classes[a]):
            return None
        return max((sum(b in found for b in texts) for found in classes.values()), default=0)


def public_labels(questions: Sequence[str]) -> list[int]:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from sklearn.cluster import AgglomerativeClustering

    words, method1 = [question.split() for question in questions], SmoothingFunction().method1
    distances = np.zeros((len(words), len(words)))
    for i, j in combinations(range(len(words)), 2):
        distances[i, j] = distances[j, i] = 1 - sentence_bleu([words[j]], words[i], smoothing_function=method1)
    clusters = AgglomerativeClustering(n_clusters=None, metric="precomputed", linkage="average", distance_threshold=0.5)
    return clusters.fit(distances).labels_.tolist()


def same_partition(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


def questions_of_one_template(count: int, seed: int = 0) -> list[str]:
    """What a Challenger that has collapsed writes: one text with other numbers and names, so that all of it is one cluster."""
    rng = random.Random(seed)
    text = "{} has {} apples and buys {} more . Then {} sells {} of them and finds {} others . How many are there in the end ?"
    return [
        text.format(*(rng.choice(("Tom", "Ann", "Ben", "Ivy")) if slot in (0, 3) else rng.randint(1, 99) for slot in range(6)))
        for _ in range(count)
    ]


def bench_labels(name: str, make: Callable[[int], list[str]], sizes: Sequence[int], public_up_to: int) -> None:
    """`growth` is the exponent between a size and the one before: 2 where the time goes with the square of the questions."""
    print(f"{name:<13} {'ours':>9} {'growth':>7} {'public':>9} {'ratio':>7}  clusters  peak memory")
    cluster_labels(make(16))  # imports
    before = None
    for size in sizes:
        questions = make(size)
        labels, ours = min((timed(lambda: cluster_labels(questions).tolist()) for _ in range(2)), key=lambda run: run[1])  # noqa: B023
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        public = ratio = "-"
        if size <= public_up_to:
            reference, seconds = timed(lambda: public_labels(questions))  # noqa: B023
            assert same_partition(labels, reference), f"labels differ from scikit-learn's at {size}"
            public, ratio = f"{seconds:.2f} s", f"{seconds / ours:.0f}x"
        growth = f"{math.log(ours / before[1], size / before[0]):.1f}" if before else "-"
        print(f"{size:>13} {ours:>7.3f} s {growth:>7} {public:>9} {ratio:>7}  {len(set(labels)):>8}  {peak:.0f} MB", flush=True)
        before = size, ours


def bench_votes(name: str, make: Callable[[random.Random], Answers], questions: int) -> None:
    rng = random.Random(1)
    batch = [make(rng) for _ in range(questions)]
    public = PublicVote()
    public.count(["1", "x"])
    public.calls = 0
    with AnswerSandbox() as sandbox:
        sandbox.equivalents([(r"\sin 2x", r"2\sin x\cos x"), (r"\sin 4x", r"2\sin 2x\cos 2x")])  # both children are up
        sandbox.take_counts()
        votes, ours = timed(lambda: sandbox.votes(batch))
        stats = sandbox.take_counts()
    _, seconds = timed(lambda: [public.count(answers) for answers in batch])
    calls = public.calls
    exhaustive = [public.exhaustive_count(answers) for answers in batch]
    differ = [i for i, count in enumerate(exhaustive) if count is not None and count != votes[i].count]
    print(
        f"{name:>8} {questions:>6} x 10"
        f"  ours {ours:.2f} s, {stats['verify_calls']:.0f} verify calls, {stats['undecided']:.0f} undecided;"
        f"  public {seconds:.2f} s, {calls} calls: {seconds / ours:.1f}x faster\n"
        f"{'':>18}against exhaustive pairwise verify: {len(differ)} votes differ, {exhaustive.count(None)} contradict themselves"
    )
    for i in differ[:3]:
        print(f"{'':>18}ours {votes[i].count}, exhaustive {exhaustive[i]}: {batch[i]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer questions the public way")
    quick = parser.parse_args().quick
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    sizes = (128, 256, 512, 1024, 2048, 4096, 8192)
    bench_labels("questions", questions_like_a_challengers, sizes, public_up_to=128 if quick else 512)
    bench_labels("one template", questions_of_one_template, (512, 2048, 8192), public_up_to=0)
    bench_votes("numeric", numeric_answers, 64 if quick else 512)
    bench_votes("mixed", mixed_answers, 48 if quick else 512)


if __name__ == "__main__":
    main()
