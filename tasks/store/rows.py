"""The columns of every table, and what becomes of them when a source's metadata changes."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.table import RESERVED
from tasks.digests import DIGEST_BYTES, Digests
from tasks.errors import ConfigError

Matrix: TypeAlias = npt.NDArray[np.float32]
"""Vectors, shape (n, dim)."""

HASH = pa.binary(DIGEST_BYTES)
OWN_COLUMNS = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("record_id", pa.string()),
    pa.field("chunk", pa.int32()),
    pa.field("span", pa.list_(pa.int64(), 2)),
    pa.field("modality", pa.string()),
    pa.field("content_hash", HASH),
    pa.field("chunk_hash", HASH),
    pa.field("metadata_hash", HASH),
    pa.field("source_uri", pa.string()),
    pa.field("run_id", pa.string()),
)
TEXT = pa.field("text", pa.string())


@dataclass(frozen=True, slots=True)
class MetadataChange:
    """What must happen to a table before rows with other metadata columns are written to it.

    `schema` has the metadata columns as they are afterwards; those that the source
    dropped stay, null from now on.
    """

    schema: pa.Schema
    added: tuple[pa.Field, ...]
    widened: tuple[pa.Field, ...]


def to_column(vectors: Matrix) -> pa.FixedSizeListArray:
    """A column of vectors, row i for row i, without a copy."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def to_matrix(column: pa.Array | pa.ChunkedArray) -> Matrix:
    """A column of vectors as a matrix, without a copy where it is in one piece."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    vectors: Matrix = whole.flatten().to_numpy().reshape(len(whole), column.type.list_size)
    return vectors


def to_digests(column: pa.Array | pa.ChunkedArray) -> Digests:
    """A column of hashes as an array, row i for row i, without a copy where it is in one piece."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    first = whole.offset * DIGEST_BYTES
    return np.frombuffer(whole.buffers()[1], np.uint64, 2 * len(whole), first).reshape(-1, 2)


def unit(vectors: Matrix) -> Matrix:
    """The same directions with length 1; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms == 0, 1, norms), np.float32)


def row_schema(dim: int, metadata: pa.Schema, store_content: bool) -> pa.Schema:
    """The columns of a new table.

    A metadata column without a type, where only nulls were seen, is left out: it is added with the
    first value. Raises ConfigError for a reserved name.
    """
    check_names(metadata)
    vector = pa.field("vector", pa.list_(pa.float32(), dim))
    own = [*OWN_COLUMNS[:5], vector, *OWN_COLUMNS[5:]]
    return pa.schema([*own, *_stored(metadata), *([TEXT] if store_content else [])])


def metadata_schema(rows: pa.Schema) -> pa.Schema:
    """The metadata columns among the columns of a table."""
    return pa.schema(
        [field for field in rows if field.name not in RESERVED and not field.name.startswith("_")]
    )


def merge_metadata(table: pa.Schema, incoming: pa.Schema) -> MetadataChange:
    """What a source's metadata columns mean for a table.

    `table` may have all columns of the table. Integers and floats widen, both together to float64;
    lists and texts are one type however Arrow lays them out; a column of nulls fits any type.
    Raises ConfigError for any other change of type, naming column and both types, and for a name
    that cannot be.
    """
    check_names(incoming)
    present = metadata_schema(table)
    fields = {field.name: field for field in present}
    added, widened = [], []
    for field in _stored(incoming):
        if field.name not in fields:
            added.append(field)
        elif (wider := _wider(fields[field.name], field)) != fields[field.name]:
            widened.append(wider)
    fields |= {field.name: field for field in (*added, *widened)}
    return MetadataChange(pa.schema(list(fields.values())), tuple(added), tuple(widened))


def check_names(metadata: pa.Schema) -> None:
    """Raises ConfigError for names that metadata columns cannot have."""
    for name in metadata.names:
        if name in RESERVED or name.startswith("_") or set(name) & {".", "`"}:
            raise ConfigError(
                f"metadata column {name!r} cannot have this name: the store's own names, and names "
                "that start with _ or have a dot or a backtick in them, are taken; use `rename`"
            )


def _stored(metadata: pa.Schema) -> list[pa.Field]:
    fields = (pa.field(field.name, _plain(field.type)) for field in metadata)
    return [field for field in fields if field.type not in (pa.null(), pa.list_(pa.null()))]


def _plain(type_: pa.DataType) -> pa.DataType:
    """One type for all of Arrow's ways to lay out the same values."""
    types = pa.types
    if types.is_dictionary(type_):
        return _plain(type_.value_type)
    if types.is_large_string(type_) or types.is_string_view(type_):
        return pa.string()
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return pa.list_(_plain(type_.value_type))
    return type_


def _wider(table: pa.Field, incoming: pa.Field) -> pa.Field:
    """The table's column, with a type that holds the values of both."""
    old, new = table.type, incoming.type
    if old == new:
        return table
    common = _common(old, new) if _is_number(old) and _is_number(new) else None
    if common is None:
        raise ConfigError(
            f"metadata column {table.name!r} is {old} in the table and {new} in the source: only "
            "integers and floats may widen; cast it in the source, or give it another name with "
            "`rename`"
        )
    return table.with_type(common)


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _common(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds both, None if none does."""
    if pa.types.is_floating(old) != pa.types.is_floating(new):
        return pa.float64()
    both = [pa.schema([("", old)]), pa.schema([("", new)])]
    common = pa.unify_schemas(both, promote_options="permissive").field(0).type
    return None if pa.uint64() in (old, new) and common != pa.uint64() else common
