"""Exact nearest neighbours in blocks: the search that others are measured by.

scikit-learn's brute force takes a matrix whole, and breaks ties by the order in which a partition
happened to leave them; here ties are broken by row, and a matrix that is mapped from a file is read
block by block.
"""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.blocks import QUERIES, ROWS, Rows, blocks, take
from tasks.metrics.score import Matrix, Reals, check_matrix, unit_rows

GRID = 2.0**-32  # of the product of two lengths


class Likeness(StrEnum):
    """How alike two vectors are; higher is more alike."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"


class Neighbours(NamedTuple):
    """Of each query, best first: rows of the vectors and how alike they are, shape (n, k)."""

    rows: Rows
    scores: Reals


class _Sized(NamedTuple):
    """Vectors in float64, shape (n, dim), and the power of 2 above their lengths, shape (n,)."""

    vectors: Reals
    sizes: Reals


def nearest(
    queries: npt.ArrayLike,
    vectors: npt.ArrayLike,
    k: int,
    *,
    likeness: Likeness | str = Likeness.COSINE,
    own_rows: Rows | None = None,
) -> Neighbours:
    """The k rows of `vectors` that are most alike each query; ties go to the smaller row.

    Scores are the cosine, the dot product or minus the Euclidean distance, in float64. Which rows
    are taken is settled by products to 2^-32 of the lengths: closer ones are ties. `own_rows` (n,)
    names for each query a row that is no answer: itself. Memory is a block of rows and its likeness
    to 1,024 queries beside the vectors, which may be mapped from a file. Raises MetricError where
    there are fewer than k rows.
    """
    if likeness not in (*Likeness,):
        raise MetricError(f"likeness = {likeness!r}: expected {', '.join(Likeness)}")
    asked, held = check_matrix(queries, "queries"), check_matrix(vectors)
    if asked.shape[1] != held.shape[1]:
        raise MetricError(f"queries have {asked.shape[1]} components, vectors {held.shape[1]}")
    there = len(held) - (own_rows is not None)
    if not 1 <= k <= there:
        raise MetricError(f"k = {k}: expected 1 to {there}, the number of rows")
    rows = np.empty((len(asked), k), np.int64)
    scores = np.empty((len(asked), k), np.float64)
    for start in range(0, len(asked), QUERIES):
        part = slice(start, start + QUERIES)
        own = None if own_rows is None else own_rows[part]
        rows[part], scores[part] = _search(asked[part], held, k, Likeness(likeness), own)
    return Neighbours(rows, scores)


def neighbours_of(
    rows: Rows, matrix: Matrix, k: int, *, likeness: Likeness | str = Likeness.COSINE
) -> Rows:
    """The k rows of the whole matrix most alike each of `rows`, best first, shape (m, k).

    A row is no neighbour of itself. Otherwise as `nearest`.
    """
    return nearest(take(matrix, rows), matrix, k, likeness=likeness, own_rows=rows).rows


def _search(
    queries: Matrix, held: Matrix, k: int, likeness: Likeness, own: Rows | None
) -> tuple[Rows, Reals]:
    """Of some queries; with `own` one more is looked for, and the own row left out."""
    rows = _best_of_all(_sized(queries, likeness), held, k + (own is not None), likeness)
    if own is not None:
        others = rows != own[:, None]
        others[others.all(axis=1), -1] = False  # k + 1 rows came before it
        rows = rows[others].reshape(-1, k)
    rows = np.sort(rows, axis=1)
    scores = np.empty(rows.shape)
    at_once = max(1, ROWS // k)
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        near = take(held, rows[part].ravel())
        scores[part] = _scores(np.repeat(queries[part], k, axis=0), near, likeness).reshape(-1, k)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _best_of_all(asked: _Sized, held: Matrix, k: int, likeness: Likeness) -> Rows:
    """The k best of all rows, best first."""
    first = held[: max(ROWS, k)]
    alike = _alike(asked, first, likeness)
    rows = _best(alike, k)
    scores = np.take_along_axis(alike, rows, axis=1)
    for where, block in blocks(held[len(first) :]):
        alike = _alike(asked, block, likeness)
        at, column = np.nonzero(alike > scores[:, -1:])  # an equal one comes after those before it
        for query in np.unique(at):
            new = column[np.searchsorted(at, query) : np.searchsorted(at, query, "right")]
            every = np.append(scores[query], alike[query, new])
            best = np.argsort(-every, kind="stable")[:k]
            scores[query] = every[best]
            rows[query] = np.append(rows[query], new + len(first) + where.start)[best]
    return rows


def _sized(matrix: Matrix, likeness: Likeness) -> _Sized:
    wide: Reals = matrix.astype(np.float64)
    if likeness == Likeness.COSINE:
        return _Sized(np.asarray(unit_rows(wide), np.float64), np.ones(len(wide)))
    return _Sized(wide, np.exp2(np.frexp(np.linalg.norm(wide, axis=1))[1]))


def _alike(asked: _Sized, block: Matrix, likeness: Likeness) -> Reals:
    """What rows are ranked by: the greater the nearer, and the same for rows that are equal.

    A matrix product gives equal rows products that differ in their last bits, by where they stand
    in it; so products are rounded to a grid that is far coarser than that.
    """
    held = _sized(block, likeness)
    grid = GRID * np.outer(asked.sizes, held.sizes)
    products = np.asarray(np.rint(asked.vectors @ held.vectors.T / grid) * grid, np.float64)
    if likeness == Likeness.EUCLIDEAN:  # q.x - |x|^2 / 2
        products -= np.einsum("ij,ij->i", held.vectors, held.vectors) / 2
    return products


def _scores(queries: Matrix, near: Matrix, likeness: Likeness) -> Reals:
    """Of pairs one by one, so that equal rows have equal scores."""
    ones, others = (_sized(matrix, likeness).vectors for matrix in (queries, near))
    if likeness == Likeness.EUCLIDEAN:
        away = others - ones
        return np.asarray(-np.sqrt(np.einsum("ij,ij->i", away, away)))
    return np.asarray(np.einsum("ij,ij->i", ones, others))


def _best(alike: Matrix, k: int) -> Rows:
    """Columns of the k largest of each row, best first; the smaller column of equal ones."""
    if k == alike.shape[1]:
        return np.argsort(-alike, axis=1, kind="stable")
    parted = np.argpartition(-alike, (k - 1, k), axis=1)
    best = np.sort(parted[:, :k], axis=1)
    values = np.take_along_axis(alike, best, axis=1)
    tied = values.min(axis=1) == np.take_along_axis(alike, parted[:, k : k + 1], axis=1)[:, 0]
    for row in np.flatnonzero(tied):  # which of the equal ones the partition kept is chance
        best[row] = np.sort(np.argsort(-alike[row], kind="stable")[:k])
        values[row] = alike[row, best[row]]
    return np.take_along_axis(best, np.argsort(-values, axis=1, kind="stable"), axis=1)
