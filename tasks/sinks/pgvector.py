"""Rows in PostgreSQL with pgvector: a table for each collection, a view for readers."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from tasks.errors import ConfigError, SinkError
from tasks.sinks import pg_copy, pg_search
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Element,
    Held,
    Limits,
    Mode,
    Near,
    Originals,
    Queries,
    Shape,
    Writer,
)
from tasks.sinks.pg_index import Indexes, graphs, renew, tell_dead
from tasks.sinks.pg_server import Server, alone, name_in, run, text_in
from tasks.sinks.pg_writer import TableWriter

if TYPE_CHECKING:
    from psycopg import Connection

HELD_ROWS = 20_000
BATCH_ROWS = 10_000
BATCH_BYTES = 16 * 2**20
CANDIDATES = 8  # times k, of which the original chooses
MAX_NAME_BYTES = 63  # PostgreSQL cuts off the rest without a word
MAX_ID_BYTES = 2_600  # of a B-tree's key, 2,704 with what is around it
MAX_DIM = 16_000
COMMENT = "SELECT obj_description(c.oid, 'pg_class') FROM pg_class c WHERE c.oid = to_regclass(%s)"
DEFINED = """SELECT obj_description(c, 'pg_class'), md5(pg_get_viewdef(c))
FROM (SELECT to_regclass(%s)::oid) v (c)"""
ALTERED = """SELECT name FROM unnest(%s::text[], %s::text[]) wanted (name, type)
LEFT JOIN pg_attribute ON attrelid = to_regclass(%s) AND attname = name AND NOT attisdropped
WHERE atttypid IS DISTINCT FROM type::regtype ORDER BY name LIMIT 1"""
COLUMNS = """SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0
AND NOT attisdropped ORDER BY attnum"""
SERVED = """SELECT t.relname FROM pg_rewrite r
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
JOIN pg_class t ON d.refclassid = 'pg_class'::regclass AND t.oid = d.refobjid
WHERE r.ev_class = to_regclass(%s) AND t.oid <> r.ev_class LIMIT 1"""
GRANTED = """SELECT a.privilege_type, coalesce(r.rolname, ''), a.is_grantable
FROM pg_class c, aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid = to_regclass(%s) AND a.grantee <> c.relowner"""
READERS = "readers"


class PgvectorSink:
    """Each collection is a table, whose comment has the stamp; readers' name is a view.

    A row is deleted and copied anew, which is the fastest way in. pgvector before 0.7 knows no
    float16, and has no index of bits.
    """

    # The user, too: without a database, it is the one of that name.
    place = ("url", "host", "port", "user", "database", "schema", "collection")
    modes = (Mode.ATOMIC, Mode.SWITCH)

    def __init__(
        self,
        *,
        url: str | None = None,
        host: str | None = None,
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
        database: str | None = None,
        schema: str = "public",
        collection: str = "vectorline",
        index: Literal["hnsw", "ivfflat", "none"] = "hnsw",
        m: int = 16,
        ef_construction: int = 64,
        ef_search: int = 100,
        lists: int = 0,
        probes: int = 0,
        settings: dict[str, str] | None = None,
        timeout_s: float = 30,
    ) -> None:
        """A server by `url`, by its parts, or both; what is missing is libpq's to find.

        `collection` is the view that readers know, in `schema`. `lists` of ivfflat follow the rows
        if 0, `probes` the lists; `ef_search` and `probes` are for what vectorline itself asks.
        `settings` are parameters of PostgreSQL, such as maintenance_work_mem for large indexes.
        """
        longest = MAX_NAME_BYTES - len("__") - 24
        if not 1 <= len(collection.encode()) <= longest:
            raise ConfigError(
                f"collection = {collection!r}: 1 to {longest} bytes are allowed, since names in "
                f"PostgreSQL have {MAX_NAME_BYTES}; choose another"
            )
        parts = {"host": host, "port": port, "user": user, "password": password}
        self._server = Server(url, parts | {"dbname": database}, schema, settings or {}, timeout_s)
        self._schema, self._collection = schema, collection
        hnsw = (f"m={m}", f"ef_construction={ef_construction}")
        self._indexes = Indexes(index, hnsw, lists, probes, ef_search)
        self._halves, self._version = True, ""
        self.limits = self._limits()

    def connect(self) -> None:
        """Finds out which pgvector there is, and with it which elements."""
        found = self._server.connect()
        self._halves, self._version = found >= pg_search.WITH_HALVES, ".".join(map(str, found))
        self.limits = self._limits()

    def close(self) -> None:
        """Lets go of the connection."""
        self._server.close()

    def collections(self) -> dict[str, str]:
        """Read from the comments of this schema's tables."""
        with self._asking(READERS) as connection:
            rows = run(
                connection,
                "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = to_regnamespace(quote_ident(%s))",
                [self._schema],
            ).fetchall()
        known = [(table, _told(words)) for table, words in rows]
        return {
            one["name"]: one["stamp"]
            for table, one in known
            if one.get("vectorline") == self._collection and table == self._of(one["name"])
        }

    def create(self, name: str, shape: Shape) -> None:
        """The extension and the schema are made where they are missing."""
        self._check(shape)
        known, more = _types(shape), dict.fromkeys((HASH, VECTOR, FULL), " NOT NULL")
        more[ID] = ' COLLATE "C" PRIMARY KEY'  # others change with the system
        columns = [f"{name_in(one)} {known[one]}{more.get(one, '')}" for one in known]
        self._server.prepare()
        self.drop(name)
        with self._asking(name) as connection, connection.transaction():
            run(connection, f"CREATE TABLE {self._table(name)} ({', '.join(columns)})")
            self._put_stamp(connection, name, "")

    def stamp(self, name: str, text: str) -> None:
        """Part of the table's comment."""
        with self._asking(name) as connection, connection.transaction():
            self._is_ours(connection, self._of(name))
            self._put_stamp(connection, name, text)

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """One transaction; others that write into the collection wait for its end.

        Where no reader looks, a large change takes the graph away, for `finish` to build anew.
        """
        with self._server.opened() as connection, self._errors_of(name):
            with connection.transaction():
                run(connection, f"LOCK TABLE {self._table(name)} IN SHARE ROW EXCLUSIVE MODE")
                self._is_ours(connection, self._of(name))
                self._check_table(connection, name, shape)
                is_seen = self._shown(connection) == self._of(name)
                known = [] if is_seen else graphs(connection, self._table(name))
                yield TableWriter(self._server, connection, self._table(name), shape, known)
                self._put_stamp(connection, name, stamp)
            tell_dead(connection)

    def finish(self, name: str, shape: Shape) -> None:
        """Builds the index if it is missing, or if many of the rows that HNSW finds are dead.

        An index that is there with other parameters stays.
        """
        with self._asking(name) as connection:
            if self._indexes.kind != "none" and (
                self._halves or shape.element is not Element.BINARY
            ):
                self._indexes.build(connection, self._table(name), shape)
            is_clean = renew(connection, self._table(name))
            run(connection, f"{'VACUUM (ANALYZE)' if is_clean else 'ANALYZE'} {self._table(name)}")

    def count(self, name: str) -> int:
        """By a scan."""
        with self._asking(name) as connection:
            rows = run(connection, f"SELECT count(*) FROM {self._table(name)}").fetchall()  # noqa: S608
        return int(rows[0][0])

    def held(self, name: str) -> Iterator[list[Held]]:
        """As the table is when the first part is read."""
        columns = f"{name_in(ID)}, {name_in(HASH)}"
        with (
            self._server.opened() as connection,
            self._errors_of(name),
            connection.transaction(),
            connection.cursor("held") as cursor,
        ):
            statement = f"SELECT {columns} FROM {self._table(name)}"  # noqa: S608
            cursor.execute(alone(statement), binary=True)
            while rows := cursor.fetchmany(HELD_ROWS):
                yield [Held(*row) for row in rows]

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """In the order of the table."""
        schema = shape.row_schema
        sent = {VECTOR: pg_search.TYPES[shape.element], FULL: "vector"}
        columns = [
            f"{sent[one]}_send({name_in(one)})" if one in sent else name_in(one)
            for one in schema.names
        ]
        known = [one for one in ids if "\0" not in one]
        statement = (
            f"SELECT {', '.join(columns)} FROM {self._table(name)} WHERE {name_in(ID)} = ANY(%s)"  # noqa: S608
        )
        with self._asking(name) as connection:
            self._check_table(connection, name, shape)
            rows = run(connection, statement, [known], binary=True).fetchall()
        made = []
        for place, field in enumerate(schema):
            values = [row[place] for row in rows]
            if field.name in sent:
                element = shape.element if field.name == VECTOR else Element.FLOAT32
                made.append(pg_copy.vectors_of(values, field.type, element))
            else:
                made.append(pg_copy.column_of(values, field.type))
        return pa.table(made, schema=schema)

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """Through the index where there is one, exactly where more than 1,000 rows are wanted."""
        wanted = k if originals is None else CANDIDATES * k
        found = []
        with self._asking(name) as connection, connection.transaction():
            for key, value in self._indexes.searching(
                connection, self._table(name), wanted
            ).items():
                run(connection, "SELECT set_config(%s, %s, true)", [key, value])
            for number, query in enumerate(queries):
                first = last = pg_search.near(
                    VECTOR, shape.element, shape.metric, query, halves=self._halves
                )
                if originals is not None:
                    last = pg_search.near(
                        FULL, Element.FLOAT32, shape.metric, originals[number], halves=True
                    )
                rows = run(
                    connection,
                    f"SELECT {name_in(ID)}, {last.score} FROM (SELECT * FROM {self._table(name)} "  # noqa: S608
                    f"ORDER BY {first.distance} LIMIT {wanted}) near "
                    f"ORDER BY {last.distance} LIMIT {k}",
                ).fetchall()
                found.append([Near(*row) for row in rows])
        return found

    def drop(self, name: str) -> None:
        """What readers' view shows cannot be removed."""
        with self._asking(name) as connection, connection.transaction():
            if self._is_ours(connection, self._of(name)):
                run(connection, f"DROP TABLE {self._table(name)}")

    def serving(self) -> str | None:
        """The table that the view was made of; none where somebody altered the view."""
        with self._asking(READERS) as connection:
            if not self._is_ours(connection, self._collection):
                return None
            ((comment, now),) = run(connection, DEFINED, [self._plain(self._collection)]).fetchall()
            if _told(comment).get("made", now) != now:
                return None
            shown = self._shown(connection)
        prefix = self._of("")
        return shown.removeprefix(prefix) if shown.startswith(prefix) else None

    def serve(self, name: str) -> None:
        """In one transaction; a view of other columns is made anew, with what was granted."""
        import psycopg

        view = name_in(self._schema, self._collection)
        with self._asking(READERS) as connection, connection.transaction():
            self._is_ours(connection, self._collection)
            rows = run(connection, COLUMNS, [self._plain(self._of(name))]).fetchall()
            columns = ", ".join(name_in(one) for (one,) in rows if one != HASH)
            made = f"VIEW {view} AS SELECT {columns} FROM {self._table(name)}"  # noqa: S608
            try:
                with connection.transaction():
                    run(connection, f"CREATE OR REPLACE {made}")
            except psycopg.errors.InvalidTableDefinition:
                granted = run(connection, GRANTED, [self._plain(self._collection)]).fetchall()
                run(connection, f"DROP VIEW {view}")
                run(connection, f"CREATE {made}")
                for right, role, may_grant in granted:
                    to = name_in(role) if role else "PUBLIC"
                    more = " WITH GRANT OPTION" if may_grant else ""
                    run(connection, f"GRANT {right} ON {view} TO {to}{more}")
            ((_, now),) = run(connection, DEFINED, [self._plain(self._collection)]).fetchall()
            told = json.dumps({"vectorline": self._collection, "made": now})
            run(connection, f"COMMENT ON VIEW {view} IS {text_in(told)}")

    def _limits(self) -> Limits:
        kinds = {Element.FLOAT32, Element.BINARY} | ({Element.FLOAT16} if self._halves else set())
        return Limits(
            batch_rows=BATCH_ROWS,
            batch_bytes=BATCH_BYTES,
            max_dim=MAX_DIM,
            id_bytes=MAX_ID_BYTES,
            elements=frozenset(kinds),
            check=self._check,
        )

    def _check(self, shape: Shape) -> None:
        dim, element = shape.dim, shape.element
        if element not in self.limits.elements:
            known = ", ".join(sorted(self.limits.elements))
            if element is Element.FLOAT16:
                known += f"; float16 from pgvector 0.7 on, and this server has {self._version}"
            raise ConfigError(f"{self._server.place} takes no {element} components, but {known}")
        most = pg_search.INDEXED_DIM[element]
        if self._indexes.kind != "none" and dim > most:
            others = [
                f"as {one} ({pg_search.INDEXED_DIM[one]:,}), "
                for one in (Element.FLOAT16, Element.BINARY)
                if self._halves and one is not element
            ]
            raise ConfigError(
                f"pgvector has no index of {dim:,} components of {element}, {most:,} are the most: "
                f"publish fewer, {''.join(others)}or set index: none"
            )
        for one in shape.columns.names:
            if len(one.encode()) > MAX_NAME_BYTES:
                raise ConfigError(
                    f"column {one!r} has a longer name than PostgreSQL's {MAX_NAME_BYTES} bytes: "
                    "rename it, or leave it out"
                )

    def _check_table(self, connection: "Connection[Any]", name: str, shape: Shape) -> None:
        """Raises SinkError where a column is gone, or has another type."""
        known = _types(shape)
        table = self._plain(self._of(name))
        for (column,) in run(connection, ALTERED, [[*known], [*known.values()], table]).fetchall():
            raise SinkError(
                f"{self._server.place} {self._schema}.{self._of(name)}: somebody altered column "
                f"{column!r}; `vectorline publish --repair` makes the table anew"
            )

    def _shown(self, connection: "Connection[Any]") -> str:
        """The relation of which readers' view was made."""
        rows = run(connection, SERVED, [self._plain(self._collection)]).fetchall()
        return str(rows[0][0]) if rows else ""

    def _put_stamp(self, connection: "Connection[Any]", name: str, stamp: str) -> None:
        told = json.dumps({"vectorline": self._collection, "name": name, "stamp": stamp})
        run(connection, f"COMMENT ON TABLE {self._table(name)} IS {text_in(told)}")

    def _is_ours(self, connection: "Connection[Any]", relation: str) -> bool:
        """Whether there is such a table or view; raises SinkError for somebody else's."""
        rows = run(connection, COMMENT, [self._plain(relation)]).fetchall()
        if rows and _told(rows[0][0]).get("vectorline") != self._collection:
            raise SinkError(
                f"{self._server.place} {self._schema}.{relation} was not made by vectorline: "
                "rename it, or choose another collection or schema"
            )
        return bool(rows)

    @contextmanager
    def _asking(self, what: str) -> Iterator["Connection[Any]"]:
        with self._errors_of(what):
            yield self._server.main

    @contextmanager
    def _errors_of(self, what: str) -> Iterator[None]:
        relation = self._collection if what == READERS else self._of(what)
        with self._server.errors_of(f"{self._schema}.{relation}"):
            yield

    def _of(self, name: str) -> str:
        return f"{self._collection}__{name}"

    def _table(self, name: str) -> str:
        return name_in(self._schema, self._of(name))

    def _plain(self, relation: str) -> str:
        """A name as a value."""
        return alone(name_in(self._schema, relation)).decode()


def _types(shape: Shape) -> dict[str, str]:
    """The types of a table's columns in PostgreSQL, by name, in their order."""
    known = {ID: "text", HASH: "bytea"}
    known[VECTOR] = f"{pg_search.TYPES[shape.element]}({shape.dim})"
    known |= {one.name: pg_copy.type_of(one.type)[0] for one in shape.columns}
    return known | ({FULL: f"vector({shape.full_dim})"} if shape.full_dim else {})


def _told(comment: str | None) -> dict[str, Any]:
    try:
        made = json.loads(comment or "")
    except ValueError:
        return {}
    return made if isinstance(made, dict) else {}
