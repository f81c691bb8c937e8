from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy import linalg, stats

from tasks.drift import default
from tasks.drift.classifier import auc, best_scores, classifier, folds_of
from tasks.drift.components import leading_shifts, shifts, spreads
from tasks.drift.default import PARTS, STATISTICS, combined
from tasks.drift.frechet import frechet
from tasks.drift.mmd import energy, mmd
from tasks.drift.neighbours import neighbours
from tasks.drift.permutations import PermutationTest, p_of
from tasks.drift.pool import Numbers, Pool, pooled
from tasks.drift.wasserstein import wasserstein

Reals = npt.NDArray[np.float64]
RNG = np.random.default_rng


def pool_of(seed: int, *, blocked: bool = False, n: int = 22, m: int = 17, dim: int = 4) -> Pool:
    rng = RNG(seed)
    one = rng.normal(size=(n, dim)) * np.linspace(2, 0.5, dim)
    other = rng.normal(0.3, 1, size=(m, dim)) * np.linspace(2, 0.5, dim)
    blocks = (rng.integers(0, 9, n), rng.integers(0, 8, m)) if blocked else None
    return pooled(one, other, rng, blocks=blocks, permutations=12)


def sides(pool: Pool) -> Iterator[tuple[Numbers, Numbers]]:
    for labels in pool.labels:
        yield np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)


def mean_over_pairs(
    pool: Pool,
    ones: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    like: Callable[..., float],
) -> float:
    """Of rows of different units."""
    return float(
        np.mean(
            [
                like(pool.rows[i], pool.rows[j])
                for i in ones
                for j in others
                if pool.units[i] != pool.units[j]
            ]
        )
    )


def distance(one: Reals, other: Reals) -> float:
    return float(np.linalg.norm(one - other))


@pytest.mark.parametrize("blocked", [False, True])
def test_mmd_and_energy_are_the_means_over_all_pairs(blocked: bool) -> None:
    pool = pool_of(1, blocked=blocked)
    apart = [distance(a, b) for i, a in enumerate(pool.rows) for b in pool.rows[:i]]
    width = np.median(apart) / 2

    def kernel(one: Reals, other: Reals) -> float:
        return float(np.exp(-(distance(one, other) ** 2) / (2 * width**2)))

    for found, like, sign in ((mmd, kernel, 1), (energy, distance, -1)):
        slow = [
            sign
            * (
                mean_over_pairs(pool, one, one, like)
                + mean_over_pairs(pool, other, other, like)
                - 2 * mean_over_pairs(pool, one, other, like)
            )
            for one, other in sides(pool)
        ]
        assert found(pool, RNG(0)) == pytest.approx(slow, abs=1e-12)


def test_equal_rows_have_no_part_in_the_width_of_the_kernel() -> None:
    rng = RNG(2)
    rows = np.repeat(rng.normal(size=(4, 3)), 20, axis=0)
    pool = pooled(rows[::2], rows[1::2], rng, permutations=5)
    assert np.isfinite(mmd(pool, rng)).all()
    assert mmd(pool, rng)[0] < 0  # both sides hold the same rows


def of_unit(pool: Pool, values: Reals) -> Reals:
    return np.array([values[pool.units == unit].sum() for unit in range(sum(pool.n_units))])


@pytest.mark.parametrize("blocked", [False, True])
def test_shifts_are_differences_of_means_over_their_errors(blocked: bool) -> None:
    pool = pool_of(3, blocked=blocked)
    slow, cumulated = [], []
    for one, other in sides(pool):
        inverse = 1 / len(one) + 1 / len(other)
        z = []
        for column in pool.rows.T:
            error = np.sqrt((of_unit(pool, column) ** 2).sum() / len(column) * inverse)
            z.append((column[other].mean() - column[one].mean()) / error)
        slow.append(max(map(abs, z)))
        sums = np.cumsum(np.square(z))
        cumulated.append(max((s - j) / np.sqrt(2 * j) for j, s in enumerate(sums, 1)))
    assert shifts(pool, RNG(0)) == pytest.approx(slow)
    assert leading_shifts(pool, RNG(0)) == pytest.approx(cumulated)


def test_a_single_component_has_the_statistic_of_an_equal_variance_t_test() -> None:
    rng = RNG(4)
    one, other = rng.normal(size=(30, 1)), rng.normal(0.5, 1, size=(20, 1))
    pool = pooled(one, other, rng, permutations=1)
    t = abs(stats.ttest_ind(one[:, 0], other[:, 0]).statistic)
    z = shifts(pool, rng)[0]  # the variance is that of all rows, shift included
    assert z**2 == pytest.approx(50 * t**2 / (48 + t**2))


def test_spreads_sees_squares_and_both_distances_to_the_centre() -> None:
    pool = pool_of(5)
    white = np.square(pool.rows) / np.square(pool.rows).mean(axis=0)
    features = [*white.T, np.square(pool.rows).sum(axis=1), white.sum(axis=1)]
    slow = []
    for one, other in sides(pool):
        scale = np.sqrt(1 / len(one) + 1 / len(other))
        slow.append(
            max(
                abs(each[one].mean() - each[other].mean()) / each.std() / scale for each in features
            )
        )
    assert spreads(pool, RNG(0)) == pytest.approx(slow)


@pytest.mark.parametrize("blocked", [False, True])
def test_neighbours_are_those_of_a_loop(blocked: bool) -> None:
    pool = pool_of(6, blocked=blocked)
    near = []
    for i, row in enumerate(pool.rows):
        others = [j for j in range(len(pool.rows)) if pool.units[j] != pool.units[i]]
        near.append(sorted(others, key=lambda j: distance(row, pool.rows[j]))[:10])
    slow = []
    for labels in pool.labels:
        own = np.array([np.mean(labels[near[i]] == labels[i]) for i in range(len(labels))])
        slow.append(own[labels == 1].mean() + own[labels == 0].mean() - 1)
    assert neighbours(pool, RNG(0)) == pytest.approx(slow)


def test_frechet_is_that_of_the_matrix_root() -> None:
    pool = pool_of(7)
    slow = []
    for one, other in sides(pool):
        a, b = pool.rows[one], pool.rows[other]
        s, t = np.cov(a.T, bias=True), np.cov(b.T, bias=True)
        root = np.real(linalg.sqrtm(s @ t))
        slow.append(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root))
    assert frechet(pool, RNG(0)) == pytest.approx(slow, abs=1e-10)


def test_wasserstein_is_the_mean_of_scipys_over_the_directions() -> None:
    pool = pool_of(8)
    directions = RNG(9).normal(size=(4, 50))
    seen = pool.rows @ (directions / np.linalg.norm(directions, axis=0))
    slow = [
        np.mean([stats.wasserstein_distance(each[one], each[other]) for each in seen.T])
        for one, other in sides(pool)
    ]
    assert wasserstein(pool, RNG(9)) == pytest.approx(slow)


def test_the_classifier_ranks_as_scikit_learns_does() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    pool = pool_of(10, n=150, m=100, dim=6)
    folds = folds_of(pool, RNG(11))
    found = classifier(pool, RNG(11))
    for place, labels in enumerate(pool.labels):
        wins = pairs = 0.0
        for fold in range(5):
            asked = folds == fold
            model = LogisticRegression(C=1 / (0.05 * len(asked)), tol=1e-8)
            model.fit(pool.whitened[~asked], labels[~asked])
            both = labels[asked].sum() * (1 - labels[asked]).sum()
            scores = model.decision_function(pool.whitened[asked])
            wins, pairs = wins + both * roc_auc_score(labels[asked], scores), pairs + both
        assert found[place] == pytest.approx(wins / pairs, abs=0.01)


def test_folds_keep_units_whole_and_hold_two_or_more() -> None:
    pool = pool_of(12, blocked=True)
    folds = folds_of(pool, RNG(0))
    n_units = sum(pool.n_units)
    assert all(len(set(folds[pool.units == unit])) == 1 for unit in range(n_units))
    held = [len(set(pool.units[folds == fold])) for fold in range(5)]
    assert (sum(held), min(held), max(held)) == (n_units, n_units // 5, -(-n_units // 5))


@pytest.mark.parametrize("drift", ["none", "mean", "variance"])
def test_the_better_classifier_sees_means_and_variances_and_nothing_in_noise(drift: str) -> None:
    found = []
    for seed in range(12):
        rng = RNG(seed)
        one, other = rng.normal(size=(200, 5)), rng.normal(size=(200, 5))
        other = other + 0.5 * (drift == "mean") if drift != "variance" else 1.8 * other
        pool = pooled(one, other, rng, permutations=1)
        found.append(auc(pool.given, best_scores(pool, rng))[0])
    low, high = {"none": (0.47, 0.53), "mean": (0.75, 0.81), "variance": (0.78, 0.9)}[drift]
    assert low < np.mean(found) < high


def test_the_default_is_the_soft_maximum_of_its_parts() -> None:
    pool = pool_of(13)
    z = [stats.zscore(part(pool, RNG(0))) for part in PARTS]
    assert combined(pool, RNG(0)) == pytest.approx(np.log(np.mean(np.exp(z), axis=0)))


def test_the_default_is_the_same_however_many_arrangements_are_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = pool_of(13)
    whole = combined(pool, RNG(0))
    assert len(whole) == 13
    monkeypatch.setattr(default, "AT_ONCE", 5)
    assert combined(pool, RNG(0)) == pytest.approx(whole)


def shifted_rows(rng: np.random.Generator) -> tuple[Reals, Reals]:
    return rng.normal(size=(60, 8)), 1.6 * rng.normal(0.8, 1, size=(50, 8))


@pytest.mark.parametrize("name", STATISTICS)
def test_every_test_finds_a_large_drift(name: str) -> None:
    rng = RNG(14)
    found = PermutationTest(name, STATISTICS[name])(*shifted_rows(rng), rng)
    assert (found.method, found.p_value) == (name, 1 / 200)
    assert found.statistic > found.null.max()


@pytest.mark.parametrize("name", STATISTICS)
def test_every_test_holds_its_alarm_rate_with_blocks_and_equal_rows(name: str) -> None:
    rng = RNG(15)
    runs = 120 if name == "classifier" else 200
    alarms = 0
    for _ in range(runs):
        documents = rng.integers(0, 3, size=(24, 5)).astype(np.float64)  # many are equal
        of = np.repeat(np.arange(24), rng.integers(1, 6, 24))
        rows = documents[of] + (0.3 * rng.normal(size=(len(of), 5))) * (rng.random() < 0.5)
        first = of < 13
        pool = pooled(
            rows[first], rows[~first], rng, blocks=(of[first], of[~first]), permutations=59
        )
        alarms += p_of(STATISTICS[name](pool, rng)) <= 0.05
    assert alarms <= stats.binom.ppf(0.9999, runs, 0.05)


@pytest.mark.parametrize("name", STATISTICS)
def test_every_test_gives_numbers_for_odd_rows(name: str) -> None:
    rng = RNG(16)
    rows = rng.normal(size=(12, 3))
    rows[:, 1] = 7.0  # a constant component
    wide = rng.normal(size=(9, 50))  # more components than rows
    two = np.repeat([[0.0, 1.0], [1.0, 0.0]], 10, axis=0)  # two distinct rows
    for one, other in ((rows[:7], rows[7:]), (wide[:2], wide[2:]), (two[::2], two[1::2])):
        found = PermutationTest(name, STATISTICS[name])(one, other, rng)
        assert np.isfinite([found.statistic, found.p_value, found.effect]).all()
        assert found.least_p <= found.p_value <= 1
