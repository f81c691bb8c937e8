import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from tasks.errors import MetricError
from tasks.metrics import blocks, compare, geometry, neighbours
from tasks.metrics.score import Score

Array = npt.NDArray[np.floating]
NEIGHBOURLY = ("neighbour_overlap", "rank_biased_overlap", "second_order_cosine", "hubness_change")
WHOLE = ("linear_cka", "debiased_cka", "procrustes")


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def turned(vectors: Array, seed: int = 0) -> Array:
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.normal(size=(vectors.shape[1], vectors.shape[1])))[0]
    return np.asarray(vectors @ turn)


def pair(n: int = 40, seed: int = 0) -> tuple[Array, Array]:
    draw = np.random.default_rng(seed)
    one = draw.normal(size=(n, 6)) + 1
    return one, one[:, :4] + 0.5 * draw.normal(size=(n, 4))


def metric(name: str) -> Callable[[Array, Array], Score]:
    found: Callable[..., Score] = getattr(compare, name)
    if name in WHOLE:
        return found
    options = {"depth": 5} if name == "rank_biased_overlap" else {"k": 5}
    return lambda one, other: found(one, other, rng=rng(), **options)


def near_by(vectors: Array, k: int) -> list[list[int]]:
    model = NearestNeighbors(n_neighbors=k, metric="cosine").fit(vectors)
    found: list[list[int]] = model.kneighbors()[1].tolist()
    return found


def rbo_by_loop(one: list[int], other: list[int], p: float) -> float:
    """RBO_EXT of Webber et al. for two lists of one length."""
    k = len(one)
    total = sum(p**d * len(set(one[:d]) & set(other[:d])) / d for d in range(1, k + 1))
    return len(set(one) & set(other)) / k * p**k + (1 - p) / p * total


def gram_debiased(one: Array, other: Array) -> float:
    """Unbiased HSIC by U-centred Gram matrices (Szekely and Rizzo 2014), each pair in turn."""

    def centred(vectors: Array) -> Array:
        gram = vectors @ vectors.T
        np.fill_diagonal(gram, 0)
        n = len(gram)
        sums, out = gram.sum(axis=0), np.zeros_like(gram)
        for i in range(n):
            for j in range(n):
                if i != j:
                    means = (sums[i] + sums[j]) / (n - 2)
                    out[i, j] = gram[i, j] - means + gram.sum() / ((n - 1) * (n - 2))
        return out

    def product(x: Array, y: Array) -> float:
        return float((centred(x) * centred(y)).sum())

    return product(one, other) / math.sqrt(product(one, one) * product(other, other))


@pytest.mark.parametrize("k", [1, 5, 39])
def test_overlap_is_that_of_the_sets_of_neighbours(k: int) -> None:
    one, other = pair()
    expected = [
        len(set(a) & set(b)) / k for a, b in zip(near_by(one, k), near_by(other, k), strict=True)
    ]
    found = compare.neighbour_overlap(one, other, k=k, rng=rng())
    assert found.per_item == pytest.approx(expected)
    assert found.parts == {"chance": k / 39}


@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("depth", [1, 7, 39])
def test_rank_biased_overlap_is_that_of_the_lists(p: float, depth: int) -> None:
    one, other = pair()
    expected = [
        rbo_by_loop(a, b, p)
        for a, b in zip(near_by(one, depth), near_by(other, depth), strict=True)
    ]
    found = compare.rank_biased_overlap(one, other, p=p, depth=depth, rng=rng())
    assert found.per_item == pytest.approx(expected)


def test_the_loop_gives_a_published_value_of_rank_biased_overlap() -> None:
    # of github.com/b4ny4n/rankmeasures
    assert rbo_by_loop([1, 2, 3, 4, 5], [2, 3, 4, 1, 5], 0.9) == pytest.approx(0.828, abs=5e-4)


def test_second_order_cosine_is_that_of_the_cosines_to_the_neighbours_of_both() -> None:
    one, other = pair()
    cosines = cosine_similarity(one), cosine_similarity(other)
    expected = []
    for row, (a, b) in enumerate(zip(near_by(one, 4), near_by(other, 4), strict=True)):
        union = sorted({*a, *b})
        x, y = cosines[0][row, union], cosines[1][row, union]
        expected.append(1 - scipy.spatial.distance.cosine(x, y))
    found = compare.second_order_cosine(one, other, k=4, rng=rng())
    assert found.per_item == pytest.approx(expected)
    assert found.warnings == ()


def test_second_order_cosine_leaves_out_what_is_alike_nothing() -> None:
    one = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [3.0, 1.0]])
    found = compare.second_order_cosine(one, one, k=1, rng=rng())
    assert found.value == pytest.approx(1)
    assert found.items == ("0", "1", "3")
    assert found.warnings == ("1 rows that are alike none of their neighbours are left out",)


def test_hubness_change_is_the_difference_of_both() -> None:
    one, other = pair(100)
    both = [geometry.hubness(vectors, k=5, rng=rng()).value for vectors in (one, other)]
    lost = [geometry.anti_hubs(vectors, k=5, rng=rng()).value for vectors in (one, other)]
    found = compare.hubness_change(one, other, k=5, rng=rng())
    assert found.value == pytest.approx(both[1] - both[0])
    assert found.parts == pytest.approx(
        {"one": both[0], "other": both[1], "one_anti_hubs": lost[0], "other_anti_hubs": lost[1]}
    )


def test_hubness_change_looks_at_the_same_rows_of_both() -> None:
    one, other = pair(100)
    rows = blocks.choose(100, 60, rng())
    found = compare.hubness_change(one, other, k=5, sample=60, rng=rng())
    whole = compare.hubness_change(one[rows], other[rows], k=5, rng=rng())
    assert (found.value, found.n) == (whole.value, 60)


def test_hubness_change_says_which_side_has_no_skew() -> None:
    found = compare.hubness_change(np.eye(3), np.eye(3) + 1, k=2, rng=rng())
    said = "all rows occur 2 times: the skew of equal numbers is taken as 0"
    assert found.warnings == (f"one: {said}", f"other: {said}")


def test_linear_cka_is_that_of_centred_gram_matrices() -> None:
    for seed in range(5):
        one, other = pair(30, seed)
        centring = np.eye(30) - 1 / 30
        grams = [centring @ vectors @ vectors.T @ centring for vectors in (one, other)]
        expected = np.trace(grams[0] @ grams[1]) / math.prod(map(np.linalg.norm, grams))
        assert compare.linear_cka(one, other).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [5, 8, 30])
def test_debiased_cka_is_that_of_gram_matrices_centred_pair_by_pair(n: int) -> None:
    for seed in range(5):
        one, other = pair(n, seed)
        expected = gram_debiased(one, other)
        assert compare.debiased_cka(one, other).value == pytest.approx(expected, rel=1e-9)


def test_debiased_cka_of_what_is_unrelated_is_zero_in_the_mean_and_linear_cka_is_not() -> None:
    draws = rng().normal(size=(200, 2, 20, 30))
    debiased = np.array([compare.debiased_cka(*draw).value for draw in draws])
    assert abs(debiased.mean()) < 5 * debiased.std() / math.sqrt(200)
    assert min(compare.linear_cka(*draw).value for draw in draws) > 0.3


def test_few_rows_are_said_to_bias_linear_cka() -> None:
    one, other = pair(6)
    said = ("6 rows of 6 dimensions: CKA is biased towards 1, debiased CKA is not",)
    assert compare.linear_cka(one, other).warnings == said
    assert compare.linear_cka(*pair(7)).warnings == ()


@pytest.mark.parametrize("name", WHOLE)
def test_a_turned_scaled_and_moved_copy_is_the_same(name: str) -> None:
    one, other = pair()
    value = metric(name)(one, other).value
    assert metric(name)(3 * turned(one) + 5, turned(other, 1)).value == pytest.approx(value)
    assert metric(name)(other, one).value == pytest.approx(value)
    expected = 0 if name == "procrustes" else 1
    assert metric(name)(one, 3 * turned(one) + 5).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dims", [(5, 5), (3, 6), (6, 3), (1, 1)])
def test_procrustes_is_what_the_turn_of_scipy_leaves(dims: tuple[int, int]) -> None:
    draw = rng()
    one, other = draw.normal(size=(30, dims[0])) + 2, draw.normal(size=(30, dims[1]))
    wide = max(dims)
    filled = []
    for vectors in (one, other):
        centred = vectors - vectors.mean(axis=0)
        room = wide - vectors.shape[1]
        filled.append(np.pad(centred / np.linalg.norm(centred), ((0, 0), (0, room))))
    turn, _ = scipy.linalg.orthogonal_procrustes(*filled)
    left = ((filled[0] @ turn - filled[1]) ** 2).sum(axis=1)
    found = compare.procrustes(one, other)
    assert found.value == pytest.approx(left.sum(), rel=1e-9)
    assert found.per_item == pytest.approx(30 * left, rel=1e-9)
    if dims[0] == dims[1]:  # scipy's own measure scales one side too: 1 - (1 - value / 2)^2
        disparity = scipy.spatial.procrustes(one, other)[2]
        assert 1 - (1 - found.value / 2) ** 2 == pytest.approx(disparity, rel=1e-9)


def test_the_rows_that_moved_most_are_found() -> None:
    one = rng().normal(size=(200, 6))
    other = turned(one)
    other[[17, 5]] *= -1
    other[90] *= -0.2
    found = compare.moved(one, other, 3)
    assert sorted(found.rows.tolist()) == [5, 17, 90]
    residuals = compare.procrustes(one, other).per_item
    assert residuals is not None
    assert found.distances == pytest.approx(np.sort(np.sqrt(residuals))[::-1][:3])


def test_rows_that_moved_alike_come_by_row() -> None:
    one = np.tile([1.0, 0.0, -1.0, 2.0, 0.0, -2.0], 50)[:, None]
    other = np.tile([2.0, 0.0, -2.0, 1.0, 0.0, -1.0], 50)[:, None]
    found = compare.moved(one, other, 300)
    still = [row for row in range(300) if one[row] == 0]
    assert found.rows.tolist() == [*(row for row in range(300) if row not in still), *still]
    assert found.distances == pytest.approx([math.sqrt(300 / 500)] * 200 + [0.0] * 100)


@pytest.mark.parametrize("name", NEIGHBOURLY[:3])
def test_the_same_vectors_have_the_same_neighbours(name: str) -> None:
    one, _ = pair()
    found = metric(name)(one, 2 * turned(one))
    assert found.value == pytest.approx(1)
    assert found.items == ()


@pytest.mark.parametrize("name", NEIGHBOURLY[:3])
def test_a_sample_is_named_and_has_its_values_among_all(name: str) -> None:
    one, other = pair(50)
    whole = metric(name)(one, other)
    rows = blocks.choose(50, 20, rng())
    options = {"depth": 5} if name == "rank_biased_overlap" else {"k": 5}
    found = getattr(compare, name)(one, other, sample=20, rng=rng(), **options)
    assert found.items == tuple(str(row) for row in rows)
    assert whole.per_item is not None
    assert found.per_item == pytest.approx(whole.per_item[rows])


@pytest.mark.parametrize("name", [*NEIGHBOURLY, *WHOLE])
def test_blocks_do_not_change_values(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (vectors.astype(np.float32) for vectors in pair(60))
    whole = metric(name)(one, other)
    for module in (blocks, neighbours):
        monkeypatch.setattr(module, "ROWS", 8)
        monkeypatch.setattr(module, "QUERIES", 9)
    assert metric(name)(one, other).value == pytest.approx(whole.value, rel=1e-9)


@pytest.mark.parametrize("name", [*NEIGHBOURLY, *WHOLE])
def test_what_does_not_belong_together_is_an_error(name: str) -> None:
    one, other = pair()
    with pytest.raises(MetricError, match="there are 40 and 39"):
        metric(name)(one, other[1:])
    with pytest.raises(MetricError, match="the second matrix has a component in row 3"):
        metric(name)(one, np.where(np.arange(40)[:, None] == 3, np.nan, other))
    with pytest.raises(MetricError, match="the first matrix has 0 rows"):
        metric(name)(one[:0], other[:0])
    with pytest.raises(MetricError, match="the first matrix has 1 rows"):
        metric(name)(one[:1], other[:1])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: metric("neighbour_overlap")(np.eye(4), np.eye(4)), "k = 5: expected 1 to 3"),
        (lambda: metric("rank_biased_overlap")(np.eye(4), np.eye(4)), "k = 5: expected 1 to 3"),
        (lambda: metric("hubness_change")(np.eye(4), np.eye(4)), "k = 5: expected 1 to 3"),
        (lambda: metric("second_order_cosine")(np.eye(9), np.eye(9)), "no row is alike"),
        (lambda: compare.rank_biased_overlap(np.eye(4), np.eye(4), p=1, rng=rng()), "p = 1"),
        (lambda: compare.linear_cka(np.eye(4), np.full((4, 2), 0.1)), "second matrix are equal"),
        (lambda: compare.debiased_cka(np.full((4, 2), 0.1), np.eye(4)), "within the first matrix"),
        (lambda: compare.debiased_cka(np.eye(9), np.eye(9)), "within the first matrix"),
        (lambda: compare.debiased_cka(np.eye(3), np.eye(3)), "at least 4 are needed"),
        (lambda: compare.procrustes(np.full((4, 2), 0.1), np.eye(4)), "first matrix are equal"),
        (lambda: compare.procrustes(np.eye(4), np.full((4, 2), 0.1)), "second matrix are equal"),
        (lambda: compare.moved(np.eye(4), np.eye(4), 5), "n = 5: expected 1 to 4"),
        (lambda: compare.moved(np.eye(4), np.eye(4), 0), "n = 0"),
    ],
)
def test_what_has_no_such_number_is_said(asked: Callable[[], object], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        asked()
