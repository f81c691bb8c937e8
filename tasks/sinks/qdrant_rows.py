"""Rows as points of Qdrant, and back: see qdrant.py."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tasks.sinks.base import FULL, HASH, ID, VECTOR, Element, Metric, Shape
from tasks.sinks.plain import (
    Holds,
    Lists,
    Vectors,
    is_ours,
    keyed_rows,
    table_of,
    uuids_of,
    vectors_of,
)

if TYPE_CHECKING:
    from qdrant_client.models import Record, VectorParams

HOLDS = Holds(Lists.ANY)
DISTANCES = {Metric.COSINE: "Cosine", Metric.DOT: "Dot", Metric.EUCLIDEAN: "Euclid"}
UNIT = 5e-7  # Qdrant leaves a vector alone whose squared length is within 1e-6 of one


def vectors_config(shape: Shape, *, on_disk: bool) -> "VectorParams | dict[str, VectorParams]":
    """Those of a collection."""
    from qdrant_client.models import Datatype, Distance, HnswConfigDiff, VectorParams

    distance = Distance(DISTANCES[shape.metric])
    half = Datatype.FLOAT16 if shape.element is Element.FLOAT16 else None
    searched = VectorParams(size=shape.dim, distance=distance, datatype=half, on_disk=on_disk)
    if not shape.full_dim:
        return searched
    unindexed = HnswConfigDiff(m=0)
    full = VectorParams(size=shape.full_dim, distance=distance, on_disk=True, hnsw_config=unindexed)
    return {VECTOR: searched, FULL: full}


def batch(rows: pa.Table, shape: Shape, *, near: float | None) -> dict[str, Any]:
    """The fields of a Batch.

    Vectors whose squared length is as `near` to one as this are left alone by who scales them;
    None where it scales all.
    """
    columns = [VECTOR, *([FULL] if shape.full_dim else [])]
    vectors = {column: vectors_of(rows, column) for column in columns}
    payloads = keyed_rows(rows, shape.columns, HOLDS)
    for column, given in vectors.items():
        for row in _scaled(shape, given, near):
            payloads[row][f"_{column}"] = base64.b64encode(given[row].tobytes()).decode()
    lists = {column: given.tolist() for column, given in vectors.items()}
    return {
        "ids": uuids_of(rows[ID].to_pylist()),
        "vectors": lists if shape.full_dim else lists[VECTOR],
        "payloads": payloads,
    }


def table(shape: Shape, points: "Sequence[Record]") -> pa.Table:
    """The opposite; points that are not ours are left out."""
    points = [point for point in points if is_ours(point.id, point.payload or {})]
    rows = [point.payload or {} for point in points]
    return table_of(
        shape,
        [row[ID] for row in rows],
        [row[HASH] for row in rows],
        [_vector(point, VECTOR, shape) for point in points],
        rows,
        [_vector(point, FULL, shape) for point in points] if shape.full_dim else None,
    )


def _scaled(shape: Shape, vectors: Vectors, near: float | None) -> list[int]:
    if shape.metric is not Metric.COSINE:
        return []
    squared = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    is_exact = near is not None and vectors.dtype == np.float32
    return np.flatnonzero(np.abs(squared - 1) > (near if is_exact else -1)).tolist()


def _vector(point: "Record", column: str, shape: Shape) -> Vectors:
    """As it was put: what Qdrant may have scaled is in the payload too."""
    half = column == VECTOR and shape.element is Element.FLOAT16
    dtype = np.float16 if half else np.float32
    if (kept := (point.payload or {}).get(f"_{column}")) is not None:
        return np.frombuffer(base64.b64decode(kept), dtype)
    held: Any = point.vector
    return np.asarray(held[column] if shape.full_dim else held, dtype)
