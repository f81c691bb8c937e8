import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
import scipy.stats
import skdim
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from tasks.errors import MetricError
from tasks.metrics import _intrinsic, blocks, geometry, neighbours
from tasks.metrics.score import Score

Array = npt.NDArray[np.floating]


def seeded(metric: Callable[..., Score]) -> Callable[[Array], Score]:
    return lambda vectors: metric(vectors, rng=np.random.default_rng(0))


SEEDED: dict[str, Callable[[Array], Score]] = {
    name: seeded(getattr(geometry, name))
    for name in (
        "uniformity",
        "two_nn",
        "levina_bickel",
        "correlation_dimension",
        "hubness",
        "anti_hubs",
    )
}
PLAIN: dict[str, Callable[[Array], Score]] = {
    name: getattr(geometry, name)
    for name in (
        "participation_ratio",
        "iso_score",
        "rank_me",
        "alpha_req",
        "anisotropy",
        "norms",
        "duplicates",
    )
}
EVERY = {**PLAIN, **SEEDED}


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def with_spectrum(values: list[float], n: int = 60) -> Array:
    """Rows whose mean is zero and whose covariance has these eigenvalues, turned at random."""
    draw = np.random.default_rng(1)
    flat = draw.normal(size=(n, len(values)))
    basis = np.linalg.qr(flat - flat.mean(axis=0))[0]
    turn = np.linalg.qr(draw.normal(size=(len(values), len(values))))[0]
    vectors: Array = basis @ np.diag(np.sqrt(np.array(values) * (n - 1))) @ turn
    return vectors


def iso_score_of_paper(vectors: Array) -> float:
    """Algorithm 1 of arXiv:2108.07344, step by step."""
    dim = vectors.shape[1]
    turned = PCA(n_components=dim, svd_solver="full").fit_transform(vectors)
    diagonal = np.diag(np.cov(turned.T))
    normalised = math.sqrt(dim) * diagonal / np.linalg.norm(diagonal)
    defect = np.linalg.norm(normalised - 1) / math.sqrt(2 * (dim - math.sqrt(dim)))
    used = (dim - defect**2 * (dim - math.sqrt(dim))) ** 2 / dim**2
    return float((dim * used - 1) / (dim - 1))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_the_spectrum_is_that_of_the_covariance(offset: float) -> None:
    vectors = rng().normal(size=(50, 6)) * [1, 2, 3, 4, 5, 6] + offset
    expected = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    np.testing.assert_allclose(geometry.spectrum(vectors), expected, rtol=1e-9)


def test_directions_that_are_not_used_have_an_eigenvalue_of_zero() -> None:
    flat = rng().normal(size=(40, 2)) @ rng().normal(size=(2, 5))
    assert np.count_nonzero(geometry.spectrum(flat)) == 2


@pytest.mark.parametrize("dim", [2, 3, 17])
def test_iso_score_is_what_the_steps_of_the_paper_give(dim: int) -> None:
    for seed in range(5):
        draw = np.random.default_rng(seed)
        vectors = draw.normal(size=(80, dim)) @ draw.normal(size=(dim, dim))
        expected = iso_score_of_paper(vectors)
        assert geometry.iso_score(vectors).value == pytest.approx(expected, abs=1e-9)


def test_iso_score_and_participation_ratio_of_known_spectra() -> None:
    even = with_spectrum([3.0, 3.0, 3.0, 3.0])
    assert geometry.iso_score(even).value == pytest.approx(1)
    assert geometry.participation_ratio(even).value == pytest.approx(4)
    half = with_spectrum([2.0, 2.0, 0.0, 0.0])
    assert geometry.participation_ratio(half).value == pytest.approx(2)
    assert geometry.iso_score(half).value == pytest.approx(1 / 3)
    line = with_spectrum([5.0, 0.0, 0.0])
    assert geometry.iso_score(line).value == pytest.approx(0, abs=1e-12)


def test_rank_me_is_the_entropy_of_singular_values_that_are_not_centred() -> None:
    for shape in [(30, 8), (5, 8), (8, 8)]:
        vectors = rng().normal(size=shape) + 3
        singular = np.linalg.svd(vectors, compute_uv=False)
        p = singular / singular.sum() + 1e-7
        expected = math.exp(scipy.special.entr(p).sum())
        assert geometry.rank_me(vectors).value == pytest.approx(expected, rel=1e-9)


def test_rank_me_of_equal_singular_values_is_their_number() -> None:
    vectors = np.vstack([np.eye(6)[:4], np.eye(6)[:4]])
    # the four times 1e-7 that the paper adds, and the two zero ones with it
    assert geometry.rank_me(vectors).value == pytest.approx(4, abs=2e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.3])
def test_alpha_req_finds_the_exponent_of_a_power_law(alpha: float) -> None:
    vectors = with_spectrum([rank**-alpha for rank in range(1, 21)])
    found = geometry.alpha_req(vectors)
    assert found.value == pytest.approx(alpha)
    assert found.parts == pytest.approx({"r2": 1.0, "ranks": 20.0})


def test_alpha_req_looks_at_the_ranks_that_are_asked_for() -> None:
    values = [100.0, 50.0] + [rank**-1.5 for rank in range(3, 11)] + [1e-3, 1e-4]
    found = geometry.alpha_req(with_spectrum(values), first=3, last=10)
    assert found.value == pytest.approx(1.5)
    assert found.parts["ranks"] == 8
    values = [rank**-1.5 for rank in range(1, 6)] + [0.0, 0.0]
    assert geometry.alpha_req(with_spectrum(values)).parts["ranks"] == 5


def test_moments_taken_once_give_what_the_vectors_give() -> None:
    vectors = rng().normal(size=(50, 5))
    held = geometry.moments(vectors)
    for metric in (geometry.iso_score, geometry.participation_ratio, geometry.rank_me):
        assert metric(held) == metric(vectors)


def test_few_rows_are_said_to_cut_the_spectrum() -> None:
    for n in (4, 5):
        said = (f"{n} rows span at most {n - 1} of 5 dimensions: the spectrum is cut",)
        vectors = rng().normal(size=(n, 5))
        assert geometry.iso_score(vectors).warnings == said
        assert geometry.participation_ratio(vectors).warnings == said
        assert geometry.alpha_req(vectors).warnings == said
    assert geometry.iso_score(rng().normal(size=(6, 5))).warnings == ()


def test_anisotropy_is_the_mean_cosine_of_all_pairs() -> None:
    vectors = rng().normal(size=(25, 4)) + 0.5
    cosines = [
        one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        for one, other in combinations(vectors, 2)
    ]
    assert geometry.anisotropy(vectors).value == pytest.approx(np.mean(cosines))


def test_anisotropy_leaves_rows_of_zeros_out() -> None:
    found = geometry.anisotropy([[3.0, 0.0], [0.0, 0.0], [5.0, 0.0]])
    assert (found.value, found.n) == (1.0, 2)
    assert found.warnings == ("1 rows of zeros have no direction and are left out",)


@pytest.mark.parametrize("t", [0.5, 2.0, 5.0])
def test_uniformity_is_the_mean_over_all_pairs(t: float) -> None:
    vectors = rng().normal(size=(25, 4)) + 0.5
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = [math.exp(-t * math.dist(*pair) ** 2) for pair in combinations(units, 2)]
    found = geometry.uniformity(vectors, t=t, rng=rng())
    assert found.value == pytest.approx(math.log(np.mean(weights)))


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_uniformity_of_the_uniform_sphere_is_its_closed_form(dim: int) -> None:
    # E exp(2t cos) over the sphere is 0F1(dim / 2, t^2)
    expected = -4 + math.log(scipy.special.hyp0f1(dim / 2, 4.0))
    found = geometry.uniformity(rng().normal(size=(4000, dim)), sample=2000, rng=rng())
    assert found.n == 2000
    assert found.value == pytest.approx(expected, abs=0.02)  # terms are bounded, pairs are 2e6


def test_uniformity_and_anisotropy_of_one_direction() -> None:
    assert geometry.uniformity(np.ones((5, 3)), rng=rng()).value == pytest.approx(0)
    assert geometry.anisotropy(np.ones((5, 3))).value == pytest.approx(1)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_alignment_is_the_mean_distance_at_unit_length(alpha: float) -> None:
    one, other = rng().normal(size=(2, 9, 3))
    expected = [
        math.dist(x / np.linalg.norm(x), y / np.linalg.norm(y)) ** alpha
        for x, y in zip(one, other, strict=True)
    ]
    found = geometry.alignment(one, other, alpha=alpha)
    assert found.per_item == pytest.approx(expected)
    assert found.value == pytest.approx(np.mean(expected))
    assert geometry.alignment(one, 3 * one).value == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("dim", "within"), [(2, 2), (3, 10), (5, 40)])
def test_dimensions_are_those_of_scikit_dimension(dim: int, within: int) -> None:
    for seed in range(3):
        draw = np.random.default_rng(seed)
        vectors = draw.normal(size=(400, dim)) @ draw.normal(size=(dim, within))
        found = {
            "two_nn": geometry.two_nn(vectors, rng=rng()).value,
            "levina_bickel": geometry.levina_bickel(vectors, rng=rng()).value,
            "correlation": geometry.correlation_dimension(vectors, rng=rng()).value,
        }
        assert found == pytest.approx(
            {
                "two_nn": skdim.id.TwoNN().fit(vectors).dimension_,
                "levina_bickel": skdim.id.MLE().fit(vectors, n_neighbors=20).dimension_,
                "correlation": skdim.id.CorrInt(k1=10, k2=20).fit(vectors).dimension_,
            },
            rel=1e-9,
        )


def test_options_of_dimensions_are_those_of_scikit_dimension() -> None:
    vectors = rng().normal(size=(300, 4))
    assert geometry.two_nn(vectors, discard=0.3, rng=rng()).value == pytest.approx(
        skdim.id.TwoNN(discard_fraction=0.3).fit(vectors).dimension_
    )
    assert geometry.levina_bickel(vectors, k=7, rng=rng()).value == pytest.approx(
        skdim.id.MLE().fit(vectors, n_neighbors=7).dimension_
    )
    assert geometry.correlation_dimension(vectors, k1=3, k2=8, rng=rng()).value == pytest.approx(
        skdim.id.CorrInt(k1=3, k2=8).fit(vectors).dimension_
    )


@pytest.mark.parametrize("name", ["two_nn", "levina_bickel", "correlation_dimension"])
def test_dimensions_of_a_plane_in_many_dimensions_are_about_two(name: str) -> None:
    draw = np.random.default_rng(3)
    plane = (draw.uniform(size=(3000, 2)) @ draw.normal(size=(2, 64))).astype(np.float32) + 50
    found = getattr(geometry, name)(plane, rng=rng())
    assert found.n == 1000
    assert found.value == pytest.approx(2, abs=0.25)


def test_a_sample_of_rows_keeps_its_neighbours_among_all() -> None:
    vectors = rng().normal(size=(500, 4))
    rows = blocks.choose(500, 120, rng())
    apart = NearestNeighbors(n_neighbors=3).fit(vectors).kneighbors(vectors[rows])[0][:, 1:]
    found = geometry.two_nn(vectors, sample=120, rng=rng())
    assert found.value == pytest.approx(skdim.id.TwoNN(dist=True).fit(apart).dimension_)
    assert found.n == 120


def test_rows_that_are_equal_are_left_out_of_dimensions() -> None:
    vectors = rng().normal(size=(100, 3)).astype(np.float32) + 1000
    vectors[10:20] = vectors[:10]
    said = ("20 of 100 rows equal another one and are left out",)
    apart = NearestNeighbors(n_neighbors=3).fit(vectors.astype(float)).kneighbors()[0][20:]
    two = geometry.two_nn(vectors, rng=rng())
    assert (two.warnings, two.n) == (said, 80)
    assert two.value == pytest.approx(skdim.id.TwoNN(dist=True).fit(apart[:, :2]).dimension_)
    assert geometry.levina_bickel(vectors, k=3, rng=rng()).warnings == said


@pytest.mark.parametrize("k", [1, 4, 19])
@pytest.mark.parametrize("likeness", ["cosine", "euclidean"])
def test_hubs_are_those_that_neighbours_of_scikit_learn_make(k: int, likeness: str) -> None:
    vectors = rng().normal(size=(60, 12))
    near = NearestNeighbors(n_neighbors=k, metric=likeness).fit(vectors).kneighbors()[1]
    counts = np.array([(near == row).sum() for row in range(60)])
    found = geometry.k_occurrence(vectors, k=k, likeness=likeness, rng=rng())
    assert found.counts.tolist() == counts.tolist()
    away = counts - k
    skew = (away**3).mean() / (away**2).mean() ** 1.5
    hubness = geometry.hubness(vectors, k=k, likeness=likeness, rng=rng())
    assert hubness.value == pytest.approx(skew)
    assert hubness.parts == {"largest": counts.max()}
    share = geometry.anti_hubs(vectors, k=k, likeness=likeness, rng=rng())
    assert share.value == (counts == 0).mean()


def test_a_sample_is_a_set_of_its_own_for_hubs() -> None:
    vectors = rng().normal(size=(200, 6))
    rows = blocks.choose(200, 50, rng())
    assert geometry.hubness(vectors, k=3, sample=50, rng=rng()).value == pytest.approx(
        geometry.hubness(vectors[rows], k=3, rng=rng()).value
    )
    assert geometry.k_occurrence(vectors, k=3, sample=50, rng=rng()).rows.tolist() == rows.tolist()


def test_a_star_has_one_hub_and_no_search_finds_its_points() -> None:
    star = np.vstack([np.zeros(8), np.eye(8)])  # the middle is nearest all; row 1 is nearest to it
    counts = geometry.k_occurrence(star, k=1, likeness="euclidean", rng=rng()).counts
    assert counts.tolist() == [8, 1, 0, 0, 0, 0, 0, 0, 0]
    assert geometry.anti_hubs(star, k=1, likeness="euclidean", rng=rng()).value == 7 / 9


def test_rows_that_all_occur_alike_are_said_to_have_no_skew() -> None:
    found = geometry.hubness(rng().normal(size=(5, 3)), k=4, rng=rng())
    assert (found.value, found.n) == (0.0, 5)
    assert found.warnings == ("all rows occur 4 times: the skew of equal numbers is taken as 0",)


def test_norms_are_spread_as_numpy_says() -> None:
    vectors = rng().normal(size=(41, 5)).astype(np.float32)
    vectors[3] = 0
    lengths = [math.hypot(*map(float, row)) for row in vectors]
    found = geometry.norms(vectors)
    assert found.per_item == pytest.approx(lengths)
    assert found.parts == pytest.approx(
        {
            "min": 0.0,
            "q05": np.percentile(lengths, 5),
            "median": np.median(lengths),
            "q95": np.percentile(lengths, 95),
            "max": max(lengths),
            "sd": np.std(lengths),
            "zeros": 1.0,
        }
    )


@pytest.mark.parametrize("n", [1, 2, 30])
def test_duplicates_are_rows_that_were_seen_before(n: int) -> None:
    vectors = rng().integers(0, 2, size=(n, 3)).astype(np.float32)
    vectors[vectors == 0] *= rng().choice([-1.0, 1.0], size=(vectors == 0).sum())  # minus zero
    seen: list[list[float]] = []
    again = []
    for row in vectors.tolist():
        again.append(row in seen)
        seen.append(row)
    found = geometry.duplicates(vectors)
    assert found.per_item is not None
    assert found.per_item.tolist() == again
    counts = [seen.count(row) for row in seen]
    assert found.parts["largest"] == max(counts)
    assert found.parts["groups"] == len({tuple(row) for row in seen if seen.count(row) > 1})


def test_the_modality_gap_is_the_distance_of_mean_directions() -> None:
    one, other = np.array([[2.0, 0.0], [5.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 3.0]])
    found = geometry.modality_gap(one, other)
    assert found.value == pytest.approx(math.sqrt(2))
    assert found.n == 3
    assert found.parts == {"cosine": 0.0}
    assert found.warnings == ("1 rows of zeros have no direction and are left out",)
    assert geometry.modality_gap(one, 7 * one).value == pytest.approx(0)
    balanced = geometry.modality_gap([[1.0, 0.0], [-1.0, 0.0]], other)
    assert (balanced.value, balanced.parts) == (1.0, {})


@pytest.mark.parametrize("name", EVERY)
def test_blocks_and_mapped_files_do_not_change_values(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    vectors = rng().normal(size=(70, 5)).astype(np.float32)
    vectors[30] = vectors[3]
    whole = EVERY[name](vectors)
    np.save(tmp_path / "v.npy", vectors)
    monkeypatch.setattr(blocks, "ROWS", 8)
    monkeypatch.setattr(neighbours, "ROWS", 8)
    for module in (blocks, geometry, neighbours, _intrinsic):
        monkeypatch.setattr(module, "QUERIES", 9)
    mapped = EVERY[name](np.load(tmp_path / "v.npy", mmap_mode="r"))
    assert mapped.value == pytest.approx(whole.value, rel=1e-9)
    assert dict(mapped.parts) == pytest.approx(dict(whole.parts))
    assert (mapped.n, mapped.warnings) == (whole.n, whole.warnings)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "vectors",
    [
        np.full((30, 3), np.nan),
        np.full((30, 3), np.inf),
        np.full((30, 3), 1e30, np.float32),
        np.empty((0, 3)),
        np.ones(3),
    ],
)
def test_what_is_no_matrix_of_numbers_is_an_error(name: str, vectors: Array) -> None:
    with pytest.raises(MetricError, match="vectors has"):
        EVERY[name](vectors)


@pytest.mark.parametrize(
    ("name", "vectors", "said"),
    [
        ("participation_ratio", np.ones((5, 3)), "all 5 rows are equal"),
        ("iso_score", np.ones((5, 3)), "all 5 rows are equal"),
        ("iso_score", np.arange(5.0)[:, None], "two dimensions"),
        ("iso_score", np.ones((1, 3)), "at least 2 are needed"),
        ("alpha_req", np.ones((5, 3)), "all 5 rows are equal"),
        ("alpha_req", np.random.default_rng(0).normal(size=(9, 2)), "1 to 2 of 2 eigenvalues"),
        ("rank_me", np.zeros((5, 3)), "all vectors are zero"),
        ("anisotropy", np.zeros((5, 3)), "0 of 5 rows are not zero"),
        ("anisotropy", np.ones((1, 3)), "at least 2 are needed"),
        ("uniformity", np.zeros((5, 3)), "0 of 5 rows are not zero"),
        ("two_nn", np.ones((30, 3)), "all 30 rows equal another one"),
        ("two_nn", np.eye(30), "equally far"),
        ("two_nn", np.eye(2), "at least 3 are needed"),
        ("two_nn", np.eye(3), "equally far"),
        ("levina_bickel", np.ones((30, 3)), "all 30 rows equal another one"),
        ("levina_bickel", np.eye(30), "equally far"),
        ("levina_bickel", np.eye(20), "k = 20: expected 1 to 19"),
        ("correlation_dimension", np.ones((30, 3)), "are 0 and 0"),
        ("correlation_dimension", np.eye(30), "must be greater"),
        ("correlation_dimension", np.eye(20), "k = 20: expected 1 to 19"),
        ("hubness", np.eye(10), "k = 10: expected 1 to 9"),
        ("anti_hubs", np.eye(10), "k = 10: expected 1 to 9"),
    ],
)
def test_what_has_no_such_number_is_said(name: str, vectors: Array, said: str) -> None:
    with pytest.raises(MetricError, match=said):
        EVERY[name](vectors)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: geometry.uniformity(np.eye(3), t=0, rng=rng()), "t = 0"),
        (lambda: geometry.uniformity(np.eye(3), t=1e4, rng=rng()), "below float64"),
        (lambda: geometry.alignment(np.eye(3), np.eye(3), alpha=0), "alpha = 0"),
        (lambda: geometry.alignment(np.eye(3), np.eye(2)), "there are 3 and 2"),
        (lambda: geometry.alignment(np.eye(3), np.ones((3, 2))), "dimensions differ: 3 and 2"),
        (lambda: geometry.alignment(np.eye(3), np.zeros((3, 3))), "zeros has no direction"),
        (lambda: geometry.modality_gap(np.eye(3), np.eye(2)), "dimensions differ: 3 and 2"),
        (lambda: geometry.modality_gap(np.eye(3), np.zeros((2, 3))), "all 2 rows of the second"),
        (lambda: geometry.two_nn(np.eye(3), discard=1.0, rng=rng()), "discard = 1.0"),
        (lambda: geometry.levina_bickel(np.eye(3), k=1, rng=rng()), "k = 1"),
        (lambda: geometry.correlation_dimension(np.eye(3), k1=2, k2=2, rng=rng()), "k1 = 2 and"),
        (lambda: geometry.alpha_req(rng().normal(size=(9, 4)), first=0), "ranks 0 to 4"),
        (lambda: geometry.alpha_req(rng().normal(size=(9, 4)), first=3), "ranks 3 to 4"),
    ],
)
def test_options_that_cannot_be_are_said(asked: Callable[[], object], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        asked()
