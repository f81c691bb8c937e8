"""Rows in an SQLite file, searched by the extension sqlite-vec: a table for each collection.

Vectors are plain blobs. The extension's own virtual table `vec0` takes half as many rows a second
and a fifth where they are replaced, knows neither NULL nor replacing, and is as fast to search.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from tasks.errors import ConfigError, RowsRefused, SinkError, SinkUnavailable
from tasks.sinks import plain
from tasks.sinks.base import (
    FULL,
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
    from apsw import Connection

HELD_ROWS = 20_000
ROOM_BYTES = 2**20
RELATIONS = "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"
TYPES = {Element.FLOAT32: "F32_BLOB", Element.INT8: "I8_BLOB", Element.BINARY: "BIT_BLOB"}
MARKS = {Element.FLOAT32: "{}", Element.INT8: "vec_int8({})", Element.BINARY: "vec_bit({})"}
Errors: TypeAlias = Callable[[], AbstractContextManager[None]]
DISTANCES = {Metric.COSINE: "vec_distance_cosine", Metric.EUCLIDEAN: "vec_distance_L2"}


class SqliteVecSink(FileSink["Connection"]):
    """Readers of the file, in any process, see the last version that is whole: SQLite's WAL.

    Searches are exact. What SQLite has no type for is text: times as ISO 8601, lists as JSON, NaN,
    and integers from 2**63. A file does not shrink: what was removed is filled again.
    """

    _checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
    limits = Limits(
        batch_rows=10_000,
        batch_bytes=16 * 2**20,
        elements=frozenset(TYPES),
        metrics=frozenset(DISTANCES),
    )

    def __init__(self, *, path: str, collection: str = "vectorline", timeout_s: float = 30) -> None:
        """`collection` is the view that readers know; `timeout_s` is for others that write."""
        if not path or path.startswith(":") or not collection:
            raise ConfigError(
                f"path = {path!r}, collection = {collection!r}: write the path of a file, and what "
                "readers' view shall be called"
            )
        super().__init__("sqlite-vec", path, collection, RELATIONS)
        self._timeout_s = timeout_s
        self._main: Connection | None = None

    def connect(self) -> None:
        """Makes the file where there is none."""
        if self._main is not None:
            return
        self._make_folder()
        main = self._opened()
        try:
            with self._errors_of("the file"):
                main.execute("PRAGMA journal_mode = WAL")
                self._tables.prepare(self._run(main))
        except SinkError:
            main.close()
            raise
        self._main = main

    def close(self) -> None:
        """Lets go of the file."""
        if self._main is not None:
            self._main.close()
        self._main = None

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """One transaction; others that write into the file wait for its end."""
        connection = self._opened()
        try:
            with self._changing(name, connection):
                self._tables.check_there(self._run(connection), name)
                table = self._tables.of(name)
                yield _Writer(connection, table, partial(self._errors_of, name), shape)
                self._tables.put(self._run(connection), name, stamp)
        finally:
            connection.close()

    def held(self, name: str) -> Iterator[list[Held]]:
        """As the table is when the first part is read."""
        wanted = f"SELECT {quoted(ID)}, {quoted(HASH)} FROM {self._tables.of(name)}"  # noqa: S608
        connection = self._opened()
        try:
            with self._errors_of(name):
                cursor = connection.execute(wanted)
                while rows := list(islice(cursor, HELD_ROWS)):
                    yield [Held(*row) for row in rows]
        finally:
            connection.close()

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """One by one, by the primary key."""
        schema = shape.row_schema
        columns = ", ".join(quoted(one) for one in schema.names)
        wanted = f"SELECT {columns} FROM {self._tables.of(name)} WHERE {quoted(ID)} = ?"  # noqa: S608
        with self._asking(name) as connection:
            rows = connection.executemany(wanted, ((one,) for one in ids)).fetchall()
        held = [[row[place] for row in rows] for place in range(len(schema))]
        made = [_restored(*pair) for pair in zip(held, schema.types, strict=True)]
        return pa.table(made, schema=schema)

    def _make(self, connection: "Connection", name: str, shape: Shape) -> None:
        """Columns of metadata have no type, so that what is put there stays as it is."""
        sent = {
            ID: "TEXT PRIMARY KEY NOT NULL",
            HASH: "BLOB NOT NULL",
            VECTOR: f"{TYPES[shape.element]}({shape.dim}) NOT NULL",
            FULL: f"{TYPES[Element.FLOAT32]}({shape.full_dim}) NOT NULL",
        }
        columns = [f"{quoted(one)} {sent.get(one, '')}" for one in shape.row_schema.names]
        connection.execute(f"CREATE TABLE {self._tables.of(name)} ({', '.join(columns)})")

    def _distance(self, column: str, dim: int, element: Element, metric: Metric) -> str:
        by = "vec_distance_hamming" if element is Element.BINARY else DISTANCES[metric]
        return f"{by}({MARKS[element].format(quoted(column))}, {MARKS[element].format('?')})"

    def _value(self, query: npt.NDArray[Any]) -> object:
        return query.tobytes()

    def _run(self, connection: "Connection") -> Run:
        def run(statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
            return connection.execute(statement, cast("Any", values)).fetchall()

        return run

    def _opened(self) -> "Connection":
        try:
            import apsw
            import sqlite_vec  # type: ignore[import-untyped]
        except ImportError as error:
            raise ConfigError(
                f"sqlite-vec needs more than is installed ({error}): "
                "pip install 'vectorline[sqlite-vec]'"
            ) from None
        with self._errors_of("the file"):
            connection = apsw.Connection(self._path)
            connection.set_busy_timeout(int(1000 * self._timeout_s))
            connection.enable_load_extension(True)
            connection.load_extension(sqlite_vec.loadable_path())
            connection.enable_load_extension(False)
        return connection

    @contextmanager
    def _asking(self, what: str) -> Iterator["Connection"]:
        self.connect()
        assert self._main is not None  # noqa: S101
        with self._errors_of(what):
            yield self._main

    @contextmanager
    def _changing(self, what: str, given: "Connection | None" = None) -> Iterator["Connection"]:
        """A transaction."""
        with self._asking(what) as main:
            connection = given or main
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _errors_of(self, what: str) -> Iterator[None]:
        import apsw

        try:
            yield
        except apsw.Error as error:
            told = f"{self._place}: {what}: {str(error).splitlines()[0]}"
            if isinstance(error, apsw.BusyError | apsw.LockedError):
                raise SinkUnavailable(f"{told}; somebody else writes: publish again") from error
            if isinstance(error, apsw.TooBigError | apsw.ConstraintError):
                raise RowsRefused(f"{told}; mend the rows") from error
            is_full = isinstance(error, apsw.FullError) or (
                isinstance(error, apsw.IOError) and not self._has_room()
            )
            raise SinkError(f"{told}; {MORE_ROOM if is_full else _mend(error)}") from error

    def _has_room(self) -> bool:
        """Whether the disk could take some more: SQLite says not always why it could not write."""
        return shutil.disk_usage(Path(self._path).parent).free >= ROOM_BYTES


class _Writer:
    def __init__(self, connection: "Connection", table: str, errors: Errors, shape: Shape) -> None:
        self._connection, self._table, self._errors = connection, table, errors
        self._names = shape.row_schema.names

    def upsert(self, rows: pa.Table) -> None:
        """A savepoint each, so that rows which are refused spoil no others."""
        columns = [_values(rows, name) for name in self._names]
        marks = ", ".join("?" * len(columns))
        new = f"INSERT OR REPLACE INTO {self._table} VALUES ({marks})"  # noqa: S608
        with self._errors(), self._connection:
            self._connection.executemany(new, zip(*columns, strict=True))

    def delete(self, ids: Sequence[str]) -> None:
        """By the primary key."""
        gone = f"DELETE FROM {self._table} WHERE {quoted(ID)} = ?"  # noqa: S608
        with self._errors(), self._connection:
            self._connection.executemany(gone, ((one,) for one in ids))


def _values(rows: pa.Table, name: str) -> list[Any]:
    """What SQLite holds of a column: it has infinite numbers, and no NaN."""
    column, data_type = rows[name], rows.schema.field(name).type
    if pat.is_fixed_size_list(data_type):
        vectors = plain.vectors_of(rows, name)
        blobs = vectors.view(f"V{vectors.shape[1] * vectors.itemsize}")
        return list(blobs[:, 0].tolist())
    if pat.is_fixed_size_binary(data_type):
        return list(column.to_pylist())
    values = plain.plain_values(column, plain.Holds())
    if pat.is_floating(data_type):
        infinite = {"inf": math.inf, "-inf": -math.inf}
        return [infinite.get(one, one) if isinstance(one, str) else one for one in values]
    return values


def _restored(values: list[Any], data_type: pa.DataType) -> pa.Array:
    if pat.is_fixed_size_list(data_type):
        kind = data_type.value_type
        flat = np.frombuffer(b"".join(values), kind.to_pandas_dtype())
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind), type=data_type)
    if pat.is_boolean(data_type):
        return pa.array([one if one is None else bool(one) for one in values], data_type)
    if pat.is_fixed_size_binary(data_type):
        return pa.array(values, data_type)
    return plain.column_of(values, data_type)


def _mend(error: Exception) -> str:
    import apsw

    if "no such table" in str(error):
        return "somebody else removed it: publish it anew"
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return DAMAGED
    if isinstance(error, apsw.ReadOnlyError | apsw.CantOpenError | apsw.PermissionsError):
        return "let this user write the file and its folder"
    return "publish again when that is mended"
