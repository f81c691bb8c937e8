"""Resampling by how often each unit was drawn, and the ends of an interval that come of it.

scipy.stats.bootstrap knows no groups, keeps n x n numbers for its jackknife and answers equal items
with NaN and a warning.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from tasks.errors import MetricError
from tasks.metrics.score import Labels, Reals

RESAMPLES = 2000
ENOUGH = 50  # units: with fewer, coverage is below what the level says (the table)
FEW = 10  # units unlike the commonest, below which resampling sees too little of them (the table)
JACKKNIFE = 200  # units left out in turn, at most, for statistics that have no closed form
LEAST = 100  # resamples
ROUNDING = 1e-12
CELLS = 1 << 17  # numbers of one block of draws: what a core keeps near itself


class Method(StrEnum):
    """How the ends are found."""

    PERCENTILE = "percentile"
    """Quantiles of the resampled values (Efron 1979, Annals of Statistics 7(1))."""
    BCA = "bca"
    """The same, corrected for bias and skew (Efron 1987, JASA 82(397), eq. 2.3 and 6.6)."""
    WIDER = "wider"
    """The further ends of BCa and of Student's t on the jackknife's error: BCa is too narrow where
    most differences are 0, Student's t where they are skewed; never narrower than either."""
    BOUND = "bound"
    """Of paired differences few of which are not 0: see `intervals.paired_interval`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends between which a number lies, and what they stand on.

    Attributes:
        value: The number on the sample itself.
        low: The lower end.
        high: The upper end.
        level: The share of such intervals that hold the truth.
        method: How the ends were found.
        n: The number of items.
        units: The number of what was resampled: items, or groups of them.
        resamples: How often.
        seed: Of the resampling.
        warnings: Why it may be narrower than it should be, one sentence each.
    """

    value: float
    low: float
    high: float
    level: float
    method: Method
    n: int
    units: int
    resamples: int
    seed: int
    warnings: tuple[str, ...] = ()


class Units(NamedTuple):
    """What is drawn: of each unit the sum and the number of its items; of each item its unit."""

    sums: Reals
    sizes: Reals
    of: npt.NDArray[np.int64]


def units_of(values: npt.ArrayLike, groups: Labels | None = None) -> Units:
    """Items, or their groups, as what is drawn; in the order of the groups' labels.

    Raises MetricError for values that are not finite or no vector, and for fewer than two units.
    """
    items = np.asarray(values, np.float64)
    if items.ndim != 1 or not np.isfinite(items).all():
        raise MetricError(f"a finite number for each item is needed; they have shape {items.shape}")
    of = np.arange(len(items))
    if groups is not None:
        if len(groups) != len(items):
            raise MetricError(f"there are {len(items)} items and {len(groups)} labels of groups")
        of = np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(of).astype(np.float64)
    if len(sizes) < 2:
        raise MetricError(f"{len(sizes)} independent items or groups: at least 2 are needed")
    sums = np.bincount(of, weights=items).astype(np.float64)
    return Units(sums, sizes, of.astype(np.int64))


def interval_of(
    statistic: Callable[[Reals], Reals],
    units: Units,
    method: Method | str,
    level: float,
    resamples: int,
    seed: int,
    *,
    left_out: Reals | None = None,
    warnings: Sequence[str] = (),
) -> Interval:
    """The interval of what is had from how often each unit was drawn, shape (draws, units).

    `left_out` is that number with each unit left out in turn, where there is a shorter way to it.
    NaN on a resample leaves it out, with a warning. Raises MetricError where it is NaN on all rows
    or on most resamples, and for a level, a method or a number of resamples that cannot be.
    """
    _check(method, level, resamples)
    n_units = len(units.sums)
    value = float(statistic(np.ones((1, n_units)))[0])
    drawn = np.concatenate([statistic(counts) for counts in _draws(n_units, resamples, seed)])
    if Method(method) == Method.PERCENTILE:  # which has no use for the jackknife
        left_out = drawn
    elif left_out is None:
        left_out = np.concatenate([statistic(counts) for counts in _each_left_out(n_units)])
    drawn, left_out = drawn[np.isfinite(drawn)], left_out[np.isfinite(left_out)]
    if not np.isfinite(value) or len(drawn) < resamples / 2 or len(left_out) < 2:
        raise MetricError(
            f"the statistic is {value} on all {len(units.of)} rows and defined on {len(drawn)} of "
            f"{resamples} resamples: more rows are needed, or rows that differ"
        )
    said = list(warnings)
    if len(drawn) < resamples:
        said.append(f"{resamples - len(drawn)} resamples on which it is undefined were left out")
    if n_units < ENOUGH:
        said.append(f"{n_units} units are too few to rely on {level:.0%}: {ENOUGH} are needed")
    if np.ptp(drawn) <= ROUNDING * max(1.0, abs(value)):
        low = high = value
        said.append("all resamples give one value: how far it may lie off cannot be told")
    else:
        low, high = _ends(value, drawn, left_out, n_units, Method(method), level)
    return Interval(
        value,
        low,
        high,
        level,
        Method(method),
        len(units.of),
        n_units,
        resamples,
        seed,
        tuple(said),
    )


def _check(method: Method | str, level: float, resamples: int) -> None:
    allowed = [Method.PERCENTILE, Method.BCA, Method.WIDER]
    if method not in allowed:
        raise MetricError(f"method = {method}: expected one of {', '.join(allowed)}")
    if not 0.5 <= level < 1:
        raise MetricError(f"level = {level}: expected at least 0.5 and less than 1")
    if resamples < LEAST:
        raise MetricError(f"resamples = {resamples}: at least {LEAST} are needed")


def _draws(n_units: int, resamples: int, seed: int) -> Iterator[Reals]:
    """How often each unit was drawn with replacement, in blocks of shape (some, units)."""
    rng = np.random.default_rng(seed)
    step = max(1, CELLS // n_units)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, n_units, (rows, n_units)) + n_units * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n_units)
        yield counts.reshape(rows, n_units).astype(np.float64)


def _each_left_out(n_units: int) -> Iterator[Reals]:
    """Each unit 0 times and the others once; of many units some, spread evenly."""
    without = np.unique(np.linspace(0, n_units - 1, min(n_units, JACKKNIFE)).astype(np.int64))
    step = max(1, CELLS // n_units)
    for start in range(0, len(without), step):
        there = without[start : start + step, None] != np.arange(n_units)
        yield there.astype(np.float64)


def _ends(
    value: float, drawn: Reals, left_out: Reals, n_units: int, method: Method, level: float
) -> tuple[float, float]:
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == Method.PERCENTILE:
        low, high = np.quantile(drawn, tails)
        return float(low), float(high)
    pulls = left_out.mean() - left_out
    spread = float(np.mean(pulls**2))
    skew = np.mean(pulls**3) / spread**1.5 / 6 / np.sqrt(n_units) if spread > 0 else 0.0
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    bias = special.ndtri(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    shifted = bias + special.ndtri(tails)
    scaled = shifted / np.maximum(1 - skew * shifted, 1e-9)  # at its pole: the furthest resample
    low, high = np.quantile(drawn, special.ndtr(bias + scaled))
    if method == Method.WIDER:
        half = stats.t.ppf(tails[1], n_units - 1) * np.sqrt((n_units - 1) * spread)
        low, high = min(low, value - half), max(high, value + half)
    return float(low), float(high)
