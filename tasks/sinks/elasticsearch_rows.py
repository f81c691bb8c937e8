"""Rows as Elasticsearch has them, and back: a field for each column, and no others."""

import base64
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from tasks.sinks.base import FULL, HASH, ID, VECTOR, Element, Metric, Shape
from tasks.sinks.plain import Holds, Lists, keyed_rows, set_each, table_of, vectors_of

HOLDS = Holds(lists=Lists.ANY, most=2**64)  # JSON's integers are of any size
KEYWORD_CHARACTERS = 8_191  # longer ones are kept and not searched; Lucene refuses 32,767 bytes
ELEMENTS = {Element.FLOAT32: "float", Element.INT8: "byte", Element.BINARY: "bit"}
SIMILARITIES = {
    Metric.COSINE: "cosine",
    Metric.DOT: "max_inner_product",
    Metric.EUCLIDEAN: "l2_norm",
}


def properties(shape: Shape, index_options: dict[str, Any]) -> dict[str, Any]:
    """The fields of an index."""
    vector = {
        "type": "dense_vector",
        "dims": shape.dim,
        "element_type": ELEMENTS[shape.element],
        "index": True,
        "index_options": index_options,
    }
    if shape.element is not Element.BINARY:  # these are near by equal bits, always
        vector["similarity"] = SIMILARITIES[shape.metric]
    keyword = {"type": "keyword", "ignore_above": KEYWORD_CHARACTERS}
    found: dict[str, Any] = {field.name: _kind(field.type) for field in shape.columns}
    found |= {ID: keyword, HASH: {"type": "keyword"}, VECTOR: vector}
    if shape.full_dim:
        found[FULL] = {"type": "dense_vector", "dims": shape.full_dim, "index": False}
    return found


def made(rows: pa.Table, shape: Shape, *, packs: bool) -> list[dict[str, Any]]:
    """The documents; `packs` says that the server takes vectors as base64, which is fastest."""
    made = keyed_rows(rows, shape.columns, HOLDS)
    set_each(made, VECTOR, _packed(vectors_of(rows), packs=packs))
    if shape.full_dim:
        set_each(made, FULL, _packed(vectors_of(rows, FULL), packs=packs))
    return made


def table(shape: Shape, found: list[dict[str, Any]]) -> pa.Table:
    """The opposite."""
    return table_of(
        shape,
        [row[ID] for row in found],
        [row[HASH] for row in found],
        [_unpacked(row[VECTOR], shape.element) for row in found],
        found,
        [_unpacked(row[FULL], Element.FLOAT32) for row in found] if shape.full_dim else None,
    )


def score(said: float, shape: Shape) -> float:
    """The metric's own unit, of what Elasticsearch makes of it so that it is above 0."""
    if shape.element is Element.BINARY:
        return float(round(said * shape.dim))
    if shape.metric is Metric.COSINE:
        return 2 * said - 1
    if shape.metric is Metric.EUCLIDEAN:
        return -math.sqrt(max(0.0, 1 / said - 1))
    return said - 1 if said >= 1 else 1 - 1 / said


def _packed(vectors: npt.NDArray[Any], *, packs: bool) -> list[Any]:
    """Base64 of big-endian floats where the server takes it."""
    if vectors.dtype != np.float32 or not packs:
        flat: list[Any] = vectors.view(np.int8).tolist() if vectors.itemsize == 1 else []
        return flat or vectors.tolist()
    return [base64.b64encode(row).decode() for row in vectors.astype(">f4")]


def _kind(data_type: pa.DataType) -> dict[str, Any]:
    """The type of a field; what it does not take is kept and not searched."""
    if pat.is_list(data_type) or pat.is_large_list(data_type):
        return _kind(data_type.value_type)
    kinds = (
        (pat.is_boolean, "boolean"),
        (pat.is_uint64, "unsigned_long"),
        (pat.is_integer, "long"),
        (pat.is_float32, "float"),
        (pat.is_floating, "double"),
        (lambda one: pat.is_date(one) or pat.is_timestamp(one), "date"),
    )
    for is_one, kind in kinds:
        if is_one(data_type):
            return {"type": kind} | ({} if kind == "boolean" else {"ignore_malformed": True})
    return {"type": "keyword", "ignore_above": KEYWORD_CHARACTERS}


def _unpacked(vector: str | list[float], element: Element) -> npt.NDArray[Any]:
    if isinstance(vector, str):
        return np.frombuffer(base64.b64decode(vector), ">f4").astype(np.float32)
    if element is Element.BINARY:
        return np.array(vector, np.int8).view(np.uint8)
    return np.array(vector, np.int8 if element is Element.INT8 else np.float32)
