import numpy as np
import numpy.typing as npt
import pytest
from scipy import special, stats

from tasks.drift import default_test
from tasks.drift.classifier import best_scores
from tasks.drift.effects import detectable_effect, effects
from tasks.drift.pool import pooled
from tasks.errors import DriftError

Reals = npt.NDArray[np.float64]
RNG = np.random.default_rng


def moved(rng: np.random.Generator, by: float, n: int = 400) -> tuple[Reals, Reals]:
    one, other = rng.normal(size=(2, n, 4))
    other[:, 0] += by
    return one, other


@pytest.mark.parametrize("by", [0.0, 0.5, 1.5])
def test_sizes_are_those_of_normal_laws_and_hardly_above_them(by: float) -> None:
    found = [effects(*moved(RNG(seed), by), RNG(seed)) for seed in range(20)]
    auc, shift, share = np.mean([(one.auc, one.shift_sd, one.share) for one in found], axis=0)
    assert auc == pytest.approx(stats.norm.cdf(by / np.sqrt(2)), abs=0.02)
    assert shift == pytest.approx(by, abs=0.1)
    assert share == pytest.approx(2 * stats.norm.cdf(by / 2) - 1, abs=0.05)


def test_a_new_cluster_is_the_share_to_be_removed() -> None:
    shares = []
    for seed in range(8):
        rng = RNG(seed)
        one, other = rng.normal(size=(2, 500, 6))
        other[:100] = 0.1 * other[:100] + 6
        shares.append(effects(one, other, rng).share)
    assert 0.16 < np.mean(shares) < 0.21  # a lower bound


def test_the_interval_holds_the_auc_of_rows_that_its_classifier_never_sees() -> None:
    held = 0
    for seed in range(100):
        rng = RNG(seed)
        found = effects(*moved(rng, 1.0, 150), rng)
        held += found.auc_low <= stats.norm.cdf(1 / np.sqrt(2)) <= found.auc_high
    assert held >= stats.binom.ppf(0.001, 100, 0.92)  # learning costs the classifier a little


def test_the_interval_is_wider_where_rows_depend_on_each_other() -> None:
    rng = RNG(0)
    blocks = np.repeat(np.arange(20), 15), np.repeat(np.arange(20), 15)
    one, other = (np.repeat(rng.normal(by, 1, (20, 3)), 15, axis=0) for by in (0, 0.7))
    one, other = (side + 0.2 * rng.normal(size=side.shape) for side in (one, other))
    whole = effects(one, other, rng, blocks=blocks)
    rows = effects(one, other, rng)
    assert whole.auc_high - whole.auc_low > 2 * (rows.auc_high - rows.auc_low)


@pytest.mark.parametrize("blocked", [False, True])
def test_sizes_are_those_of_loops_over_pairs_and_folds(*, blocked: bool) -> None:
    """Sides of 90 and 45 rows: what a classifier says is held against the sides' own odds."""
    rng = RNG(6)
    one, other = rng.normal(size=(90, 3)), rng.normal(0.9, 1, size=(45, 3))
    blocks = (rng.integers(0, 30, 90), rng.integers(0, 20, 45)) if blocked else None
    found = effects(one, other, RNG(7), blocks=blocks, level=0.9)
    own = RNG(7)
    pool = pooled(one, other, own, blocks=blocks, permutations=1).given
    values, folds = best_scores(pool, own)
    score, candidate = values[0], pool.sides[0]
    wins, n_pairs = 0.0, 0
    beyond = np.zeros((135, 135))  # of each pair of a fold, what its candidate wins
    held = np.zeros((135, 135), np.bool_)
    for i in np.flatnonzero(candidate):
        for j in np.flatnonzero(~candidate & (folds == folds[i])):
            beyond[i, j] = (score[i] > score[j]) + 0.5 * (score[i] == score[j])
            held[i, j] = True
            wins, n_pairs = wins + beyond[i, j], n_pairs + 1
    auc = wins / n_pairs
    assert 0.7 < auc < 0.95
    beyond[held] -= auc
    variance = 0.0
    for rows in (candidate, ~candidate):
        units = np.unique(pool.units[rows])
        sums = [
            beyond[pool.units == unit].sum() + beyond[:, pool.units == unit].sum() for unit in units
        ]
        variance += np.square(sums).sum() / n_pairs**2 * len(units) / (len(units) - 1)
    reach = stats.norm.ppf(0.95) * np.sqrt(variance) / (auc * (1 - auc))
    ends = special.expit(special.logit(auc) + np.array([-reach, reach]))
    shifts, weights = [], []
    for fold in range(folds.max() + 1):
        sides = [score[(folds == fold) & (candidate == side)] for side in (False, True)]
        squares = sum(((side - side.mean()) ** 2).sum() for side in sides)
        n = len(sides[0]) + len(sides[1])
        shifts.append((sides[1].mean() - sides[0].mean()) / np.sqrt(squares / (n - 2)))
        weights.append(n)
    share = np.mean(score[candidate] > 0) - np.mean(score[~candidate] > 0)
    assert [found.auc, found.auc_low, found.auc_high, found.shift_sd, found.share] == pytest.approx(
        [auc, *ends, np.average(shifts, weights=weights), share]
    )


def test_the_share_is_that_of_the_law_where_one_side_is_much_larger() -> None:
    shares = []
    for seed in range(10):
        rng = RNG(seed)
        one, other = rng.normal(size=(900, 3)), rng.normal(size=(100, 3))
        other[:, 0] += 2
        shares.append(effects(one, other, rng).share)
    assert np.mean(shares) == pytest.approx(2 * stats.norm.cdf(1) - 1, abs=0.05)


def test_the_better_classifier_of_two_is_chosen_without_its_own_fold() -> None:
    """Among few rows, the better of two by luck would be far above chance."""
    found = []
    for seed in range(150):
        rng = RNG(seed)
        one, other = rng.normal(size=(2, 15, 4))
        found.append(effects(one, other, rng).auc)
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) < 0.5 + 4 * error


def test_sides_that_never_meet_have_an_auc_of_1_and_an_honest_end() -> None:
    one, other = moved(RNG(1), 40.0, 60)
    found = effects(one[:30], other, RNG(1))
    assert (found.auc, found.auc_high, found.share) == (1.0, 1.0, 1.0)
    assert found.auc_low == pytest.approx(0.025 ** (1 / 30))


def test_equal_rows_have_no_effect() -> None:
    found = effects(np.ones((9, 3)), np.ones((5, 3)), RNG(0))
    assert (found.auc, found.shift_sd, found.share) == (0.5, 0.0, 0.0)


def test_the_detectable_shift_is_found_in_about_four_of_five_runs() -> None:
    rng = RNG(2)
    test = default_test(permutations=99)
    one, other = rng.normal(size=(2, 120, 10))
    size = detectable_effect(one, other, rng, test=test, found=test(one, other, rng))
    assert size is not None
    assert size.auc == pytest.approx(stats.norm.cdf(size.shift_sd / np.sqrt(2)))
    assert size.share == pytest.approx(2 * stats.norm.cdf(size.shift_sd / 2) - 1)
    found = 0
    for _ in range(150):
        one, other = rng.normal(size=(2, 120, 10))
        other[:, rng.integers(10)] += size.shift_sd
        found += test(one, other, rng).p_value <= 0.05
    assert 0.65 < found / 150 < 0.97


def test_more_rows_find_smaller_shifts_and_few_blocks_none() -> None:
    rng = RNG(3)
    test = default_test(permutations=59)
    sizes = []
    for n in (40, 400):
        one, other = rng.normal(size=(2, n, 5))
        size = detectable_effect(one, other, rng, test=test, found=test(one, other, rng))
        assert size is not None
        sizes.append(size.shift_sd)
    assert 2 < sizes[0] / sizes[1] < 5  # the square root of 10
    few = np.repeat(np.arange(3), 10)
    one, other = rng.normal(size=(2, 30, 5))
    found = test(one, other, rng, blocks=(few, few))
    assert found.least_p == 0.1
    size = detectable_effect(one, other, rng, test=test, found=found, blocks=(few, few))
    assert size is None


def test_blocks_whose_rows_have_nothing_in_common_find_what_rows_find() -> None:
    rng = RNG(4)
    test = default_test(permutations=19)
    one, other = rng.normal(size=(2, 240, 5))
    of = np.repeat(np.arange(60), 4)
    sizes = []
    for blocks in (None, (of, of)):
        found = test(one, other, RNG(5), blocks=blocks)
        size = detectable_effect(one, other, RNG(5), test=test, found=found, blocks=blocks)
        assert size is not None
        sizes.append(size.shift_sd)
    # Each is uncertain by 8 %; 60 rows alone would find twice as much.
    assert sizes[1] == pytest.approx(sizes[0], rel=0.3)


@pytest.mark.parametrize(("alpha", "power"), [(0.0, 0.8), (0.05, 1.0), (np.nan, 0.8)])
def test_odd_rates_are_refused(alpha: float, power: float) -> None:
    rows = np.arange(12.0).reshape(6, 2)
    test = default_test()
    found = test(rows, rows, RNG(0))
    with pytest.raises(DriftError, match="expected numbers between 0 and 1"):
        detectable_effect(rows, rows, RNG(0), test=test, found=found, alpha=alpha, power=power)


def test_an_odd_level_is_refused() -> None:
    with pytest.raises(DriftError, match=r"level = 1\.0: expected a number between 0 and 1"):
        effects(np.eye(4), np.eye(4), RNG(0), level=1.0)
