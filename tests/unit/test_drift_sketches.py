import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import linalg
from scipy.spatial.distance import cdist, pdist

from tasks.drift.basis import Basis, basis_of, floors, hashed, histogram
from tasks.drift.compare import compare
from tasks.drift.sketches import Sketch, from_arrays
from tasks.drift.value import Blocks, DriftValue
from tasks.errors import DriftError

Vectors = npt.NDArray[np.float32]


def rows(seed: int, n: int = 300, dim: int = 6, shift: float = 0.0) -> Vectors:
    drawn = np.random.default_rng(seed).normal(size=(n, dim)) * np.linspace(2, 0.5, dim) + shift
    return drawn.astype(np.float32)


def named(part: str, n: int = 300) -> list[str]:
    return [f"{part}{row}" for row in range(n)]


def basis(size: int = 50, frequencies: int = 64) -> Basis:
    return Basis(2.5, rows(99, 5), size, frequencies)


def sketch_of(*parts: tuple[Vectors, list[str]], on: Basis | None = None) -> Sketch:
    made = Sketch(on or basis())
    for vectors, ids in parts:
        made.add(vectors, ids, lengths=np.arange(len(ids)))
    return made


def the_same(one: Sketch, other: Sketch) -> None:
    mine, theirs = one.arrays(), other.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        if name in ("mean", "scatter", "features"):
            assert np.allclose(array, theirs[name], rtol=1e-9, atol=1e-9)
        else:
            np.testing.assert_array_equal(array, theirs[name])


def test_sums_are_those_of_all_rows() -> None:
    vectors = rows(0, 20_000)  # more than are read at once
    on = basis()
    found = sketch_of((vectors, named("a", 20_000)), on=on)
    wide = vectors.astype(np.float64)
    assert found.moments.n == 20_000
    np.testing.assert_allclose(found.moments.mean, wide.mean(axis=0), rtol=1e-12, atol=1e-12)
    covariance = found.moments.scatter / 19_999
    np.testing.assert_allclose(covariance, np.cov(wide.T), rtol=1e-10, atol=1e-12)
    turned = wide @ on.waves
    expected = np.concatenate([np.cos(turned).sum(axis=0), np.sin(turned).sum(axis=0)])
    np.testing.assert_allclose(found.features, expected, atol=20_000 * 1e-6)
    nearest = cdist(wide, on.centres).argmin(axis=1)
    np.testing.assert_array_equal(found.clusters, np.bincount(nearest, minlength=5))
    np.testing.assert_array_equal(found.norms, histogram(np.linalg.norm(wide, axis=1)))
    np.testing.assert_array_equal(found.lengths, histogram(np.arange(20_000)))


def test_the_sample_is_of_the_ids_with_the_lowest_hashes() -> None:
    vectors, ids = rows(1), named("a")
    found = sketch_of(
        (vectors[:7], ids[:7]), (vectors[7:200], ids[7:200]), (vectors[200:], ids[200:])
    )
    key = (0).to_bytes(8, "little")
    slow = {
        int.from_bytes(
            hashlib.blake2b(id_.encode(), digest_size=8, key=key).digest(), "little"
        ): row
        for row, id_ in enumerate(ids)
    }
    order = [slow[one] for one in sorted(slow)]
    assert found.ids.tolist() == [ids[row] for row in order[:50]]
    np.testing.assert_array_equal(found.vectors, vectors[order[:50]])
    assert found.hashes.tolist() == sorted(slow)[:50] == found.owners.tolist()
    assert found.limit == sorted(slow)[50]


def test_parts_merged_in_any_order_are_the_whole() -> None:
    parts = [(rows(seed), named(name)) for seed, name in enumerate("abc")]
    whole = sketch_of(*parts)
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        first, second, third = (sketch_of(parts[place]) for place in order)
        second.merge(third)
        first.merge(second)
        first.merge(Sketch(basis()))
        the_same(first, whole)


@pytest.mark.parametrize("seed", range(6))
def test_a_small_part_adds_no_row_where_the_other_no_longer_has_all(seed: int) -> None:
    """Else a sample would have some of the rows with hashes above a limit, and not others."""
    on = replace(basis(), seed=seed)
    parts = [(rows(0, 300), named("a")), (rows(1, 2), named("b", 2))]
    whole = sketch_of(*parts, on=on)
    for order in ((0, 1), (1, 0)):
        first, second = (sketch_of(parts[place], on=on) for place in order)
        first.merge(second)
        the_same(first, whole)
        complete = hashed([*parts[0][1], *parts[1][1]], seed) < np.uint64(first.limit)
        assert len(first.ids) == complete.sum()


def test_what_is_removed_was_never_there() -> None:
    vectors, ids = rows(2), named("a")
    found = sketch_of((vectors, ids))
    limit = found.limit
    found.remove(sketch_of((vectors[:100], ids[:100])))
    left = sketch_of((vectors[100:], ids[100:]))
    for name in ("clusters", "norms"):
        np.testing.assert_array_equal(getattr(found, name), getattr(left, name))
    np.testing.assert_allclose(found.moments.mean, left.moments.mean, atol=1e-12)
    np.testing.assert_allclose(found.moments.scatter, left.moments.scatter, atol=1e-9)
    np.testing.assert_allclose(found.features, left.features, atol=1e-9)
    below = left.hashes < np.uint64(limit)
    assert found.ids.tolist() == left.ids[below].tolist()
    assert (found.limit, found.moments.n) == (limit, 200)
    found.add(vectors[:100], ids[:100])
    assert found.ids.tolist() == sketch_of((vectors, ids)).ids.tolist()
    found.remove(found)
    assert (found.moments.n, len(found.ids), found.moments.mean.tolist()) == (0, 0, [0.0] * 6)


def test_a_stored_sketch_is_the_same_and_goes_on() -> None:
    small, more = (sketch_of((rows(3, 9), named(part, 9))) for part in "az")
    for made in (small, sketch_of((rows(3), named("é\U0001f600"))), Sketch(basis())):
        file = io.BytesIO()
        np.savez(file, **made.arrays())  # type: ignore[arg-type]
        file.seek(0)
        with np.load(file) as held:  # allow_pickle is off
            again = from_arrays(held)
        the_same(again, made)
        made.merge(more)
        again.merge(more)
        the_same(again, made)


def test_bins_hold_what_lies_between_their_floors() -> None:
    values = np.concatenate([[0.0, 1.0, 1.0, 1e-30, 1e30], np.geomspace(1e-9, 1e9, 999)])
    inner = np.append(floors()[1:], np.inf)
    inner[0] = np.finfo(np.float64).tiny
    expected = np.histogram(values, np.concatenate([[-1.0], inner]))[0]
    np.testing.assert_array_equal(histogram(values), expected)


def test_norms_that_are_1_but_for_rounding_share_a_bin() -> None:
    vectors = rows(13, 2_000, dim=384)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for stored in (vectors, vectors.astype(np.float16)):
        norms = np.linalg.norm(stored.astype(np.float64), axis=1)
        assert norms.min() < 1 < norms.max()
        assert histogram(norms).max() == 2_000


def test_the_bandwidth_is_the_median_distance_of_unequal_rows() -> None:
    vectors = np.repeat(rows(4, 40), 3, axis=0)
    apart = pdist(vectors.astype(np.float64))
    assert basis_of(vectors).bandwidth == pytest.approx(np.median(apart[apart > 0]))
    made = basis_of(vectors, vectors[:7], seed=3)
    assert (made.dim, made.centres.shape, made.seed) == (6, (7, 6), 3)
    assert made.same(basis_of(vectors, vectors[:7], seed=3))
    assert not made.same(basis_of(vectors, vectors[:7], seed=4))
    assert not made.same(basis_of(vectors))


class Noted:
    """A test that keeps what it was given."""

    def __call__(
        self,
        baseline: npt.ArrayLike,
        candidate: npt.ArrayLike,
        rng: np.random.Generator,
        *,
        blocks: Blocks | None = None,
    ) -> DriftValue:
        self.baseline, self.candidate = np.asarray(baseline), np.asarray(candidate)
        self.blocks = blocks
        n, m = len(self.baseline), len(self.candidate)
        return DriftValue("noted", 1.0, 0.5, 0.5, n, m, n, m, (n, m), 0.005, np.zeros(9))


def test_versions_are_as_far_apart_as_all_their_rows() -> None:
    one, other = rows(5, 900), rows(6, 700, shift=0.4)
    on = basis(size=300, frequencies=20_000)
    sides = [sketch_of((one, named("a", 900)), on=on), sketch_of((other, named("b", 700)), on=on)]
    noted = Noted()
    found = compare(sides[0], sides[1], np.random.default_rng(0), test=noted)
    np.testing.assert_array_equal(noted.baseline, sides[0].vectors)
    np.testing.assert_array_equal(noted.candidate, sides[1].vectors)
    assert noted.blocks is None

    def kernel(left: Vectors, right: Vectors) -> npt.NDArray[np.float64]:
        return np.asarray(np.exp(-cdist(left, right, "sqeuclidean") / (2 * 2.5**2)))

    within = [
        (kernel(side, side).sum() - len(side)) / len(side) / (len(side) - 1)
        for side in (one, other)
    ]
    assert found.mmd == pytest.approx(sum(within) - 2 * kernel(one, other).mean(), abs=1e-3)
    assert found.mmd > 0.01
    first, second = np.cov(one.T.astype(np.float64)), np.cov(other.T.astype(np.float64))
    apart = one.mean(axis=0, dtype=np.float64) - other.mean(axis=0, dtype=np.float64)
    mixed = np.trace(linalg.sqrtm(first @ second)).real
    expected = apart @ apart + np.trace(first) + np.trace(second) - 2 * mixed
    assert found.frechet == pytest.approx(expected, rel=1e-6)
    shares = [
        np.bincount(cdist(side, on.centres).argmin(axis=1), minlength=5) / len(side)
        for side in (one, other)
    ]
    assert found.clusters == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
    bins = histogram(np.arange(900)) / 900 - histogram(np.arange(700)) / 700
    assert found.lengths == pytest.approx(np.abs(bins).sum() / 2)


@pytest.mark.parametrize("kept_from", [40, 380])  # the candidate's sample is as full, or holds all
def test_rows_that_both_versions_hold_are_on_one_side_alone(kept_from: int) -> None:
    old, new = rows(7, 400), rows(8, 25, shift=3.0)
    changed = old[:40] + np.float32(3)
    ids, fresh = named("a", 400), named("b", 25)
    one = sketch_of((old, ids))
    other = sketch_of((old[kept_from:], ids[kept_from:]), (changed, ids[:40]), (new, fresh))
    noted = Noted()
    compare(one, other, np.random.default_rng(0), test=noted)
    np.testing.assert_array_equal(noted.baseline, one.vectors)
    complete = hashed([*ids[:40], *fresh], 0) < np.uint64(min(one.limit, other.limit))
    expected = np.concatenate([changed, new])[complete]
    assert sorted(noted.candidate.tolist()) == sorted(expected.tolist())
    with pytest.raises(DriftError, match="has 0 rows that are not the baseline's"):
        compare(one, one, np.random.default_rng(0), test=noted)


def test_rows_of_one_owner_are_permuted_together() -> None:
    noted, sides = Noted(), []
    for part in "ab":
        made = Sketch(basis())
        made.add(rows(9), named(part), owners=[f"{part}{row // 10}" for row in range(300)])
        assert (
            made.owners.tolist()
            == hashed([f"{part}{int(id_[1:]) // 10}" for id_ in made.ids], 0).tolist()
        )
        sides.append(made)
    compare(sides[0], sides[1], np.random.default_rng(0), test=noted)
    assert noted.blocks is not None
    np.testing.assert_array_equal(noted.blocks[1], sides[1].owners)


def test_the_default_test_finds_a_shift_and_no_more_than_that() -> None:
    on = basis(size=100)
    sides = [sketch_of((rows(seed), named(str(seed))), on=on) for seed in (10, 11)]
    moved = sketch_of((rows(12, shift=1.0), named("c")), on=on)
    rng = np.random.default_rng(0)
    assert compare(sides[0], sides[1], rng).test.p_value > 0.05
    assert compare(sides[0], moved, rng).test.p_value == 0.005


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: sketch_of((rows(0) * np.nan, named("a"))), "not finite"),
        (lambda: sketch_of((rows(0, dim=5), named("a"))), "5 components, the basis 6"),
        (lambda: sketch_of((rows(0), named("a", 299))), "all must agree"),
        (lambda: Sketch(basis()).add(rows(0), named("a"), owners=["x"]), "all must agree"),
        (lambda: Sketch(basis()).add(rows(0, 1), ["a"], lengths=[-1]), "not below 0"),
        (lambda: Sketch(basis()).merge(Sketch(basis(size=51))), "another basis"),
        (lambda: Sketch(basis()).remove(sketch_of((rows(0), named("a")))), "300 rows of 0"),
        (lambda: basis_of(np.ones((9, 3))), "all rows of the sample are equal"),
        (lambda: Basis(0.0, rows(0)), "bandwidth = 0.0"),
        (lambda: Basis(1.0, rows(0), rows=1), "too few"),
        (lambda: Basis(1.0, rows(0)[0]), "centres have shape (6,)"),
        (
            lambda: compare(Sketch(basis()), Sketch(basis()), np.random.default_rng(0)),
            "0 and 0 rows: 2 are needed",
        ),
    ],
)
def test_what_cannot_be_sketched_is_said(made: Callable[[], object], said: str) -> None:
    with pytest.raises(DriftError, match=re.escape(said)):
        made()
