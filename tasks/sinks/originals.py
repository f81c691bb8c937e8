"""A second look at candidates, for stores that search by the short vector only."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sinks.base import FULL, ID, Metric, Near, Originals
from tasks.sinks.plain import vectors_of

CANDIDATES = 8
"""Rows that are looked at again for each one that is wanted."""


def ordered(
    candidates: Sequence[Sequence[str]],
    rows: pa.Table,
    originals: Originals,
    metric: Metric,
    k: int,
) -> list[list[Near]]:
    """The k best candidates of each query by their originals, in float64; ties break by id.

    `rows` has `id` and `full_vector` of all candidates that are still there.
    """
    place = {one: row for row, one in enumerate(rows[ID].to_pylist())}
    held = vectors_of(rows, FULL).astype(np.float64)
    found = []
    for query, ids in zip(originals.astype(np.float64), candidates, strict=True):
        there = [one for one in ids if one in place]
        scores = _scores(query, held[[place[one] for one in there]], metric).tolist()
        best = sorted(zip(scores, there, strict=True), key=lambda one: (-one[0], one[1]))[:k]
        found.append([Near(id_, score) for score, id_ in best])
    return found


def _scores(
    query: npt.NDArray[np.float64], held: npt.NDArray[np.float64], metric: Metric
) -> npt.NDArray[np.float64]:
    if metric is Metric.EUCLIDEAN:
        distances: npt.NDArray[np.float64] = np.linalg.norm(held - query, axis=1)
        return -distances
    products: npt.NDArray[np.float64] = held @ query
    if metric is Metric.DOT:
        return products
    norms = np.linalg.norm(held, axis=1) * np.linalg.norm(query)
    np.divide(products, norms, out=products, where=norms > 0)
    return products
