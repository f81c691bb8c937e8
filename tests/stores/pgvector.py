"""PostgreSQL 16 with pgvector by the package pgserver: one server a process, a database a peer."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import psycopg
import pyarrow as pa
from psycopg.rows import dict_row


@cache
def _server() -> Any:
    with warnings.catch_warnings():  # of folders for sockets that pgserver would rather have
        warnings.simplefilter("ignore")
        from pgserver.postgres_server import get_server

        return get_server(tempfile.mkdtemp(prefix="pg", dir="/tmp"), "delete")


class OwnServer:
    """Another one, a child of this process, made by initdb with options and settings."""

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        """`folder` is there."""
        first = _server()  # which makes the user that is not root
        programs = Path(psutil.Process(first.get_pid()).exe()).parent
        self._user = first.system_user
        self._data = folder / "data"
        self._data.mkdir()
        if self._user:
            shutil.chown(self._data, self._user)
            for one in (folder, *folder.parents):
                one.chmod(one.stat().st_mode | 0o011)
        command = [
            str(programs / "initdb"),
            "-A",
            "trust",
            "-E",
            "utf8",
            "-U",
            "postgres",
            *options,
        ]
        subprocess.run([*command, "-D", str(self._data)], user=self._user, check=True)
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = {value}\n" for key, value in settings.items())
        self._process: subprocess.Popen[bytes] | None = None
        data = str(self._data)
        self._command = [str(programs / "postgres"), "-D", data, "-h", "", "-k", data]
        self.ensure_postgres_running()

    def get_uri(self, database: str) -> str:
        return f"postgresql://postgres:@/{database}?host={self._data}"

    def ensure_postgres_running(self) -> None:
        """Starts it if it ended, and waits until it takes what is written."""
        for _ in range(600):
            try:
                with psycopg.connect(self.get_uri("postgres"), autocommit=True) as connection:
                    connection.execute("CHECKPOINT")  # also of one that is about to go down
                return
            except psycopg.OperationalError:
                if self._process is None or self._process.poll() is not None:
                    self._start()
                time.sleep(0.1)
        told = (self._data / "log").read_text().splitlines()[-9:]
        raise AssertionError("\n".join(["it does not come back", *told]))

    def _start(self) -> None:
        with (self._data / "log").open("a") as log:
            self._process = subprocess.Popen(self._command, user=self._user, stdout=log, stderr=log)

    def become_standby(self) -> None:
        """Starts it anew as one that only follows another, and takes what is read alone."""
        self.close()
        mark = self._data / "standby.signal"
        mark.touch()
        if self._user:
            shutil.chown(mark, self._user)
        self.ensure_postgres_running()

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()


class Peer:
    """Its own database; `visible` reads text, as psql does."""

    use = "pgvector"

    def __init__(self, folder: Path, server: Any = None) -> None:
        self._server = server or _server()
        self.database = f"d{uuid.uuid4().hex}"
        self.url = self._server.get_uri(self.database)
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
        postmaster = psutil.Process(self._server.get_pid())
        family = [postmaster, *postmaster.children(recursive=True)]
        os.kill(postmaster.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)  # its children see that it is gone

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        with self._connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)".encode())

    def _connect(self, database: str | None = None) -> psycopg.Connection[Any]:
        return psycopg.connect(self._server.get_uri(database or self.database), autocommit=True)


def _numbers(text: str) -> np.ndarray[Any, Any]:
    if text[0] == "[":
        return np.array(text[1:-1].split(","), np.float32)
    return np.packbits(np.array([*text], np.uint8))
