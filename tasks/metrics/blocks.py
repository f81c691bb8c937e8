"""Rows in blocks: how a million vectors are read in little memory.

A matrix that is mapped from a file leaves memory again after each block.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.mapped import release
from tasks.metrics.score import Matrix

Rows = npt.NDArray[np.int64]
"""Which rows of a matrix, shape (m,)."""

ROWS = 8192  # read at once
QUERIES = 1024  # asked at once


def blocks(matrix: Matrix) -> Iterator[tuple[slice, Matrix]]:
    """Row ranges and their rows, in order and in the matrix's dtype."""
    for start in range(0, len(matrix), ROWS):
        where = slice(start, min(start + ROWS, len(matrix)))
        yield where, matrix[where]
        release(matrix)


def take(matrix: Matrix, rows: Rows) -> Matrix:
    """A copy of these rows."""
    taken = np.empty((len(rows), matrix.shape[1]), matrix.dtype)
    for start in range(0, len(rows), QUERIES):
        part = slice(start, start + QUERIES)
        taken[part] = matrix[rows[part]]
        release(matrix)
    return taken


def choose(n_rows: int, sample: int | None, rng: np.random.Generator) -> Rows:
    """So many rows at random, ascending; all of them where there are no more, or `sample` is None.

    Raises MetricError where `sample` is less than 1.
    """
    if sample is None or sample >= n_rows:
        return np.arange(n_rows)
    if sample < 1:
        raise MetricError(f"sample = {sample}: expected 1 or more, or None for all rows")
    return np.sort(rng.choice(n_rows, sample, replace=False))
