"""Hubs: rows that are among the nearest of very many others, and rows that are so of none."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.stats

from tasks.metrics.blocks import Rows, choose, take
from tasks.metrics.neighbours import Likeness, neighbours_of
from tasks.metrics.score import Score, check_matrix, mean_score

SAMPLE = 10_000  # rows


class Occurrences(NamedTuple):
    """How many of the looked-at rows have each of them among their k nearest, shape (m,) each."""

    rows: Rows
    counts: npt.NDArray[np.int64]


def k_occurrence(
    vectors: npt.ArrayLike,
    *,
    k: int = 10,
    likeness: Likeness | str = Likeness.COSINE,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Occurrences:
    """N_k of each row: of how many others it is one of the k nearest; the mean is always k.

    Beyond `sample` rows, so many at random are a data set of their own, neighbours included: hubs
    are fewer in a smaller set, so compare values of one sample size alone. Ties go to the smaller
    row. Raises MetricError where k is not from 1 to the number of rows less one.
    """
    matrix = check_matrix(vectors)
    rows = choose(len(matrix), sample, rng)
    near = neighbours_of(np.arange(len(rows)), take(matrix, rows), k, likeness=likeness)
    return Occurrences(rows, np.bincount(near.ravel(), minlength=len(rows)))


def hubness(
    vectors: npt.ArrayLike,
    *,
    k: int = 10,
    likeness: Likeness | str = Likeness.COSINE,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The skewness of the k-occurrence; above 1 a few rows are near very many.

    Radovanovic, Nanopoulos and Ivanovic 2010 (JMLR 11:2487): E(N_k - mean)^3 / sd^3, not
    corrected for n. Where all rows occur alike it is 0, with a warning. `parts`: the largest
    k-occurrence. Sample and errors as of `k_occurrence`.
    """
    return skew_of(k_occurrence(vectors, k=k, likeness=likeness, sample=sample, rng=rng).counts)


def anti_hubs(
    vectors: npt.ArrayLike,
    *,
    k: int = 10,
    likeness: Likeness | str = Likeness.COSINE,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The share of rows that are among the k nearest of no other: no search finds them.

    Radovanovic, Nanopoulos and Ivanovic 2010 (JMLR 11:2487): N_k = 0. Sample and errors
    as of `k_occurrence`.
    """
    found = k_occurrence(vectors, k=k, likeness=likeness, sample=sample, rng=rng)
    return mean_score(found.counts == 0)


def skew_of(counts: npt.NDArray[np.int64]) -> Score:
    """The hubness that these k-occurrences come to."""
    parts = {"largest": float(counts.max())}
    if counts.min() == counts.max():
        said = f"all rows occur {counts[0]} times: the skew of equal numbers is taken as 0"
        return Score(0.0, len(counts), warnings=(said,), parts=parts)
    return Score(float(scipy.stats.skew(counts)), len(counts), parts=parts)
