"""Rows as Milvus has them, and back: every column is a field of its own that may be null."""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from tasks.errors import RowsRefused
from tasks.sinks.base import FULL, HASH, ID, VECTOR, Metric, Shape
from tasks.sinks.plain import (
    Holds,
    Lists,
    is_ours,
    keyed_rows,
    set_each,
    table_of,
    uuids_of,
    vectors_of,
)
from tasks.sinks.typed import REST, put_back, set_apart

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

KEY = "_key"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
OWN = {KEY, ID, HASH, VECTOR, FULL, REST}
KEYWORDS = {"_seq", "_partition", "iso", "interval"}
HOLDS = Holds(lists=Lists.ANY)
MAX_TEXT_BYTES = 65_535


def schema(client: "MilvusClient", shape: Shape) -> "CollectionSchema":
    """With a field for each column whose name Milvus can have; the others are dynamic."""
    from pymilvus import DataType

    columns = [field for field in shape.columns if not _is_odd(field.name)]
    schema = client.create_schema(
        auto_id=False, enable_dynamic_field=len(columns) < len(shape.columns)
    )
    schema.add_field(KEY, DataType.VARCHAR, is_primary=True, max_length=36)
    schema.add_field(ID, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field(HASH, DataType.VARCHAR, max_length=32)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=shape.dim)
    if shape.full_dim:
        floats = {"element_type": DataType.FLOAT, "max_capacity": shape.full_dim}
        schema.add_field(FULL, DataType.ARRAY, **floats)
    for field in columns:
        schema.add_field(field.name, nullable=True, **_kind(field.type))
    schema.add_field(REST, DataType.VARCHAR, max_length=MAX_TEXT_BYTES, nullable=True)
    return schema


def made(rows: pa.Table, shape: Shape) -> list[dict[str, Any]]:
    """Each with every field, as an upsert merges with what was there.

    Raises RowsRefused for a text that is too long.
    """
    for field in (pa.field(ID, pa.string()), *shape.columns):
        _check_text(rows, field)
    made = keyed_rows(rows, shape.columns, HOLDS)
    set_apart(made, shape.columns)
    set_each(made, KEY, uuids_of([row[ID] for row in made]))
    set_each(made, VECTOR, vectors_of(rows).tolist())
    set_each(made, REST, [row.get(REST) for row in made])
    if shape.full_dim:
        set_each(made, FULL, vectors_of(rows, FULL).tolist())
    return made


def table(shape: Shape, found: list[dict[str, Any]]) -> pa.Table:
    """The opposite, of rows with all their fields; those that are not ours are left out."""
    found = [row for row in found if is_ours(row[KEY], row)]
    put_back(found)
    return table_of(
        shape,
        [row[ID] for row in found],
        [row[HASH] for row in found],
        [row[VECTOR] for row in found],
        found,
        [row[FULL] for row in found] if shape.full_dim else None,
    )


def keyed(keys: Sequence[str]) -> str:
    """The filter that finds the rows of these keys."""
    return f"{KEY} in [{', '.join(json.dumps(key, ensure_ascii=False) for key in keys)}]"


def score(said: float, metric: Metric) -> float:
    """In the metric's own unit: Milvus gives squares of Euclidean distances."""
    return -(max(0.0, said) ** 0.5) if metric is Metric.EUCLIDEAN else said


def _is_odd(name: str) -> bool:
    return not NAME.fullmatch(name) or name.lower() in KEYWORDS


def _kind(data_type: pa.DataType) -> dict[str, Any]:
    from pymilvus import DataType

    if pat.is_boolean(data_type):
        return {"datatype": DataType.BOOL}
    if pat.is_integer(data_type):
        return {"datatype": DataType.INT64}
    if pat.is_floating(data_type):
        return {"datatype": DataType.DOUBLE}
    if pat.is_list(data_type) or pat.is_large_list(data_type):
        return {"datatype": DataType.JSON}
    return {"datatype": DataType.VARCHAR, "max_length": MAX_TEXT_BYTES}


def _check_text(rows: pa.Table, field: pa.Field) -> None:
    if pat.is_string(field.type) or pat.is_large_string(field.type):
        longest = pc.max(pc.binary_length(rows[field.name])).as_py() or 0
        if longest > MAX_TEXT_BYTES:
            raise RowsRefused(
                f"milvus takes {MAX_TEXT_BYTES} bytes of text, and a value of column "
                f"{field.name!r} has {longest}: leave the column out or shorten it"
            )
