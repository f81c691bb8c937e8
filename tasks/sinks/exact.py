"""Scores of rows as `Near` has them: for stores without a search of their own or a second step."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sinks.base import ID, Element, Metric, Near, Originals

Scores: TypeAlias = npt.NDArray[np.float64]
"""Shape (n queries, n rows)."""
Vectors: TypeAlias = npt.NDArray[Any]


def to_array(column: pa.ChunkedArray) -> Vectors:
    """A column of vectors, shape (n, dim); without a copy where it has one chunk."""
    held = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    flat: Vectors = held.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(held), held.type.list_size)


def scores(queries: Vectors, vectors: Vectors, metric: Metric, element: Element) -> Scores:
    """Cosine, product or negative distance; of binary vectors the number of equal bits."""
    if element is Element.BINARY:
        a, b = (np.unpackbits(one, axis=1).astype(np.float32) for one in (queries, vectors))
        equal: Scores = (a @ b.T + (1 - a) @ (1 - b).T).astype(np.float64)
        return equal
    left, right = queries.astype(np.float64), vectors.astype(np.float64)
    if metric is Metric.COSINE:
        left, right = _unit(left), _unit(right)
    products: Scores = left @ right.T
    if metric is not Metric.EUCLIDEAN:
        return products
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * products
    distances: Scores = -np.sqrt(np.maximum(squares, 0))
    return distances


def best(ids: Sequence[str], found: npt.NDArray[np.floating], k: int) -> list[list[Near]]:
    """The k best of each row of `found`, which has the scores of all ids; ties by id."""
    return [top([Near(ids[i], float(row[i])) for i in _first(row, k)], k) for row in found]


def reordered(
    found: Sequence[Sequence[Near]],
    originals: Originals,
    rows: pa.Table,
    column: str,
    metric: Metric,
    k: int,
) -> list[list[Near]]:
    """The k best of each query's rows by their originals, which are in a column of `rows`."""
    place = {id_: row for row, id_ in enumerate(rows[ID].to_pylist())}
    by = scores(originals, to_array(rows[column]), metric, Element.FLOAT32)
    return [
        top([Near(one.id, float(by[query, place[one.id]])) for one in part], k)
        for query, part in enumerate(found)
    ]


def top(found: Sequence[Near], k: int) -> list[Near]:
    """The k best; ties by id."""
    return sorted(found, key=lambda one: (-one.score, one.id))[:k]


def _first(row: npt.NDArray[np.floating], k: int) -> list[int]:
    if k >= len(row):
        return list(range(len(row)))
    chosen: list[int] = np.argpartition(-row, k - 1)[:k].tolist()
    return chosen


def _unit(vectors: Scores) -> Scores:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    made: Scores = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return made
