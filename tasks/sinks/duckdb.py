"""Rows in a DuckDB file: a table for each collection, a view for readers."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.sinks.base import (
    HASH,
    ID,
    VECTOR,
    Element,
    Held,
    Limits,
    Metric,
    Shape,
    Writer,
)
from tasks.sinks.file_sink import FileSink
from tasks.sinks.file_tables import DAMAGED, MORE_ROOM, Run, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

HELD_ROWS = 20_000
MEMORY = "1GiB"  # else it fills 80 % of the machine's with what it wrote
DISK_FULL = os.strerror(errno.ENOSPC)
TOO_LARGE = os.strerror(errno.EFBIG)
BROKEN = ("Could not read enough bytes", "Corrupt", "checksum", "not a valid DuckDB database")
GIVEN = "vectorline_given"  # a parameter of `_with`, where DuckDB finds it by its name
RELATIONS = " UNION ALL ".join(
    f"SELECT {kind}_name, sql FROM duckdb_{kind}s() WHERE NOT internal "  # noqa: S608
    "AND database_name = current_database() AND schema_name = current_schema()"
    for kind in ("table", "view")
)
# NaN, as of a vector of zeros, is the largest number there is: what is nearer must be smaller.
DISTANCES = {
    Metric.COSINE: "array_cosine_distance",
    Metric.DOT: "array_negative_inner_product",
    Metric.EUCLIDEAN: "array_distance",
}


class DuckdbSink(FileSink["Connection"]):
    """Searches are exact: DuckDB's index is an extension, and not kept durably.

    One process at a time has a file open for writing, and no other one reads it meanwhile: readers
    in other processes see the old version or the new one, but cannot open it during a push, nor
    can a push begin while they have it open.
    """

    _checkpoint = "CHECKPOINT"
    limits = Limits(
        batch_rows=50_000,
        batch_bytes=64 * 2**20,
        elements=frozenset({Element.FLOAT32, Element.INT8, Element.BINARY}),
    )

    def __init__(
        self,
        *,
        path: str,
        collection: str = "vectorline",
        settings: dict[str, str] | None = None,
    ) -> None:
        """`collection` is the view that readers know; `settings` are DuckDB's, as memory_limit."""
        if not path or not collection:
            raise ConfigError(f"path = {path!r}, collection = {collection!r}: neither may be empty")
        super().__init__("duckdb", path, collection, RELATIONS)
        self._settings = settings or {}
        self._main: Connection | None = None

    def connect(self) -> None:
        """Locks the file against other processes until `close`."""
        if self._main is not None:
            return
        try:
            import duckdb
        except ImportError as error:
            raise ConfigError(
                f"duckdb is not installed ({error}): pip install 'vectorline[duckdb]'"
            ) from None
        self._make_folder()
        with self._errors_of("the file"):
            self._main = duckdb.connect(self._path)
        try:
            with self._errors_of("settings"):
                for key, value in {"memory_limit": MEMORY, **self._settings}.items():
                    text = value.replace("'", "''")
                    self._main.execute(f"SET GLOBAL {quoted(key)} = '{text}'")
                self._tables.prepare(self._run(self._main))
        except SinkError:
            self.close()
            raise

    def close(self) -> None:
        """Lets others open the file."""
        if self._main is not None:
            self._main.close()
        self._main = None

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """One transaction."""
        with self._changing(name) as cursor:
            self._tables.check_there(self._run(cursor), name)
            yield _Writer(cursor, self._tables.of(name), shape)
            self._tables.put(self._run(cursor), name, stamp)

    def held(self, name: str) -> Iterator[list[Held]]:
        """As the table is when the first part is read."""
        wanted = f"SELECT {quoted(ID)}, {quoted(HASH)} FROM {self._tables.of(name)}"  # noqa: S608
        with self._asking(name) as cursor:
            for batch in cursor.sql(wanted).to_arrow_reader(HELD_ROWS):
                ids, hashes = (batch.column(place).to_pylist() for place in (0, 1))
                yield [Held(*row) for row in zip(ids, hashes, strict=True)]

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By a scan of the ids."""
        schema, is_bits = shape.row_schema, shape.element is Element.BINARY
        columns = [
            f"{quoted(one)}::BLOB" if is_bits and one == VECTOR else quoted(one)
            for one in schema.names
        ]
        statement = (
            f"SELECT {', '.join(columns)} FROM {self._tables.of(name)} "  # noqa: S608
            f"WHERE {quoted(ID)} IN (SELECT {quoted(ID)} FROM {GIVEN})"
        )
        with self._asking(name) as cursor:
            found = _with(_table_of(ids), cursor, statement)
        pairs = zip(found.columns, schema.types, strict=True)
        return pa.table([_restored(*pair) for pair in pairs], schema=schema)

    def _make(self, connection: "Connection", name: str, shape: Shape) -> None:
        """Without a primary key, which makes inserts five times as slow."""
        made = f"CREATE TABLE {self._tables.of(name)} AS SELECT {_chosen(shape)} FROM {GIVEN}"  # noqa: S608
        _with(_storable(shape.row_schema.empty_table()), connection, made)

    def _distance(self, column: str, dim: int, element: Element, metric: Metric) -> str:
        if element is Element.BINARY:
            return f"bit_count(xor({quoted(column)}, ?::BLOB::BIT))"
        return f"{DISTANCES[metric]}({quoted(column)}::FLOAT[{dim}], ?::FLOAT[{dim}])"

    def _value(self, query: npt.NDArray[Any]) -> object:
        return query.tobytes() if query.dtype == np.uint8 else query.tolist()

    def _run(self, connection: "Connection") -> Run:
        return lambda statement, values: connection.execute(statement, values).fetchall()

    @contextmanager
    def _asking(self, what: str) -> Iterator["Connection"]:
        self.connect()
        assert self._main is not None  # noqa: S101
        with self._errors_of(what), self._main.cursor() as cursor:
            yield cursor

    @contextmanager
    def _changing(self, what: str) -> Iterator["Connection"]:
        """A transaction, which is rolled back where its cursor is closed before the end."""
        with self._asking(what) as cursor:
            cursor.begin()
            yield cursor
            cursor.commit()

    @contextmanager
    def _errors_of(self, what: str) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            words = str(error).splitlines()[0]
            told = f"{self._place}: {what}: {words}"
            if "Could not set lock" in words:
                raise SinkUnavailable(f"{told}; end that process, or publish later") from error
            is_said = any(one in words for one in (DISK_FULL, TOO_LARGE))
            if isinstance(error, duckdb.TransactionException) and not is_said:
                raise SinkUnavailable(f"{told}; publish again") from error
            raise SinkError(f"{told}; {_mend(words)}") from error


class _Writer:
    def __init__(self, cursor: "Connection", table: str, shape: Shape) -> None:
        self._cursor, self._table, self._shape = cursor, table, shape

    def upsert(self, rows: pa.Table) -> None:
        """Much faster than ON CONFLICT."""
        if len(rows):
            self._delete(rows.select([ID]))
            new = f"INSERT INTO {self._table} SELECT {_chosen(self._shape)} FROM {GIVEN}"  # noqa: S608
            _with(_storable(rows), self._cursor, new)

    def delete(self, ids: Sequence[str]) -> None:
        """All in one scan."""
        if ids:
            self._delete(_table_of(ids))

    def _delete(self, ids: pa.Table) -> None:
        those = f"{quoted(ID)} IN (SELECT {quoted(ID)} FROM {GIVEN})"  # noqa: S608
        _with(ids, self._cursor, f"DELETE FROM {self._table} WHERE {those}")  # noqa: S608


def _with(vectorline_given: pa.Table, cursor: "Connection", statement: str) -> pa.Table:
    """Executes a statement that reads GIVEN.

    What is given to `register` in a transaction is kept until its end.
    """
    found = cursor.sql(statement)
    return pa.table({}) if found is None else found.to_arrow_table()


def _table_of(ids: Sequence[str]) -> pa.Table:
    return pa.table({ID: pa.array(ids, pa.string())})


def _storable(rows: pa.Table) -> pa.Table:
    """Rows of types that DuckDB has: bits as bytes, and text where there is nothing but null."""
    columns = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if _is_bits(field.type):
            kind = pa.binary(field.type.list_size)
            flat = np.concatenate([[], *(one.flatten().to_numpy() for one in column.chunks)])
            body = pa.py_buffer(flat.astype(np.uint8))
            columns.append(pa.FixedSizeBinaryArray.from_buffers(kind, len(column), [None, body]))
        else:
            columns.append(column.cast(_stored(field.type)))
    return pa.table(columns, rows.schema.names)


def _stored(data_type: pa.DataType) -> pa.DataType:
    if pat.is_list(data_type):
        return pa.list_(_stored(data_type.value_type))
    return pa.string() if pat.is_null(data_type) else data_type


def _restored(column: pa.ChunkedArray, data_type: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """A column of its own type: DuckDB has one zone, and one time for seconds and less."""
    if _is_bits(data_type):
        flat = np.frombuffer(b"".join(column.to_pylist()), np.uint8)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=data_type)
    inner = data_type.value_type if pat.is_list(data_type) else data_type
    return pa.array(column.to_pylist(), data_type) if pat.is_null(inner) else column.cast(data_type)


def _is_bits(data_type: pa.DataType) -> bool:
    return bool(pat.is_fixed_size_list(data_type) and pat.is_uint8(data_type.value_type))


def _chosen(shape: Shape) -> str:
    bits = {VECTOR} if shape.element is Element.BINARY else set()
    return ", ".join(
        f"{quoted(one)}::BLOB::BIT AS {quoted(one)}" if one in bits else quoted(one)
        for one in shape.row_schema.names
    )


def _mend(words: str) -> str:
    if "does not exist" in words:
        return "somebody else removed it: publish it anew"
    if any(one in words for one in BROKEN):
        return DAMAGED
    if DISK_FULL in words:
        return MORE_ROOM
    if TOO_LARGE in words:
        return "look at `ulimit -f`, and publish again"
    if "ermission denied" in words or "read-only" in words:
        return "let this user write the file and its folder"
    return "publish again when that is mended"
