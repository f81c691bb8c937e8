"""Rows as JSON has them, and back: for stores whose metadata are text, numbers, lists and no more.

What a store cannot hold becomes text from which the column's type gives it back; the text of a
time sorts as the time does. Absent and None are the same: a store without null leaves keys out.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from tasks.sinks.base import FULL, HASH, ID, VECTOR, Held, Shape

Plain: TypeAlias = bool | int | float | str | list[Any] | None
Vectors: TypeAlias = npt.NDArray[Any]
"""Shape (n, width), of the dtype in which a collection's vectors come."""

NAMESPACE = uuid.UUID("6f1d3a52-6d3c-5d0e-9a4c-0b5f4f6c7a11")
MOST = 2**63 - 1
DAYS = (-719_162, 2_932_896)  # 0001-01-01 and 9999-12-31, counted from 1970
DAY_S = 86_400
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NUMBER = r"^-?\d+$"
FOREIGN = f"not vectorline's ({uuid.uuid4().hex[:12]}): "
"""With the key of a row that others wrote it is that row's id; what no id of ours can begin with.

It is another one in each process, so that nobody can have seen it before.
"""
NO_HASH = bytes(16)


class Lists(StrEnum):
    """Which lists a store holds; others are JSON text there."""

    NONE = "none"
    TEXTS = "texts"  # with at least one element, all of them text
    ALIKE = "alike"  # with at least one element, none of them null
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Holds:
    """What a store's values can be beside booleans, text, and finite floats.

    Attributes:
        lists: Which lists it holds.
        most: The largest number up to which it holds all integers, also negative ones; others are
            their digits as text there. Two to 63 less one stands for all of int64.
        infinite: Whether it holds NaN and the infinities as floats; else, and in lists, they are
            text.
        negative_zero: Whether it tells -0.0 from 0.0; else it is text, a list that has it too.
    """

    lists: Lists = Lists.NONE
    most: int = MOST
    infinite: bool = False
    negative_zero: bool = True


def uuids_of(ids: Sequence[str]) -> list[str]:
    """A UUID for each id, the same ever after; no two ids share one."""
    return [str(uuid.uuid5(NAMESPACE, one)) for one in ids]


def keys_of(ids: Sequence[str]) -> list[str]:
    """As `uuids_of`, for ids of `id_of`: that of a foreign row gives the key that the row has."""
    uuids = uuids_of(ids)
    return [
        one.removeprefix(FOREIGN) if is_foreign(one) else made
        for one, made in zip(ids, uuids, strict=True)
    ]


def is_foreign(id_: str) -> bool:
    """Whether `id_of` gave this id to a row that others wrote."""
    return id_.startswith(FOREIGN)


def id_of(key: object, row: Mapping[str, Any], id_key: str = ID) -> str:
    """The id of a row whose key in the store is this, where `uuids_of` gave the key.

    Others may put rows into a collection, with an `id` of their own too: such a row gets an id that
    no row of ours has, so that it is one too many.
    """
    said = row.get(id_key)
    is_ours = isinstance(said, str) and uuids_of([said]) == [str(key)]
    return str(said) if is_ours else f"{FOREIGN}{key}"


def held_of(key: object, row: Mapping[str, Any], id_key: str = ID) -> Held:
    """A row of a listing, whoever wrote it."""
    return Held(id_of(key, row, id_key), hash_of(row.get(HASH)))


def hash_of(said: object) -> bytes:
    """A row's hash, of what `hexes_of` gave; NO_HASH where it is anything else."""
    try:
        made = bytes.fromhex(said) if isinstance(said, str) else b""
    except ValueError:
        return NO_HASH
    return made if len(made) == len(NO_HASH) else NO_HASH


def is_ours(key: object, row: Mapping[str, Any], id_key: str = ID) -> bool:
    """Whether vectorline wrote a row, and its id and hash are still there."""
    held = held_of(key, row, id_key)
    return held.hash != NO_HASH and not is_foreign(held.id)


def hexes_of(rows: pa.Table) -> list[str]:
    """The hash of each row as 32 hexadecimal digits."""
    return [one.hex() for one in rows[HASH].to_pylist()]


def vectors_of(rows: pa.Table, column: str = VECTOR) -> Vectors:
    """A column of vectors without a copy where the table has one chunk; read-only."""
    held = rows[column].combine_chunks()
    if isinstance(held, pa.ChunkedArray):
        held = pa.concat_arrays(held.chunks) if held.chunks else pa.array([], held.type)
    width = held.type.list_size
    flat: Vectors = held.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(held), width)


def plain_rows(
    rows: pa.Table, columns: pa.Schema, holds: Holds, *, nulls: bool = True
) -> list[dict[str, Plain]]:
    """The metadata of each row by name; without `nulls`, what is None is left out."""
    held = [plain_values(rows[name], holds) for name in columns.names]
    if not held:
        return [{} for _ in range(len(rows))]
    made = [dict(zip(columns.names, values, strict=True)) for values in zip(*held, strict=True)]
    if nulls or not any(rows[name].null_count for name in columns.names):
        return made
    return [{key: value for key, value in row.items() if value is not None} for row in made]


def keyed_rows(
    rows: pa.Table, columns: pa.Schema, holds: Holds, *, nulls: bool = True, id_key: str = ID
) -> list[dict[str, Any]]:
    """As `plain_rows`, with the row's id and its hash as `hexes_of` gives it."""
    made: list[dict[str, Any]] = plain_rows(rows, columns, holds, nulls=nulls)
    for row, id_, hash_ in zip(made, rows[ID].to_pylist(), hexes_of(rows), strict=True):
        row[id_key], row[HASH] = id_, hash_
    return made


def set_each(rows: Sequence[dict[str, Any]], key: str, values: Iterable[Any]) -> None:
    """Gives each row its value, in place."""
    for row, value in zip(rows, values, strict=True):
        row[key] = value


def table_of(
    shape: Shape,
    ids: Sequence[str],
    hashes: Sequence[str],
    vectors: npt.ArrayLike,
    metadata: Sequence[Mapping[str, Any]],
    full: npt.ArrayLike | None = None,
) -> pa.Table:
    """Rows as `Shape.row_schema` has them, of what a store gave back.

    Args:
        shape: That of the collection.
        ids: One for each row.
        hashes: Likewise, as `hexes_of` gives them.
        vectors: Likewise, (n, width) or a list of lists.
        metadata: Likewise, as `plain_rows` gives them; keys that are no columns do not matter.
        full: Likewise, the originals where `shape` has them.
    """
    schema = shape.row_schema
    columns: dict[str, Any] = {
        ID: pa.array(ids, pa.string()),
        HASH: pa.array([bytes.fromhex(one) for one in hashes], pa.binary(16)),
        VECTOR: _vector_column(vectors, schema.field(VECTOR).type),
    }
    for field in shape.columns:
        values = [row.get(field.name) for row in metadata]
        columns[field.name] = column_of(values, field.type)
    if shape.full_dim:
        columns[FULL] = _vector_column([] if full is None else full, schema.field(FULL).type)
    return pa.table(columns, schema=schema)


def plain_values(column: pa.Array | pa.ChunkedArray, holds: Holds) -> list[Plain]:
    """A column's values; each is None, or what the store holds."""
    held = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    data_type = held.type
    if pat.is_list(data_type) or pat.is_large_list(data_type):
        return _plain_lists(held, holds)
    values: list[Plain] = _iso(held).to_pylist() if pat.is_temporal(data_type) else held.to_pylist()
    if pat.is_integer(data_type) and holds.most < _largest(data_type):
        most, least = holds.most, -holds.most - (holds.most == MOST)
        return [
            one if one is None or least <= one <= most else str(one)  # type: ignore[operator]
            for one in values
        ]
    if pat.is_floating(data_type):
        for row in np.flatnonzero(_unheld(held, holds)).tolist():
            values[row] = str(values[row])
    return values


def column_of(values: Sequence[Any], data_type: pa.DataType) -> pa.Array:
    """The column of a type whose plain values these are; NaN has one form, that of NumPy."""
    if pat.is_list(data_type) or pat.is_large_list(data_type):
        return _list_column(values, data_type)
    if pat.is_temporal(data_type):
        return _times(pa.array(values, pa.string()), data_type)
    if pat.is_integer(data_type):
        return pa.array([one if one is None else int(one) for one in values], data_type)
    if pat.is_floating(data_type):
        numbers = [one if one is None else float(one) for one in values]
        return pa.array(numbers, pa.float64()).cast(data_type)
    return pa.array(values, data_type)


def _unheld(numbers: pa.Array, holds: Holds) -> npt.NDArray[np.bool_]:
    given = pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False)
    unheld = np.zeros(len(given), bool)
    if not holds.infinite:
        unheld |= ~np.isfinite(given)
    if not holds.negative_zero:
        unheld |= (given == 0) & np.signbit(given)
    return unheld


def _largest(data_type: pa.DataType) -> int:
    bits: int = data_type.bit_width
    return int(2**bits - 1 if pat.is_unsigned_integer(data_type) else 2 ** (bits - 1) - 1)


def _vector_column(vectors: npt.ArrayLike, data_type: pa.DataType) -> pa.Array:
    flat = np.asarray(vectors, data_type.value_type.to_pandas_dtype()).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, data_type.value_type), type=data_type)


def _plain_lists(held: pa.Array, holds: Holds) -> list[Plain]:
    inner = plain_values(held.flatten(), replace(holds, infinite=False))  # JSON text knows no NaN
    lengths = pc.fill_null(pc.list_value_length(held), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths).tolist()
    there = held.is_valid().to_pylist()
    values: list[Plain] = []
    start = 0
    for end, is_there in zip(ends, there, strict=True):
        one = inner[start:end]
        start = end
        if not is_there:
            values.append(None)
        else:
            values.append(
                one if _is_held(one, holds.lists) else json.dumps(one, ensure_ascii=False)
            )
    return values


def _is_held(values: Sequence[Plain], lists: Lists) -> bool:
    if lists is Lists.ANY or lists is Lists.NONE:
        return lists is Lists.ANY
    kinds = {type(one) for one in values}
    return kinds == {str} if lists is Lists.TEXTS else len(kinds) == 1 and kinds != {type(None)}


def _list_column(values: Sequence[Any], data_type: pa.DataType) -> pa.Array:
    lists = [json.loads(one) if isinstance(one, str) else one for one in values]
    inner = column_of([one for part in lists if part for one in part], data_type.value_type)
    ends = np.cumsum([0, *(len(part or ()) for part in lists)])
    mask = pa.array([part is None for part in lists], pa.bool_())
    kind = pa.LargeListArray if pat.is_large_list(data_type) else pa.ListArray
    width = pa.int64() if pat.is_large_list(data_type) else pa.int32()
    return kind.from_arrays(pa.array(ends, width), inner, type=data_type, mask=mask)


def _iso(held: pa.Array) -> pa.Array:
    """ISO 8601, in UTC with a Z where there is a zone; the count as digits out of years 1 to 9999.

    Arrow prints a year beyond 32,767 as an error, and Python knows none beyond 9999.
    """
    data_type = held.type
    counts = held.cast(pa.int32() if data_type.bit_width == 32 else pa.int64())
    low, high = _bounds(data_type)
    common = pc.and_(pc.greater_equal(counts, low), pc.less_equal(counts, high))
    shown = pc.if_else(common, counts, pa.scalar(None, counts.type))
    if pat.is_timestamp(data_type):
        text = shown.cast(pa.timestamp(data_type.unit)).cast(pa.string())
        text = pc.binary_replace_slice(text, 10, 11, "T")  # 50 times as fast as strftime
        if data_type.tz is not None:
            text = pc.binary_join_element_wise(text, "Z", "")
    else:
        text = shown.cast(data_type).cast(pa.string())
    return pc.if_else(common, text, counts.cast(pa.string()))


def _times(text: pa.Array, data_type: pa.DataType) -> pa.Array:
    counts = pa.int32() if data_type.bit_width == 32 else pa.int64()
    is_count = pc.match_substring_regex(text, NUMBER)
    nothing = pa.scalar(None, pa.string())
    given = pc.if_else(is_count, text, nothing).cast(counts)
    iso = pc.if_else(is_count, nothing, text)
    if pat.is_date(data_type):
        parsed = iso.cast(data_type).cast(counts)
    elif pat.is_timestamp(data_type):
        naive = pc.replace_substring_regex(iso, "Z$", "")
        parsed = naive.cast(pa.timestamp(data_type.unit)).cast(counts)
    else:
        at_first = pc.binary_join_element_wise("1970-01-01T", iso, "")
        parsed = at_first.cast(pa.timestamp(data_type.unit)).cast(pa.int64()).cast(counts)
    return pc.coalesce(given, parsed).cast(data_type)


def _bounds(data_type: pa.DataType) -> tuple[int, int]:
    """The first and the last count that are shown as a time."""
    if pat.is_date(data_type):
        return DAYS
    per_second = PER_SECOND[data_type.unit]
    if pat.is_time(data_type):
        return 0, DAY_S * per_second - 1
    whole = MOST // per_second  # the first second of 64 bits is cut off: Arrow cannot parse it
    low, high = max(DAYS[0] * DAY_S, -whole), (DAYS[1] + 1) * DAY_S
    return low * per_second, min(high * per_second - 1, MOST)
