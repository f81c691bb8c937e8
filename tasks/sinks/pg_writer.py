"""Rows on their way into a table of PostgreSQL, in one transaction."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.sinks import pg_copy
from tasks.sinks.base import ID, Shape
from tasks.sinks.pg_server import Server, alone, name_in, run

if TYPE_CHECKING:
    from psycopg import Connection

MUCH_NEW = 0.05  # of all rows: put into a graph one by one, ten times as many are built anew
ROWS = "SELECT greatest(0, reltuples)::int8 FROM pg_class WHERE oid = to_regclass(%s)"


class TableWriter:
    """A Writer."""

    def __init__(
        self,
        server: Server,
        connection: "Connection[Any]",
        table: str,
        shape: Shape,
        graphs: Sequence[tuple[str, bool]],
    ) -> None:
        """`graphs` may be taken away where more rows come than they take quickly."""
        self._server, self._connection = server, connection
        self._table, self._shape, self._graphs = table, shape, graphs
        self._n_new, self._n_few = 0, 0.0
        if graphs:
            known = run(connection, ROWS, [alone(table).decode()]).fetchall()
            self._n_few = MUCH_NEW * known[0][0]

    def upsert(self, rows: pa.Table) -> None:
        """A savepoint each, so that rows which are refused spoil no others."""
        if not len(rows):
            return
        body = pg_copy.encoded(rows, self._shape)
        columns = ", ".join(name_in(one) for one in self._shape.row_schema.names)
        statement = f"COPY {self._table} ({columns}) FROM STDIN (FORMAT binary)"
        with self._errors(), self._connection.transaction():
            self._make_way(len(rows))
            self._delete(rows[ID].to_pylist())
            with self._connection.cursor().copy(alone(statement)) as copy:
                for part in (pg_copy.HEAD, body, pg_copy.TAIL):
                    copy.write(part)

    def delete(self, ids: Sequence[str]) -> None:
        """By the primary key, in a savepoint: what fails may be done again."""
        with self._errors(), self._connection.transaction():
            self._delete(ids)

    def _make_way(self, n_rows: int) -> None:
        self._n_new += n_rows
        if self._n_new > self._n_few:
            for graph, _ in self._graphs:
                run(self._connection, f"DROP INDEX IF EXISTS {graph}")

    def _delete(self, ids: Sequence[str]) -> None:
        known = [one for one in ids if "\0" not in one]
        run(self._connection, f"DELETE FROM {self._table} WHERE {name_in(ID)} = ANY(%s)", [known])  # noqa: S608

    def _errors(self) -> AbstractContextManager[None]:
        return self._server.errors_of(alone(self._table).decode().replace('"', ""), rows=True)
