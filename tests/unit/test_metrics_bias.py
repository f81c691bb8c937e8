from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import TruncatedSVD

from tasks.errors import MetricError
from tasks.metrics import bias
from tasks.metrics.bias import retrieval_skew, ripa, seat, weat
from tests.oracles import Reals, skew_by_loop, weat_by_loop


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sets(seed: int, sizes: tuple[int, int, int, int]) -> list[Reals]:
    drawn = rng(seed)
    pull = drawn.normal(size=5)
    found = [drawn.normal(size=(size, 5)) for size in sizes]
    found[0] += 0.5 * pull
    found[2] += 0.8 * pull
    return found


@pytest.mark.parametrize("sizes", [(2, 2, 1, 1), (3, 3, 2, 4), (4, 2, 3, 3), (5, 5, 4, 4)])
def test_weat_is_that_of_a_loop_over_all_splits(sizes: tuple[int, int, int, int]) -> None:
    for seed in range(5):
        words = sets(seed, sizes)
        found = weat(*words, rng=rng())
        effect, p, splits = weat_by_loop(*words)
        assert found.value == pytest.approx(effect, abs=1e-12)
        assert found.parts == pytest.approx({"p": p, "splits": splits, "exact": 1}, abs=1e-12)
        assert found.n == sizes[0] + sizes[1]


def test_equal_words_in_both_sets_are_ties_and_count() -> None:
    words = np.eye(4)[[0, 1, 0, 1]]
    found = weat(words[:2], words[2:], np.eye(4)[:1], np.eye(4)[1:2], rng=rng())
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.parts["p"] == pytest.approx(5 / 6)  # one split of six is smaller: both of row 1


def test_many_words_get_a_p_near_that_of_all_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    words = sets(3, (7, 7, 5, 5))
    exact = weat(*words, rng=rng())
    monkeypatch.setattr(bias, "SPLITS", 3_000)
    monkeypatch.setattr(bias, "SAMPLED", 2_999)
    sampled = weat(*words, rng=rng())
    assert (exact.parts["exact"], exact.parts["splits"]) == (1, 3432)
    assert (sampled.parts["exact"], sampled.parts["splits"]) == (0, 2999)
    error = np.sqrt(exact.parts["p"] / 3000)
    assert sampled.parts["p"] == pytest.approx(exact.parts["p"], abs=4 * error)
    assert sampled.value == exact.value


def test_sampled_splits_come_once_and_never_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias, "SAMPLED", 69)
    masks = np.concatenate(list(bias._sampled(8, 4, rng())))
    as_they_are = [1.0] * 4 + [0.0] * 4
    every = np.concatenate(list(bias._every(8, 4))).tolist()
    assert sorted([*masks.tolist(), as_they_are]) == sorted(every)
    assert len(every) == 70
    # With all of the others drawn, p is that of all splits.
    words = sets(4, (4, 4, 3, 3))
    exact = weat(*words, rng=rng())
    monkeypatch.setattr(bias, "SPLITS", 1)
    assert weat(*words, rng=rng()).parts["p"] == pytest.approx(exact.parts["p"], abs=1e-12)


def test_p_of_sets_without_a_difference_is_uniform() -> None:
    drawn = rng(5)
    found = [weat(*drawn.normal(size=(4, 5, 6)), rng=drawn).parts["p"] for _ in range(300)]
    assert stats.kstest(np.array(found) - drawn.random(300) / 252, "uniform").pvalue > 1e-3


def test_seat_is_weat() -> None:
    assert seat is weat


def test_ripa_of_one_pair_is_the_product_with_its_direction() -> None:
    vectors = rng(6).normal(size=(9, 4))
    one, other = rng(7).normal(size=(2, 1, 4))
    found = ripa(vectors, one, other)
    direction = (one - other)[0] / np.linalg.norm(one - other)
    assert found.per_item is not None
    np.testing.assert_allclose(found.per_item, vectors @ direction, atol=1e-12)
    assert found.parts["mean_absolute"] == pytest.approx(np.abs(vectors @ direction).mean())
    back = ripa(vectors, other, one).per_item
    assert back is not None
    np.testing.assert_allclose(back, -found.per_item, atol=1e-12)


def test_ripa_of_pairs_is_along_the_principal_component_of_their_differences() -> None:
    drawn = rng(8)
    vectors, other = drawn.normal(size=(9, 6)), drawn.normal(size=(5, 6))
    one = other + np.array([3.0, 0, 0, 0, 0, 0]) + 0.3 * drawn.normal(size=(5, 6))
    theirs = TruncatedSVD(1, algorithm="arpack").fit(one - other).components_[0]
    found = ripa(vectors, one, other)
    assert found.per_item is not None
    np.testing.assert_allclose(found.per_item, vectors @ theirs * np.sign(theirs[0]), atol=1e-9)


@pytest.mark.parametrize("wanted", [None, {"a": 0.2, "b": 0.5, "c": 0.3}])
def test_skew_is_that_of_a_loop(wanted: dict[str, float] | None) -> None:
    for seed in range(5):
        drawn = rng(seed)
        groups = [*drawn.choice([*"abc"], 50, p=[0.6, 0.3, 0.1]).tolist(), *"abc"]
        rows = np.array([drawn.permutation(53)[:7] for _ in range(6)])
        found = retrieval_skew(rows, groups, wanted=wanted)
        skews, ndkl, shown = skew_by_loop(rows.tolist(), groups, wanted)
        assert found.per_item is not None
        np.testing.assert_allclose(found.per_item, skews, atol=1e-12)
        assert found.parts == pytest.approx(
            {"ndkl": ndkl} | {f"skew {name}": skew for name, skew in shown.items()}, abs=1e-12
        )


def test_searches_that_show_groups_by_their_shares_have_no_skew() -> None:
    found = retrieval_skew([[0, 1], [1, 0]], ["a", "b"])
    assert found.value == 0
    assert (found.parts["skew a"], found.parts["skew b"]) == (0, 0)
    one_sided = retrieval_skew([[0, 2]], ["a", "b", "a", "b"])
    assert one_sided.value == pytest.approx(np.log(2))
    assert one_sided.parts == pytest.approx({"ndkl": np.log(2), "skew a": np.log(2)})
    assert one_sided.warnings == ("never shown, so without a skew: b",)


X, Y, A, B = sets(9, (3, 3, 2, 2))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: weat(X, Y, A, B[:, :3], rng=rng()), r"dimensions differ: \[5, 5, 5, 3\]"),
        (lambda: weat(X, Y, A, A, rng=rng()), "all of x and y are as near to a as to b"),
        (lambda: weat(X, Y, A, 0 * B, rng=rng()), "b has a vector of zeros"),
        (lambda: weat(X[:0], Y, A, B, rng=rng()), "x has 0 rows"),
        (lambda: weat(X * np.inf, Y, A, B, rng=rng()), "x has a component in row 0"),
        (lambda: weat(X[:1], X[:1], A, B, rng=rng()), "the effect size is undefined"),
        (lambda: ripa(X, A, A), "the pairs are equal or cancel each other"),
        (lambda: ripa(X, A[[0, 1]], A[[1, 0]]), "the pairs are equal or cancel each other"),
        (lambda: ripa(X, A, B[:1]), "there are 2 and 1"),
        (lambda: ripa(X[:, :2], A, B), r"dimensions differ: \[2, 5, 5\]"),
        (lambda: retrieval_skew([[0, 3]], ["a", "b", "a"]), "rows are 0 to 3; there are 3"),
        (lambda: retrieval_skew([], ["a"]), r"rows have shape \(0,\)"),
        (lambda: retrieval_skew([[0.5]], ["a"]), "of whole numbers"),
        (lambda: retrieval_skew([[0]], ["a"], wanted={"b": 1.0}), r"of \['b'\], groups are \['a'"),
        (lambda: retrieval_skew([[0]], ["a"], wanted={"a": 0.9}), "positive ones that sum to 1"),
    ],
)
def test_what_has_no_score_is_said(made: Callable[[], object], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        made()
