"""BLEU and the clusters against what they must equal: NLTK to the last bit, scikit-learn to the last label.

The two departures from NLTK have tests of their own: equal questions have distance 0, and scripts without spaces are split.
"""

import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from sklearn.cluster import AgglomerativeClustering

from jobs.bench.reward import questions_like_a_challengers, same_partition
from pipeline.algorithm import bleu
from pipeline.algorithm.bleu import cluster_labels, similarity_to_earlier, tokens


def bleu_distances(questions: list[str]) -> NDArray[np.float64]:
    """1 - BLEU of every pair, as it is clustered: symmetric [B, B], zero on the diagonal."""
    if len(questions) < 2:
        return np.zeros((len(questions), len(questions)))
    condensed = bleu._condensed(bleu._Profile(questions), np.arange(len(questions)))
    return np.asarray(squareform(condensed), dtype=np.float64)


def nltk_score(hypothesis: str, reference: str) -> float:
    if hypothesis == reference:
        return 1.0
    return sentence_bleu([tokens(reference)], tokens(hypothesis), smoothing_function=SmoothingFunction().method1)


def nltk_distances(questions: list[str]) -> NDArray[np.float64]:
    distances = np.zeros((len(questions), len(questions)))
    for i, j in combinations(range(len(questions)), 2):
        distances[i, j] = distances[j, i] = 1 - nltk_score(questions[i], questions[j])
    return distances


def sklearn_labels(distances: NDArray[np.float64], threshold: float = 0.5) -> list[int]:
    model = AgglomerativeClustering(n_clusters=None, metric="precomputed", linkage="average", distance_threshold=threshold)
    return model.fit(distances).labels_.tolist()


# Few words, so that n-grams recur within and between questions; any Unicode, whitespace of every kind among it.
few_words = st.lists(st.sampled_from(["a", "b", "c", "the", "é"]), max_size=9).map(" ".join)
unicode_text = st.text(max_size=12)


@st.composite
def batches(draw: st.DrawFn) -> list[str]:
    """Batches with duplicates and near-duplicates, empty and one-word questions."""
    batch = draw(st.lists(few_words | unicode_text, min_size=2, max_size=5))
    for index in draw(st.lists(st.integers(0, len(batch) - 1), max_size=3)):
        words = batch[index].split()
        if words and draw(st.booleans()):
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(["a", "z"]))
        batch.append(" ".join(words))
    return batch


@settings(max_examples=500)
@given(batches())
def test_distances_equal_nltk_to_the_bit_and_labels_equal_scikit_learn_ties_included(batch: list[str]) -> None:
    expected = nltk_distances(batch)
    assert np.array_equal(bleu_distances(batch), expected)
    for threshold in (0.5, 0.8):
        assert same_partition(cluster_labels(batch, threshold).tolist(), sklearn_labels(expected, threshold))


def test_distances_of_long_questions_equal_nltk_to_the_bit() -> None:
    batch = [*questions_like_a_challengers(48), "a " * 500, "a " * 499 + "b"]
    expected = nltk_distances(batch)
    assert np.array_equal(bleu_distances(batch), expected)
    assert same_partition(cluster_labels(batch).tolist(), sklearn_labels(expected))


@settings(max_examples=200)
@given(batches(), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_components_are_those_of_the_graph_of_distances_below_the_threshold(batch: list[str], threshold: float) -> None:
    expected = connected_components(nltk_distances(batch) < threshold, directed=False)[1]
    assert same_partition(bleu._components(bleu._Profile(batch), threshold).tolist(), expected.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_clustering_by_components_gives_the_labels_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    batch = questions_like_a_challengers(400, seed)
    batch += [" ".join(question.split()[:40]) for question in batch[:80]] + ["two words", "one", "", "two words"]
    whole = cluster_labels(batch).tolist()
    assert same_partition(whole, sklearn_labels(bleu_distances(batch)))
    monkeypatch.setattr(bleu, "WHOLE", 0)
    monkeypatch.setattr(bleu, "_BLOCK", 1)  # several blocks
    assert cluster_labels(batch).tolist() == whole
    assert 1 < len(set(whole)) < len(batch) - 50


@settings(max_examples=200)
@given(batches(), batches(), st.sampled_from([0.3, 0.5, 0.9]))
def test_the_similarity_to_earlier_questions_is_the_largest_bleu_if_near_enough(
    batch: list[str], earlier: list[str], threshold: float
) -> None:
    scores = [max(nltk_score(new, old) for old in earlier) for new in batch]
    expected = [score if 1 - score < threshold else 0.0 for score in scores]
    assert similarity_to_earlier(batch, earlier, threshold).tolist() == pytest.approx(expected, abs=1e-15)
    assert similarity_to_earlier(batch, [], threshold).tolist() == [0.0] * len(batch)


def test_copies_are_one_cluster_and_strangers_are_not() -> None:
    batch = ["what is the sum of 2 and 3 ?"] * 4 + ["name a prime above 90 that ends in 7"]
    assert cluster_labels(batch).tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("batch", [[], ["alone"], ["", "alone"]])
def test_the_smallest_batches(batch: list[str]) -> None:
    assert bleu_distances(batch).shape == (len(batch), len(batch))
    assert cluster_labels(batch).tolist() == list(range(len(batch)))


COPIES = ["Compute 2+3.", "2+3?", "x", "", "计算2+3等于多少", "จงหาค่า", "a b c", "what is the sum of 2 and 3 ?"]


@pytest.mark.parametrize("question", COPIES)
def test_equal_questions_have_distance_0_however_short(question: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [question, "name a prime above 90 that ends in 7", question, question]
    assert bleu_distances(batch)[[0, 0, 2], [2, 3, 3]].tolist() == [0.0, 0.0, 0.0]
    assert cluster_labels(batch).tolist() == [0, 1, 0, 0]
    monkeypatch.setattr(bleu, "WHOLE", 0)  # by components
    assert cluster_labels(batch).tolist() == [0, 1, 0, 0]
    assert similarity_to_earlier([question], ["something else", question]).tolist() == [1.0]


@pytest.mark.parametrize("threshold", [0.0, 0.1, 1.0])
def test_copies_and_strangers_are_scikit_learns_clusters_at_any_threshold(threshold: float) -> None:
    batch = ["Compute 2+3.", "Compute 2+3.", "a b c d e f", "a b c d e g", "x"]
    assert same_partition(cluster_labels(batch, threshold).tolist(), sklearn_labels(nltk_distances(batch), threshold))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("计算2+3等于多少？", ["计", "算", "2+3", "等", "于", "多", "少", "？"]),
        ("高さは 12 m", ["高", "さ", "は", "12", "m"]),
        ("カメラ", ["カ", "メ", "ラ"]),
        ("หาค่า x", ["ห", "า", "ค", "\u0e48", "า", "x"]),
        ("𠀋𠀋", ["𠀋", "𠀋"]),
        ("삼각형의 넓이", ["삼각형의", "넓이"]),  # Korean is written with spaces
        ("Найдите x, если x² = 9.", ["Найдите", "x,", "если", "x²", "=", "9."]),
    ],
)
def test_tokens_are_what_stands_between_spaces_or_characters_where_there_are_none(question: str, expected: list[str]) -> None:
    assert tokens(question) == expected


@given(st.text(st.characters(max_codepoint=0x0DFF)))  # Latin to Sinhala
def test_tokens_are_nltks_where_a_script_has_spaces(question: str) -> None:
    assert tokens(question) == question.split()


def test_rewordings_in_a_script_without_spaces_cluster() -> None:
    batch = ["小明有12个苹果，吃了3个，还剩多少个苹果？", "小明有15个苹果，吃了3个，还剩多少个苹果？", "求大于90的最小质数。"]
    assert cluster_labels(batch).tolist() == [0, 0, 1]


def test_a_sum_of_four_is_rounded_once() -> None:
    rng = random.Random(0)
    rows = [[-rng.random() * 2.0 ** rng.randint(-60, 3) for _ in range(4)] for _ in range(20_000)]
    rows += [[-1.0, -(2.0**-53), 0.0, 0.0], [-1.0, -(2.0**-53), -(2.0**-106), 0.0], [0.0, 0.0, 0.0, 0.0]]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    assert bleu._sum_rounded_once(columns).tolist() == [math.fsum(row) for row in rows]
