"""Rows as PostgreSQL's binary COPY has them, and values as its binary results do.

psycopg writes rows value by value. Column by column, in Arrow, a million rows a second are made on
one core, ten times what a server takes, and the server has the core meanwhile.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from tasks.errors import RowsRefused
from tasks.sinks import plain
from tasks.sinks.base import FULL, VECTOR, Element, Shape

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.abc import Buffer

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
BYTES = pa.large_binary()
NONE = pa.scalar((-1).to_bytes(4, "big", signed=True), BYTES)
NOTHING = pa.scalar(b"", BYTES)
EPOCH_DAYS = 10_957  # 2000-01-01
EPOCH_US = EPOCH_DAYS * 86_400 * 10**6
DIGITS = 5  # of base 10,000: uint64 as numeric

# Type: its name, its number, the big-endian values that stand for it; -1 where lengths differ.
SAME: dict[pa.DataType, tuple[str, int, str]] = {
    pa.bool_(): ("boolean", 16, "u1"),
    pa.int8(): ("smallint", 21, ">i2"),
    pa.uint8(): ("smallint", 21, ">i2"),
    pa.int16(): ("smallint", 21, ">i2"),
    pa.uint16(): ("integer", 23, ">i4"),
    pa.int32(): ("integer", 23, ">i4"),
    pa.uint32(): ("bigint", 20, ">i8"),
    pa.int64(): ("bigint", 20, ">i8"),
    pa.float32(): ("real", 700, ">f4"),
    pa.float64(): ("double precision", 701, ">f8"),
}
DATE, TIME, TIMESTAMP, ZONED, TEXT, NUMERIC = 1082, 1083, 1114, 1184, 25, 1700


def type_of(data_type: pa.DataType) -> tuple[str, int]:
    """The name and number of the type that holds a metadata column.

    Times in nanoseconds are ISO 8601: PostgreSQL's own have microseconds.
    """
    if data_type in SAME:
        return SAME[data_type][:2]
    if pat.is_uint64(data_type):
        return "numeric", NUMERIC
    if pat.is_date32(data_type):
        return "date", DATE
    if pat.is_time(data_type) and data_type.unit != "ns":
        return "time", TIME
    if pat.is_timestamp(data_type) and data_type.unit != "ns":
        zoned = data_type.tz is not None
        return ("timestamptz", ZONED) if zoned else ("timestamp", TIMESTAMP)
    if pat.is_list(data_type):
        return f"{type_of(data_type.value_type)[0]}[]", 0
    return "text", TEXT


def encoded(rows: pa.Table, shape: Shape) -> memoryview:
    """All between HEAD and TAIL, the columns in the order of `Shape.row_schema`.

    Raises:
        RowsRefused: A time is out of all that can be counted; the message names the column.
    """
    n_rows, names = len(rows), shape.row_schema.names
    parts = [_joined(n_rows, np.full(n_rows, len(names), ">i2"))]
    for name in names:
        held = _whole(rows[name])
        if name in (VECTOR, FULL):
            element = shape.element if name == VECTOR else Element.FLOAT32
            parts.append(_vectors(held, element))
        else:
            try:
                parts += _fields(held)
            except pa.ArrowInvalid as error:
                raise RowsRefused(f"column {name}: {error}; leave it out or mend it") from error
    made = pc.binary_join_element_wise(*parts, NOTHING)
    ends = np.frombuffer(made.buffers()[1], np.int64)[made.offset :]
    return memoryview(made.buffers()[2])[int(ends[0]) : int(ends[n_rows])]


def column_of(values: Sequence[Any], data_type: pa.DataType) -> pa.Array:
    """The column of a type of what a connection gave that counts times (`count_times`)."""
    if pat.is_list(data_type):
        inner = column_of([one for part in values for one in part or ()], data_type.value_type)
        ends = np.cumsum([0, *(len(part or ()) for part in values)])
        mask = pa.array([part is None for part in values], pa.bool_())
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner, data_type, mask=mask)
    if pat.is_uint64(data_type):
        return pa.array([one if one is None else int(one) for one in values], data_type)
    if not pat.is_temporal(data_type):
        return pa.array(values, data_type)
    if type_of(data_type)[1] == TEXT:
        return plain.column_of(values, data_type)
    if pat.is_date32(data_type):
        return pa.array(values, pa.int32()).cast(data_type)
    counts = pa.array(values, pa.int64())
    unit = pa.time64("us") if pat.is_time(data_type) else pa.timestamp("us", data_type.tz)
    return counts.cast(unit).cast(data_type)


def vectors_of(values: Sequence[bytes], data_type: pa.DataType, element: Element) -> pa.Array:
    """The column of what `vector_send`, `halfvec_send` and `bit_send` gave."""
    flat = np.frombuffer(b"".join(one[4:] for one in values), _wire(element)[0])
    typed = flat.astype(data_type.value_type.to_pandas_dtype())
    return pa.FixedSizeListArray.from_arrays(pa.array(typed), type=data_type)


def count_times(connection: "Connection[Any]") -> None:
    """Lets binary results of a connection have times as counts: Python's own end with year 9999."""
    from psycopg import pq
    from psycopg.adapt import Loader

    def counting(start: int) -> type[Loader]:
        class Counting(Loader):
            format = pq.Format.BINARY

            def load(self, data: "Buffer") -> int:
                return int.from_bytes(data, "big", signed=True) + start

        return Counting

    starts = {DATE: EPOCH_DAYS, TIME: 0, TIMESTAMP: EPOCH_US, ZONED: EPOCH_US}
    for number, start in starts.items():
        connection.adapters.register_loader(number, counting(start))


def _wire(element: Element) -> tuple[str, Callable[[int], bytes]]:
    """The values of a vector, and what stands before them: how many components, how many bits."""
    if element is Element.BINARY:
        return "u1", lambda width: (8 * width).to_bytes(4, "big")
    kind = ">f2" if element is Element.FLOAT16 else ">f4"
    return kind, lambda width: width.to_bytes(2, "big") + bytes(2)


def _vectors(held: pa.Array, element: Element) -> pa.Array:
    kind, head = _wire(element)
    values = held.flatten().to_numpy().reshape(len(held), -1).astype(kind)
    width: int = held.type.list_size
    n_bytes = values.dtype.itemsize * width
    before = (n_bytes + 4).to_bytes(4, "big") + head(width)
    return _joined(len(held), np.broadcast_to(np.frombuffer(before, "u1"), (len(held), 8)), values)


def _fields(held: pa.Array) -> list[pa.Array]:
    """Columns of bytes that make a column's fields when they are joined: length and value."""
    data_type = held.type
    if not len(held):
        return [pa.array([], BYTES)]
    if pat.is_list(data_type):
        return _lengths(_lists(held))
    if pat.is_uint64(data_type):
        return [_fixed(held, _digits(held))]
    if data_type in SAME or type_of(data_type)[1] in (DATE, TIME, TIMESTAMP, ZONED):
        return [_fixed(held, _numbers(held))]
    if pat.is_null(data_type):
        return [pa.array([NONE.as_py()] * len(held), BYTES)]
    if pat.is_temporal(data_type):
        held = pa.array(plain.plain_values(held, plain.Holds()), pa.string())
    return _lengths(held.cast(BYTES))


def _numbers(held: pa.Array) -> npt.NDArray[Any]:
    data_type = held.type
    if data_type in SAME:
        zero = False if pat.is_boolean(data_type) else 0
        filled = pc.fill_null(held, pa.scalar(zero, data_type))
        return np.asarray(filled.to_numpy(zero_copy_only=False)).astype(SAME[data_type][2])
    if pat.is_date32(data_type):
        days = pc.subtract_checked(held.cast(pa.int32()), EPOCH_DAYS)
        return np.asarray(pc.fill_null(days, 0)).astype(">i4")
    unit = pa.time64("us") if pat.is_time(data_type) else pa.timestamp("us", data_type.tz)
    counts = held.cast(unit).cast(pa.int64())
    if pat.is_timestamp(data_type):
        counts = pc.subtract_checked(counts, EPOCH_US)
    return np.asarray(pc.fill_null(counts, 0)).astype(">i8")


def _digits(held: pa.Array) -> npt.NDArray[Any]:
    """Numerics: how many digits, the power of the first, sign, places, and the digits."""
    left = np.asarray(pc.fill_null(held, pa.scalar(0, pa.uint64())))
    made = np.zeros((len(held), 4 + DIGITS), ">i2")
    made[:, 0], made[:, 1] = DIGITS, DIGITS - 1
    for place in range(3 + DIGITS, 3, -1):
        left, made[:, place] = np.divmod(left, np.uint64(10_000))
    return made


def _fixed(held: pa.Array, values: npt.NDArray[Any]) -> pa.Array:
    """Fields of one length."""
    rows = values.reshape(len(held), -1)
    lengths = np.full(len(held), rows.shape[1] * rows.dtype.itemsize, ">i4")
    made = _joined(len(held), lengths, rows)
    return pc.if_else(held.is_valid(), made, NONE) if held.null_count else made


def _lengths(held: pa.Array) -> list[pa.Array]:
    """Fields of any lengths."""
    lengths = np.asarray(pc.fill_null(pc.binary_length(held), -1)).astype(">i4")
    return [_joined(len(held), lengths), pc.fill_null(held, NOTHING)]


def _lists(held: pa.Array) -> pa.Array:
    """Arrays: dimensions, whether there are nulls, type, length, first index, elements."""
    inner = held.flatten()
    lengths = np.asarray(pc.fill_null(pc.list_value_length(held), 0))
    joined = pc.binary_join_element_wise(*_fields(inner), NOTHING)
    ends = np.frombuffer(joined.buffers()[1], np.int64)[joined.offset :][: len(inner) + 1]
    starts = ends[np.concatenate([[0], np.cumsum(lengths)])]
    buffers = [None, pa.py_buffer(np.ascontiguousarray(starts)), joined.buffers()[2]]
    elements = pa.LargeBinaryArray.from_buffers(BYTES, len(held), buffers)
    head = np.zeros((len(held), 5), ">i4")
    head[:, 0], head[:, 1], head[:, 2] = 1, 1, type_of(held.type.value_type)[1]
    head[:, 3], head[:, 4] = lengths, 1
    empty = np.zeros((len(held), 3), ">i4")
    empty[:, 2] = head[:, 2]
    heads = pc.if_else(pa.array(lengths > 0), _joined(len(held), head), _joined(len(held), empty))
    made = pc.binary_join_element_wise(heads, elements, NOTHING)
    return pc.if_else(held.is_valid(), made, pa.scalar(None, BYTES))


def _joined(n_rows: int, *columns: npt.NDArray[Any]) -> pa.Array:
    """Row by row, the bytes of arrays of shape (n_rows, ...)."""
    rows = [np.ascontiguousarray(one).view("u1").reshape(n_rows, -1) for one in columns]
    made = np.concatenate(rows, axis=1)
    kind = pa.binary(made.shape[1])
    fixed = pa.FixedSizeBinaryArray.from_buffers(kind, n_rows, [None, pa.py_buffer(made)])
    return fixed.cast(BYTES)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    held = column.combine_chunks()
    return pa.concat_arrays(held.chunks) if isinstance(held, pa.ChunkedArray) else held
