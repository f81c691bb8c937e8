import math
import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from tasks.drift.monitor import CAME, SHARES, WENT, Watch, Window, compared
from tasks.drift.value import DriftValue
from tasks.errors import DriftError


def value(p_value: float) -> DriftValue:
    return DriftValue("fake", 1.0, p_value, 0.5, 9, 9, 9, 9, (9, 9), 0.001, np.zeros(9))


def test_what_came_and_what_went_share_the_level() -> None:
    assert CAME + WENT == 1
    window = Window(1, 0, 100.0)
    assert [window.part(share).tests for share in (0.5, 0.25)] == [200.0, 400.0]


def looked(versions: list[int], year: int = 365) -> list[tuple[Window, ...]]:
    watch, found = Watch(3, year=year), []
    for version in versions:
        watch, windows = watch.look(version)
        found.append(windows)
    return found


def test_each_length_looks_at_each_row_once() -> None:
    versions = [3 + 2 * n + n // 7 for n in range(1, 701)]
    found = looked(versions)
    for looks in SHARES:
        spans = [
            (window.since, version)
            for version, windows in zip(versions, found, strict=True)
            for window in windows
            if window.looks == looks
        ]
        assert spans[0][0] == 3
        assert all(end == start for (_, end), (start, _) in pairwise(spans))
        ends = [version for n, version in enumerate(versions, 1) if n % looks == 0]
        assert [end for _, end in spans] == ends


def test_the_first_looks_have_the_windows_that_end_there() -> None:
    assert [[(one.looks, one.since) for one in windows] for windows in looked([5, 6, 9, 10])] == [
        [(1, 3)],
        [(1, 5)],
        [(1, 6)],
        [(1, 9), (4, 3)],
    ]
    assert looked([5])[0][0].tests == pytest.approx(365 / 0.3)


@pytest.mark.parametrize("year", [1, 3, 12, 52, 365, 1000])
def test_levels_of_any_year_of_looks_sum_to_less_than_alpha(year: int) -> None:
    spent = [
        sum(1 / window.tests for window in windows) for windows in looked([*range(4, 1204)], year)
    ]
    sums = np.convolve(spent, np.ones(year), "valid")
    assert sums.max() <= 0.6 + 1e-9
    assert sums.max() >= 0.3  # and not much less


def test_a_look_again_at_one_version_changes_nothing() -> None:
    watch = Watch(0)
    for version in range(1, 300):
        watch, windows = watch.look(version)
        assert watch.look(version) == (watch, windows)
    assert watch == Watch(0, 299, tuple(range(43, 300)))
    assert Watch(7).look(7) == (Watch(7), ())


def test_a_year_without_drift_has_an_alarm_less_often_than_alpha() -> None:
    rng = np.random.default_rng(0)
    n_years, n_reference, n_day, dim = 400, 200, 5, 8
    reference = rng.normal(size=(n_years, dim)) / math.sqrt(n_reference)
    days = rng.normal(size=(n_years, 365, dim)) * math.sqrt(n_day)
    until = np.concatenate([np.zeros((n_years, 1, dim)), days.cumsum(axis=1)], axis=1)
    watch, alarm = Watch(0), np.zeros(n_years, np.bool_)
    for day in range(1, 366):
        watch, windows = watch.look(day)
        for window in windows:
            n = (day - window.since) * n_day
            apart = (until[:, day] - until[:, window.since]) / n - reference
            squares = (apart**2).sum(axis=1) * n * n_reference / (n + n_reference)
            alarm |= stats.chi2.sf(squares, dim) * window.tests <= 0.05
    assert 0 < alarm.sum() <= stats.binom.ppf(0.999, n_years, 0.6 * 0.05)


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01])
def test_so_many_permutations_that_one_tie_leaves_an_alarm(alpha: float) -> None:
    for window in looked([*range(4, 260)])[-1]:
        arrangements = window.permutations(alpha) + 1
        assert window.adjusted(2 / arrangements) <= alpha < window.adjusted(3 / arrangements)
    assert window.adjusted(0.5) == 1.0


class Fake:
    """A test that finds these p-values in turn, and notes how many permutations were asked for."""

    def __init__(self, *p_values: float) -> None:
        self.left = list(p_values)
        self.asked: list[int] = []

    def __call__(self, permutations: int) -> DriftValue:
        self.asked.append(permutations)
        return value(self.left.pop(0))


@pytest.mark.parametrize(
    ("p_values", "tests", "asked"),
    [
        ([0.051], 10_000.0, [199]),
        ([0.05, 0.0011], 10_000.0, [199, 9_999]),
        ([0.005, 0.001, 0.7], 10_000.0, [199, 9_999, 399_999]),
        ([0.01], 2.0, [199]),
        ([0.01, 0.01], 20.0, [199, 799]),
    ],
)
def test_permutations_grow_as_long_as_few_are_as_far_apart(
    p_values: list[float], tests: float, asked: list[int]
) -> None:
    fake = Fake(*p_values)
    assert compared(Window(1, 0, tests), fake).p_value == p_values[-1]
    assert fake.asked == asked


def test_p_of_growing_permutations_is_at_most_t_no_more_often_than_t() -> None:
    rng = np.random.default_rng(1)

    def drawn(p: float) -> Callable[[int], DriftValue]:
        return lambda asked: value((rng.binomial(asked, p) + 1) / (asked + 1))

    found = np.array([compared(Window(1, 0, 500), drawn(p)).p_value for p in rng.random(20_000)])
    for t in (0.0001, 0.0005, 0.001, 0.002, 0.01, 0.05, 0.06, 0.3):
        at_most = (found <= t).sum()
        assert at_most <= stats.binom.ppf(0.9999, len(found), t)
        assert at_most >= stats.binom.ppf(0.0001, len(found), t * 0.7)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Watch(3).look(2), "version 2 is before version 3"),
        (lambda: Watch(3, 1, (8,)).look(7), "version 7 is before version 8"),
        (lambda: Watch(3, 0, (), 0), "cannot be"),
        (lambda: Watch(3, 2, (4,)), "cannot be"),
        (lambda: Watch(3, 2, (5, 4)), "cannot be"),
        (lambda: Window(1, 0, 10.0).permutations(0.0), "alpha = 0.0: expected more than 0"),
        (lambda: Window(1, 0, 10.0).permutations(math.nan), "alpha = nan"),
    ],
)
def test_what_cannot_be_is_said(made: Callable[[], object], said: str) -> None:
    with pytest.raises(DriftError, match=re.escape(said)):
        made()
