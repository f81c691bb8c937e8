"""What stores with SQL do beyond the contract: all types, others' names, grants, addresses."""

import math
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.errors import ConfigError, RowsRefused, SinkError, SinkUnavailable
from tasks.plugins import build
from tasks.sinks.base import Element, Metric, Shape, Sink
from tests.stores.peer import Peer, peer
from tests.stores.pgvector import OwnServer
from tests.stores.pgvector import Peer as PgPeer

pytestmark = pytest.mark.stores
UNITS = ("s", "ms", "us", "ns")
INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64()]
TIMES = [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"), pa.date32()]
STAMPS = [pa.timestamp(unit, zone) for unit in UNITS for zone in (None, "UTC", "Europe/Berlin")]
COUNTED = [*INTEGERS, pa.uint64(), *TIMES, *STAMPS]
OTHERS = [pa.null(), pa.bool_(), pa.float32(), pa.float64(), pa.string()]
NAME = '100% "it\'s" \\ ☃'
SMALL = Shape(8, Element.FLOAT32, Metric.COSINE, pa.schema([(NAME, pa.string())]))


@pytest.fixture(params=["pgvector", "duckdb", "sqlite-vec"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    made = peer(request.param, tmp_path / "store")
    yield made
    made.close()


@pytest.fixture
def sink(store: Peer) -> Iterator[Sink]:
    made = build("sinks", store.use, store.arguments())
    made.connect()
    yield made
    made.close()


def named(values: list[str]) -> dict[str, Any]:
    return {NAME: values}


def rows(of: Shape, seed: int = 0, **columns: Any) -> pa.Table:
    n = len(next(iter(columns.values())))
    flat = np.random.default_rng(seed).normal(size=n * of.dim).astype(np.float32)
    known = {
        "id": [f"r{number}" for number in range(n)],
        "_hash": [number.to_bytes(16, "big") for number in range(n)],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), of.dim),
    }
    return pa.table({**known, **columns}, schema=of.row_schema)


def put(sink: Sink, name: str, of: Shape, given: pa.Table) -> None:
    sink.create(name, of)
    with sink.writing(name, of, "s") as writer:
        writer.upsert(given)
    sink.finish(name, of)


def test_each_type_comes_back_as_it_was_also_in_lists(sink: Sink) -> None:
    columns = {f"{kind}": _values(kind) for kind in (*COUNTED, *OTHERS)}
    columns |= {f"list of {name}": _lists(values) for name, values in columns.items()}
    schema = pa.schema([(name, column.type) for name, column in columns.items()])
    of = Shape(8, Element.FLOAT32, Metric.COSINE, schema)
    given = rows(of, **columns)
    put(sink, "c", of, given)
    found = sink.fetch("c", of, given["id"].to_pylist()).sort_by("id")
    assert found.schema.equals(given.schema)
    for name in columns:
        assert _plain(found[name]) == _plain(given[name]), name


def _values(kind: pa.DataType) -> pa.Array:
    """Four, the second null; the least and the most where they are counted."""
    if pa.types.is_null(kind):
        return pa.nulls(4)
    if kind not in COUNTED:
        some = {
            pa.bool_(): [True, None, False, True],
            pa.string(): ["", None, "null ☃", "a,{}[]'\"\\\n"],
        }
        return pa.array(some.get(kind, [-0.0, None, math.inf, math.nan]), kind)
    if pa.types.is_integer(kind):
        bounds = np.iinfo(kind.to_pandas_dtype())
        return pa.array([int(bounds.min), None, int(bounds.max), 1], kind)
    a_day = 86_400 * 10 ** (3 * UNITS.index(kind.unit)) if kind != pa.date32() else 1
    some_days = {pa.date32(): (-719_162, 2_932_896)}.get(kind, (-80_000, 80_000))
    if pa.types.is_time(kind):
        some_days, a_day = (0, 1), a_day - 1
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    first, last = (days * a_day for days in some_days)
    return pa.array([first, None, last, 1], width).cast(kind)


def _lists(values: pa.Array) -> pa.Array:
    """All four, null, empty, and none but null."""
    inner = pa.concat_arrays([values, pa.nulls(1, values.type)])
    absent = pa.array([False, True, False, False])
    return pa.ListArray.from_arrays(pa.array([0, 4, 4, 4, 5], pa.int32()), inner, mask=absent)


def _plain(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    held = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_list(held.type):
        return [pc.list_value_length(held).to_pylist(), _plain(held.flatten())]
    if pa.types.is_temporal(held.type):
        return list(held.cast(pa.int32() if held.type.bit_width == 32 else pa.int64()).to_pylist())
    return [repr(one) for one in held.to_pylist()]


def test_names_of_others_are_left_alone(store: Peer, sink: Sink) -> None:
    put(sink, "c", SMALL, rows(SMALL, **named(["a", "b"])))
    other = build("sinks", store.use, {**store.arguments(), "collection": "texts__c"})
    other.connect()
    put(other, "d", SMALL, rows(SMALL, **named(["a"])))
    for attempt in (other.serving, lambda: other.serve("d")):
        with pytest.raises(SinkError, match="texts__c was not made by vectorline"):
            attempt()
    other.close()
    assert (sink.collections(), sink.count("c")) == ({"c": "s"}, 2)


def test_what_readers_see_is_not_removed(sink: Sink, store: Peer) -> None:
    put(sink, "c", SMALL, rows(SMALL, **named(["a", "b"])))
    sink.serve("c")
    with pytest.raises(SinkError, match=r"texts__c .*(readers|other objects)"):
        sink.drop("c")
    with pytest.raises(SinkError, match=r"texts__c .*(readers|other objects)"):
        sink.create("c", SMALL)
    assert [one[NAME] for one in store.visible().values()] == ["a", "b"]


def test_a_collection_that_is_gone_says_so(sink: Sink) -> None:
    with pytest.raises(SinkError, match="publish it anew"):
        sink.count("nobody")
    with pytest.raises(SinkError, match="publish it anew"), sink.writing("nobody", SMALL, "s"):
        pass
    assert sink.collections() == {}


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Any]:
    made: Any = peer("pgvector", tmp_path)
    yield made
    made.close()


def test_a_standby_is_read_and_whoever_writes_is_told_to_name_the_primary(tmp_path: Path) -> None:
    server = OwnServer(tmp_path)
    try:
        sink = build("sinks", "pgvector", PgPeer(tmp_path, server).arguments())
        sink.create("c", SMALL)
        with sink.writing("c", SMALL, "s") as writer:
            writer.upsert(rows(SMALL, **named(["a", "b"])))
        sink.serve("c")
        sink.close()
        server.become_standby()
        sink.connect()
        assert (sink.count("c"), sink.serving(), sink.collections()) == (2, "c", {"c": "s"})
        for write in (
            lambda: sink.create("d", SMALL),
            lambda: sink.stamp("c", "t"),
            lambda: sink.writing("c", SMALL, "t").__enter__(),
            lambda: sink.finish("c", SMALL),
            lambda: sink.drop("c"),
        ):
            with pytest.raises(SinkError, match=r"cannot execute .*; this is a replica, .*primary"):
                write()
        sink.close()
    finally:
        server.close()


def test_rows_that_postgres_refuses_spoil_no_others(postgres: Any) -> None:
    sink = build("sinks", "pgvector", postgres.arguments())
    sink.create("c", SMALL)
    with sink.writing("c", SMALL, "s") as writer:
        writer.upsert(rows(SMALL, **named(["old", "old"])))
        with pytest.raises(RowsRefused, match='0x00 in column 100% "it'):
            writer.upsert(rows(SMALL, **named(["new", "a\0b"])))
    found = sink.fetch("c", SMALL, ["r0", "r1"])
    assert found[NAME].to_pylist() == ["old", "old"]
    sink.close()


def test_a_view_of_other_columns_keeps_what_was_granted(postgres: Any) -> None:
    import psycopg

    sink = build("sinks", "pgvector", postgres.arguments())
    wide = Shape(8, Element.FLOAT32, Metric.COSINE, pa.schema([("year", pa.int64())]))
    put(sink, "c", SMALL, rows(SMALL, **named(["a"])))
    put(sink, "d", wide, rows(wide, year=[1]))
    sink.serve("c")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("GRANT SELECT ON texts TO PUBLIC")
        wanted = "SELECT relacl::text FROM pg_class WHERE relname = 'texts'"
        before = connection.execute(wanted).fetchall()
        sink.serve("d")
        assert connection.execute(wanted).fetchall() == before
    assert [one["year"] for one in postgres.visible().values()] == [1]
    sink.close()


def test_a_server_that_was_killed_is_found_again(postgres: Any) -> None:
    sink = build("sinks", "pgvector", postgres.arguments())
    put(sink, "c", SMALL, rows(SMALL, **named(["a", "b"])))
    with pytest.raises(SinkUnavailable), sink.writing("c", SMALL, "new") as writer:  # noqa: PT012
        writer.delete(["r0"])
        postgres.stop()
        writer.delete(["r1"])
    for _ in range(2):
        with pytest.raises(SinkUnavailable):
            sink.count("c")
    postgres.start()
    assert (sink.count("c"), sink.collections()) == (2, {"c": "s"})
    sink.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hid@den@nowhere.invalid/db",
        "postgresql://me:hid/den@nowhere.invalid/db",
        "postgresql://me:12/hidden@nowhere.invalid/db",
        "me:hidden",
        "postgresql://me:hidden@127.0.0.1:1/db",
    ],
)
def test_no_error_repeats_a_part_of_a_password(url: str) -> None:
    sink = build("sinks", "pgvector", {"url": url, "timeout_s": 2.0})
    with pytest.raises((ConfigError, SinkUnavailable)) as caught:
        sink.connect()
    assert not {"hid", "den"} & {*str(caught.value).replace("/", "@").split("@")}
    assert "hidden" not in str(caught.value)


def test_more_components_than_an_index_has_are_refused_with_what_to_do(postgres: Any) -> None:
    of = Shape(3_072, Element.FLOAT32, Metric.COSINE, pa.schema([]))
    sink = build("sinks", "pgvector", postgres.arguments())
    with pytest.raises(
        ConfigError, match=r"2,000 are the most: publish fewer, .*or set index: none"
    ):
        sink.create("c", of)
    exact = build("sinks", "pgvector", {**postgres.arguments(), "index": "none"})
    put(exact, "c", of, rows(of, id=["a"]))
    query = np.ones((1, 3_072), np.float32)
    assert [one.id for one in exact.search("c", of, query, 2)[0]] == ["a"]
    exact.close()
    sink.close()


def test_rows_that_were_replaced_take_no_places_of_others(postgres: Any) -> None:
    sink = build("sinks", "pgvector", postgres.arguments())
    put(sink, "c", SMALL, rows(SMALL, **named(["x"] * 1_000)))
    for seed in (1, 2):
        with sink.writing("c", SMALL, "s") as writer:
            writer.upsert(rows(SMALL, seed, **named(["x"] * 1_000)))
        sink.finish("c", SMALL)
    query = np.ones((1, 8), np.float32)
    assert len(sink.search("c", SMALL, query, 100)[0]) == 100
    sink.close()


def test_a_graph_that_nobody_reads_makes_way_for_a_large_change(postgres: Any) -> None:
    sink = build("sinks", "pgvector", postgres.arguments())
    put(sink, "c", SMALL, rows(SMALL, **named(["x"] * 1_000)))

    def left(n: int) -> int:
        """Graphs when so many rows were replaced."""
        with sink.writing("c", SMALL, "s") as writer:
            writer.upsert(rows(SMALL, n, **named(["y"] * n)))
        wanted = "SELECT FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname = 'hnsw'"
        with postgres._connect() as connection:
            return len(connection.execute(wanted).fetchall())

    assert (left(40), left(60)) == (1, 0)
    sink.finish("c", SMALL)
    sink.serve("c")
    assert left(500) == 1
    sink.finish("c", SMALL)
    query = np.ones((1, 8), np.float32)
    assert len(sink.search("c", SMALL, query, 100)[0]) == 100
    sink.close()


def test_a_table_that_somebody_altered_is_not_written_or_read(postgres: Any) -> None:
    sink = build("sinks", "pgvector", postgres.arguments())
    put(sink, "c", SMALL, rows(SMALL, **named(["1", "2"])))
    told = r"somebody altered column '100% \"it.*--repair` makes the table anew"
    with postgres._connect() as connection:
        for change in ("ALTER COLUMN {} TYPE int USING {}::int", "DROP COLUMN {}"):
            column = '"' + NAME.replace('"', '""') + '"'
            connection.execute(f"ALTER TABLE texts__c {change.format(column, column)}".encode())
            with pytest.raises(SinkError, match=told), sink.writing("c", SMALL, "s"):
                pass
            with pytest.raises(SinkError, match=told):
                sink.fetch("c", SMALL, ["r0"])
    sink.close()


def test_a_view_that_somebody_altered_serves_nothing_until_it_is_served_again(
    postgres: Any,
) -> None:
    sink = build("sinks", "pgvector", postgres.arguments())
    put(sink, "c", SMALL, rows(SMALL, **named(["a", "b"])))
    sink.serve("c")
    with postgres._connect() as connection:
        (made,) = connection.execute("SELECT pg_get_viewdef('texts'::regclass)").fetchone()
        fewer = made.rstrip(";") + " WHERE false"
        connection.execute(f"CREATE OR REPLACE VIEW texts AS {fewer}".encode())
    assert (sink.serving(), postgres.visible()) == (None, {})
    sink.serve("c")
    assert (sink.serving(), len(postgres.visible())) == ("c", 2)
    sink.close()


def test_limits_of_a_database_for_small_questions_do_not_end_a_publication(postgres: Any) -> None:
    with postgres._connect() as connection:
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"ALTER DATABASE {postgres.database} SET {limit} = '1ms'".encode())
    sink = build("sinks", "pgvector", postgres.arguments())
    put(sink, "c", SMALL, rows(SMALL, **named(["a", "b"])))
    assert sink.count("c") == 2
    sink.close()
    limited = {**postgres.arguments(), "settings": {"statement_timeout": "1ms"}}
    sink = build("sinks", "pgvector", limited)
    with pytest.raises(SinkUnavailable, match=r"let `settings: \{statement_timeout: '0'\}` allow"):
        put(sink, "d", SMALL, rows(SMALL, **named(["a"] * 20_000)))
    sink.close()


def test_rows_that_others_hold_are_removed_when_they_let_go(postgres: Any) -> None:
    import psycopg

    sink = build("sinks", "pgvector", {**postgres.arguments(), "settings": {"lock_timeout": "9ms"}})
    put(sink, "c", SMALL, rows(SMALL, **named(["a", "b"])))
    with psycopg.connect(postgres.url) as other, sink.writing("c", SMALL, "s") as writer:
        other.execute(b"SELECT FROM texts__c WHERE id = 'r0' FOR SHARE")
        with pytest.raises(SinkUnavailable, match="others hold it: publish again"):
            writer.delete(["r0"])
        other.rollback()
        writer.delete(["r0"])
    assert sink.count("c") == 1
    sink.close()


def test_a_server_that_falls_silent_is_given_up_and_a_slow_one_is_not(postgres: Any) -> None:
    import psutil  # type: ignore[import-untyped]
    import psycopg

    sink = build("sinks", "pgvector", {**postgres.arguments(), "timeout_s": 2})
    put(sink, "c", SMALL, rows(SMALL, **named(["a", "b"])))
    with psycopg.connect(postgres.url) as other:
        other.execute(b"LOCK TABLE texts__c IN ACCESS EXCLUSIVE MODE")
        threading.Timer(3, other.rollback).start()
        patient = {**postgres.arguments(), "timeout_s": 2, "settings": {"lock_timeout": "0"}}
        waiting = build("sinks", "pgvector", patient)
        assert waiting.count("c") == 2
        waiting.close()
    postmaster = psutil.Process(postgres._server.get_pid())
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        with pytest.raises(SinkUnavailable, match="does not answer any more: look at the server"):
            sink.count("c")
        with pytest.raises(SinkUnavailable, match=r"does not answer \(timeout expired\)"):
            sink.count("c")
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):  # which ended with its connection
                process.resume()
    assert sink.count("c") == 2
    sink.close()


def test_a_connection_that_was_cut_is_made_anew(postgres: Any) -> None:
    sink = build("sinks", "pgvector", postgres.arguments())
    put(sink, "c", SMALL, rows(SMALL, **named(["a", "b"])))
    with postgres._connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert sink.count("c") == 2
    sink.close()


@pytest.mark.parametrize("left", [5_000, 100], ids=["half", "a hundred bytes"])
@pytest.mark.parametrize("use", ["duckdb", "sqlite-vec"])
def test_a_file_that_is_damaged_is_told_with_what_to_do(
    use: str, left: int, tmp_path: Path
) -> None:
    place = peer(use, tmp_path)
    sink = build("sinks", use, place.arguments())
    put(sink, "c", SMALL, rows(SMALL, **named(["a"] * 500)))
    sink.close()
    file = Path(place.arguments()["path"])
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(SinkError, match="the file is damaged: move it away, and publish anew"):
        sink.count("c")
    sink.close()
