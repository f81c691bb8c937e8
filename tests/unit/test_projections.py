"""Maps of vectors: what a method gives, and where later vectors are placed."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from schemas.suite import MapMethod
from tasks.errors import ConfigError, MetricError
from tasks.metrics.score import unit_rows
from tasks.projections import Anchored, Linear, Plane, fit, turned

METHODS = [*MapMethod]


def vectors(n: int = 60, dim: int = 8, seed: int = 0) -> Any:
    """Directions around three."""
    rng = np.random.default_rng(seed)
    around = np.eye(dim)[np.arange(n) % 3] + rng.normal(scale=0.2, size=(n, dim))
    return unit_rows(around.astype(np.float32))


def made(method: MapMethod, of: Any, seed: int = 0) -> Linear | Anchored:
    return fit(method, of, rng=np.random.default_rng(seed))


def test_pca_is_that_of_numpy_with_the_largest_component_of_each_direction_above_zero() -> None:
    matrix = vectors()
    found = made(MapMethod.PCA, matrix)
    assert isinstance(found, Linear)
    centred = matrix.astype(np.float64) - matrix.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    expected = directions[:, :-3:-1].T
    largest = np.abs(expected).argmax(axis=1)
    expected *= np.sign(expected[[0, 1], largest])[:, None]
    np.testing.assert_allclose(found.components, expected, atol=1e-9)
    np.testing.assert_allclose(found.place(matrix), centred @ expected.T, atol=1e-7)
    library = PCA(2, svd_solver="full").fit(matrix.astype(np.float64))
    np.testing.assert_allclose(np.abs(found.components), np.abs(library.components_), atol=1e-9)


def test_pca_places_a_vector_by_itself_and_a_mean_at_the_mean() -> None:
    matrix, later = vectors(), vectors(9, seed=1)
    found = made(MapMethod.PCA, matrix)
    together = found.place(later)
    for row in range(len(later)):
        np.testing.assert_allclose(found.place(later[row : row + 1])[0], together[row], atol=1e-12)
    middle = later.mean(axis=0, keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(found.place(middle)[0], together.mean(axis=0), atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_map(method: MapMethod) -> None:
    one, again = (made(method, vectors()).place(vectors()) for _ in range(2))
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_near_stays_near_and_groups_stay_apart(method: MapMethod) -> None:
    matrix = vectors()
    positions = made(method, matrix).place(matrix)
    assert trustworthiness(matrix, positions, n_neighbors=5) > 0.75
    groups = np.arange(len(matrix)) % 3
    middles = np.array([positions[groups == group].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(positions[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == groups).mean() > 0.95


@pytest.mark.parametrize("method", [MapMethod.TSNE, MapMethod.UMAP])
def test_an_anchor_is_placed_where_it_was(method: MapMethod) -> None:
    matrix = vectors()
    found = made(method, matrix)
    assert isinstance(found, Anchored)
    assert found.anchors.dtype == np.float32
    np.testing.assert_array_equal(found.anchors, matrix)
    reach = np.ptp(found.positions, axis=0).max()
    placed = found.place(matrix[::-1])
    np.testing.assert_allclose(placed, found.positions[::-1], rtol=0, atol=1e-6 * reach)


def test_another_vector_is_placed_between_its_five_nearest_anchors_by_distance() -> None:
    rng = np.random.default_rng(2)
    anchors = rng.normal(size=(30, 4)).astype(np.float32)
    found = Anchored(anchors, rng.normal(size=(30, 2)))
    later = rng.normal(size=(20, 4)).astype(np.float32)
    for vector, position in zip(later, found.place(later), strict=True):
        far = [float(np.linalg.norm(vector.astype(np.float64) - one)) for one in anchors]
        near = sorted(range(30), key=far.__getitem__)[:5]
        total = sum(1 / far[one] for one in near)
        expected = sum(found.positions[one] / far[one] for one in near) / total
        np.testing.assert_allclose(position, expected, rtol=1e-9)


def test_a_vector_among_few_or_equal_anchors_is_placed_between_them() -> None:
    few = Anchored(np.eye(3, dtype=np.float32), np.array([[0.0, 0], [3, 0], [0, 3]]))
    np.testing.assert_allclose(few.place(np.full((1, 3), 0.5)), [[1, 1]])
    equal = Anchored(np.ones((4, 3), np.float32), np.array([[0.0, 0], [2, 0], [0, 2], [2, 2]]))
    np.testing.assert_allclose(equal.place(np.ones((2, 3))), [[1, 1], [1, 1]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "matrix",
    [
        vectors(3),
        vectors(4),
        np.repeat(vectors(3), 20, axis=0),
        vectors(30)[:, :1],
        np.outer(np.arange(12), np.ones(5)),
        np.vstack([np.zeros((20, 8), np.float32), vectors(3)]),
    ],
    ids=["three", "four", "duplicates", "one dimension", "a line", "mostly zeros"],
)
def test_a_map_is_made_of_three_different_vectors(method: MapMethod, matrix: Any) -> None:
    found = made(method, matrix)
    for placed in (found.place(matrix), found.place(np.zeros((2, matrix.shape[1])))):
        assert placed.shape[1] == 2
        assert np.isfinite(placed).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.ones((9, 4)), "1 different vectors: a map needs 3 or more"),
        (np.repeat(np.eye(2), 9, axis=0), "2 different vectors: a map needs 3 or more"),
        (vectors(2), "2 different vectors: a map needs 3 or more"),
        (np.zeros((0, 4)), "vectors has 0 rows: at least 1 are needed"),
        (np.array([[1.0, 2], [np.nan, 0], [0, 1]]), "in row 1 that is not finite"),
        (np.ones(5), r"vectors has shape \(5,\): expected \(n, dim\)"),
    ],
)
def test_what_can_be_no_map_is_said(method: MapMethod, matrix: Any, said: str) -> None:
    with pytest.raises(MetricError, match=said):
        made(method, matrix)


def test_what_is_not_finite_has_no_place() -> None:
    bad = np.full((1, 8), np.inf)
    for method in (MapMethod.PCA, MapMethod.TSNE):
        with pytest.raises(MetricError, match="in row 0 that is not finite"):
            made(method, vectors(9)).place(bad)


def test_umap_that_is_not_installed_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match=r"umap.*pip install 'vectorline\[umap\]'"):
        made(MapMethod.UMAP, vectors())


def moved(
    points: Plane, angle: float, scale: float, shift: tuple[float, float], *, mirror: bool
) -> Plane:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror:
        turn = turn * [1, -1]
    moved_: Plane = points @ turn.T * scale + shift
    return moved_


@settings(deadline=None)
@given(
    angle=st.floats(0, 2 * np.pi),
    scale=st.floats(1e-3, 1e3),
    shift=st.tuples(st.floats(-99, 99), st.floats(-99, 99)),
    mirror=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_map_that_was_turned_scaled_moved_and_mirrored_comes_back(
    angle: float, scale: float, shift: tuple[float, float], mirror: bool, seed: int
) -> None:
    points = np.random.default_rng(seed).normal(size=(12, 2))
    away = moved(points, angle, scale, shift, mirror=mirror)
    back = turned(away, away[2:8], points[2:8])
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_a_turned_map_keeps_its_shape_and_takes_the_size_and_middle_of_the_other() -> None:
    rng = np.random.default_rng(3)
    points, others = rng.normal(size=(50, 2)), 7 * rng.normal(size=(50, 2)) + 3
    back = turned(points, points, others)
    apart = [np.linalg.norm(one[:, None] - one, axis=2) for one in (points, back)]
    ratios = apart[1][apart[0] > 0] / apart[0][apart[0] > 0]
    np.testing.assert_allclose(ratios, ratios[0])
    np.testing.assert_allclose(back.mean(axis=0), others.mean(axis=0))
    np.testing.assert_allclose(back.var(axis=0).sum(), others.var(axis=0).sum())


def test_no_turn_of_a_map_is_nearer_than_the_one_that_it_gets() -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(size=(20, 2))
    others = moved(points, 1.0, 2.0, (3, 4), mirror=True) + rng.normal(scale=0.4, size=(20, 2))
    best = np.linalg.norm(turned(points, points, others) - others)
    size = np.sqrt(others.var(axis=0).sum() / points.var(axis=0).sum())
    for angle in np.linspace(0, 2 * np.pi, 721):
        for mirror in (False, True):
            tried = moved(points - points.mean(axis=0), angle, size, (0, 0), mirror=mirror)
            assert np.linalg.norm(tried + others.mean(axis=0) - others) >= best - 1e-9


def test_a_map_that_cannot_be_turned_is_said() -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(MetricError, match="2 records in common: to turn a map takes 3 or more"):
        turned(points, points[:2], points[:2])
    points, equal = np.tile(points, (2, 1)), np.full((10, 2), 0.1)
    for own, others in ((points, equal), (equal, points)):
        with pytest.raises(MetricError, match="the records in common are in one place"):
            turned(points, own, others)
