from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tasks.errors import MetricError
from tasks.metrics import significance
from tasks.metrics.intervals import paired_interval
from tasks.metrics.significance import Alternative, holm, non_inferior, paired_permutation
from tests.oracles import Reals, flipped_p, holm_by_steps


@pytest.mark.parametrize("alternative", Alternative)
@pytest.mark.parametrize("n", [2, 3, 8, 13])
def test_few_pairs_get_the_p_of_all_their_flips(n: int, alternative: Alternative) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        for values in (rng.normal(size=n), rng.integers(-2, 3, n).astype(np.float64)):
            found = paired_permutation(values, alternative=alternative)
            slow = flipped_p(values.tolist(), alternative)
            assert found.p == pytest.approx(slow, abs=1e-12)
            assert found.exact
            assert found.permutations == 2 ** np.count_nonzero(values)
            theirs = stats.permutation_test(
                (values,), np.sum, permutation_type="samples", alternative=alternative
            )
            if alternative != Alternative.TWO_SIDED:  # theirs is twice the smaller side
                assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("alternative", Alternative)
@pytest.mark.parametrize("grouped", [False, True])
def test_many_pairs_get_a_p_near_that_of_scipy(grouped: bool, alternative: Alternative) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.15, 1, 120)
    groups = np.repeat(np.arange(40), 3) if grouped else None
    sums = values.reshape(40, 3).sum(axis=1) if grouped else values
    found = paired_permutation(values, groups=groups, alternative=alternative, seed=2)
    theirs = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", alternative=alternative, rng=rng
    ).pvalue
    error = np.sqrt(2 * theirs * (1 - theirs) / 9999)
    assert found.p == pytest.approx(theirs, abs=5 * error)
    assert (found.exact, found.permutations) == (False, 9999)
    assert (found.n, found.units) == (120, 40 if grouped else 120)
    assert found.difference == pytest.approx(values.mean(), abs=1e-15)


def test_p_is_never_0_and_depends_on_the_seed_alone() -> None:
    values = np.random.default_rng(3).normal(5, 1, 100)
    assert paired_permutation(values).p == 1 / 10_000
    noise = np.random.default_rng(4).normal(size=100)
    assert paired_permutation(noise, seed=1) == paired_permutation(noise, seed=1)
    assert paired_permutation(noise, seed=1).p != paired_permutation(noise, seed=2).p


def test_blocks_change_no_p(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = np.random.default_rng(5).normal(size=(2, 12)), np.arange(-20.0, 28)
    whole = paired_permutation(few[0]), paired_permutation(many)
    monkeypatch.setattr(significance, "CELLS", 96)
    # Bytes are drawn in rows of whole blocks: the flips of `many` are others, its law is the same.
    assert paired_permutation(few[0]) == whole[0]
    assert paired_permutation(many).p == pytest.approx(whole[1].p, abs=0.03)


def test_equal_versions_are_as_likely_as_can_be() -> None:
    found = paired_permutation(np.zeros(40))
    assert (found.p, found.exact, found.permutations, found.units) == (1.0, True, 1, 40)
    assert paired_permutation([0.0, 1.0, -1.0]).p == 1.0
    assert paired_permutation([1.0, -1.0, 2.0], groups=["a", "a", "b"]).p == 1.0


def test_a_chance_difference_is_found_as_often_as_alpha_says() -> None:
    rng = np.random.default_rng(6)
    found = [
        paired_permutation(rng.standard_t(3, 30), permutations=499, seed=run).p
        for run in range(600)
    ]
    # p is uniform on multiples of 1 / 500.
    assert stats.kstest(found, "uniform").pvalue > 1e-3
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_is_what_stepping_down_at_every_alpha_gives(values: list[float]) -> None:
    named = {f"metric {place}": p for place, p in enumerate(values)}
    found = holm(named)
    assert list(found) == list(named)
    for alpha in {*found.values(), 0.01, 0.05, 0.5} - {0.0}:
        for around in (alpha * (1 - 1e-9), min(1.0, alpha * (1 + 1e-9))):
            said = {name for name, p in found.items() if p <= around}
            if around < 1:
                assert said == holm_by_steps(named, around)


def test_holm_gives_the_numbers_of_a_worked_example() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    expected = {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_drop_is_ruled_out_where_the_low_end_is_above_it(grouped: bool) -> None:
    rng = np.random.default_rng(7)
    values = np.clip(rng.normal(0, 0.1, 300), -1, 1)
    groups = rng.integers(0, 60, 300) if grouped else None
    low = paired_interval(values, groups=groups, level=0.9, seed=8).low
    for margin, holds in ((-low * 1.001, True), (-low * 0.999, False), (-low, False)):
        found = non_inferior(values, margin, alpha=0.1, groups=groups, seed=8)
        assert (found.holds, found.margin, found.alpha) == (holds, margin, 0.1)
        assert found.interval.low == low


def rare(rng: np.random.Generator, n: int) -> Reals:
    return np.where(rng.random(n) < 0.02, -1.0, 0.0)


def mixed(rng: np.random.Generator, n: int) -> Reals:
    return rng.choice([-1.0, 0.0, 1.0], n, p=[0.11, 0.8, 0.09])


def skewed(rng: np.random.Generator, n: int) -> Reals:
    return np.array(0.02 - rng.beta(0.5, 2, n) * (rng.random(n) < 0.2))


@pytest.mark.parametrize("drawn", [rare, mixed, skewed])
@pytest.mark.parametrize("n", [50, 200])
def test_a_drop_of_just_the_margin_passes_no_more_often_than_alpha(
    drawn: Callable[[np.random.Generator, int], Reals], n: int
) -> None:
    rng = np.random.default_rng(n)
    passed = sum(
        non_inferior(drawn(rng, n), 0.02, resamples=400, seed=run).holds for run in range(250)
    )
    assert passed <= stats.binom.ppf(0.999, 250, 0.05)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: paired_permutation([]), "0 independent items"),
        (lambda: paired_permutation([1.0, np.inf]), "a finite number for each item"),
        (lambda: paired_permutation([1.0, 2.0], permutations=0), "permutations = 0"),
        (lambda: non_inferior([0.1, 0.2], -0.01), "margin = -0.01: expected 0 or more"),
        (lambda: non_inferior([0.1, 0.2], np.nan), "margin = nan"),
        (lambda: non_inferior([0.1, 0.2], 0.1, alpha=0.9), "level = 0.0999"),
        (lambda: holm({"a": 0.5, "b": 1.5}), "the p-value of b is 1.5: expected 0 to 1"),
        (lambda: holm({"a": np.nan}), "the p-value of a is nan"),
    ],
)
def test_what_cannot_be_tested_is_said(made: Callable[[], object], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        made()
