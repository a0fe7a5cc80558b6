"""`python -m jobs.bench_reward [--quick]`: what the reward costs, against the public code's way, measured in the same run.

The public way: NLTK's `sentence_bleu` for each pair and scikit-learn's clustering; a vote that compares each answer, in
order of arrival, with the answers found so far, by math-verify both ways round (equal strings excepted). Every comparison
is also checked: labels must be identical, votes must agree wherever pairwise `verify` is consistent with itself.
`--quick` takes fewer questions (a minute); without it the 512 of the paper's batch scale are done the public way too.
"""

import argparse
import logging
import random
import resource
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np

from actors.sandbox import AnswerSandbox
from pipeline.bleu import cluster_labels

T = TypeVar("T")
Answers = list[str | None]

_OPENINGS = (
    "A {noun} in {place} sells {a} boxes of {thing} on the first day and", "Suppose that {name} has {a} pieces of {thing} and",
    "Let n be the number of {thing} that {name} collects in {a} days if", "In a {place} with {a} rows of {thing} each {noun}",
    "{name} and {other} share {a} bags of {thing} so that", "Consider a sequence in which every term is {a} more than",
)  # fmt: skip
_MIDDLES = (
    "each following day the number grows by {b} percent of what it was the day before", "every third one of them is replaced by {b} of another kind",
    "gives {b} of them to {other} who had {c} at the beginning of the week", "the remainder on division by {b} is always equal to {c}",
    "no two of the {b} chosen ones may lie next to each other in the same row", "the product of any {b} consecutive ones is divisible by {c}",
)  # fmt: skip
_ENDINGS = (
    "Find the smallest possible value of the total number after {d} days.", "How many different arrangements are possible in all with at least {d} of them left?",
    "What is the probability that at least {d} of them remain when {other} leaves the {place}?", "Determine the sum of all such numbers that are less than {d}.",
)  # fmt: skip
_WORDS = {
    "noun": ("merchant", "farmer", "teacher", "baker", "sailor", "gardener", "printer", "tailor"),
    "place": ("market", "harbour", "village", "library", "garden", "station", "theatre", "museum"),
    "thing": ("apples", "marbles", "stamps", "tickets", "candles", "pencils", "coins", "shells"),
    "name": ("Ada", "Bo", "Chen", "Dina", "Emil", "Farah", "Goro", "Hana"), "other": ("Ivan", "Jun", "Kai", "Lena", "Mona", "Nils", "Olga", "Pia"),
}  # fmt: skip


def questions_like_a_challengers(count: int, seed: int = 0) -> list[str]:
    """Word problems of about 60 words from a few moulds: many share 4-grams, some are near-duplicates."""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        parts = [rng.choice(_OPENINGS), *rng.sample(_MIDDLES, 3), rng.choice(_ENDINGS)]
        values = {name: rng.choice(words) for name, words in _WORDS.items()} | {key: rng.randint(2, 999) for key in "abcd"}
        words = " ".join(parts).format(**values).split()
        for _ in range(rng.randint(0, 20)):  # most are reworded here and there
            words[rng.randrange(len(words))] = f"word{rng.randint(0, 2000)}"
        texts.append(" ".join(words))
    return texts


def numeric_answers(rng: random.Random) -> Answers:
    true = rng.randint(2, 500)

    def spell(value: int) -> str:
        return rng.choice((str(value), str(value), f"{value}.0", f"${value}$", rf"\frac{{{2 * value}}}{{2}}", f"{value}.5"))

    return [None if rng.random() < 0.05 else spell(true if rng.random() < 0.6 else true + rng.randint(1, 9)) for _ in range(10)]


_FAMILIES: tuple[Sequence[Sequence[str]], ...] = (
    ((r"\frac{3}{4}", "0.75", "3/4", r"\dfrac{6}{8}"), (r"\frac{4}{3}",), (r"\frac{5}{8}", "0.625"), ("1.25",)),
    ((r"\sqrt{8}", r"2\sqrt{2}", r"2 \sqrt 2"), (r"\sqrt{6}",), (r"4\sqrt{2}", r"\sqrt{32}"), (r"\sqrt{2}",)),
    ((r"\{1, 2, 5\}", r"\{5,1,2\}", r"\left\{1,2,5\right\}"), (r"\{1,2\}",), (r"\{2,5\}", r"\{5,2\}"), (r"\emptyset",)),
    ((r"[0,1)", r"\left[0, 1\right)", r"[0,\frac{2}{2})"), (r"[0,1]",), (r"(0,1]", r"\left(0,1\right]"), (r"(-\infty,1)",)),
    ((r"(1,-2,3)", r"(1, -2, 3)", r"\left(1,-2,\frac{6}{2}\right)"), (r"(1,2,3)",), (r"(3,-2,1)",), (r"(1,-2,4)",)),
    ((r"x^2-1", r"(x-1)(x+1)", r"x^{2} - 1"), (r"x^2+1",), (r"(x-1)^2", r"x^2-2x+1"), (r"x-1",)),
    ((r"5\text{ cm}", "5 cm", "5"), (r"15\text{ cm}", "15"), (r"6\text{ cm}",), ("7 cm",)),
    ((r"25\%", "25%", r"\frac{1}{4}"), (r"75\%", "75%"), (r"30\%",), (r"12.5\%", r"\frac18")),
    ((r"\text{even}", "even", r"\text{Even}"), (r"\text{odd}", "odd"), (r"\text{neither}",), (r"\text{both}",)),
    ((r"x=\frac{5}{2}", r"x=2.5", r"\frac{5}{2}"), (r"x=5",), (r"x=\frac{2}{5}", "0.4"), ("x = 3",)),
    ((r"\frac{\pi}{6}", r"\pi/6", r"\frac{1}{6}\pi"), (r"\frac{\pi}{3}",), (r"\frac{\pi}{4}", r"\pi/4"), (r"30^\circ",)),
    ((r"2^{10}", "1024", "1,024"), (r"2^{9}", "512"), ("1023",), ("100",)),
)


def mixed_answers(rng: random.Random) -> Answers:
    right, *wrong = rng.choice(_FAMILIES)
    return [
        None if rng.random() < 0.05 else rng.choice(right if rng.random() < 0.55 else rng.choice(wrong)) for _ in range(10)
    ]


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
        distinct = sorted(set(texts))
        equal = {(a, a) for a in distinct}
        for a, b in combinations(distinct, 2):
            one, other = self.same(a, b), self.same(b, a)
            if one != other:
                return None
            if one:
                equal |= {(a, b), (b, a)}
        if any((a, c) not in equal for a, b in equal for c in distinct if (b, c) in equal):
            return None
        return max(sum((a, b) in equal for b in texts) for a in distinct) if texts else 0


def public_labels(questions: Sequence[str]) -> list[int]:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from sklearn.cluster import AgglomerativeClustering

    words, method1 = [question.split() for question in questions], SmoothingFunction().method1
    distances = np.zeros((len(words), len(words)))
    for i, j in combinations(range(len(words)), 2):
        distances[i, j] = distances[j, i] = 1 - sentence_bleu([words[j]], words[i], smoothing_function=method1)
    clusters = AgglomerativeClustering(n_clusters=None, metric="precomputed", linkage="average", distance_threshold=0.5)
    return clusters.fit(distances).labels_.tolist()


def timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def same_partition(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


def bench_labels(sizes: Sequence[int], public_up_to: int) -> None:
    print(f"{'questions':>9} {'ours':>9} {'public':>9} {'ratio':>7}  clusters  peak memory")
    cluster_labels(questions_like_a_challengers(16))  # imports
    for size in sizes:
        questions = questions_like_a_challengers(size)
        labels, ours = timed(lambda: cluster_labels(questions).tolist())  # noqa: B023
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        public = ratio = "-"
        if size <= public_up_to:
            reference, seconds = timed(lambda: public_labels(questions))  # noqa: B023
            assert same_partition(labels, reference), f"labels differ from scikit-learn's at {size}"
            public, ratio = f"{seconds:.2f} s", f"{seconds / ours:.0f}x"
        print(f"{size:>9} {ours:>7.3f} s {public:>9} {ratio:>7}  {len(set(labels)):>8}  {peak:.0f} MB", flush=True)


def bench_votes(name: str, make: Callable[[random.Random], Answers], questions: int) -> None:
    rng = random.Random(1)
    batch = [make(rng) for _ in range(questions)]
    public = PublicVote()
    public.count(["1", "x"])
    public.calls = 0
    with AnswerSandbox() as sandbox:
        sandbox.equivalents([("x+y", "y+x")] * 2)  # both children are up
        sandbox.stats()
        votes, ours = timed(lambda: sandbox.votes(batch))
        stats = sandbox.stats()
    _, seconds = timed(lambda: [public.count(answers) for answers in batch])
    calls = public.calls
    exhaustive = [public.exhaustive_count(answers) for answers in batch]
    differ = [i for i, count in enumerate(exhaustive) if count is not None and count != votes[i].count]
    print(
        f"{name:>8} {questions:>6} x 10  ours {ours:.2f} s, {stats['verify_calls']:.0f} verify calls, {stats['undecided']:.0f} undecided;"
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
    bench_labels((128, 256, 512, 1024, 2048, 4096, 8192), public_up_to=128 if quick else 512)
    bench_votes("numeric", numeric_answers, 64 if quick else 512)
    bench_votes("mixed", mixed_answers, 48 if quick else 512)


if __name__ == "__main__":
    main()
