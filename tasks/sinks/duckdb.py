"""Rows in a DuckDB file: a table for each collection, a view for readers."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Element,
    Held,
    Limits,
    Metric,
    Mode,
    Near,
    Originals,
    Queries,
    Shape,
    Writer,
)
from tasks.sinks.file_tables import DAMAGED, MORE_ROOM, READERS, FileTables, Run, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

HELD_ROWS = 20_000
MEMORY = "1GiB"  # else it fills 80 % of the machine's with what it wrote
CANDIDATES = 8  # times k, of which the original chooses
DISK_FULL = os.strerror(errno.ENOSPC)
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
SCORES = {Metric.COSINE: "1 - far", Metric.DOT: "-far", Metric.EUCLIDEAN: "-far"}


class DuckdbSink:
    """Searches are exact: DuckDB's index is an extension, and not kept durably.

    One process at a time has a file open for writing, and no other one reads it meanwhile: readers
    in other processes see the old version or the new one, but cannot open it during a push, nor
    can a push begin while they have it open.
    """

    modes = (Mode.ATOMIC, Mode.SWITCH)
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
        self._path, self._place = path, f"duckdb {path}"
        self._tables = FileTables(self._place, collection, RELATIONS)
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
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{self._place}: no folder for it ({error})") from error
        with self._errors_of("the file"):
            self._main = duckdb.connect(self._path)
        try:
            with self._errors_of("settings"):
                for key, value in {"memory_limit": MEMORY, **self._settings}.items():
                    text = value.replace("'", "''")
                    self._main.execute(f"SET GLOBAL {quoted(key)} = '{text}'")
                self._tables.prepare(_run(self._main))
        except SinkError:
            self.close()
            raise

    def close(self) -> None:
        """Lets others open the file."""
        if self._main is not None:
            self._main.close()
        self._main = None

    def collections(self) -> dict[str, str]:
        """Of a table of its own in the file."""
        with self._cursor("its collections") as cursor:
            return self._tables.stamps(_run(cursor))

    def create(self, name: str, shape: Shape) -> None:
        """Without a primary key, which makes inserts five times as slow."""
        self._tables.check_names(shape.row_schema.names)
        with self._changing(name) as cursor:
            self._tables.remove(_run(cursor), name)
            made = f"CREATE TABLE {self._tables.of(name)} AS SELECT {_chosen(shape)} FROM {GIVEN}"  # noqa: S608
            _with(_storable(shape.row_schema.empty_table()), cursor, made)
            self._tables.put(_run(cursor), name, "")

    def stamp(self, name: str, text: str) -> None:
        """A row of the file's own table."""
        with self._changing(name) as cursor:
            self._tables.check_there(_run(cursor), name)
            self._tables.put(_run(cursor), name, text)

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """One transaction."""
        with self._changing(name) as cursor:
            self._tables.check_there(_run(cursor), name)
            yield _Writer(cursor, self._tables.of(name), shape)
            self._tables.put(_run(cursor), name, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """Brings what was written from the log into the file."""
        with self._cursor(name) as cursor:
            self._tables.check_there(_run(cursor), name)
            cursor.execute("CHECKPOINT")

    def count(self, name: str) -> int:
        """From what DuckDB knows of the table."""
        with self._cursor(name) as cursor:
            rows = cursor.execute(f"SELECT count(*) FROM {self._tables.of(name)}").fetchall()  # noqa: S608
        return int(rows[0][0])

    def held(self, name: str) -> Iterator[list[Held]]:
        """As the table is when the first part is read."""
        wanted = f"SELECT {quoted(ID)}, {quoted(HASH)} FROM {self._tables.of(name)}"  # noqa: S608
        with self._cursor(name) as cursor:
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
        with self._cursor(name) as cursor:
            found = _with(_table_of(ids), cursor, statement)
        pairs = zip(found.columns, schema.types, strict=True)
        return pa.table([_restored(*pair) for pair in pairs], schema=schema)

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """Exactly, where no original decides."""
        table, id_ = self._tables.of(name), quoted(ID)
        is_bits = shape.element is Element.BINARY
        if is_bits:
            first, score = f"bit_count(xor({quoted(VECTOR)}, ?::BLOB::BIT))", f"{shape.dim} - far"
        else:
            first, score = _distance(VECTOR, shape.dim, shape.metric), SCORES[shape.metric]
        last, those = first, ""
        if originals is not None:
            last, score = _distance(FULL, shape.full_dim, shape.metric), SCORES[shape.metric]
            nearest = f"SELECT {id_} FROM {table} ORDER BY {first} LIMIT {CANDIDATES * k}"  # noqa: S608
            those = f"WHERE {id_} IN ({nearest})"
        statement = (
            f"SELECT {id_}, ({score})::DOUBLE FROM (SELECT {id_}, {last} AS far FROM {table} "  # noqa: S608
            f"{those}) ORDER BY far LIMIT {k}"
        )
        found = []
        with self._cursor(name) as cursor:
            for number, query in enumerate(queries):
                values: list[object] = [query.tobytes() if is_bits else query.tolist()]
                if originals is not None:
                    values.insert(0, originals[number].tolist())
                found.append([Near(*row) for row in cursor.execute(statement, values).fetchall()])
        return found

    def drop(self, name: str) -> None:
        """What readers' view shows is not removed."""
        with self._changing(name) as cursor:
            self._tables.remove(_run(cursor), name)

    def serving(self) -> str | None:
        """What the view was made of."""
        with self._cursor("readers' view") as cursor:
            return self._tables.served(_run(cursor))

    def serve(self, name: str) -> None:
        """In one transaction."""
        with self._changing("readers' view") as cursor:
            self._tables.served(_run(cursor))
            self._tables.check_there(_run(cursor), name)
            cursor.execute(
                f"CREATE OR REPLACE VIEW {self._tables.view} AS "  # noqa: S608
                f"SELECT * EXCLUDE ({quoted(HASH)}) FROM {self._tables.of(name)}"
            )
            self._tables.put(_run(cursor), READERS, name)

    @contextmanager
    def _cursor(self, what: str) -> Iterator["Connection"]:
        self.connect()
        assert self._main is not None  # noqa: S101
        with self._errors_of(what), self._main.cursor() as cursor:
            yield cursor

    @contextmanager
    def _changing(self, what: str) -> Iterator["Connection"]:
        """A transaction, which is rolled back where its cursor is closed before the end."""
        with self._cursor(what) as cursor:
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
            if isinstance(error, duckdb.TransactionException) and DISK_FULL not in words:
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


def _run(cursor: "Connection") -> Run:
    return lambda statement, values: cursor.execute(statement, values).fetchall()


def _distance(column: str, dim: int, metric: Metric) -> str:
    return f"{DISTANCES[metric]}({quoted(column)}::FLOAT[{dim}], ?::FLOAT[{dim}])"


def _mend(words: str) -> str:
    if "does not exist" in words:
        return "somebody else removed it: publish it anew"
    if any(one in words for one in BROKEN):
        return DAMAGED
    if DISK_FULL in words:
        return MORE_ROOM
    if "ermission denied" in words or "read-only" in words:
        return "let this user write the file and its folder"
    return "publish again when that is mended"
