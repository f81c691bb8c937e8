"""Chroma when things go wrong, and the folder that it keeps itself."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from chromadb import HttpClient

from tasks.errors import ConfigError, SinkError
from tasks.sinks.base import ID, VECTOR, Element, Metric, Shape
from tasks.sinks.chroma import ChromaSink
from tests.sink_rows import DIM, OF, fill, rows
from tests.stores.chroma import Peer

pytestmark = pytest.mark.stores


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path / "chroma")
    yield made
    made.close()


@pytest.fixture
def sink(peer: Peer) -> Iterator[ChromaSink]:
    made = ChromaSink(**peer.arguments())
    made.connect()
    yield made
    made.close()


@pytest.fixture
def other(peer: Peer) -> Iterator[Any]:
    """Somebody else's client."""
    client: Any = HttpClient("127.0.0.1", int(peer.arguments()["url"].rsplit(":", 1)[1]))
    yield client
    client._server._session.close()
    client._admin_client._server._session.close()


def test_a_folder_keeps_rows_stamps_and_what_serves(tmp_path: Path) -> None:
    sink = ChromaSink(path=str(tmp_path / "folder"), collection="papers")
    sink.connect()
    fill(sink, "one", rows(1_200), "first")
    fill(sink, "two", rows(10), "second")
    sink.serve("two")
    sink.serve("one")
    with sink.writing("one", OF, "later") as writer:
        writer.delete(["r0003", "nobody"])
        writer.upsert(rows(1))
    sink.close()
    sink.connect()
    assert sink.collections() == {"one": "later", "two": "second"}
    assert sink.serving() == "one"
    ids = [one.id for part in sink.held("one") for one in part]
    assert sorted(ids) == [f"r{row:04d}" for row in range(1_200) if row != 3]
    kept = rows(1_200).filter(pa.compute.not_equal(rows(1_200)[ID], "r0003"))
    wanted = pa.concat_tables([rows(1), kept.slice(1)])
    assert sink.fetch("one", OF, ids).sort_by(ID).equals(wanted)
    query = np.array(kept[VECTOR].to_pylist()[1:3], np.float32)
    assert [part[0].id for part in sink.search("one", OF, query, 3)] == ["r0001", "r0002"]
    sink.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="opening"):
        ChromaSink(path=str(tmp_path / "file"), collection="papers").connect()


def test_numbers_that_chroma_changes_are_text(sink: ChromaSink, other: Any) -> None:
    numbers = pa.schema([("a", pa.float64()), ("b", pa.list_(pa.float64()))])
    shape = Shape(DIM, Element.FLOAT32, Metric.EUCLIDEAN, numbers)
    odd = [-0.0, 0.0, math.inf, math.nan, 1e300, None]
    given = rows(6).drop_columns(["title"])
    given = given.append_column("a", pa.array(odd)).append_column("b", pa.array([[x] for x in odd]))
    sink.create("one", shape)
    with sink.writing("one", shape, "s") as writer:
        writer.upsert(given)
    found = sink.fetch("one", shape, given[ID].to_pylist()).sort_by(ID)
    assert str(found["a"].to_pylist()) == str(odd)
    assert str(found["b"].to_pylist()) == str([[x] for x in odd])
    held = other.get_collection("one--papers", embedding_function=None).get(ids=["r0000", "r0004"])
    rest = [{key: row[key] for key in ("a", "b")} for row in held["metadatas"]]
    assert sorted(rest, key=str) == [{"a": "-0.0", "b": ["-0.0"]}, {"a": 1e300, "b": [1e300]}]


def test_texts_of_any_kind_are_documents_that_chroma_finds(sink: ChromaSink, other: Any) -> None:
    texts = [None, "", "it's ☃", "a\0b", "long " * 50_000, " "]
    shape = Shape(DIM, Element.FLOAT32, Metric.COSINE, pa.schema([("text", pa.string())]))
    given = rows(6).drop_columns(["title"]).append_column("text", pa.array(texts))
    sink.create("one", shape)
    for part in (given.slice(3), given):
        with sink.writing("one", shape, "s") as writer:
            writer.upsert(part)
    ids = given[ID].to_pylist()
    assert sink.fetch("one", shape, ids).sort_by(ID)["text"].to_pylist() == texts
    theirs = other.get_collection("one--papers", embedding_function=None)
    held = theirs.get(ids=ids, include=["documents"])
    assert dict(zip(held["ids"], held["documents"], strict=True)) == dict(
        zip(ids, texts, strict=True)
    )
    assert theirs.get(where_document={"$contains": "☃"})["ids"] == ["r0002"]
    with sink.writing("one", shape, "s") as writer:
        writer.upsert(given.set_column(3, "text", pa.array([*texts[1:], None])))
    assert sink.fetch("one", shape, ids).sort_by(ID)["text"].to_pylist() == [*texts[1:], None]


def test_ids_that_chroma_takes_not_and_those_like_them(sink: ChromaSink) -> None:
    ids = ["", "\0", "\0\0", "\0a", "a"]
    given = rows(5).set_column(0, OF.row_schema.field(ID), [ids])
    fill(sink, "one", given)
    assert sorted(one.id for part in sink.held("one") for one in part) == sorted(ids)
    assert sink.fetch("one", OF, ids).sort_by(ID).equals(given.sort_by(ID))
    with sink.writing("one", OF, "s") as writer:
        writer.delete(["", "\0a"])
    assert sorted(one.id for part in sink.held("one") for one in part) == ["\0", "\0\0", "a"]


def test_nothing_of_a_replaced_row_is_left(sink: ChromaSink, other: Any) -> None:
    fill(sink, "one", rows(3))
    with sink.writing("one", OF, "s") as writer:
        writer.upsert(rows(3, title=None))
    held = other.get_collection("one--papers", embedding_function=None).get(include=["metadatas"])
    assert [sorted(row) for row in held["metadatas"]] == [["_hash", "_vector"]] * 3


def test_what_is_not_ours_is_left_alone(sink: ChromaSink, other: Any, peer: Peer) -> None:
    fill(sink, "one", rows(3))
    other.create_collection("papers", embedding_function=None)
    with pytest.raises(SinkError, match="the collection papers is not vectorline's"):
        sink.serve("one")
    with pytest.raises(SinkError, match="the collection papers is not vectorline's"):
        sink.serving()
    assert sink.collections() == {"one": "s"}
    other.create_collection("two--papers", embedding_function=None)
    with pytest.raises(SinkError, match="two--papers is not vectorline's"):
        sink.create("two", OF)
    with pytest.raises(SinkError, match="two--papers is not vectorline's"):
        sink.drop("two")
    neighbour = ChromaSink(url=peer.arguments()["url"], collection="one--papers")
    neighbour.connect()
    assert neighbour.collections() == {}
    fill(neighbour, "it", rows(2))
    with pytest.raises(SinkError, match="the collection one--papers is not vectorline's"):
        neighbour.serve("it")
    neighbour.close()


def test_a_switch_that_was_cut_off_is_done_again(sink: ChromaSink, other: Any, peer: Peer) -> None:
    fill(sink, "one", rows(3))
    fill(sink, "two", rows(5))
    sink.serve("one")
    other.get_collection("papers", embedding_function=None).modify(name="one--papers")
    assert peer.visible() == {}
    assert sink.serving() is None
    assert sink.collections() == {"one": "s", "two": "s"}
    sink.serve("two")
    assert len(peer.visible()) == 5


def test_what_chroma_never_takes_is_refused(sink: ChromaSink) -> None:
    reserved = Shape(DIM, Element.FLOAT32, Metric.DOT, pa.schema([("chroma:a", pa.int64())]))
    with pytest.raises(SinkError, match="cannot have the columns 'chroma:a'"):
        sink.create("two", reserved)


def test_arguments_that_cannot_work_are_config_errors() -> None:
    with pytest.raises(ConfigError, match="either url"):
        ChromaSink(collection="papers")
    with pytest.raises(ConfigError, match="either url"):
        ChromaSink(collection="papers", url="http://a", path="b")
    with pytest.raises(ConfigError, match="3 or more letters"):
        ChromaSink(collection="-p", url="http://a")
    for url in ("localhost:8000", "ftp://a", "http://a/b"):
        with pytest.raises(ConfigError, match="write http://host:8000"):
            ChromaSink(collection="papers", url=url).connect()
