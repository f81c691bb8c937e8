"""PostgreSQL 16 with pgvector by the package pgserver: one server a process, a database a peer."""

import os
import signal
import tempfile
import uuid
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.rows import dict_row


@cache
def _server() -> Any:
    with warnings.catch_warnings():  # of folders for sockets that pgserver would rather have
        warnings.simplefilter("ignore")
        from pgserver.postgres_server import get_server

        return get_server(tempfile.mkdtemp(prefix="pg", dir="/tmp"), "delete")


class Peer:
    """Its own database; `visible` reads text, as psql does."""

    use = "pgvector"

    def __init__(self, folder: Path) -> None:
        self.database = f"d{uuid.uuid4().hex}"
        self.url = _server().get_uri(self.database)
        with self._connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {self.database}".encode())

    def arguments(self) -> dict[str, Any]:
        return {"url": self.url, "collection": "texts"}

    def visible(self) -> dict[str, dict[str, Any]]:
        with self._connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
            try:
                rows = cursor.execute("SELECT * FROM public.texts").fetchall()
            except psycopg.errors.UndefinedTable:
                return {}
        seen = {}
        for row in rows:
            for name in {"vector", "full_vector"} & {*row}:
                row[name] = _numbers(row[name])
            seen[row.pop("id")] = row
        return seen

    def bulk(self, rows: pa.Table) -> None:
        """COPY of binary rows into a new table with a primary key."""
        kinds = {pa.string(): "text", pa.int64(): "int8", pa.float64(): "float8"}
        names = rows.schema.names
        types = [
            "bytea" if n in ("_hash", "vector") else kinds[rows.schema.field(n).type] for n in names
        ]
        dim = rows.schema.field("vector").type.list_size
        made = ", ".join(
            f'"{name}" ' + (f"vector({dim})" if name == "vector" else kind)
            for name, kind in zip(names, types, strict=True)
        )
        flat = rows["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dim)
        sent = np.zeros((len(rows), 4 + 4 * dim), np.uint8)
        sent[:, :2] = dim >> 8, dim & 255
        sent[:, 4:] = flat.astype(">f4").view(np.uint8)
        columns = [
            sent.view(f"V{sent.shape[1]}")[:, 0].tolist()
            if name == "vector"
            else rows[name].to_pylist()
            for name in names
        ]
        with self._connect() as connection, connection.transaction():
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute("DROP TABLE IF EXISTS bulk")
            connection.execute(f"CREATE TABLE bulk ({made}, PRIMARY KEY (id))".encode())
            with connection.cursor().copy("COPY bulk FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(types)
                for row in zip(*columns, strict=True):
                    copy.write_row(row)

    def stop(self) -> None:
        import psutil  # type: ignore[import-untyped]

        postmaster = psutil.Process(_server().get_pid())
        family = [postmaster, *postmaster.children(recursive=True)]
        os.kill(postmaster.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)  # its children see that it is gone

    def start(self) -> None:
        _server().ensure_postgres_running()

    def close(self) -> None:
        with self._connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)".encode())

    def _connect(self, database: str | None = None) -> psycopg.Connection[Any]:
        return psycopg.connect(_server().get_uri(database or self.database), autocommit=True)


def _numbers(text: str) -> np.ndarray[Any, Any]:
    if text[0] == "[":
        return np.array(text[1:-1].split(","), np.float32)
    return np.packbits(np.array([*text], np.uint8))
