"""Qdrant when things go wrong, and the local mode of its client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient
from qdrant_client.models import (
    CreateAlias,
    CreateAliasOperation,
    Distance,
    PointStruct,
    VectorParams,
)

from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.sinks.base import ID, VECTOR
from tasks.sinks.qdrant import QdrantSink
from tests import web
from tests.sink_rows import OF, fill, rows
from tests.stores.qdrant import Peer
from tests.wire.between import Passing
from tests.wire.server import Fault

pytestmark = pytest.mark.stores


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path / "qdrant")
    yield made
    made.close()


@pytest.fixture
def sink(peer: Peer) -> Iterator[QdrantSink]:
    made = QdrantSink(**peer.arguments())
    made.connect()
    yield made
    made.close()


@pytest.fixture
def other(peer: Peer) -> Iterator[QdrantClient]:
    """Somebody else's client."""
    client = QdrantClient(url=peer.arguments()["url"], check_compatibility=False)
    yield client
    client.close()


def test_local_mode_keeps_rows_stamps_and_the_alias(tmp_path: Path) -> None:
    sink = QdrantSink(path=str(tmp_path / "folder"), collection="papers")
    sink.connect()
    fill(sink, "one", rows(30), "first")
    fill(sink, "two", rows(10), "second")
    sink.finish("two", OF)
    sink.serve("two")
    sink.serve("one")
    with sink.writing("one", OF, "later") as writer:
        writer.delete(["r0003", "nobody"])
    sink.close()
    sink.connect()
    assert sink.collections() == {"one": "later", "two": "second"}
    assert sink.serving() == "one"
    ids = [one.id for part in sink.held("one") for one in part]
    assert sorted(ids) == [f"r{row:04d}" for row in range(30) if row != 3]
    found = sink.fetch("one", OF, ids)
    kept = rows(30).filter(pa.compute.not_equal(rows(30)[ID], "r0003"))
    assert found.sort_by(ID).equals(kept)
    query = np.array(rows(30)[VECTOR].to_pylist()[:2], np.float32)
    nearest = sink.search("one", OF, query, 3)
    assert [part[0].id for part in nearest] == ["r0000", "r0001"]
    sink.close()


# The client leaves its lock file open when it does not get the lock.
@pytest.mark.filterwarnings("ignore:.*folder/.lock:pytest.PytestUnraisableExceptionWarning")
def test_a_folder_of_local_mode_has_one_user(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"path": str(tmp_path / "folder"), "collection": "papers"}
    one, two = QdrantSink(**arguments), QdrantSink(**arguments)
    one.connect()
    with pytest.raises(SinkError, match="already accessed by another"):
        two.connect()
    one.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="opening"):
        QdrantSink(path=str(tmp_path / "file"), collection="papers").connect()


def test_what_is_not_ours_is_left_alone(sink: QdrantSink, other: QdrantClient, peer: Peer) -> None:
    params = VectorParams(size=2, distance=Distance.DOT)
    fill(sink, "one", rows(3))
    other.create_collection("papers", params)
    other.upsert("papers", [PointStruct(id=1, vector=[1.0, 2.0], payload={"id": "theirs"})])
    with pytest.raises(SinkError, match="the collection papers is not vectorline's"):
        sink.serve("one")
    with pytest.raises(SinkError, match="the collection papers is not vectorline's"):
        sink.serving()
    other.delete_collection("papers")
    other.create_collection("theirs", params)
    theirs = CreateAlias(collection_name="theirs", alias_name="papers")
    other.update_collection_aliases([CreateAliasOperation(create_alias=theirs)])
    with pytest.raises(SinkError, match="the alias papers of theirs is not vectorline's"):
        sink.serve("one")
    with pytest.raises(SinkError, match="the alias papers of theirs is not vectorline's"):
        sink.serving()
    other.create_collection("papers--two", params)
    with pytest.raises(SinkError, match="papers--two is not vectorline's"):
        sink.create("two", OF)
    with pytest.raises(SinkError, match="papers--two is not vectorline's"):
        sink.drop("two")
    assert sink.collections() == {"one": "s"}
    neighbour = QdrantSink(url=peer.arguments()["url"], collection="papers--one")
    neighbour.connect()
    assert neighbour.collections() == {}
    neighbour.close()


def test_an_index_that_is_built_is_waited_for_also_by_late_answers(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sinks.qdrant.POLL_S", 0.0)
    slow = Passing(peer)
    sink = QdrantSink(**slow.arguments())
    sink.connect()
    fill(sink, "one", rows(3))
    status = "GET /collections/papers--one"
    asked = len(slow.wire.asked)
    slow.wire.faults.append(Fault(status, times=2))  # cut, as by a time-out
    sink.finish("one", OF)
    assert slow.wire.asked[asked:] == [status] * 4  # cut, then at work, then done
    slow.wire.faults.append(Fault(status, times=99))
    with pytest.raises(SinkUnavailable, match="indexing papers--one"):
        sink.finish("one", OF)
    sink.close()
    slow.wire.stop()


def test_an_old_server_is_refused() -> None:
    said = b'{"title": "qdrant", "version": "1.15.4"}'
    with web.server(otherwise=lambda request: request.answer(200, said)) as server:
        sink = QdrantSink(url=server.url, collection="papers")
        with pytest.raises(SinkError, match=r"1\.15\.4; 1\.16 or later"):
            sink.connect()


def test_arguments_that_cannot_work_are_config_errors() -> None:
    with pytest.raises(ConfigError, match="either url"):
        QdrantSink(collection="papers")
    with pytest.raises(ConfigError, match="either url"):
        QdrantSink(collection="papers", url="http://a", path="b")
    with pytest.raises(ConfigError, match="'hnsw'; known are hnsw_config"):
        QdrantSink(collection="papers", url="http://a", options={"hnsw": {}})
