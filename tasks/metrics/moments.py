"""Means and sums of products of rows, read in blocks and summed in float64.

scikit-learn's covariances take a copy of the whole in float64.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.metrics.blocks import blocks
from tasks.metrics.score import Matrix, Reals, check_matrix


class Moments(NamedTuple):
    """What all metrics of the spectrum need: take it once and give it to each of them.

    Attributes:
        n: The number of rows.
        mean: Their mean, shape (dim,).
        scatter: The sum of (x - mean)(x - mean)^T, shape (dim, dim).
    """

    n: int
    mean: Reals
    scatter: npt.NDArray[np.float64]


def moments(vectors: npt.ArrayLike) -> Moments:
    """Number, mean and scatter of the rows; raises MetricError for fewer than two."""
    matrix = check_matrix(vectors, at_least=2)
    mean, _ = centre(matrix)
    return Moments(len(matrix), mean, cross_scatter(matrix, matrix))


def cross_scatter(one: Matrix, other: Matrix) -> npt.NDArray[np.float64]:
    """The sum of (x - mean)(y - mean)^T over rows that belong together, shape (dim, other dim).

    Constant rows give exactly zero.
    """
    shift, other_shift = one[0].astype(np.float64), other[0].astype(np.float64)
    total, other_total = np.zeros_like(shift), np.zeros_like(other_shift)
    products = np.zeros((len(shift), len(other_shift)))
    for (_, x), (_, y) in zip(blocks(one), blocks(other), strict=True):
        moved = x - shift
        other_moved = moved if other is one else y - other_shift  # itself takes half the time
        total += moved.sum(axis=0)
        other_total += other_moved.sum(axis=0)
        products += moved.T @ other_moved
    return products - np.outer(total, other_total / len(one))


def centre(matrix: Matrix) -> tuple[Reals, float]:
    """The mean of the rows, and the sum of their squared distances from it."""
    shift = matrix[0].astype(np.float64)
    total, squares = np.zeros_like(shift), 0.0
    for _, block in blocks(matrix):
        moved = block - shift
        total += moved.sum(axis=0)
        squares += float((moved**2).sum())
    return shift + total / len(matrix), max(squares - float(total @ total) / len(matrix), 0.0)
