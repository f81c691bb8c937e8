import math
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import comb

from tasks.errors import MetricError
from tasks.metrics import blocks, clustering

Array = npt.NDArray[np.floating]
MEASURES = ("v_measure", "nmi", "ami", "ari")


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def blobs(n: int = 90, apart: float = 20.0) -> tuple[Array, npt.NDArray[np.int64]]:
    """Three groups in turn, far from one another."""
    truth = np.arange(n) % 3
    centres = apart * np.eye(3, 4)
    return rng().normal(size=(n, 4)) + centres[truth], truth


def as_sets(labels: npt.ArrayLike) -> set[frozenset[int]]:
    given = np.asarray(labels)
    return {frozenset(np.flatnonzero(given == label).tolist()) for label in np.unique(given)}


def entropies(one: list[int], other: list[int]) -> tuple[float, float, float]:
    """Of both labellings, and their mutual information, from counts."""
    n = len(one)

    def entropy(labels: list[Any]) -> float:
        return -sum(c / n * math.log(c / n) for c in Counter(labels).values())

    own, others = entropy(one), entropy(other)
    return own, others, own + others - entropy(list(zip(one, other, strict=True)))


def ari_by_pairs(one: list[int], other: list[int]) -> float:
    pairs = list(combinations(range(len(one)), 2))
    same = [one[i] == one[j] for i, j in pairs]
    same_other = [other[i] == other[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(same, same_other, strict=True))
    expected = sum(same) * sum(same_other) / len(pairs)
    most = (sum(same) + sum(same_other)) / 2
    return (both - expected) / (most - expected)


def expected_information(one: list[int], other: list[int]) -> float:
    """Of labels dealt out at random with these counts (Vinh et al. 2010)."""
    n = len(one)
    total = 0.0
    for a in Counter(one).values():
        for b in Counter(other).values():
            for both in range(max(1, a + b - n), min(a, b) + 1):
                chance = comb(a, both) * comb(n - a, b - both) / comb(n, b)
                total += chance * both / n * math.log(n * both / (a * b))
    return total


def test_measures_are_those_that_counts_give() -> None:
    for seed in range(10):
        draw = np.random.default_rng(seed)
        one, other = draw.integers(0, 4, 30).tolist(), draw.integers(0, 3, 30).tolist()
        own, others, mutual = entropies(one, other)
        v = clustering.v_measure(one, other)
        assert dict(v.parts) == pytest.approx(
            {"homogeneity": mutual / own, "completeness": mutual / others}
        )
        assert v.value == pytest.approx(2 * mutual / (own + others))
        assert clustering.nmi(one, other).value == pytest.approx(v.value)
        assert clustering.ari(one, other).value == pytest.approx(ari_by_pairs(one, other))
        chance = expected_information(one, other)
        ami = (mutual - chance) / ((own + others) / 2 - chance)
        assert clustering.ami(one, other).value == pytest.approx(ami)


@pytest.mark.parametrize("name", MEASURES)
def test_names_of_labels_do_not_matter(name: str) -> None:
    found = getattr(clustering, name)(["a", "b", "a", "c"], [-1, 5, -1, 0])
    assert (found.value, found.n, found.warnings) == (pytest.approx(1.0), 4, ())


@pytest.mark.parametrize("name", MEASURES)
def test_labels_that_say_nothing_are_said(name: str) -> None:
    single = getattr(clustering, name)(["a", "b", "a"], [0, 0, 0])
    assert single.value == pytest.approx(0)
    assert single.warnings == ("found has a single label: agreement says nothing",)
    own = getattr(clustering, name)(["a", "b", "c"], [0, 0, 1])
    assert own.warnings == ("truth has a label of its own for each row: agreement says nothing",)


@pytest.mark.parametrize("name", MEASURES)
def test_labels_of_other_lengths_or_none_are_errors(name: str) -> None:
    with pytest.raises(MetricError, match="truth 2, found 1"):
        getattr(clustering, name)(["a", "b"], [0])
    with pytest.raises(MetricError, match="no labels"):
        getattr(clustering, name)([], [])


def test_k_means_finds_groups_and_their_means() -> None:
    vectors, truth = blobs()
    found = clustering.k_means(vectors, 3, rng=rng())
    assert as_sets(found.labels) == as_sets(truth)
    for label, centre in enumerate(found.centres):
        np.testing.assert_allclose(centre, vectors[found.labels == label].mean(axis=0))


def test_k_means_in_batches_finds_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "WHOLE_ROWS", 50)
    vectors, truth = blobs(3000)
    found = clustering.k_means(vectors.astype(np.float32), 3, rng=rng())
    assert as_sets(found.labels) == as_sets(truth)


def test_k_means_is_the_same_for_the_same_draws() -> None:
    vectors = rng().normal(size=(60, 3))
    one, again = (clustering.k_means(vectors, 5, rng=rng()).labels for _ in range(2))
    assert one.tolist() == again.tolist()


def test_hdbscan_finds_groups_and_leaves_what_is_alone_as_noise() -> None:
    vectors, truth = blobs()
    found = clustering.hdbscan(np.vstack([vectors, [[500.0, 0, 0, 0]]]), min_samples=3)
    assert found[-1] == -1
    clustered = found[:-1] >= 0
    assert clustered.sum() > 80
    assert clustering.v_measure(truth[clustered], found[:-1][clustered]).value == 1


def test_hdbscan_of_equal_rows_is_one_group_or_noise() -> None:
    assert len(set(clustering.hdbscan(np.ones((20, 3))).tolist())) == 1


def test_typical_rows_are_nearest_the_mean_of_their_label() -> None:
    vectors, truth = blobs()
    found = clustering.typical_rows(vectors, truth, 4)
    assert list(found) == [0, 1, 2]
    for label, rows in found.items():
        members = [row for row in range(90) if truth[row] == label]
        centre = np.mean([vectors[row] for row in members], axis=0)
        nearest = sorted(members, key=lambda row: math.dist(vectors[row], centre))
        assert rows.tolist() == nearest[:4]


def test_typical_rows_are_named_by_label_tie_by_row_and_leave_noise_out() -> None:
    vectors = np.array([[1.0], [-1.0], [5.0], [9.0]])
    assert {
        label: rows.tolist()
        for label, rows in clustering.typical_rows(vectors, ["b", "b", "a", "a"], 1).items()
    } == {"a": [2], "b": [0]}
    found = clustering.typical_rows(vectors, [-1, 3, 3, 3], 9)
    assert {label: rows.tolist() for label, rows in found.items()} == {3: [2, 3, 1]}


def silhouette_by_loop(vectors: Array, labels: list[int]) -> list[float]:
    values = []
    for row, label in enumerate(labels):
        means = {}
        for other in set(labels):
            members = [i for i in range(len(labels)) if labels[i] == other and i != row]
            if members:
                means[other] = np.mean([math.dist(vectors[row], vectors[i]) for i in members])
        own = means.pop(label, None)
        nearest = min(means.values())
        values.append(0.0 if own is None else float((nearest - own) / max(own, nearest)))
    return values


def test_the_silhouette_is_that_of_mean_distances() -> None:
    vectors = rng().normal(size=(40, 3))
    labels = [*rng().integers(0, 4, 39).tolist(), 9]
    found = clustering.silhouette(vectors, labels, rng=rng())
    assert found.per_item == pytest.approx(silhouette_by_loop(vectors, labels))
    assert found.warnings == ("1 of 5 clusters have a single row, which counts as 0",)
    assert found.items == ()


def test_the_silhouette_leaves_noise_out_and_names_what_it_looked_at() -> None:
    vectors, truth = blobs(30)
    labels = np.where(np.arange(30) < 5, -1, truth)
    found = clustering.silhouette(vectors, labels, rng=rng())
    assert found.per_item == pytest.approx(silhouette_by_loop(vectors[5:], truth[5:].tolist()))
    assert found.items == tuple(str(row) for row in range(5, 30))
    assert found.warnings == ("5 rows of noise are left out",)
    rows = 5 + blocks.choose(25, 12, rng())
    sampled = clustering.silhouette(vectors, labels, sample=12, rng=rng())
    expected = silhouette_by_loop(vectors[rows], truth[rows].tolist())
    assert sampled.per_item == pytest.approx(expected)
    assert sampled.items == tuple(str(row) for row in rows)


def test_groups_that_are_there_are_stable_and_others_are_not() -> None:
    vectors, _ = blobs()
    right = clustering.stability(vectors, 3, resamples=5, rng=rng())
    assert (right.value, right.n) == (1.0, 5)
    noise = rng().normal(size=(90, 8))
    assert clustering.stability(noise, 3, resamples=5, rng=rng()).value < 0.8


def test_stability_compares_two_subsets_on_the_rows_of_both() -> None:
    vectors = rng().normal(size=(50, 3))
    draw = rng()
    expected = []
    for _ in range(3):
        one, other = blocks.choose(50, 40, draw), blocks.choose(50, 40, draw)
        labels = [
            dict(zip(rows, clustering.k_means(vectors[rows], 4, rng=draw).labels, strict=True))
            for rows in (one, other)
        ]
        both = sorted(set(one) & set(other))
        expected.append(ari_by_pairs(*([named[row] for row in both] for named in labels)))
    found = clustering.stability(vectors, 4, resamples=3, rng=rng())
    assert found.per_item == pytest.approx(expected)
    few = clustering.stability(vectors, 2, resamples=1, sample=20, rng=rng())
    assert few.n == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: clustering.k_means(np.eye(3), 4, rng=rng()), "n_clusters = 4: expected 1 to 3"),
        (lambda: clustering.k_means(np.eye(3), 0, rng=rng()), "n_clusters = 0"),
        (lambda: clustering.k_means(np.ones((9, 2)), 2, rng=rng()), "as many different rows"),
        (lambda: clustering.k_means(np.full((3, 2), np.nan), 2, rng=rng()), "not finite"),
        (lambda: clustering.hdbscan(np.eye(3), min_cluster_size=4), "min_cluster_size = 4"),
        (lambda: clustering.hdbscan(np.eye(3), min_cluster_size=1), "min_cluster_size = 1"),
        (lambda: clustering.hdbscan(np.eye(9), min_samples=10), "min_samples = 10"),
        (lambda: clustering.hdbscan(np.ones((50_001, 1))), "50001 rows: HDBSCAN takes 50000"),
        (lambda: clustering.typical_rows(np.eye(3), [0, 0], 1), "vectors 3, labels 2"),
        (lambda: clustering.typical_rows(np.eye(3), [0, 0, 1], 0), "n = 0"),
        (lambda: clustering.silhouette(np.eye(3), [0, 0, 0], rng=rng()), "1 clusters of 3 rows"),
        (lambda: clustering.silhouette(np.eye(3), [0, 1, 2], rng=rng()), "3 clusters of 3 rows"),
        (lambda: clustering.silhouette(np.eye(3), [-1, -1, -1], rng=rng()), "0 clusters of 0"),
        (lambda: clustering.silhouette(np.eye(3), [0, 1], rng=rng()), "vectors 3, labels 2"),
        (lambda: clustering.stability(np.eye(3), 1, rng=rng()), "n_clusters = 1: expected 2"),
        (lambda: clustering.stability(np.eye(3), 4, rng=rng()), "n_clusters = 4: expected 2"),
        (lambda: clustering.stability(np.eye(5), 5, rng=rng()), "n_clusters = 5: expected 1 to 4"),
        (lambda: clustering.stability(np.ones((9, 2)), 2, rng=rng()), "as many different rows"),
        (lambda: clustering.stability(np.eye(5), 2, resamples=0, rng=rng()), "resamples = 0"),
    ],
)
def test_what_cannot_be_asked_is_said(asked: Callable[[], object], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        asked()
