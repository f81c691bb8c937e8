"""Whether a search knows when it is wrong: what is gained by keeping silent where it is unsure."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.integrate import trapezoid

from tasks.errors import MetricError
from tasks.metrics.runs import Run
from tasks.metrics.score import Reals, Score, check_lengths

RATES = np.linspace(0, 1, 11)[:-1]  # of queries without an answer: those of the paper and of mteb


class Confidence(StrEnum):
    """What of its scores says how sure a search is of its answer."""

    MAX = "max"
    STD = "std"
    DIFF1 = "diff1"


def confidence(
    run: Run, queries: Sequence[str], *, kind: Confidence | str = Confidence.MAX
) -> Reals:
    """How sure the run is of each query, shape (n,): take `queries` from the items of a score.

    The highest score, the standard deviation of all, or the lead of the first over the second,
    0 where there is one. A query without results is the least sure: 0, or -inf under "max", where
    mteb's 0 is the surest of all if scores are below 0. Raises MetricError for NaN and infinity.
    """
    if kind not in list(Confidence):
        raise MetricError(f"confidence {kind!r}: expected one of {', '.join(Confidence)}")
    sure = np.empty(len(queries))
    for row, query in enumerate(queries):
        scores = np.sort(np.fromiter(run.get(query, {}).values(), np.float64))
        if not np.isfinite(scores).all():
            raise MetricError(f"query {query!r} has a score that is not finite")
        if kind == Confidence.MAX:
            sure[row] = scores[-1] if len(scores) else -np.inf
        elif kind == Confidence.STD:
            sure[row] = scores.std() if len(scores) else 0.0
        else:
            sure[row] = scores[-1] - scores[-2] if len(scores) > 1 else 0.0
    return sure


def abstention(score: Score, sure: npt.ArrayLike) -> Score:
    """The nAUC of abstention: 1 if the worst queries are dropped first, 0 for dropping any.

    Gisserot-Boukhlef et al. 2024 (arXiv:2402.12997), as mteb computes it: the mean over the queries
    that are kept when 0, 10, ..., 90 percent of the least sure are dropped, integrated; between the
    same for dropping none and for dropping the worst. Queries that are equally sure each count
    their mean. It may be below 0, and has no items: for an interval, draw from `score.per_item` and
    `sure` (n,) together.

    Raises MetricError where all items are equal, which leaves nothing to gain, where `score` has no
    items, where lengths differ or `sure` holds NaN.
    """
    if score.per_item is None:
        raise MetricError("abstention needs a score with a value for each item")
    confident = np.asarray(sure, np.float64)
    check_lengths(score=score.per_item, sure=confident)
    if np.isnan(confident).any():
        row = int(np.flatnonzero(np.isnan(confident))[0])
        raise MetricError(f"the confidence of item {row} is NaN")
    if np.ptp(score.per_item) == 0:
        raise MetricError(
            f"all {score.n} items have the value {score.per_item[0]}: abstention gains nothing"
        )
    area = trapezoid(_curve(score.per_item, confident), RATES)
    best = trapezoid(_curve(score.per_item, score.per_item), RATES)
    none = score.value * (RATES[-1] - RATES[0])
    return Score(float((area - none) / (best - none)), score.n, warnings=score.warnings)


def _curve(values: Reals, sure: Reals) -> Reals:
    """The mean of what is kept at each rate."""
    _, group, sizes = np.unique(sure, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=values) / sizes
    ordered = np.repeat(means, sizes)
    dropped = [min(round(rate * len(ordered)), len(ordered) - 1) for rate in RATES]
    return np.array([ordered[n:].mean() for n in dropped])
