"""BLEU distances between the questions of a batch, and their clusters: the repetition penalty's two steps.

R-Zero (arXiv 2508.05004, section 3.2): d_ij = 1 - BLEU(x_i, x_j), then agglomerative clustering with average linkage, cut at
a distance. The numbers are those of NLTK's `sentence_bleu` (BLEU-4, method 1, whitespace tokens, hypothesis i against
reference j for i < j, mirrored) to the last bit, and the labels those of scikit-learn's `AgglomerativeClustering`, in a
thousandth of the time: a clipped n-gram count is an inner product of binary features (n-gram, k-th occurrence).

Two departures, for copies that NLTK's BLEU misses: equal questions have distance 0, even if too short to have 4-grams; and in
scripts written without spaces a token is a character, see `tokens`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ORDERS = (1, 2, 3, 4)
WHOLE = 2048  # up to this many questions the whole distance matrix is clustered, see `cluster_labels`
_BLOCK, _ROWS = 1 << 17, 64  # pairs, but at least this many rows, processed at once: bounds memory beyond the result
_THREADS = 2
_WITHOUT_SPACES = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]")


def tokens(question: str) -> list[str]:
    """Whitespace-separated tokens, as for NLTK; in scripts written without spaces, single characters.

    >>> tokens("计算 2+3等于多少"), tokens("Compute 2+3.")
    (['计', '算', '2+3', '等', '于', '多', '少'], ['Compute', '2+3.'])
    """
    return _WITHOUT_SPACES.sub(r" \g<0> ", question).split()


def cluster_labels(questions: Sequence[str], threshold: float = 0.5) -> Ints:
    """Cluster of each question, [B], numbered in order of appearance.

    Merges below the threshold never leave a connected component of the graph {d < threshold}: an average below it implies a
    pair below it. So above `WHOLE` questions each component is clustered separately, and the distances between components,
    nearly all of the B^2 / 2, are never computed. The partition is the same except for exact ties of average distances: which
    of two equal merges comes first may depend on a point outside the component. Up to `WHOLE`, ties fall as in scikit-learn.
    """
    if len(questions) < 2:
        return np.zeros(len(questions), dtype=np.int64)
    profile = _Profile(questions)
    if len(questions) <= WHOLE:
        return _in_order_of_appearance(_cut(_condensed(profile, np.arange(len(questions))), threshold))
    component = _components(profile, threshold)
    labels, count = component.copy(), len(component)
    groups = np.split(np.argsort(component, kind="stable"), np.cumsum(np.bincount(component))[:-1])
    # A component of two members is one merge.
    for group, distances in _condensed_each(profile, [group for group in groups if len(group) > 2]):
        labels[group] = count + _cut(distances, threshold)
        count = int(labels.max()) + 1
    return _in_order_of_appearance(labels)


def _cut(condensed: Floats, threshold: float) -> Ints:
    """Average-linkage clusters, of merges strictly below `threshold`, which is where scikit-learn cuts."""
    return fcluster(linkage(condensed, "average"), np.nextafter(threshold, -np.inf), "distance").astype(np.int64)


def _in_order_of_appearance(labels: Ints) -> Ints:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _condensed(profile: "_Profile", members: Ints) -> Floats:
    """Distances of the pairs of `members` (ascending), in SciPy's condensed order: [len (len - 1) / 2]."""
    size = len(members)
    distances = np.empty(size * (size - 1) // 2)
    step = max(_ROWS, _BLOCK // size)

    def fill(start: int) -> None:
        """Computes the pairs whose first is one of `step` members, from `start` on."""
        stop = min(start + step, size - 1)
        upper = np.arange(start + 1, size) > np.arange(start, stop)[:, None]
        i, j = np.nonzero(upper)
        counts = [profile.shared(order, members[start:stop], members[start + 1 :])[upper] for order in ORDERS]
        done = start * (2 * size - start - 1) // 2
        distances[done : done + len(i)] = profile.distances(members[start + i], members[start + 1 + j], counts)

    with ThreadPoolExecutor(_THREADS) as pool:  # SciPy and NumPy release the GIL for most of this
        list(pool.map(fill, range(0, size - 1, step)))
    return distances


def _condensed_each(profile: "_Profile", groups: list[Ints]) -> Iterator[tuple[Ints, Floats]]:
    """Each group with its distances: large groups one by one, small ones, of which there may be thousands, together."""
    small = [group for group in groups if len(group) <= 64]
    for group in groups:
        if len(group) > 64:
            yield group, _condensed(profile, group)
    for start in range(0, len(small), 256):
        some = small[start : start + 256]
        corners = [np.triu_indices(len(group), 1) for group in some]
        i = np.concatenate([group[corner[0]] for group, corner in zip(some, corners, strict=True)])
        j = np.concatenate([group[corner[1]] for group, corner in zip(some, corners, strict=True)])
        distances = profile.distances(i, j, [profile.shared_by_pair(order, i, j) for order in ORDERS])
        yield from zip(some, np.split(distances, np.cumsum([len(corner[0]) for corner in corners])[:-1]), strict=True)


def similarity_to_earlier(questions: Sequence[str], earlier: Sequence[str], threshold: float = 0.5) -> Floats:
    """BLEU of each question against its nearest earlier question, [B]; 0 if none is nearer than the threshold."""
    nearest = np.zeros(len(questions))
    if not questions or not earlier:
        return nearest
    profile = _Profile([*questions, *earlier])
    columns = np.arange(len(questions), len(profile.lengths))
    step = max(_ROWS, _BLOCK // len(columns))
    for start in range(0, len(questions), step):
        rows = np.arange(start, min(start + step, len(questions)))
        i, _, distances = _close_pairs(profile, rows, columns, threshold)
        np.maximum.at(nearest, i, 1 - distances)
    return nearest


def _components(profile: "_Profile", threshold: float) -> Ints:
    """Connected component of each question in the graph of distances below the threshold, [B], numbered from 0.

    Pairs already in one component are skipped.
    """
    size = len(profile.lengths)
    component = np.arange(size)
    step = max(_ROWS, _BLOCK // size)
    for start in range(0, size, step):
        rows = np.arange(start, min(start + step, size))
        columns = np.arange(start, size)
        apart = (columns > rows[:, None]) & (component[rows][:, None] != component[columns])
        i, j, _ = _close_pairs(profile, rows, columns, threshold, apart)
        edges = (np.ones(len(i)), (component[i], component[j]))
        component = connected_components(coo_array(edges, shape=(size, size)), directed=False)[1][component].astype(np.int64)
    return np.unique(component, return_inverse=True)[1]


def _close_pairs(
    profile: "_Profile", rows: Ints, columns: Ints, threshold: float, wanted: NDArray[np.bool_] | bool = True
) -> tuple[Ints, Ints, Floats]:
    """Hypotheses among `rows`, references among `columns`, and distances, of all pairs nearer than the threshold.

    BLEU is at most the fourth root of any product of its precisions, so a pair is dropped at the first product, longest
    n-grams first, that is not above (1 - threshold)^4. Nearly all are dropped at the 4-grams, most with none in common.
    Equal questions are always kept. `wanted`, [rows, columns], selects pairs. Rows and columns are each a range.
    """
    bound = (1 - threshold) ** 4 * (1 - 1e-9)  # slightly lower, as the products are rounded
    shared = profile.shared(4, rows, columns)
    smoothed = np.maximum(shared, 0.1) / np.maximum(1, profile.lengths[rows] - 3)[:, None]
    smoothed[profile.distinct[rows][:, None] == profile.distinct[columns]] = np.inf
    i, j = np.nonzero((smoothed > bound) & wanted)
    counts, product = [shared[i, j]], smoothed[i, j]
    i, j = rows[i], columns[j]
    for order in (3, 2, 1):
        if len(i) > shared.size // 32:  # with many pairs left, the whole block is cheaper than single pairs
            count = profile.shared(order, rows, columns)[i - rows[0], j - columns[0]]
        else:
            count = profile.shared_by_pair(order, i, j)
        product = product * np.maximum(count, 0.1) / np.maximum(1, profile.lengths[i] - order + 1)
        keep = product > bound
        i, j, product = i[keep], j[keep], product[keep]
        counts = [count[keep], *(other[keep] for other in counts)]
    distances = profile.distances(i, j, counts)
    close = distances < threshold
    return i[close], j[close], distances[close]


class _Profile:
    """The data of each question for BLEU: its length, and its n-grams as binary features.

    `distinct`, [B], numbers the questions, equal ones alike.
    """

    def __init__(self, questions: Sequence[str]) -> None:
        self.distinct = _ids(questions)
        texts = [tokens(question) for question in questions]
        words = _ids([word for text in texts for word in text])
        self.lengths = np.array([len(text) for text in texts], dtype=np.int64)
        distinct, self._length_of = np.unique(self.lengths, return_inverse=True)
        self._lengths: list[int] = distinct.tolist()
        owner = np.repeat(np.arange(len(texts)), self.lengths)
        self._features: dict[int, csr_array] = {}
        grams, vocabulary = words, int(words.max(initial=-1)) + 1
        for order in ORDERS:
            if order > 1:  # an n-gram is an (n-1)-gram and the next word
                grams = _numbered(grams * vocabulary + np.roll(words, 1 - order))
            whole = np.zeros(len(words), dtype=bool)  # n-grams that do not run into the next question
            whole[: max(0, len(words) - order + 1)] = owner[order - 1 :] == owner[: max(0, len(words) - order + 1)]
            self._features[order] = _occurrences(owner[whole], grams[whole], len(texts))

    def shared(self, order: int, rows: Ints, columns: Ints) -> NDArray[np.int32]:
        """Clipped counts of common n-grams, [len(rows), len(columns)]."""
        features = self._features[order]
        return (features[rows] @ features[columns].T).toarray()

    def shared_by_pair(self, order: int, i: Ints, j: Ints) -> NDArray[np.int32]:
        """Clipped counts of common n-grams of listed pairs, [pairs]."""
        features = self._features[order]
        return (features[i] * features[j]).sum(axis=1)

    def distances(self, hypothesis: Ints, reference: Ints, counts: Sequence[NDArray[np.int32]]) -> Floats:
        """1 - BLEU of pairs from their clipped counts, one array [pairs] for each order."""
        here, there = self._length_of[hypothesis], self._length_of[reference]

        def quarter_log(order: int) -> Callable[[int, int], float]:
            # Method 1: zero matches count as 0.1.
            return lambda count, length: 0.25 * math.log((count or 0.1) / max(1, self._lengths[length] - order + 1))

        def brevity(reference: int, hypothesis: int) -> float:
            short = 0 < self._lengths[hypothesis] <= self._lengths[reference]
            return math.exp(1 - self._lengths[reference] / self._lengths[hypothesis]) if short else 1.0

        terms = [_tabulate(quarter_log(order), count, here) for order, count in zip(ORDERS, counts, strict=True)]
        # The C library's exp, as in NLTK: NumPy's differs in the last bit on some processors.
        scores = np.fromiter(map(math.exp, _sum_rounded_once(terms).tolist()), np.float64, len(here))
        scores *= _tabulate(brevity, there, here)
        distances = np.where(counts[0] > 0, 1 - scores, 1.0)
        distances[self.distinct[hypothesis] == self.distinct[reference]] = 0.0
        return distances


def _ids(texts: Sequence[str]) -> Ints:
    """Numbers from 0 in order of appearance, equal texts alike."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    return np.fromiter(map(numbers.__getitem__, texts), np.int64, len(texts))


def _numbered(values: Ints) -> Ints:
    """np.unique's inverse of `values`, with one sort less."""
    order = np.argsort(values, kind="stable")
    arranged = values[order]
    numbers = np.empty(len(values), dtype=np.int64)
    numbers[order] = np.cumsum(np.concatenate([[0], arranged[1:] != arranged[:-1]]))[: len(values)]
    return numbers


def _occurrences(owner: Ints, grams: Ints, size: int) -> csr_array:
    """Binary features [size, F]: one for each (n-gram, k-th occurrence in the question)."""
    width = int(grams.max(initial=0)) + 1
    arranged = np.sort(owner * width + grams, kind="stable")
    position = np.arange(len(arranged))
    new = np.ones(len(arranged), dtype=bool)
    new[1:] = arranged[1:] != arranged[:-1]
    occurrence = position - np.maximum.accumulate(np.where(new, position, 0))
    rows, columns = np.divmod(arranged, width)
    again = occurrence > 0
    columns[again] = width + _numbered(occurrence[again] * width + columns[again])
    return csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(size, int(columns.max(initial=0)) + 1))


def _tabulate(function: Callable[[int, int], float], first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """`function` of two arrays of small numbers, called once per distinct combination."""
    width = int(second.max(initial=0)) + 1
    code = np.multiply(first, width, dtype=np.int64) + second
    used = np.flatnonzero(np.bincount(code))
    table = np.zeros(int(used.max(initial=0)) + 1)
    table[used] = [function(*divmod(combination, width)) for combination in used.tolist()]
    return table[code]


def _sum_rounded_once(terms: Sequence[Floats]) -> Floats:
    """`math.fsum` of four arrays: the exact sum, rounded once. By error-free additions (Knuth's TwoSum)."""

    def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
        total = a + b
        of_b = total - a
        return total, (a - (total - of_b)) + (b - of_b)

    total, error = two_sum(terms[0], terms[1])
    total, error_c = two_sum(total, terms[2])
    total, error_d = two_sum(total, terms[3])
    error, lost_c = two_sum(error, error_c)
    error, lost_d = two_sum(error, error_d)
    total, rest = two_sum(total, error)
    # If the errors' own sum was rounded and the rest is nearly half a unit in the last place, the result may be off: use fsum.
    rounded = np.flatnonzero((lost_c != 0) | (lost_d != 0))
    near = np.abs(np.abs(rest[rounded]) / np.spacing(np.abs(total[rounded])) - 0.5) < 1e-6
    unsure = rounded[near]
    total[unsure] = [math.fsum(values) for values in zip(*(term[unsure].tolist() for term in terms), strict=True)]
    return total
