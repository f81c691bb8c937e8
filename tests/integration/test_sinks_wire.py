"""What sinks do when a server refuses, is cut off or was changed by others: by wire format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.errors import RowsRefused, SinkError, SinkUnavailable
from tasks.plugins import build
from tasks.sinks.base import HASH, ID, VECTOR, Element, Metric, Mode, Shape, Sink
from tests.stores.peer import Peer, peer
from tests.wire import elasticsearch, pinecone
from tests.wire.server import Fault

pytestmark = pytest.mark.stores

DIM = 16
BULK = {"elasticsearch": "_bulk", "pinecone": "upsert", "weaviate": "BatchObjects"}
OF = Shape(DIM, Element.FLOAT32, Metric.COSINE, pa.schema([("title", pa.string())]))


def rows(n: int, of: Shape = OF, title: str = "t") -> pa.Table:
    rng = np.random.default_rng(n)
    flat = pa.array(rng.normal(size=n * of.dim).astype(np.float32))
    columns: dict[str, Any] = {ID: [f"r{i}" for i in range(n)], "title": [title] * n}
    columns |= {HASH: [bytes([i % 256]) * 16 for i in range(n)]}
    columns[VECTOR] = pa.FixedSizeListArray.from_arrays(flat, of.dim)
    return pa.table({name: columns[name] for name in of.row_schema.names}, schema=of.row_schema)


@pytest.fixture(params=BULK)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = peer(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def sink(store: Peer) -> Iterator[Sink]:
    made = opened(store)
    made.create("c", OF)
    yield made
    made.close()


def opened(store: Peer, **more: Any) -> Sink:
    made = build("sinks", store.use, store.arguments() | more)
    made.connect()
    return made


def test_what_asks_to_wait_is_said_with_its_time(store: Any, sink: Sink) -> None:
    headers = {"Retry-After": "0.1"}
    store.wire.faults.append(Fault(BULK[store.use], 429, headers, {"error": "slow"}, times=4))
    with (
        pytest.raises(SinkUnavailable, match=r"slow|EXHAUSTED") as raised,
        sink.writing("c", OF, "s") as writer,
    ):
        writer.upsert(rows(3))
    assert raised.value.retry_after_s == (None if store.use == "weaviate" else 0.1)
    store.wire.faults.clear()
    assert sink.collections() == {"c": ""}


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


def test_a_server_that_is_away_is_waited_for_by_others(store: Any, sink: Sink) -> None:
    with sink.writing("c", OF, "s") as writer:
        writer.upsert(rows(5))
    store.stop()
    with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1"):
        sink.count("c")
    store.start()
    assert (sink.count("c"), sink.collections()) == (5, {"c": "s"})


def test_a_collection_that_others_removed_is_missed(store: Any, sink: Sink) -> None:
    with sink.writing("c", OF, "s") as writer:
        writer.upsert(rows(5))
    other = opened(store)
    other.drop("c")
    other.close()
    query = np.ones((1, DIM), np.float32)
    for call in (
        lambda: sink.count("c"),
        lambda: list(sink.held("c")),
        lambda: sink.fetch("c", OF, ["r1"]),
        lambda: sink.search("c", OF, query, 3),
        lambda: sink.stamp("c", "t"),
        lambda: sink.serve("c"),
        lambda: sink.finish("c", OF),
    ):
        with pytest.raises(SinkError, match=r"not there; was it removed\? publish again"):
            call()
    assert (sink.collections(), sink.serving()) == ({}, None)


def test_a_write_to_what_others_removed_fails(store: Any, sink: Sink) -> None:
    other = opened(store)
    with (  # noqa: PT012 (the removal belongs between)
        pytest.raises(SinkError, match="not there"),
        sink.writing("c", OF, "s") as writer,
    ):
        other.drop("c")
        writer.upsert(rows(5))
    other.close()
    assert sink.collections() == {}
    left = {"elasticsearch": "indices", "weaviate": "classes"}.get(store.use)  # Pinecone makes it
    assert left is None or getattr(store.wire, left) == {}


def test_no_message_has_the_key(store: Any, sink: Sink) -> None:
    key = store.arguments()["api_key"]
    with pytest.raises(SinkError) as raised:
        opened(store, api_key=f"{key}-other").collections()
    assert key not in str(raised.value)


def test_rows_that_a_store_will_never_take_are_refused(store: Any, sink: Sink) -> None:
    bad = rows(4).set_column(
        OF.row_schema.names.index(VECTOR),
        OF.row_schema.field(VECTOR),
        pa.FixedSizeListArray.from_arrays(pa.array(np.full(4 * DIM, np.nan, np.float32)), DIM),
    )
    with pytest.raises(RowsRefused), sink.writing("c", OF, "s") as writer:
        writer.upsert(bad)
    if store.use == "pinecone":
        with (
            pytest.raises(RowsRefused, match="40960 bytes"),
            sink.writing("c", OF, "s") as writer,
        ):
            writer.upsert(rows(1, title="x" * 50_000))


def test_a_name_that_is_not_ours_is_left_alone(store: Any, sink: Sink) -> None:
    match store.use:
        case "elasticsearch":
            store.wire.indices["docs"] = elasticsearch.Index({}, {"properties": {}}, {})
        case "pinecone":
            store.wire.seen["docs"]["theirs"] = {"id": "theirs", "values": [1.0] * DIM}
        case _:
            store.wire.classes["Docs"] = store.wire.classes["Docs__c"] | {"class": "Docs"}
    with pytest.raises(SinkError, match="not made here; nothing was changed"):
        sink.serve("c")


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
    assert [one.id for one in found] == [f"r{n}" for n in np.argsort(-near)[:3]]
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
