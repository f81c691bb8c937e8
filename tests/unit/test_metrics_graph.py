from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from tasks.errors import MetricError
from tasks.metrics import downstream, graph
from tasks.metrics.graph import (
    Negatives,
    link_auc,
    link_average_precision,
    link_hits,
    link_mrr,
    negatives,
    seed_stability,
)
from tests.oracles import Reals


def scored(seed: int) -> tuple[Reals, Reals]:
    """Links and non-links; every second time with many ties."""
    rng = np.random.default_rng(seed)
    links, others = rng.normal(0.5, 1, 1 + seed % 30), rng.normal(0, 1, 1 + 7 * seed % 40)
    return (np.round(links), np.round(others)) if seed % 2 else (links, others)


@pytest.mark.parametrize("seed", range(20))
def test_link_scores_are_those_of_scikit_learn_and_of_loops(seed: int) -> None:
    links, others = scored(seed)
    truth = [1] * len(links) + [0] * len(others)
    both = np.concatenate([links, others])
    area = link_auc(links, others)
    precision = link_average_precision(links, others)
    assert area.value == pytest.approx(roc_auc_score(truth, both), abs=1e-12)
    assert precision.value == pytest.approx(average_precision_score(truth, both), abs=1e-12)
    assert (area.n, precision.n) == (len(links), len(links))
    assert precision.parts == {"links": len(links) / len(both)}
    for k in {1, len(others)}:
        threshold = sorted(others, reverse=True)[k - 1]
        hits = [float(link > threshold) for link in links]
        found = link_hits(links, others, k).per_item
        assert found is not None
        assert found.tolist() == hits
    ranks = [stats.rankdata([-link, *-others])[0] for link in links]
    reciprocal = link_mrr(links, others).per_item
    assert reciprocal is not None
    np.testing.assert_allclose(reciprocal, 1 / np.array(ranks), atol=1e-12)


def test_links_with_negatives_of_their_own_are_ranked_among_these() -> None:
    links = np.array([0.5, 0.1, 0.3])
    own = np.array([[0.6, 0.4], [0.0, 0.05], [0.3, 0.3]])
    found = link_mrr(links, own)
    assert found.per_item is not None
    assert found.per_item.tolist() == [1 / 2, 1.0, 1 / 2]
    same = link_mrr(links, np.tile([0.2, 0.3], (3, 1))).per_item
    assert same is not None
    assert same.tolist() == pytest.approx([1.0, 1 / 3, 1 / 1.5])
    assert link_mrr(links, [0.2, 0.3]).value == pytest.approx(same.mean())


def test_links_are_reported_by_degree() -> None:
    degrees = [0, 1, 3, 4, 15, 16, 64]
    links = np.array([1.0, 0, 1, 0, 0, 1, 1])
    for found in (
        link_auc(links, [0.5], degrees=degrees),
        link_hits(links, [0.5], 1, degrees=degrees),
    ):
        assert found.parts == {
            "degree 0": 1.0,
            "degree 1 to 3": 0.5,
            "degree 4 to 15": 0.0,
            "degree 16 to 63": 1.0,
            "degree 64 to 255": 1.0,
        }
    assert link_mrr(links, [0.5], degrees=degrees).parts["degree 1 to 3"] == 0.75


@pytest.mark.parametrize("kind", Negatives)
def test_negatives_are_no_edges_each_once_and_as_many(kind: Negatives) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        edges = rng.integers(0, 12, (20, 2))
        found = negatives(edges, 12, kind=kind, rng=rng)
        pairs = {tuple(pair) for pair in found.tolist()}
        known = {tuple(sorted(pair)) for pair in edges.tolist()}
        assert len(pairs) == 20
        assert not pairs & known
        assert all(one < other for one, other in pairs)


def test_all_pairs_that_are_no_edges_can_be_had() -> None:
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [0, 0], [1, 0]])
    found = negatives(edges, 4, n=2, rng=np.random.default_rng(0))
    assert sorted(found.tolist()) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("kind", Negatives)
def test_ends_are_drawn_by_the_law_of_their_kind(kind: Negatives) -> None:
    # Node 0 ends half of all edge ends among hubs; one pair at a time has the law of a pair.
    edges = np.array([[0, 1], [0, 2], [0, 3], [4, 5]])
    rng = np.random.default_rng(1)
    drawn = [tuple(negatives(edges, 6, kind=kind, n=1, rng=rng)[0].tolist()) for _ in range(3000)]
    weight = np.bincount(edges.ravel()) if kind == Negatives.DEGREE else np.ones(6)
    known = {tuple(edge) for edge in edges.tolist()}
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6) if (i, j) not in known]
    law = np.array([weight[i] * weight[j] for i, j in pairs], np.float64)
    counts = [drawn.count(pair) for pair in pairs]
    assert sum(counts) == 3000
    assert stats.chisquare(counts, 3000 * law / law.sum()).pvalue > 1e-4


def test_node_classification_is_the_logistic_probe() -> None:
    assert graph.node_classification is downstream.logistic_probe


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rotations_and_lengths_of_a_fit_mean_nothing(dtype: type) -> None:
    rng = np.random.default_rng(2)
    fit: npt.NDArray[np.floating[Any]] = rng.normal(size=(40, 6)).astype(dtype)
    turned = [fit @ stats.ortho_group.rvs(6, random_state=seed).astype(dtype) for seed in range(3)]
    found = seed_stability([fit, turned[0], 3 * turned[1], turned[2]])
    assert found.value == pytest.approx(1, abs=1e-5)
    assert found.n == 40
    assert found.parts["lowest_pair"] == pytest.approx(1, abs=1e-5)


def test_stability_is_the_mean_cosine_under_the_best_rotation() -> None:
    # In the plane, by trying all rotations and reflections; the best also maximises the mean
    # cosine of unit rows, which is what Procrustes maximises.
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(2, 15, 2))
    units = [fit / np.linalg.norm(fit, axis=1)[:, None] for fit in (one, other)]
    best = -1.0
    for angle in np.linspace(0, 2 * np.pi, 20_001):
        cos, sin = np.cos(angle), np.sin(angle)
        for turn in ([[cos, -sin], [sin, cos]], [[cos, sin], [sin, -cos]]):
            best = max(best, float(np.sum((units[0] @ np.array(turn)) * units[1], axis=1).mean()))
    assert seed_stability([one, other]).value == pytest.approx(best, abs=1e-6)
    noisy = [one + 0.1 * rng.normal(size=one.shape) for _ in range(2)]
    three = [one, *noisy]
    pairs = [seed_stability([three[i], three[j]]) for i, j in ((0, 1), (0, 2), (1, 2))]
    found = seed_stability(three)
    assert found.value == pytest.approx(np.mean([pair.value for pair in pairs]), abs=1e-12)
    assert found.parts["lowest_pair"] == pytest.approx(min(pair.value for pair in pairs))


def test_nodes_without_a_vector_are_said() -> None:
    fit: Reals = np.diag([1.0, 1, 0, 1])
    found = seed_stability([np.eye(4), fit])
    assert found.warnings == ("1 nodes have a vector of zeros: their cosine is 0",)
    assert found.per_item is not None
    assert found.per_item.tolist() == pytest.approx([1, 1, 0, 1])


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: link_auc([], [1.0]), "positives have shape"),
        (lambda: link_auc([1.0], []), "negatives have shape"),
        (lambda: link_auc([np.nan], [1.0]), "expected finite scores"),
        (lambda: link_auc([1.0], [1.0], degrees=[1, 2]), r"degrees have shape \(2,\)"),
        (lambda: link_auc([1.0], [1.0], degrees=[-1]), "0 or more"),
        (lambda: link_average_precision([[1.0]], [1.0]), "positives have shape"),
        (lambda: link_hits([1.0], [1.0], 2), "k = 2: expected 1 to 1"),
        (lambda: link_hits([1.0], [1.0], 0), "k = 0"),
        (lambda: link_mrr([1.0], [[1.0], [2.0]]), "1 links and negatives of 2"),
        (lambda: link_mrr([1.0], [[np.inf]]), "expected finite scores"),
        (lambda: negatives([], 3, rng=RNG), "edges have shape"),
        (lambda: negatives([[0.5, 1.0]], 3, rng=RNG), "of whole numbers"),
        (lambda: negatives([[0, 3]], 3, rng=RNG), "edges name nodes 0 to 3; there are 3"),
        (lambda: negatives([[-1, 2]], 3, rng=RNG), "edges name nodes -1 to 2"),
        (lambda: negatives([[0, 1]], 3, n=3, rng=RNG), "n = 3: expected 1 to 2"),
        (lambda: negatives([[0, 1], [1, 2], [0, 2]], 3, rng=RNG), "n = 3: expected 1 to 0"),
        (lambda: negatives([[0, 1]], 3, kind="degree", rng=RNG), "the graph is too dense"),
        (lambda: seed_stability([np.eye(2)]), "1 fits of shapes"),
        (lambda: seed_stability([]), "0 fits of shapes"),
        (lambda: seed_stability([np.eye(2), np.eye(3)]), "2 or more of one shape are needed"),
        (lambda: seed_stability([np.eye(2), np.eye(2) * np.nan]), "fit 1 has a component"),
    ],
)
def test_what_has_no_score_is_said(made: Callable[[], object], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        made()
