import numpy as np
import numpy.typing as npt
import pytest

from tasks.errors import MetricError
from tasks.metrics import blocks, neighbours
from tasks.metrics.neighbours import Likeness, nearest, neighbours_of
from tasks.metrics.score import unit_rows
from tests.oracles import nearest_by_loop


@pytest.mark.parametrize("likeness", Likeness)
@pytest.mark.parametrize("k", [1, 3, 11, 12])
def test_nearest_are_those_that_a_loop_finds(likeness: Likeness, k: int) -> None:
    rng = np.random.default_rng(k)
    vectors, queries = rng.normal(size=(12, 4)), rng.normal(size=(5, 4))
    found = nearest(queries, vectors, k, likeness=likeness)
    rows, scores = nearest_by_loop(queries, vectors, k, likeness)
    assert found.rows.tolist() == rows
    np.testing.assert_allclose(found.scores, scores, atol=1e-7)  # sqrt of a difference of squares


@pytest.mark.parametrize("k", [1, 2, 5, 20, 39])
def test_equal_ones_come_by_row_wherever_the_cut_is(k: int) -> None:
    vectors = np.random.default_rng(0).integers(0, 2, size=(40, 2)).astype(np.float32)
    found = nearest(vectors, vectors, k, likeness="dot")
    rows, _ = nearest_by_loop(vectors, vectors, k, "dot")
    assert found.rows.tolist() == rows


@pytest.mark.parametrize("likeness", Likeness)
def test_equal_rows_are_ties_wherever_they_stand(likeness: Likeness) -> None:
    # A matrix product gives equal rows products that differ in their last bits.
    rng = np.random.default_rng(0)
    few = rng.normal(size=(5, 317)).astype(np.float32)
    which = rng.integers(0, 5, 20_011)
    queries = rng.normal(size=(9, 317)).astype(np.float32)

    found = nearest(queries, few[which], 6_000, likeness=likeness)

    alike = nearest(queries, few, 5, likeness=likeness)
    for rows, scores, kinds, values in zip(*found, *alike, strict=True):
        expected = np.concatenate([np.flatnonzero(which == kind) for kind in kinds])[:6_000]
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(scores, np.repeat(values, np.bincount(which)[kinds])[:6_000])


def test_a_row_is_no_answer_to_itself() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 3))
    found = nearest(vectors, vectors, 8, own_rows=np.arange(9))
    assert [sorted(row) for row in found.rows.tolist()] == [
        [other for other in range(9) if other != one] for one in range(9)
    ]


@pytest.mark.parametrize("likeness", Likeness)
def test_blocks_do_not_change_what_is_found(
    likeness: Likeness, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(0).integers(0, 3, size=(50, 3)).astype(np.float64) + 1
    whole = nearest(vectors, vectors, 4, likeness=likeness)
    monkeypatch.setattr(neighbours, "ROWS", 7)
    monkeypatch.setattr(neighbours, "QUERIES", 3)
    found = nearest(vectors, vectors, 4, likeness=likeness)
    assert found.rows.tolist() == whole.rows.tolist()
    np.testing.assert_allclose(found.scores, whole.scores, rtol=1e-12)


@pytest.mark.parametrize(
    ("queries", "vectors", "k", "said"),
    [
        ([[1.0]], [[1.0]], 2, "k = 2: expected 1 to 1"),
        ([[1.0]], [[1.0]], 0, "k = 0"),
        ([[1.0, 2.0]], [[1.0]], 1, "queries have 2 components, vectors 1"),
        ([[np.nan]], [[1.0]], 1, "queries has a component in row 0 that is not finite"),
        ([1.0], [[1.0]], 1, r"queries has shape \(1,\)"),
    ],
)
def test_what_cannot_be_asked_is_said(
    queries: list[list[float]], vectors: list[list[float]], k: int, said: str
) -> None:
    with pytest.raises(MetricError, match=said):
        nearest(queries, vectors, k)


def test_an_unknown_likeness_is_refused() -> None:
    with pytest.raises(MetricError, match="likeness = 'cosin': expected cosine, dot, euclidean"):
        nearest([[1.0]], [[1.0]], 1, likeness="cosin")


def test_directions_of_huge_vectors_are_kept() -> None:
    vectors = np.array([[3e30, 4e30], [0, 0], [-2e-30, 0]], np.float32)
    wanted = np.array([[0.6, 0.8], [0, 0], [-1, 0]])
    np.testing.assert_allclose(unit_rows(vectors).astype(np.float64), wanted, rtol=1e-6)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (blocks, neighbours):
        monkeypatch.setattr(module, "ROWS", 7)
        monkeypatch.setattr(module, "QUERIES", 3)


def by_loop(vectors: npt.NDArray[np.float64], k: int, likeness: str) -> list[list[int]]:
    """Others in the order of the loop, which knows nothing of a row's own."""
    rows, _ = nearest_by_loop(vectors, vectors, len(vectors), likeness)
    return [[other for other in line if other != row][:k] for row, line in enumerate(rows)]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("likeness", Likeness)
@pytest.mark.parametrize("k", [1, 3, 11, 29])
def test_neighbours_are_those_that_a_loop_finds(likeness: Likeness, k: int) -> None:
    vectors = np.random.default_rng(k).normal(size=(30, 4))
    found = neighbours_of(np.arange(30), vectors, k, likeness=likeness)
    assert found.tolist() == by_loop(vectors, k, likeness)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("likeness", [Likeness.DOT, Likeness.EUCLIDEAN])  # exact for whole numbers
@pytest.mark.parametrize("k", [1, 2, 6, 20, 39])
def test_equal_neighbours_come_by_row_whichever_block_they_are_in(
    likeness: Likeness, k: int
) -> None:
    vectors = np.random.default_rng(k).integers(0, 2, size=(40, 3)).astype(np.float64)
    found = neighbours_of(np.arange(40), vectors, k, likeness=likeness)
    assert found.tolist() == by_loop(vectors, k, likeness)


@pytest.mark.usefixtures("small_blocks")
def test_some_rows_have_the_neighbours_that_they_have_among_all() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 3))
    rows = np.array([2, 11, 29])
    whole = neighbours_of(np.arange(30), vectors, 5)
    assert neighbours_of(rows, vectors, 5).tolist() == whole[rows].tolist()


@pytest.mark.parametrize("k", [0, 3])
def test_a_row_has_no_more_neighbours_than_there_are_others(k: int) -> None:
    with pytest.raises(MetricError, match=rf"k = {k}: expected 1 to 2"):
        neighbours_of(np.arange(3), np.eye(3), k)
