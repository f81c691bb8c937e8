import itertools

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from tasks.drift import default_test
from tasks.drift.permutations import PermutationTest, p_of
from tasks.drift.pool import Pool, pooled
from tasks.drift.value import DriftValue
from tasks.errors import DriftError

Reals = npt.NDArray[np.float64]


def mean_difference(pool: Pool, rng: np.random.Generator) -> Reals:
    first = pool.rows[:, 0]
    return np.array([abs(first[one == 1].mean() - first[one == 0].mean()) for one in pool.labels])


def test_few_rows_get_the_p_of_all_their_arrangements() -> None:
    test = PermutationTest("means", mean_difference, permutations=999)
    for seed, (n, m) in enumerate([(2, 3), (4, 4), (3, 6), (5, 5)]):
        rng = np.random.default_rng(seed)
        for rows in (rng.normal(size=n + m), rng.integers(0, 3, n + m).astype(np.float64)):
            found = test(rows[:n, None], rows[n:, None], rng)
            seen = abs(rows[:n].mean() - rows[n:].mean())
            every = [
                abs(rows[list(one)].mean() - np.delete(rows, one).mean())
                for one in itertools.combinations(range(n + m), n)
            ]
            assert found.p_value == pytest.approx(np.mean(np.array(every) >= seen - 1e-9))
            assert found.permutations == len(every) - 1
            assert found.least_p == (2 if n == m else 1) / len(every)


def test_many_rows_get_a_p_near_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(60, 1)), rng.normal(0.3, 1, size=(40, 1))
    found = PermutationTest("means", mean_difference, permutations=3999)(one, other, rng)
    theirs = stats.permutation_test(
        (one[:, 0], other[:, 0]), lambda a, b: abs(a.mean() - b.mean()), alternative="greater"
    ).pvalue
    assert found.p_value == pytest.approx(theirs, abs=5 * np.sqrt(2 * theirs * (1 - theirs) / 3999))
    assert (found.permutations, found.least_p) == (3999, 1 / 4000)


def test_p_counts_ties_and_the_given_arrangement() -> None:
    assert p_of(np.array([3.0, 1, 2, 4])) == 0.5
    assert p_of(np.array([3.0, 3, 3 - 1e-14, 1])) == 0.75
    assert p_of(np.array([5.0, 1, 1, 1])) == 0.25
    assert p_of(np.zeros(200)) == 1.0


def drifted(rng: np.random.Generator, n: int = 40) -> tuple[Reals, Reals]:
    return rng.normal(size=(n, 3)), rng.normal(4, 1, size=(n, 3))


def test_a_large_drift_has_the_least_p_and_an_auc_of_1() -> None:
    found = default_test()(*drifted(np.random.default_rng(2)), np.random.default_rng(3))
    assert (found.p_value, found.effect, found.least_p) == (1 / 200, 1.0, 1 / 200)
    assert (found.n_baseline, found.n_candidate, found.rows_given) == (40, 40, (40, 40))
    assert (found.sampled, found.warnings, found.permutations) == (False, (), 199)
    assert found.statistic > found.null.max()


def test_the_result_depends_on_arrays_and_generator_alone() -> None:
    rows, others = np.random.default_rng(4).normal(size=(2, 50, 5))
    one, two = (default_test()(rows, others, np.random.default_rng(5)) for _ in range(2))
    assert (one.statistic, one.p_value, one.effect) == (two.statistic, two.p_value, two.effect)
    assert one.effect != default_test()(rows, others, np.random.default_rng(6)).effect


@pytest.mark.parametrize("factor", [1e-150, 1.0, 1e12])
def test_scale_rotation_and_place_change_nothing(factor: float) -> None:
    rng = np.random.default_rng(7)
    one, other = rng.normal(size=(30, 6)), rng.normal(0.2, 1, size=(40, 6))
    turned = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    plain = default_test()(one, other, np.random.default_rng(8))
    moved = default_test()(
        (one @ turned + 3) * factor, (other @ turned + 3) * factor, np.random.default_rng(8)
    )
    assert moved.p_value == plain.p_value
    assert (moved.statistic, moved.effect) == pytest.approx((plain.statistic, plain.effect))


def pairs_of(values: DriftValue) -> tuple[int, int, int, int]:
    return values.n_baseline, values.n_candidate, values.units_baseline, values.units_candidate


def test_a_sample_is_drawn_above_the_limit_and_said() -> None:
    rng = np.random.default_rng(9)
    found = default_test(rows=100)(rng.normal(size=(1200, 4)), rng.normal(size=(90, 4)), rng)
    assert pairs_of(found) == (100, 90, 100, 90)
    assert (found.sampled, found.rows_given) == (True, (1200, 90))
    assert found.warnings == ("100 of the baseline's 1,200 rows were drawn and compared",)


def test_whole_blocks_are_drawn_and_large_ones_in_part() -> None:
    rng = np.random.default_rng(10)
    labels = np.repeat(np.arange(300), 4)
    pool = pooled(
        rng.normal(size=(1200, 3)),
        rng.normal(size=(40, 3)),
        rng,
        blocks=(labels, np.arange(40)),
        rows=400,
    )
    # 340 blocks have 1,240 rows: 109 of them make 400 rows.
    assert pool.n_units == (109, 40)
    assert sorted(np.bincount(pool.units).tolist()) == [1] * 40 + [4] * 109
    large = np.concatenate([np.zeros(1000, np.int64), np.arange(1, 9)])
    pool = pooled(
        rng.normal(size=(1008, 3)), rng.normal(size=(9, 3)), rng, blocks=(large, np.arange(9))
    )
    assert sorted(np.bincount(pool.units).tolist()) == [1] * 17 + [200]


@pytest.mark.parametrize(("rows", "of_each"), [(2_000, 40), (800, 16), (30, 1)])
def test_rows_of_large_blocks_are_left_out_rather_than_blocks(rows: int, of_each: int) -> None:
    rng = np.random.default_rng(12)
    labels = np.repeat(np.arange(60), 210)
    given = rng.normal(size=(len(labels), 3))
    pool = pooled(given, given, rng, blocks=(labels, labels), rows=rows)
    assert pool.n_units == (rows // of_each,) * 2
    assert np.bincount(pool.units).tolist() == [of_each] * sum(pool.n_units)


def test_rows_of_a_block_stay_on_one_side_and_block_counts_stay() -> None:
    rng = np.random.default_rng(11)
    blocks = rng.integers(0, 9, 60), rng.integers(0, 7, 50)
    pool = pooled(rng.normal(size=(60, 3)), rng.normal(size=(50, 3)), rng, blocks=blocks)
    assert pool.n_units == (9, 7)
    for one in pool.labels:
        sides = [set(one[pool.units == unit]) for unit in range(16)]
        assert all(len(side) == 1 for side in sides)
        assert sum(side == {1.0} for side in sides) == 7
    assert pool.labels[0].sum() == 50


def chunks(rng: np.random.Generator, n_documents: int) -> tuple[Reals, npt.NDArray[np.int64]]:
    sizes = rng.integers(2, 8, n_documents)
    of = np.repeat(np.arange(n_documents), sizes)
    return rng.normal(size=(n_documents, 8))[of] + 0.7 * rng.normal(size=(len(of), 8)), of


RUNS = 300


def test_alarms_without_drift_are_as_rare_as_alpha_says_of_rows_and_of_blocks() -> None:
    rng = np.random.default_rng(12)
    test = default_test()
    alarms = {"rows": 0, "few": 0, "chunks": 0, "chunks as rows": 0}
    for _ in range(RUNS):
        copied = rng.normal(size=(60, 12)) * np.geomspace(1, 0.05, 12)
        copied = copied[rng.integers(0, 60, 90)]  # many equal rows
        alarms["rows"] += test(copied[:50], copied[50:], rng).p_value <= 0.05
        few = rng.standard_t(3, size=(9, 30))
        alarms["few"] += test(few[:5], few[5:], rng).p_value <= 0.05
        (one, of), (other, of_other) = chunks(rng, 15), chunks(rng, 10)
        alarms["chunks"] += test(one, other, rng, blocks=(of, of_other)).p_value <= 0.05
        alarms["chunks as rows"] += test(one, other, rng).p_value <= 0.05
    law = stats.binom(RUNS, 0.05)
    for name in ("rows", "chunks"):
        assert law.ppf(0.0005) <= alarms[name] <= law.ppf(0.9995), alarms
    assert alarms["few"] <= law.ppf(0.9995)  # 126 arrangements: 6 of them are 0.0476
    assert alarms["chunks as rows"] > 0.5 * RUNS


def test_a_shift_that_the_issue_names_is_found_in_most_runs() -> None:
    rng = np.random.default_rng(13)
    deviations = np.linspace(2, 0.3, 64)
    found = 0
    for _ in range(60):
        one, other = rng.normal(size=(2, 500, 64)) * deviations
        other[:, 0] += 0.3 * deviations[0]
        one, other = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (one, other))
        found += default_test()(one, other, rng).p_value <= 0.05
    assert found >= stats.binom.ppf(0.0005, 60, 0.89)


GOOD = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("one", "other", "blocks", "said"),
    [
        (np.full((4, 2), np.nan), GOOD, None, "the baseline has a component in row 0"),
        (GOOD, np.array([[1.0, np.inf]]), None, "the candidate has a component in row 0"),
        (GOOD, np.ones((4, 3)), None, "the baseline has 2 components, the candidate 3"),
        (GOOD, np.empty((0, 2)), None, "the candidate has 0 rows"),
        (np.ones(4), GOOD, None, r"the baseline has shape \(4,\)"),
        (GOOD, GOOD[:1], None, "6 rows of the baseline and 1 of the candidate"),
        (GOOD, GOOD, (np.arange(6), np.zeros(6)), "6 blocks of the baseline and 1 of the cand"),
        (GOOD, GOOD, (np.arange(5), np.zeros(6)), "baseline has 6 rows and 5 labels of blocks"),
    ],
)
def test_what_cannot_be_compared_is_said(
    one: Reals, other: Reals, blocks: tuple[Reals, Reals] | None, said: str
) -> None:
    with pytest.raises(DriftError, match=said):
        default_test()(one, other, np.random.default_rng(0), blocks=blocks)


def test_a_test_without_permutations_is_refused() -> None:
    with pytest.raises(DriftError, match="permutations = 0"):
        default_test(permutations=0)
    with pytest.raises(DriftError, match="rows = 1"):
        default_test(rows=1)


def test_equal_rows_are_no_drift_and_said_to_be() -> None:
    found = default_test()(np.ones((30, 4)), np.ones((20, 4)), np.random.default_rng(0))
    assert (found.p_value, found.statistic, found.effect) == (1.0, 0.0, 0.5)
    assert found.warnings == ("all rows are equal: there is nothing to compare",)
