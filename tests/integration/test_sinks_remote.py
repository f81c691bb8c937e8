"""Stores that are asked over a network, when they refuse, go away, or others change them."""

import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.downstream import downstream, verify_downstream
from tasks.errors import RowsRefused, SinkError, SinkUnavailable
from tasks.plugins import build
from tasks.pushing import Patience, Pushed, Pusher
from tasks.sinks.base import HASH, ID, VECTOR, Element, Metric, Mode, Shape, Sink
from tasks.sinks.http_answers import retry_after_s
from tasks.sinks.waiting import waits_by
from tests import web
from tests.pipeline import config, refresh, write_jsonl
from tests.publishing import SPACE, notes, published, seen, sink_of, wanted
from tests.sink_rows import DIM, OF, fill, rows
from tests.stores.milvus import Served
from tests.stores.peer import Peer, Shared, peer
from tests.wire import elasticsearch, pinecone
from tests.wire.between import before
from tests.wire.server import Fault

pytestmark = pytest.mark.stores

BULK = {
    "qdrant": r"PUT .*/points$",
    "chroma": "/upsert",
    "elasticsearch": "_bulk",
    "pinecone": "/upsert",
    "weaviate": "BatchObjects",
}
SERVERS = ("qdrant", "chroma")
"""Of which processes are killed here; the state of the others is in this one."""
KEY = "s3cr3t-k3y"
QUERY = np.ones((1, DIM), np.float32)


@pytest.fixture(params=BULK)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = before(peer(request.param, tmp_path / "place"))
    yield made
    made.close()


@pytest.fixture
def sink(store: Peer) -> Iterator[Sink]:
    yield from made_in(store)


@pytest.fixture(params=[*BULK, "milvus"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Also a store whose wire nobody stands on."""
    made = served(request.param, tmp_path / "place")
    yield made
    made.close()


@pytest.fixture
def there(place: Peer) -> Iterator[Sink]:
    yield from made_in(place)


def served(use: str, folder: Path) -> Any:
    return Served(folder) if use == "milvus" else before(peer(use, folder))


@pytest.fixture(params=SERVERS)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    """A store into which others write too."""
    made = peer(request.param, tmp_path / "place")
    yield made
    made.close()


def made_in(store: Peer) -> Iterator[Sink]:
    made = opened(store)
    made.create("c", OF)
    yield made
    made.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits no longer than the store asks for."""
    monkeypatch.setattr("tasks.sinks.remote.PAUSES_S", (0.0,) * 3)


def opened(store: Peer, **more: Any) -> Sink:
    made = build("sinks", store.use, store.arguments() | more)
    made.connect()
    return made


def calls(sink: Sink) -> dict[str, Callable[[], object]]:
    """What is asked of a store beside the writing of rows."""
    return {
        "collections": sink.collections,
        "create": lambda: sink.create("d", OF),
        "stamp": lambda: sink.stamp("c", "t"),
        "finish": lambda: sink.finish("c", OF),
        "count": lambda: sink.count("c"),
        "held": lambda: list(sink.held("c")),
        "fetch": lambda: sink.fetch("c", OF, ["r0001"]),
        "search": lambda: sink.search("c", OF, QUERY, 3),
        "serve": lambda: sink.serve("c"),
        "serving": sink.serving,
        "drop": lambda: sink.drop("d"),
    }


def test_what_asks_to_wait_is_said_with_its_time(store: Any, sink: Sink) -> None:
    headers = {"Retry-After": "1"}
    store.wire.faults.append(Fault(BULK[store.use], 429, headers, {"error": "slow"}, times=4))
    with (
        pytest.raises(SinkUnavailable, match=r"it asks to wait$") as raised,
        sink.writing("c", OF, "s") as writer,
    ):
        writer.upsert(rows(3))
    assert raised.value.retry_after_s == (None if store.use == "weaviate" else 1)
    assert re.search(r" at (http://)?127\.0\.0\.1:\d+, writing \S*c\S*: ", str(raised.value))
    store.wire.faults.clear()
    assert sink.collections() == {"c": ""}


@pytest.mark.usefixtures("hasty")
def test_who_asks_to_wait_is_waited_for(store: Any, sink: Sink) -> None:
    with sink.writing("c", OF, "s") as writer:
        writer.upsert(rows(5))
    sink.serve("c")
    for name, call in calls(sink).items():
        asked = len(store.wire.asked)
        store.wire.faults.append(Fault(".", 429, {"Retry-After": "0"}, {"error": "slow"}))
        call()
        is_silent = (store.use, name) == ("chroma", "finish")
        assert (store.wire.faults == []) is not is_silent, name
        assert (len(store.wire.asked) > asked + 1) is not is_silent, name
        store.wire.faults.clear()
    other = build("sinks", store.use, store.arguments())
    store.wire.faults.append(Fault(".", 503, {"Retry-After": "0"}, {"error": "slow"}))
    other.connect()
    assert store.wire.faults == []
    other.close()
    assert (sink.count("c"), sink.serving(), sink.collections()) == (5, "c", {"c": "t"})


@pytest.mark.usefixtures("hasty")
def test_who_asks_to_wait_for_ever_is_not_waited_for_so_long(
    store: Any, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    fault = Fault(".", 429, {"Retry-After": "0"}, {"error": "slow"}, times=1_000)
    for after, n_asked in (("0", 4), ("86400", 1)):
        store.wire.faults[:] = [fault]
        fault.headers["Retry-After"] = after
        asked = len(store.wire.asked)
        with pytest.raises(SinkUnavailable, match=r"it asks to wait$"):
            sink.collections()
        if store.use not in ("pinecone", "weaviate"):  # one asks again itself, one hides the time
            assert len(store.wire.asked) == asked + n_asked
        if store.use == "pinecone":  # which would wait as long as it is told
            break
    store.wire.faults.clear()
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_bulk_that_is_cut_half_way_may_be_sent_again(store: Any, sink: Sink) -> None:
    store.wire.faults.append(Fault(BULK[store.use], after=7))
    with sink.writing("c", OF, "s") as writer:
        try:
            writer.upsert(rows(20))
        except SinkUnavailable:
            writer.upsert(rows(20))
    assert sink.count("c") == 20
    found = sink.fetch("c", OF, rows(20)[ID].to_pylist()).sort_by(ID)
    assert found.equals(rows(20).sort_by(ID))


def test_a_server_that_is_away_is_waited_for_by_others(place: Any, there: Sink) -> None:
    with there.writing("c", OF, "s") as writer:
        writer.upsert(rows(50))
    there.serve("c")
    place.stop()
    with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1.*; does it run there\?$"):
        there.count("c")
    place.start()
    assert (there.count("c"), there.collections()) == (50, {"c": "s"})
    assert there.fetch("c", OF, rows(50)[ID].to_pylist()).sort_by(ID).equals(rows(50))
    assert len(place.visible()) == 50


def test_rows_reach_a_server_that_is_killed_between_and_started_again(
    place: Any, there: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.pushing.PAUSE_S", 0.2)
    again = threading.Timer(0.5, place.start)

    def batches() -> Iterator[pa.Table]:
        for start in range(0, 40, 5):
            if start == 20:
                place.stop()
                again.start()
            yield rows(40).slice(start, 5)

    pushed = Pushed()
    with there.writing("c", OF, "s") as writer:
        pusher = Pusher(writer, there.limits, Patience(), lambda done: None)
        pusher.push(batches(), [], pushed)
        again.join()
    assert (pushed.upserted, pushed.refused) == (40, [])
    assert there.count("c") == 40
    assert there.fetch("c", OF, rows(40)[ID].to_pylist()).sort_by(ID).equals(rows(40))


def test_a_collection_that_others_removed_is_missed(place: Any, there: Sink) -> None:
    with there.writing("c", OF, "s") as writer:
        writer.upsert(rows(5))
    other = opened(place)
    other.drop("c")
    other.close()
    asked = calls(there)
    for name in ("count", "held", "fetch", "search", "stamp", "serve", "finish"):
        if (place.use, name) == ("chroma", "finish"):
            continue
        with pytest.raises(SinkError, match=r"not there; was it removed by someone.*publish again"):
            asked[name]()
    assert (there.collections(), there.serving()) == ({}, None)


def test_a_write_to_what_others_removed_fails(place: Any, there: Sink) -> None:
    other = opened(place)
    with (  # noqa: PT012 (the removal belongs between)
        pytest.raises(SinkError, match="not there"),
        there.writing("c", OF, "s") as writer,
    ):
        other.drop("c")
        writer.upsert(rows(5))
    other.close()
    assert there.collections() == {}
    left = {"elasticsearch": "indices", "weaviate": "classes"}.get(place.use)  # Pinecone makes it
    assert left is None or getattr(place.wire, left) == {}


def test_no_message_has_the_key(store: Any) -> None:
    sink = build("sinks", store.use, store.arguments() | {"api_key": KEY})
    long = "x" * (300 - len("403 ") - len(KEY) // 2)
    for words in (f"{KEY} may not", f"{long}{KEY}"):
        store.wire.faults[:] = [Fault(".", 403, {}, {"error": words}, times=9)]
        with pytest.raises(SinkError) as raised:
            sink.connect()
        store.wire.faults.clear()
        assert KEY[:4] not in str(raised.value)
        assert not isinstance(raised.value, SinkUnavailable)
    assert "check api_key" in str(raised.value)


def test_rows_that_a_store_will_never_take_are_refused(place: Any, there: Sink) -> None:
    vectors = np.ones((4, DIM), np.float32)
    vectors[1, 2] = np.nan
    bad = rows(4).set_column(
        OF.row_schema.names.index(VECTOR),
        OF.row_schema.field(VECTOR),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM),
    )
    with (
        pytest.raises(RowsRefused, match="vector of 'r0001'"),
        there.writing("c", OF, "s") as writer,
    ):
        writer.upsert(bad)
    assert there.collections() == {"c": ""}
    if place.use == "pinecone":
        with (
            pytest.raises(RowsRefused, match="40960 bytes"),
            there.writing("c", OF, "s") as writer,
        ):
            writer.upsert(rows(1, title="x" * 50_000))


def test_a_name_that_is_not_ours_is_left_alone(store: Any, sink: Sink) -> None:
    match store.use:
        case "elasticsearch":
            store.wire.indices["docs"] = elasticsearch.Index({}, {"properties": {}}, {})
        case "pinecone":
            store.wire.seen["docs"]["theirs"] = {"id": "theirs", "values": [1.0] * DIM}
        case "weaviate":
            store.wire.classes["Docs"] = store.wire.classes["Docs__c"] | {"class": "Docs"}
        case _:
            pytest.skip("in the tests of its own")
    with pytest.raises(SinkError, match="is not vectorline's; nothing was changed; rename or rem"):
        sink.serve("c")


@pytest.mark.parametrize("use", [*BULK, "milvus"])
def test_a_server_that_never_answers_is_given_up(use: str, tmp_path: Path) -> None:
    place = served(use, tmp_path)
    arguments = place.arguments()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}"
        arguments["host" if use == "pinecone" else "url"] = where
        sink = build("sinks", use, arguments | {"timeout_s": 1})
        with pytest.raises(SinkUnavailable, match=r"opening: .* does it run there"):
            sink.connect()
    place.close()


@pytest.mark.parametrize("use", ["qdrant", "pinecone"])
def test_a_wait_for_what_a_server_does_later_can_be_ended(use: str, tmp_path: Path) -> None:
    class Enough(Exception): ...

    def end(seconds: float) -> None:
        assert seconds > 0
        raise Enough

    store: Any = peer(use, tmp_path)
    sink = opened(store)
    fill(sink, "c", rows(3), "s")
    with sink.writing("c", OF, "t") as writer:
        if use == "pinecone":  # the other one builds an index
            store.wire.lag_s = 60
        writer.upsert(rows(5))
        with waits_by(end), pytest.raises(Enough):
            sink.finish("c", OF)
        if use == "pinecone":
            store.wire.lag_s = 0
            store.wire.settled()
    sink.close()
    store.close()


def test_times_to_wait_are_read_as_they_are_meant() -> None:
    said = ("7", "0.5", "-3", "inf", "nan", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT")
    wanted = [7, 0.5, 0, None, None, None, None, 0]
    assert [retry_after_s({"Retry-After": one}) for one in said] == wanted
    assert retry_after_s({}) is None


@pytest.mark.parametrize("use", SERVERS)
@pytest.mark.parametrize(
    ("status", "headers", "kind", "wait"),
    [
        (429, {"Retry_After": "0"}, SinkUnavailable, 0),
        (429, {}, SinkUnavailable, None),
        (503, {"Retry_After": "0"}, SinkUnavailable, 0),
        (503, {"Retry_After": "tomorrow"}, SinkUnavailable, None),
        (429, {"Retry_After": "tomorrow"}, SinkUnavailable, None),
        (500, {}, SinkUnavailable, None),
        (401, {}, SinkError, None),
        (404, {}, SinkError, None),
        (200, {}, SinkError, None),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_answers_that_are_errors(
    use: str, status: int, headers: dict[str, str], kind: type[SinkError], wait: float | None
) -> None:
    def answer(request: web.Request) -> None:
        request.answer(status, b"{}", **headers)

    with web.server(otherwise=answer) as server:
        said = {"url": server.url, "collection": "papers", "api_key": KEY}
        sink = build("sinks", use, said)
        with pytest.raises(SinkError) as failed:
            sink.connect()
    assert type(failed.value) is kind
    assert getattr(failed.value, "retry_after_s", None) == wait
    assert KEY not in str(failed.value)
    assert server.url in str(failed.value)


@pytest.mark.parametrize("use", SERVERS)
def test_no_message_has_a_password(use: str) -> None:
    said = {"url": f"http://me:{KEY}@127.0.0.1:9", "collection": "papers", "timeout_s": 2}
    with pytest.raises(SinkUnavailable) as failed:
        build("sinks", use, said).connect()
    assert KEY not in str(failed.value)


def test_a_weaviate_that_is_away_has_no_details() -> None:
    with pytest.raises(SinkUnavailable, match=r"failed; does it run there\?$"):
        build("sinks", "weaviate", {"url": "http://127.0.0.1:9", "collection": "docs"}).connect()


@pytest.mark.parametrize("is_file", [True, False])
def test_a_place_that_milvus_cannot_write_is_not_said_to_be_open(
    is_file: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    if is_file:
        path.write_text("somebody's")
    else:
        path.symlink_to("missing/folder")
    with pytest.raises(SinkError) as told:
        build("sinks", "milvus", {"path": str(path), "collection": "docs"}).connect()
    assert str(told.value) == (
        f"Milvus at {path}, opening: milvus-lite keeps a folder there and cannot make or write it: "
        "check the rights, or name another path"
    )


def settled(sink: Sink) -> dict[str, bytes]:
    """What is held once the server is done with what the dead asked for."""
    held: dict[str, bytes] = {}
    while True:
        kept, held = held, {one.id: one.hash for part in sink.held("two") for one in part}
        if held == kept:
            return held
        time.sleep(0.3)


WRITER = """
import json, sys
from tasks.plugins import build
from tests.sink_rows import OF, rows
sink = build("sinks", sys.argv[1], json.loads(sys.argv[2]))
sink.connect()
with sink.writing("two", OF, "new") as writer:
    for title in range(10_000):
        writer.upsert(rows(200, title=str(title)))
        print(title, flush=True)
"""


@pytest.mark.parametrize("use", [*SERVERS, "milvus"])
def test_readers_see_nothing_of_a_writer_that_was_killed(use: str, tmp_path: Path) -> None:
    store = served(use, tmp_path / "place")
    sink = opened(store)
    fill(sink, "one", rows(50), "old")
    sink.serve("one")
    sink.create("two", OF)
    command = [sys.executable, "-c", WRITER, use, json.dumps(store.arguments())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"0\n"
        with sink.writing("two", OF, "mine") as mine:  # two at a time
            mine.upsert(rows(300, title="mine"))
        writer.kill()
    assert len(store.visible()) == 50
    assert sink.collections() == {"one": "old", "two": "mine"}
    held = settled(sink)
    found = sink.fetch("two", OF, list(held))
    assert dict(zip(found[ID].to_pylist(), found[HASH].to_pylist(), strict=True)) == held
    with sink.writing("two", OF, "new") as again:
        again.upsert(rows(200, title="again"))
        again.delete([f"r{row:04d}" for row in range(200, 300)])
    fetched = sink.fetch("two", OF, rows(300)[ID].to_pylist())
    assert fetched.sort_by(ID).equals(rows(200, title="again"))
    sink.close()
    store.close()


@pytest.mark.parametrize("metric", ["dotproduct", "euclidean"])
def test_pinecone_says_other_metrics_in_their_own_unit(metric: str) -> None:
    wire = pinecone.Pinecone("k", DIM, metric)
    sink = build("sinks", "pinecone", {"host": wire.url, "api_key": "k", "collection": "docs"})
    sink.connect()
    (only,) = sink.limits.metrics
    of = Shape(DIM, Element.FLOAT32, only, OF.columns)
    with pytest.raises(SinkError, match="name an index made for them"):
        sink.create("c", OF)
    sink.create("c", of)
    with sink.writing("c", of, "s") as writer:
        writer.upsert(rows(30, of))
    held = np.array(rows(30)[VECTOR].to_pylist())
    (found,) = sink.search("c", of, held[:1].astype(np.float32), 3)
    near = held @ held[0] if only is Metric.DOT else -np.linalg.norm(held - held[0], axis=1)
    assert [one.id for one in found] == [f"r{n:04d}" for n in np.argsort(-near)[:3]]
    assert [one.score for one in found] == pytest.approx(sorted(near)[:-4:-1], abs=1e-5)
    assert Mode.ATOMIC not in sink.modes
    sink.close()
    wire.stop()


def test_elasticsearch_before_9_2_has_arrays_and_keeps_them(tmp_path: Path) -> None:
    store = peer("elasticsearch", tmp_path)
    store.wire.version = "8.18.1"  # type: ignore[attr-defined]
    sink = opened(store)
    sink.create("c", OF)
    index = store.wire.indices["docs__c"]  # type: ignore[attr-defined]
    assert index.settings == {}
    with sink.writing("c", OF, "s") as writer:
        writer.upsert(rows(3))
    assert all(isinstance(one[VECTOR], list) for one in index.docs.values())
    sink.close()
    store.close()


@pytest.mark.parametrize("use", [*BULK, "milvus"])
def test_a_row_whose_key_others_took_is_put_again_and_stays(use: str, tmp_path: Path) -> None:
    store, corpus = str(tmp_path / "vectors"), tmp_path / "corpus"
    write_jsonl(corpus / "a.jsonl", notes(0, 20))
    refresh(config(corpus, encoder={"use": "hashing", "dim": DIM}), store, promote="yes")
    place = peer(use, tmp_path / "place")
    assert isinstance(place, Shared)
    sink = sink_of(place, mode="rowwise")
    published(store, sink)
    place.usurp(min(wanted(store)), DIM)
    with pytest.raises(SinkError, match="1 of 20 that were read back differ"):
        published(store, sink)
    record = published(store, sink)
    n_gone = 0 if use == "chroma" else 1  # where the key is the id, it is replaced
    assert (record.how, record.upserted, record.deleted) == ("repair", 1, n_gone)
    assert seen(place) == wanted(store)
    place.close()


def test_a_publication_removes_what_others_put_there(shared: Peer, tmp_path: Path) -> None:
    store, corpus = str(tmp_path / "vectors"), tmp_path / "corpus"
    write_jsonl(corpus / "a.jsonl", notes(0, 20))
    refresh(config(corpus, encoder={"use": "hashing", "dim": DIM}), store, promote="yes")
    assert isinstance(shared, Shared)
    sink = sink_of(shared)
    published(store, sink)
    shared.intrude(DIM)
    with downstream(store, SPACE, sink) as there:
        assert not all(one.ok for one in verify_downstream(there))
    record = published(store, sink)
    assert (record.how, record.upserted, record.deleted) == ("by comparison", 0, 2)
    assert seen(shared) == wanted(store)
    with downstream(store, SPACE, sink) as there:
        assert [one.ok for one in verify_downstream(there)] == [True] * 4
