"""Rows as Weaviate has them, and back: a property for each column that can have one.

Whatever has none, or does not fit into it, is in `_rest` as JSON. Numbers travel as doubles.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from tasks.sinks.base import FULL, HASH, ID, VECTOR, Metric, Shape
from tasks.sinks.plain import (
    Holds,
    Lists,
    hexes_of,
    is_ours,
    plain_rows,
    set_each,
    table_of,
    vectors_of,
)
from tasks.sinks.typed import REST, put_back, set_apart

PROPERTY = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,230}")
ROW_ID = "row_id"
OWN = {ROW_ID, HASH, REST, FULL, ID, "_id", "_additional", VECTOR}
MOST = 2**53
HOLDS = Holds(lists=Lists.ALIKE, most=MOST)
DEFAULT = "default"


def properties(shape: Shape) -> list[Any]:
    """Those of a collection."""
    from weaviate.classes.config import DataType, Property, Tokenization

    found: list[Any] = [
        Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization.FIELD)
        for name in (ROW_ID, HASH)
    ]
    for column, name in _stored(shape.columns).items():
        kind = DataType(_kind(shape.columns.field(column).type))
        tokens = Tokenization.FIELD if kind in (DataType.TEXT, DataType.TEXT_ARRAY) else None
        found.append(
            Property(name=name, data_type=kind, tokenization=tokens, index_searchable=False)
        )
    kept = [(REST, DataType.TEXT)] + [(FULL, DataType.NUMBER_ARRAY)] * bool(shape.full_dim)
    return found + [
        Property(name=name, data_type=kind, index_filterable=False, index_searchable=False)
        for name, kind in kept
    ]


def made(rows: pa.Table, shape: Shape) -> list[dict[str, Any]]:
    """The properties of each object."""
    columns, stored = shape.columns, _stored(shape.columns)
    apart = [one for one in columns.names if one not in stored]
    made: list[dict[str, Any]] = plain_rows(rows, columns, HOLDS, nulls=False)
    set_apart(made, columns, most=MOST, lists=True, always=apart)
    stored |= {REST: REST}
    said = [{stored[key]: value for key, value in row.items() if value is not None} for row in made]
    set_each(said, ROW_ID, rows[ID].to_pylist())
    set_each(said, HASH, hexes_of(rows))
    if shape.full_dim:
        set_each(said, FULL, vectors_of(rows, FULL).tolist())
    return said


def table(shape: Shape, found: Sequence[Any]) -> pa.Table:
    """The opposite, of objects with their vectors; those that are not ours are left out."""
    found = [one for one in found if is_ours(one.uuid, one.properties, ROW_ID)]
    stored = _stored(shape.columns) | {REST: REST}
    said: list[dict[str, Any]] = [
        {column: one.properties.get(property_) for column, property_ in stored.items()}
        for one in found
    ]
    put_back(said)
    return table_of(
        shape,
        [one.properties[ROW_ID] for one in found],
        [one.properties[HASH] for one in found],
        [one.vector[DEFAULT] for one in found],
        said,
        [one.properties[FULL] for one in found] if shape.full_dim else None,
    )


def score(distance: float, metric: Metric) -> float:
    """In the metric's own unit."""
    if metric is Metric.COSINE:
        return 1 - distance
    return -distance if metric is Metric.DOT else -math.sqrt(max(0.0, distance))


def _stored(columns: pa.Schema) -> dict[str, str]:
    """The property of each column that has one."""
    found: dict[str, str] = {}
    for name in columns.names:
        property_ = name[:1].lower() + name[1:]
        if PROPERTY.fullmatch(name) and property_ not in OWN | set(found.values()):
            found[name] = property_
    return found


def _kind(data_type: pa.DataType) -> str:
    if pat.is_list(data_type) or pat.is_large_list(data_type):
        return f"{_kind(data_type.value_type)}[]"
    if pat.is_boolean(data_type):
        return "boolean"
    if pat.is_integer(data_type):
        return "int"
    return "number" if pat.is_floating(data_type) else "text"
