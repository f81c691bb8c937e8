"""A store downstream whose disk is full, a little later each time: readers keep what they had."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks.errors import SinkError
from tasks.plugins import build
from tests.faults.test_full_disk import PAGE_BYTES, empty, fill
from tests.publishing import (
    SWITCHED,
    copied,
    make,
    placed,
    published,
    seen,
    serve,
    sink_of,
    sinks,
    wanted,
)
from tests.stores.peer import Peer
from tests.stores.pgvector import OwnServer
from tests.stores.pgvector import Peer as PgPeer

IN_FILES = ("parquet", "numpy", "lancedb", "faiss", "usearch", "scann", "sqlite-vec", "duckdb")
TOLD = r"no space left on the disk|disk is full"
LOG_BYTES = 2**20
TABLES = (
    b"SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)
PAGES = 400  # with so many left, every one of them has room


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With rows enough for a file of PostgreSQL's to grow."""
    return make(tmp_path_factory.mktemp("larger"), 20)


@pytest.fixture(params=sinks("lancedb", "duckdb", among=IN_FILES))
def place(request: pytest.FixtureRequest, small_disk: Path) -> Iterator[Peer]:
    yield from placed(request.param, small_disk / "place")


@pytest.mark.parametrize("mode", ["atomic", "switch"])
def test_a_publication_that_gets_a_little_further_each_time_ends_at_what_serves(
    notes_store: str, place: Peer, small_disk: Path, tmp_path: Path, mode: str
) -> None:
    store, sink = copied(notes_store, tmp_path), sink_of(place, mode=mode)
    published(store, sink)
    for version in (3, SWITCHED):
        before, said = seen(place), list[str]()
        serve(store, version)
        for pages in range(PAGES):
            fill(small_disk, pages)
            try:
                published(store, sink)
            except SinkError as error:
                said.append(str(error))
            else:
                break
            finally:
                empty(small_disk)
            assert seen(place) in (before, wanted(store))
        assert published(store, sink).how == "nothing"
        assert seen(place) == wanted(store)
        assert [one for one in said if not re.search(TOLD, one)] == []
        assert said


class Postgres(PgPeer):
    """A server of its own, all of which, whose log, or whose tables are on a small disk."""

    def __init__(self, folder: Path, disk: Path, what: str) -> None:
        self._disk, self._what = disk, what
        disk.chmod(0o777)  # root's; the server is another user
        at, options = folder, ["--wal-segsize=1"]
        if what == "all":
            subprocess.run(["mount", "-o", "remount,size=120m", str(disk)], check=True)
            at = disk
        if what == "log":
            options.append(f"--waldir={disk / 'log'}")
        super().__init__(
            folder, OwnServer(at, *options, wal_recycle="off", wal_writer_delay="10ms")
        )
        if what == "tables":
            place = disk / "tables"
            place.mkdir()
            shutil.chown(place, (at / "data").owner())
            with self._connect() as connection:
                connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
                moved = f"ALTER DATABASE {self.database} SET default_tablespace = small"
                connection.execute(moved.encode())

    def leave(self, pages: int) -> None:
        """Lets so many more be written; the log has files of 1 MB, of which one is begun."""
        if self._what == "log":
            files, more = divmod(pages * PAGE_BYTES, LOG_BYTES)
            written = LOG_BYTES - more - LOG_BYTES // 40
            with self._connect("postgres") as connection:
                for one in ("CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"):
                    connection.execute(one.encode())
                say = b"SELECT pg_logical_emit_message(false, '', repeat('x', %s))"
                connection.execute(say, [max(0, written)])
            while self._held_bytes() > LOG_BYTES * 1.1:
                time.sleep(0.01)  # a file that is gone takes room while a process has it open
            pages = files * (LOG_BYTES // PAGE_BYTES + 2)
        fill(self._disk, pages)

    def _held_bytes(self) -> int:
        found = os.statvfs(self._disk)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def start(self) -> None:
        empty(self._disk)
        super().start()

    def close(self) -> None:
        self._server.close()


@pytest.mark.stores
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["atomic", "switch"])
@pytest.mark.parametrize("what", ["all", "log", "tables"])
def test_postgres_keeps_what_readers_had_also_where_it_goes_down(
    larger: str,
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    mode: str,
) -> None:
    monkeypatch.setattr("tasks.pushing.PAUSE_S", 0.05)
    place = Postgres(tmp_path, small_disk, what)
    try:
        store, sink = copied(larger, tmp_path), sink_of(place, mode=mode)
        published(store, sink)
        said = list[str]()
        for version in (3, SWITCHED, 4):
            before = seen(place)
            serve(store, version)
            for pages in range(0, PAGES, 24):
                place.leave(pages)
                try:
                    published(store, sink)
                except SinkError as error:
                    said.append(str(error))
                else:
                    break
                finally:
                    place.start()
                assert seen(place) in (before, wanted(store))
            assert published(store, sink).how == "nothing"
            assert seen(place) == wanted(store)
            with place._connect() as connection:
                held = {name for (name,) in connection.execute(TABLES).fetchall()}
            assert len(held) <= 3
            assert held == {f"texts__{name}" for name in collections(place)}
    finally:
        place.close()
    gone = r"does not answer|takes no connection now|connection was lost|system"
    assert [one for one in said if not re.search(f"{TOLD}|{gone}", one)] == []
    assert len([one for one in said if re.search(TOLD, one)]) > 5


def collections(place: Peer) -> set[str]:
    with closing(build("sinks", place.use, place.arguments())) as sink:
        sink.connect()
        return {*sink.collections()}
