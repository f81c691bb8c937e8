"""The shape of a set of vectors, without labels.

The spectrum, intrinsic dimensions and hubs have modules of their own; all are named here.
"""

import hashlib
from collections import Counter

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics._hubs import Occurrences, anti_hubs, hubness, k_occurrence
from tasks.metrics._intrinsic import correlation_dimension, levina_bickel, two_nn
from tasks.metrics._spectrum import alpha_req, iso_score, participation_ratio, rank_me, spectrum
from tasks.metrics.blocks import QUERIES, blocks, choose, take
from tasks.metrics.moments import Moments, moments
from tasks.metrics.score import (
    Matrix,
    Reals,
    Score,
    check_matrix,
    check_pair,
    mean_score,
    unit_rows,
)

__all__ = [
    "Moments",
    "Occurrences",
    "alignment",
    "alpha_req",
    "anisotropy",
    "anti_hubs",
    "correlation_dimension",
    "duplicates",
    "hubness",
    "iso_score",
    "k_occurrence",
    "levina_bickel",
    "modality_gap",
    "moments",
    "norms",
    "participation_ratio",
    "rank_me",
    "spectrum",
    "two_nn",
    "uniformity",
]

SAMPLE = 10_000  # rows, all pairs of which are taken


def anisotropy(vectors: npt.ArrayLike) -> Score:
    """The mean cosine over all pairs of different rows: 0 for directions on all sides, 1 for one.

    Ethayarajh 2019 (arXiv:1909.00512), exact over all pairs: with unit vectors u it is
    (|sum u|^2 - n) / (n (n - 1)). Rows of zeros have no direction and are left out. Raises
    MetricError where fewer than two are left.
    """
    matrix = check_matrix(vectors, at_least=2)
    total, n = _sum_of_directions(matrix)
    if n < 2:
        raise MetricError(f"{n} of {len(matrix)} rows are not zero: a cosine needs two")
    value = (float(total @ total) - n) / (n * (n - 1))
    return Score(value, n, warnings=_zeros(len(matrix) - n))


def uniformity(
    vectors: npt.ArrayLike,
    *,
    t: float = 2.0,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """How evenly directions cover the sphere; lower is more even, 0 is a single direction.

    Wang and Isola 2020 (arXiv:2005.10242, section 4.1.2): log of the mean of exp(-t |u - v|^2) over
    all pairs of different rows, at unit length. Beyond `sample` rows, over the pairs of so many at
    random: the same value, less sure. Rows of zeros are left out. Raises MetricError where fewer
    than two are left, and where t is not above 0.
    """
    if not t > 0:
        raise MetricError(f"t = {t}: expected more than 0")
    matrix = check_matrix(vectors, at_least=2)
    taken = take(matrix, choose(len(matrix), sample, rng)).astype(np.float64)
    units = unit_rows(taken[taken.any(axis=1)])
    n = len(units)
    if n < 2:
        raise MetricError(f"{n} of {len(taken)} rows are not zero: a pair needs two")
    total = 0.0
    for start in range(0, n, QUERIES):
        alike = np.exp(2 * t * (units[start : start + QUERIES] @ units.T - 1))
        own = np.arange(len(alike))
        alike[own, start + own] = 0
        total += float(alike.sum())
    if not total:
        raise MetricError(f"t = {t}: all pairs are so far that their weights are below float64")
    return Score(float(np.log(total / (n * (n - 1)))), n, warnings=_zeros(len(taken) - n))


def alignment(one: npt.ArrayLike, other: npt.ArrayLike, *, alpha: float = 2.0) -> Score:
    """The mean distance of pairs that belong together, at unit length; 0 is the best.

    Wang and Isola 2020 (arXiv:2005.10242, section 4.1.1): the mean of |u_i - v_i|^alpha, row i of
    the one with row i of the other. Raises MetricError for different shapes, for a row of zeros,
    and where alpha is not above 0.
    """
    if not alpha > 0:
        raise MetricError(f"alpha = {alpha}: expected more than 0")
    first, second = check_pair(one, other)
    _same_dimensions(first, second)
    per_item = np.empty(len(first))
    for (where, x), (_, y) in zip(blocks(first), blocks(second), strict=True):
        units = [unit_rows(block.astype(np.float64)) for block in (x, y)]
        if not all(unit.any(axis=1).all() for unit in units):
            raise MetricError("a row of zeros has no direction: leave its pair out")
        per_item[where] = np.linalg.norm(units[0] - units[1], axis=1) ** alpha
    return mean_score(per_item)


def norms(vectors: npt.ArrayLike) -> Score:
    """The mean length of the vectors, and how lengths are spread.

    `parts`: sd (divisor n), min, q05, median, q95, max and zeros, the number of rows of zeros.
    """
    matrix = check_matrix(vectors)
    lengths = np.empty(len(matrix))
    for where, block in blocks(matrix):
        lengths[where] = np.linalg.norm(block.astype(np.float64), axis=1)
    names = ("min", "q05", "median", "q95", "max")
    spread = np.quantile(lengths, (0, 0.05, 0.5, 0.95, 1)).tolist()
    parts = dict(zip(names, spread, strict=True))
    zeros = int(np.count_nonzero(lengths == 0))
    return mean_score(lengths, parts={**parts, "sd": float(lengths.std()), "zeros": float(zeros)})


def duplicates(vectors: npt.ArrayLike) -> Score:
    """The share of rows that are equal, component by component, to one before them.

    Rows are known by their BLAKE2 digests of 128 bits. `parts`: groups, the number of vectors that
    occur more than once, and largest, the number of rows of the most frequent one.
    """
    matrix = check_matrix(vectors)
    seen: Counter[bytes] = Counter()
    again = np.empty(len(matrix), np.bool_)
    for where, block in blocks(matrix):
        whole = np.ascontiguousarray(block + 0.0)  # minus zero equals zero
        for row, vector in enumerate(whole, where.start):
            digest = hashlib.blake2b(vector.data, digest_size=16).digest()
            again[row] = digest in seen
            seen[digest] += 1
    groups = sum(count > 1 for count in seen.values())
    parts = {"groups": float(groups), "largest": float(max(seen.values()))}
    return mean_score(again, parts=parts)


def modality_gap(one: npt.ArrayLike, other: npt.ArrayLike) -> Score:
    """The distance between the mean directions of two modalities, such as texts and images.

    Liang, Zhang, Kwon, Yeung and Zou 2022 (arXiv:2203.02053): |mean u - mean v| at
    unit length, from 0 to 2; rows need not belong together. Rows of zeros are left out. `parts`:
    the cosine of both means, where both have a direction. Raises MetricError for different
    dimensions and where one has only rows of zeros.
    """
    first, second = check_matrix(one, "the first matrix"), check_matrix(other, "the second matrix")
    _same_dimensions(first, second)
    means, left_out = [], 0
    for name, matrix in (("first", first), ("second", second)):
        total, n = _sum_of_directions(matrix)
        if not n:
            raise MetricError(f"all {len(matrix)} rows of the {name} matrix are zero")
        means.append(total / n)
        left_out += len(matrix) - n
    lengths = np.linalg.norm(means[0]) * np.linalg.norm(means[1])
    return Score(
        float(np.linalg.norm(means[0] - means[1])),
        len(first) + len(second) - left_out,
        warnings=_zeros(left_out),
        parts={"cosine": float(means[0] @ means[1] / lengths)} if lengths else {},
    )


def _sum_of_directions(matrix: Matrix) -> tuple[Reals, int]:
    """The sum of the rows at unit length and the number of those that are not zero."""
    total, n = np.zeros(matrix.shape[1]), 0
    for _, block in blocks(matrix):
        total += unit_rows(block.astype(np.float64)).sum(axis=0)
        n += int(np.count_nonzero(block.any(axis=1)))
    return total, n


def _same_dimensions(one: Matrix, other: Matrix) -> None:
    if one.shape[1] != other.shape[1]:
        raise MetricError(f"dimensions differ: {one.shape[1]} and {other.shape[1]}")


def _zeros(n_rows: int) -> tuple[str, ...]:
    return (f"{n_rows} rows of zeros have no direction and are left out",) if n_rows else ()
