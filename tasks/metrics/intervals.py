"""How sure a number is: bootstrap intervals over queries, items or groups of them.

How often they hold the truth is in docs/evaluation_coverage.md, made by `benchmarks/coverage.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import stats

from tasks.errors import MetricError
from tasks.metrics.resampling import (
    FEW,
    RESAMPLES,
    Interval,
    Method,
    interval_of,
    units_of,
)
from tasks.metrics.score import Labels, Reals


class Correlation(StrEnum):
    """Of values or of ranks, where ties have their mean rank."""

    PEARSON = "pearson"
    SPEARMAN = "spearman"


def mean_interval(
    per_item: npt.ArrayLike,
    *,
    groups: Labels | None = None,
    method: Method | str = Method.BCA,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval of the mean of these; with groups (documents), whole groups are drawn.

    Time is proportional to units x resamples: 20 ms for 1,000 units. Equal values give [v, v] and a
    warning. Raises MetricError for fewer than two units, bad values, levels or methods.
    """
    units = units_of(per_item, groups)
    means = units.sums / units.sizes
    few = len(means) - int(np.unique(means, return_counts=True)[1].max())
    rough = f"only {few} of {len(means)} differ from the commonest value: the ends are rough"
    return interval_of(
        lambda counts: (counts @ units.sums) / (counts @ units.sizes),
        units,
        method,
        level,
        resamples,
        seed,
        left_out=(units.sums.sum() - units.sums) / (units.sizes.sum() - units.sizes),
        warnings=[rough] if 0 < few < FEW else [],
    )


def interval(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    n: int,
    *,
    groups: Labels | None = None,
    method: Method | str = Method.BCA,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval of any number that is had from rows; drawn rows come sorted, with repeats.

    `statistic` is called resamples + 1 times, and for all but percentiles min(units, 200) times
    more. Resamples where it gives NaN are left out and counted in the warnings. Raises MetricError
    as `mean_interval`, and where it is NaN for all rows or for most resamples.
    """
    units = units_of(np.zeros(n), groups)
    rows = np.arange(n)

    def each(counts: Reals) -> Reals:
        drawn = counts[:, units.of].astype(np.int64)
        return np.array([float(statistic(np.repeat(rows, times))) for times in drawn])

    return interval_of(each, units, method, level, resamples, seed)


def correlation_interval(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    baseline: npt.ArrayLike | None = None,
    kind: Correlation | str = Correlation.SPEARMAN,
    groups: Labels | None = None,
    method: Method | str = Method.BCA,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval of the correlation of two columns of numbers, shape (n,).

    With `baseline`, of what `other` correlates more with `one` than `baseline` does, on the same
    resamples: `one` is the gold standard, the others are two versions. Ranks are taken anew in each
    resample. Raises MetricError as `interval`, and for a constant column.
    """
    columns = [one, other] if baseline is None else [one, other, baseline]
    arrays = [np.asarray(column, np.float64) for column in columns]
    units = units_of(arrays[0], groups)
    for array in arrays[1:]:
        if len(units_of(array).of) != len(units.of):
            raise MetricError(f"lengths differ: {[len(array) for array in arrays]}")
    if any(np.ptp(array) == 0 for array in arrays):
        raise MetricError("a column of equal numbers has no correlation")
    places = [np.unique(array, return_inverse=True)[1] for array in arrays]
    spearman = Correlation(kind) == Correlation.SPEARMAN

    def correlations(counts: Reals) -> Reals:
        times = counts[:, units.of]
        scaled = [
            _standardised(
                _ranks(times, place) if spearman else np.tile(array, (len(times), 1)), times
            )
            for array, place in zip(arrays, places, strict=True)
        ]
        first, *others = [np.einsum("bi,bi,bi->b", times, scaled[0], later) for later in scaled[1:]]
        return np.asarray(first - others[0] if others else first, np.float64)

    return interval_of(correlations, units, method, level, resamples, seed)


def paired_interval(
    differences: npt.ArrayLike,
    *,
    groups: Labels | None = None,
    method: Method | str = Method.WIDER,
    level: float = 0.95,
    largest: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval of the mean difference, candidate minus baseline, on the ids that both have.

    Where fewer than 10 units differ at all, resampling cannot know of losses that it has not seen
    (of 50 equal pairs it would make [0, 0], though one query in twenty may lose). There the ends
    are what holds for any differences of at most `largest`, which is 1 for metrics between 0 and 1:
    minus and plus `largest` times the upper bounds of Clopper and Pearson (1934, Biometrika 26(4))
    on the shares of units that lose and that gain, times how much larger than their mean the
    largest group is. Raises MetricError as `mean_interval`, and for a
    difference beyond `largest`.
    """
    found = mean_interval(
        differences, groups=groups, method=method, level=level, resamples=resamples, seed=seed
    )
    worst = float(np.abs(np.asarray(differences, np.float64)).max())
    if worst > largest:
        raise MetricError(f"a difference of {worst} is beyond the largest that was said: {largest}")
    units = units_of(differences, groups)
    lost, won = int((units.sums < 0).sum()), int((units.sums > 0).sum())
    if lost + won >= FEW:
        return found
    heaviest = float(units.sizes.max() / units.sizes.mean())
    tail = (1 - level) / 2
    shares = [
        float(stats.beta.ppf(1 - tail, count + 1, found.units - count))
        if count < found.units
        else 1
        for count in (lost, won)
    ]
    ends = [largest * min(1.0, heaviest * share) for share in shares]
    few = f"only {lost + won}" if lost + won else "none"
    said = f"{few} of {found.units} differ: the ends are bounds, not resampled"
    return replace(found, low=-ends[0], high=ends[1], method=Method.BOUND, warnings=(said,))


def _ranks(times: Reals, places: npt.NDArray[np.int64]) -> Reals:
    """Mean ranks in each resample; `places` says which of the distinct values an item has."""
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(places.max() + 1))
    counts = np.add.reduceat(times[:, order], starts, axis=1)
    middles: Reals = np.cumsum(counts, axis=1) - (counts - 1) / 2
    return middles[:, places]


def _standardised(columns: Reals, times: Reals) -> Reals:
    """Each row less its mean and over its length, weighted; NaN where it is constant."""
    means = np.einsum("bi,bi->b", times, columns) / times.sum(axis=1)
    centred = columns - means[:, None]
    squares = np.einsum("bi,bi,bi->b", times, centred, centred)
    largest = np.abs(columns).max(axis=1) ** 2 * times.sum(axis=1)
    squares = np.where(squares > 1e-24 * largest, squares, np.nan)
    return np.asarray(centred / np.sqrt(squares)[:, None])
