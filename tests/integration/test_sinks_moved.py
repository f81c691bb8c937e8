"""Collections and names that others take away, or give to something of their own."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest
from chromadb import HttpClient
from pymilvus import MilvusClient
from qdrant_client import QdrantClient
from qdrant_client import models as q

from tasks.errors import SinkError
from tasks.plugins import build
from tasks.sinks.remote import RemoteSink
from tests.pipeline import config, refresh, write_jsonl
from tests.publishing import notes, published, seen, sink_of, wanted
from tests.sink_rows import DIM
from tests.stores.milvus import Served
from tests.stores.peer import peer
from tests.wire.elasticsearch import Index

pytestmark = pytest.mark.stores

VECTOR = [1.0] * DIM
NOT_OURS = "is not vectorline's; nothing was changed; rename or remove it, or give another coll"


class Others(Protocol):
    """What somebody does to a store with a client of their own."""

    def __init__(self, place: Any, readers: str) -> None: ...

    def make(self, name: str) -> None:
        """A collection with a row."""

    def n_rows(self, name: str) -> int:
        """How many a collection has."""

    def drop(self, name: str) -> None:
        """Removes a collection, whoever made it, and readers' name if it is its."""

    def unname(self) -> None:
        """Takes readers' name away."""

    def name(self, name: str) -> None:
        """Gives it to a collection."""


class OfQdrant:
    def __init__(self, place: Any, readers: str) -> None:
        self._url, self._readers = place.url, readers

    def make(self, name: str) -> None:
        vectors = q.VectorParams(size=DIM, distance=q.Distance.COSINE)
        self._ask("create_collection", name, vectors_config=vectors)
        self._ask("upsert", name, [q.PointStruct(id=1, vector=VECTOR)])

    def n_rows(self, name: str) -> int:
        return int(self._ask("count", name).count)

    def drop(self, name: str) -> None:
        self._ask("delete_collection", name)

    def unname(self) -> None:
        gone = q.DeleteAlias(alias_name=self._readers)
        self._ask("update_collection_aliases", [q.DeleteAliasOperation(delete_alias=gone)])

    def name(self, name: str) -> None:
        self.unname()
        made = q.CreateAlias(collection_name=name, alias_name=self._readers)
        self._ask("update_collection_aliases", [q.CreateAliasOperation(create_alias=made)])

    def _ask(self, call: str, *said: Any, **more: Any) -> Any:
        client = QdrantClient(url=self._url, check_compatibility=False)
        try:
            return getattr(client, call)(*said, **more)
        finally:
            client.close()


class OfChroma:
    """The name is the collection's own: whoever takes it renames a collection."""

    def __init__(self, place: Any, readers: str) -> None:
        self._port, self._readers = place.port, readers

    def make(self, name: str) -> None:
        self._ask("create_collection", name).add(ids=["x"], embeddings=[VECTOR])

    def n_rows(self, name: str) -> int:
        with suppress(Exception):
            return int(self._ask("get_collection", name).count())
        return int(self._ask("get_collection", self._readers).count())

    def drop(self, name: str) -> None:
        self._ask("delete_collection", name)

    def unname(self) -> None:
        self._ask("get_collection", self._readers).modify(name=f"kept-{uuid4().hex}")

    def name(self, name: str) -> None:
        self.unname()
        self._ask("get_collection", name).modify(name=self._readers)

    def _ask(self, call: str, name: str) -> Any:
        client: Any = HttpClient("127.0.0.1", self._port)
        said = {} if call == "delete_collection" else {"embedding_function": None}
        return getattr(client, call)(name, **said)


class OfMilvus:
    def __init__(self, place: Any, readers: str) -> None:
        self._url, self._readers = place.url, readers

    def make(self, name: str) -> None:
        self._ask("create_collection", name, dimension=DIM, id_type="int")
        self._ask("insert", name, [{"id": 1, "vector": VECTOR}])

    def n_rows(self, name: str) -> int:
        self._ask("load_collection", name)
        return len(self._ask("query", name, filter="id >= 0", limit=10))

    def drop(self, name: str) -> None:
        with suppress(Exception):
            if self._ask("describe_alias", self._readers)["collection_name"] == name:
                self.unname()
        self._ask("drop_collection", name)

    def unname(self) -> None:
        self._ask("drop_alias", self._readers)

    def name(self, name: str) -> None:
        self._ask("alter_alias", name, self._readers)

    def rename(self, name: str, to: str) -> None:
        self._ask("rename_collection", name, to)

    def _ask(self, call: str, *said: Any, **more: Any) -> Any:
        client = MilvusClient(self._url)
        try:
            return getattr(client, call)(*said, **more)
        finally:
            client.close()


class OfElasticsearch:
    def __init__(self, place: Any, readers: str) -> None:
        self._indices, self._readers = place.wire.indices, readers

    def make(self, name: str) -> None:
        row = {"1": {"vector": VECTOR}}
        self._indices[name] = Index({}, {"properties": {}}, {}, row, row)

    def n_rows(self, name: str) -> int:
        return len(self._indices[name].docs)

    def drop(self, name: str) -> None:
        del self._indices[name]

    def unname(self) -> None:
        for one in self._indices.values():
            one.aliases.pop(self._readers, None)

    def name(self, name: str) -> None:
        self.unname()
        self._indices[name].aliases[self._readers] = {}


class OfWeaviate:
    def __init__(self, place: Any, readers: str) -> None:
        self._wire, self._readers = place.wire, readers

    def make(self, name: str) -> None:
        self._wire.classes[name] = next(iter(self._wire.classes.values())) | {
            "class": name,
            "description": "theirs",
        }
        self._wire.rows[name] = {"1": {"vector": VECTOR, "properties": {}}}

    def n_rows(self, name: str) -> int:
        return len(self._wire.rows[name])

    def drop(self, name: str) -> None:
        """An alias may be left behind that points at nothing."""
        del self._wire.classes[name], self._wire.rows[name]

    def unname(self) -> None:
        del self._wire.aliases[self._readers]

    def name(self, name: str) -> None:
        self._wire.aliases[self._readers] = name


class OfPinecone:
    """The name is a record."""

    def __init__(self, place: Any, readers: str) -> None:
        self._wire, self._readers = place.wire, readers

    def make(self, name: str) -> None:
        self._wire.settled()[name] = {"x": {"id": "x", "values": VECTOR, "metadata": {}}}

    def n_rows(self, name: str) -> int:
        return len(self._wire.settled()[name])

    def drop(self, name: str) -> None:
        del self._wire.settled()[name]

    def unname(self) -> None:
        del self._wire.settled()[self._readers]["serving"]

    def name(self, name: str) -> None:
        record = {"id": "serving", "values": VECTOR, "metadata": {"namespace": name}}
        self._wire.settled()[self._readers]["serving"] = record


OTHERS: dict[str, type[Others]] = {
    "qdrant": OfQdrant,
    "chroma": OfChroma,
    "milvus": OfMilvus,
    "elasticsearch": OfElasticsearch,
    "pinecone": OfPinecone,
    "weaviate": OfWeaviate,
}


@pytest.fixture(params=OTHERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "place"
    made = Served(folder) if request.param == "milvus" else peer(request.param, folder)
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> str:
    made, corpus = str(tmp_path / "vectors"), tmp_path / "corpus"
    write_jsonl(corpus / "a.jsonl", notes(0, 20))
    refresh(config(corpus, encoder={"use": "hashing", "dim": DIM}), made, promote="yes")
    return made


def collections(place: Any) -> tuple[str, str]:
    """What the one that serves is called in the store, and the spare one."""
    sink = build("sinks", place.use, place.arguments())
    assert isinstance(sink, RemoteSink)
    sink.connect()
    serving = sink.serving()
    assert serving is not None
    (spare,) = set(sink.collections()) - {serving}
    sink.close()
    return sink._readers if place.use == "chroma" else sink._full(serving), sink._full(spare)


def others_of(place: Any) -> Any:
    arguments = place.arguments()
    readers = str(arguments["collection"])
    return OTHERS[place.use](place, readers.capitalize() if place.use == "weaviate" else readers)


def test_a_name_that_others_gave_to_theirs_is_left_to_them(place: Any, store: str) -> None:
    sink, others = sink_of(place), others_of(place)
    published(store, sink)
    others.make("Theirs")
    others.name("Theirs")
    for repair in (False, True):
        with pytest.raises(SinkError, match=NOT_OURS):
            published(store, sink, repair=repair)
    assert others.n_rows("Theirs") == 1
    others.unname()
    published(store, sink)
    assert seen(place) == wanted(store)


@pytest.mark.slow
def test_a_name_that_others_took_away_is_given_again(place: Any, store: str) -> None:
    sink = sink_of(place)
    published(store, sink)
    others_of(place).unname()
    assert published(store, sink).how == "nothing"
    assert seen(place) == wanted(store)


def test_a_collection_that_others_removed_is_made_again(place: Any, store: str) -> None:
    sink, others = sink_of(place), others_of(place)
    for which in (0, 1):
        published(store, sink)
        others.drop(collections(place)[which])
        published(store, sink)
        assert seen(place) == wanted(store)
    published(store, sink)
    assert seen(place) == wanted(store)


def test_what_others_made_under_our_name_is_not_removed(place: Any, store: str) -> None:
    if place.use == "pinecone":
        pytest.skip("a namespace is nobody's: what it has is ours by its name")
    sink, others = sink_of(place), others_of(place)
    published(store, sink)
    _, spare = collections(place)
    others.drop(spare)
    others.make(spare)
    with pytest.raises(SinkError, match=NOT_OURS):
        published(store, sink)
    assert others.n_rows(spare) == 1
    assert seen(place) == wanted(store)
    others.drop(spare)
    published(store, sink)
    assert seen(place) == wanted(store)


def test_a_collection_of_milvus_that_others_renamed_is_named(tmp_path: Path, store: str) -> None:
    place = Served(tmp_path / "place")
    sink = sink_of(place)  # type: ignore[arg-type]
    published(store, sink)
    others = OfMilvus(place, "docs")
    serving, _ = collections(place)
    others.rename(serving, "renamed")
    with pytest.raises(SinkError, match=f"the alias docs of renamed {NOT_OURS}"):
        published(store, sink)
    others.rename("renamed", serving)
    published(store, sink)
    assert seen(place) == wanted(store)  # type: ignore[arg-type]
    place.close()
