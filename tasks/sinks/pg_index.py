"""Indexes of tables in PostgreSQL: built where they are missing, and anew where they got worse."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.sinks import pg_search
from tasks.sinks.base import VECTOR, Shape
from tasks.sinks.pg_server import alone, run

if TYPE_CHECKING:
    from psycopg import Connection

COUNTS_AT_ONCE = 150_000
MUCH_DEAD = 0.1  # of all rows: searches find that many less, until the graph is built anew
INDEXES = """SELECT m.amname, coalesce(i.reloptions, '{}') FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
WHERE x.indrelid = to_regclass(%s) AND x.indisvalid"""
GRAPHS = """SELECT i.oid::regclass::text, x.indisvalid FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
WHERE x.indrelid = to_regclass(%s) AND m.amname = 'hnsw'"""
DEAD = """SELECT n_dead_tup::float8 / greatest(1, n_live_tup + n_dead_tup)
FROM pg_stat_all_tables WHERE relid = to_regclass(%s)"""


@dataclass(frozen=True, slots=True)
class Indexes:
    """Those that a user wants; tables are named as statements have them.

    Attributes:
        kind: hnsw, ivfflat or none.
        hnsw: Parameters of hnsw, as SQL has them.
        lists: Of ivfflat; 0 for as many as go with the rows.
        probes: Lists that a search looks into; 0 for as many as go with them.
        ef_search: Rows that a search of hnsw looks at.
    """

    kind: str
    hnsw: tuple[str, ...]
    lists: int
    probes: int
    ef_search: int

    def build(self, connection: "Connection[Any]", table: str, shape: Shape) -> None:
        """Builds the index if it is missing, or was made with other parameters."""
        known = run(connection, INDEXES, [_plain(table)]).fetchall()
        options = [*self.hnsw]
        if self.kind == "ivfflat":
            ((n_rows,),) = run(connection, f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608
            few = n_rows <= 10**6  # what pgvector advises
            lists = self.lists or max(1, n_rows // 1_000 if few else math.isqrt(n_rows))
            options = [f"lists={lists}"]
        for kind, made_with in known:
            if kind == self.kind and (
                {*made_with} == {*options} or (kind == "ivfflat" and not self.lists)
            ):
                return
        made = pg_search.index_of(VECTOR, shape.element, shape.metric, self.kind, options)
        run(connection, f"CREATE INDEX ON {table} {made}")

    def searching(self, connection: "Connection[Any]", table: str, wanted: int) -> dict[str, str]:
        """Settings of a transaction that looks for so many rows."""
        most = pg_search.MOST_SEARCHED
        settings = {"hnsw.ef_search": str(min(most, max(wanted, self.ef_search)))}
        if wanted > most:
            settings["enable_indexscan"] = "off"
        if self.kind == "ivfflat":
            known = run(connection, INDEXES, [_plain(table)]).fetchall()
            lists = [int(of[0].partition("=")[2]) for kind, of in known if kind == "ivfflat"]
            probes = self.probes or math.isqrt(max(lists, default=1))
            settings["ivfflat.probes"] = str(max(1, probes))
        return settings


def renew(connection: "Connection[Any]", table: str) -> bool:
    """Builds graphs anew without locking readers out; whether a vacuum has nothing to mend.

    To mend a graph of 30,000 rows for 1,000 dead ones took VACUUM five times as long as
    building it anew; what is left for PostgreSQL's own vacuum is at most MUCH_DEAD.
    """
    dead = run(connection, DEAD, [_plain(table)]).fetchall()
    known = graphs(connection, table)
    for index, is_valid in known:
        if not is_valid:  # somebody was killed, or waited too long for readers
            run(connection, f"DROP INDEX CONCURRENTLY {index}")
        elif dead[0][0] >= MUCH_DEAD:
            run(connection, f"REINDEX INDEX CONCURRENTLY {index}")
    return not known or not 0 < dead[0][0] < MUCH_DEAD


def tell_dead(connection: "Connection[Any]") -> None:
    """Lets `renew` know, on another connection, of rows that died on this one."""
    if connection.info.server_version >= COUNTS_AT_ONCE:
        run(connection, "SELECT pg_stat_force_next_flush()")


def graphs(connection: "Connection[Any]", table: str) -> list[tuple[str, bool]]:
    """Indexes by hnsw, by their names in a statement, and whether they are whole."""
    rows = run(connection, GRAPHS, [_plain(table)]).fetchall()
    return [(graph.replace("%", "%%"), is_valid) for graph, is_valid in rows]


def _plain(table: str) -> str:
    return alone(table).decode()
