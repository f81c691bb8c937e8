"""Small rows for tests of sinks."""

from typing import Any

import numpy as np
import pyarrow as pa

from tasks.sinks.base import HASH, ID, VECTOR, Element, Metric, Shape, Sink

DIM = 16
OF = Shape(DIM, Element.FLOAT32, Metric.COSINE, pa.schema([("title", pa.string())]))


def rows(n: int, of: Shape = OF, title: str | None = "t") -> pa.Table:
    """Other vectors for each n; those of the first half have the length one."""
    rng = np.random.default_rng(n)
    flat = rng.normal(size=(n, of.dim)).astype(np.float32)
    flat[: n // 2] /= np.linalg.norm(flat[: n // 2], axis=1, keepdims=True)
    columns: dict[str, Any] = {ID: [f"r{i:04d}" for i in range(n)], "title": [title] * n}
    columns |= {HASH: [rng.bytes(16) for _ in range(n)]}
    columns[VECTOR] = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), of.dim)
    return pa.table({name: columns[name] for name in of.row_schema.names}, schema=of.row_schema)


def fill(sink: Sink, name: str, given: pa.Table, stamp: str = "s") -> None:
    sink.create(name, OF)
    with sink.writing(name, OF, stamp) as writer:
        writer.upsert(given)
