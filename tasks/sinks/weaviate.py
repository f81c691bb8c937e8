"""Weaviate; readers' name is an alias of a collection.

Objects have the UUIDs of the rows' ids, which are their property `row_id`: Weaviate keeps `id` for
itself. Names of collections begin with a capital, of properties with a small letter. Whatever has
no property of its own, or does not fit into it, is in `_rest` as JSON. Numbers travel as doubles.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from tasks.errors import ConfigError, SinkError
from tasks.sinks import grpc_answers, http_answers
from tasks.sinks import weaviate_rows as rows_of
from tasks.sinks.base import (
    HASH,
    ID,
    Held,
    Limits,
    Metric,
    Near,
    Queries,
    Shape,
)
from tasks.sinks.plain import held_of, id_of, keys_of, uuids_of, vectors_of
from tasks.sinks.remote import WRITING, Failure, RemoteSink, Why
from tasks.sinks.weaviate_rows import DEFAULT, ROW_ID
from tasks.sources.web import without_password

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.collections import Collection

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,200}")
PAGE_ROWS = 2_000
HTTP = range(100, 600)  # what is below is gRPC's
PASSING_WORDS = ("exhausted", "unavailable", "too many")
LATE_WORDS = ("deadline", "timeout", "timed out")
DISTANCES = {Metric.COSINE: "cosine", Metric.DOT: "dot", Metric.EUCLIDEAN: "l2-squared"}


class WeaviateSink(RemoteSink["WeaviateClient"]):
    """Whole versions are made beside; rows of a batch are there when its call returns."""

    place = ("url", "collection")
    use, store = "weaviate", "Weaviate"
    limits = Limits(concurrency=4, batch_bytes=4 * 2**20, max_dim=65_535)

    def __init__(
        self,
        *,
        url: str,
        collection: str,
        api_key: str | None = None,
        grpc_host: str | None = None,
        grpc_port: int = 50051,
        timeout_s: float = 60.0,
    ) -> None:
        """`url` is that of its REST interface; gRPC is on the same host if nothing is said."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"weaviate: url = {without_password(url)!r}; write http://host:8080")
        if not NAME.fullmatch(collection):
            raise ConfigError(
                f"collection = {collection!r} is no name for Weaviate: "
                "letters, digits and underscores, a letter first"
            )
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if self._secure else 8080)
        self._grpc = (grpc_host or parts.hostname, grpc_port)
        place = f"{parts.scheme}://{self._host}:{self._port}"
        super().__init__(collection[0].upper() + collection[1:], place, api_key)
        self._api_key = api_key
        self._timeout_s = timeout_s

    def collections(self) -> dict[str, str]:
        """Those whose description says that they were made here, for these readers."""
        found = {self._name_of(full): stamp for full, stamp in self._stamps().items()}
        return {name: stamp for name, stamp in found.items() if name and stamp is not None}

    def create(self, name: str, shape: Shape) -> None:
        """With a property for each column that can have one."""
        from weaviate.classes.config import Configure, VectorDistances

        self.drop(name)
        index = Configure.VectorIndex.hnsw(distance_metric=VectorDistances(DISTANCES[shape.metric]))
        self._ask(
            "creating",
            name,
            lambda client: client.collections.create(
                self._full(name),
                description=self._described(""),
                properties=rows_of.properties(shape),
                vector_config=Configure.Vectors.self_provided(vector_index_config=index),
            ),
        )

    def stamp(self, name: str, text: str) -> None:
        """In the description."""
        said = self._described(text)
        self._ask("stamping", name, lambda _: self._there(name).config.update(description=said))

    def finish(self, name: str, shape: Shape) -> None:
        """Nothing: rows are indexed as they come."""
        self._ask("indexing", name, lambda _: self._there(name))

    def count(self, name: str) -> int:
        """As the server counts them."""
        return self._ask("counting", name, lambda _: len(self._there(name)))

    def held(self, name: str) -> Iterator[list[Held]]:
        """In the order of UUIDs."""
        start: str | None = None
        while True:
            page = self._ask(
                "listing",
                name,
                lambda _, after=start: self._there(name).query.fetch_objects(  # type: ignore[misc]
                    limit=PAGE_ROWS, after=after, return_properties=[ROW_ID, HASH]
                ),
            )
            if not page.objects:
                return
            yield [held_of(one.uuid, one.properties, ROW_ID) for one in page.objects]
            start = str(page.objects[-1].uuid)

    def drop(self, name: str) -> None:
        """Takes readers' name away before if it points there.

        SinkError for a collection that vectorline did not make.
        """
        stamps = self._stamps()
        if self._full(name) not in stamps:
            return
        if stamps[self._full(name)] is None:
            raise self._not_ours(f"the collection {self._full(name)}")

        def remove(client: "WeaviateClient") -> None:
            pointed = client.alias.get(alias_name=self._readers)
            if pointed is not None and pointed.collection == self._full(name):
                client.alias.delete(alias_name=self._readers)
            client.collections.delete(self._full(name))

        self._ask("removing", name, remove)

    def serving(self) -> str | None:
        """What the alias points at; nothing where that was removed, and the alias was not."""

        def pointed(client: "WeaviateClient") -> str | None:
            found = client.alias.get(alias_name=self._readers)
            if found is None and client.collections.exists(self._readers):
                raise self._not_ours(f"the collection {self._readers}")
            return None if found is None else found.collection

        full = self._ask("reading aliases", None, pointed)
        if full is None:
            return None
        name, stamps = self._name_of(full), self._stamps()
        if name is None or (full in stamps and stamps[full] is None):
            raise self._not_ours(f"the alias {self._readers} of {full}")
        return name if full in stamps else None

    def serve(self, name: str) -> None:
        """Moves the alias in one call."""
        self.serving()
        alias, full = self._readers, self._full(name)
        doing = f"pointing {alias} at"

        def move(client: "WeaviateClient") -> None:
            self._there(name)
            if not client.alias.update(alias_name=alias, new_target_collection=full):
                client.alias.create(alias_name=alias, target_collection=full)

        self._ask(doing, name, move)

    def _open(self) -> "WeaviateClient":
        """Asks for the server's version; not for the client's at PyPI, which it would itself."""
        import weaviate
        from weaviate.classes.init import AdditionalConfig, Auth, Timeout
        from weaviate.connect import ConnectionParams

        logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)  # it prints what it raises
        seconds = self._timeout_s
        client = weaviate.WeaviateClient(
            ConnectionParams.from_params(
                http_host=self._host,
                http_port=self._port,
                http_secure=self._secure,
                grpc_host=self._grpc[0],
                grpc_port=self._grpc[1],
                grpc_secure=self._secure,
            ),
            auth_client_secret=Auth.api_key(self._api_key) if self._api_key else None,
            additional_config=AdditionalConfig(
                timeout=Timeout(init=seconds, query=seconds, insert=seconds)
            ),
            skip_init_checks=True,
        )
        try:
            client.connect()
        except BaseException:
            client.close()
            raise
        return client

    def _raises(self) -> tuple[type[Exception], ...]:
        from httpx import TransportError
        from weaviate.exceptions import WeaviateBaseError

        return (TransportError, WeaviateBaseError)

    def _failure(self, error: Exception) -> Failure:
        from httpx import TransportError
        from weaviate import exceptions as its

        if isinstance(error, TransportError):
            return http_answers.unanswered(error)
        if isinstance(error, its.UnexpectedStatusCodeError) and error.status_code in HTTP:
            return http_answers.failure_of(error.status_code, error.message)
        said = str(error).removesuffix(" Details: .").rstrip(".")  # where it has none
        if isinstance(error, its.WeaviateTimeoutError):
            return Failure(Why.SLOW, said)
        away = (
            its.WeaviateConnectionError,
            its.WeaviateStartUpError,
            its.WeaviateGRPCUnavailableError,
        )
        if isinstance(error, away):
            return Failure(Why.AWAY, said)
        failure = grpc_answers.failure_behind(error)
        if failure is None:
            return _meant(said)
        return _meant(failure.said) if failure.why is Why.OTHER else failure

    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        """One batch; the collection is looked for before, as a batch would make it anew."""
        from weaviate.classes.data import DataObject
        from weaviate.exceptions import WeaviateInsertManyAllFailedError

        vectors = vectors_of(rows)
        keys = uuids_of(rows[ID].to_pylist())
        objects = [
            DataObject(properties=row, uuid=key, vector={DEFAULT: vector})
            for row, key, vector in zip(
                rows_of.made(rows, shape), keys, vectors.tolist(), strict=True
            )
        ]

        def insert(_: "WeaviateClient") -> None:
            try:
                done = self._there(name).data.insert_many(objects)
            except WeaviateInsertManyAllFailedError as error:
                raise self._refused(name, error.message) from None
            if done.has_errors:
                raise self._refused(name, next(iter(done.errors.values())).message)

        self._ask(WRITING, name, insert)

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        from weaviate.classes.query import Filter

        where = Filter.by_id().contains_any(keys_of(ids))
        self._ask(WRITING, name, lambda _: self._collection(name).data.delete_many(where=where))

    def _rows(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        from weaviate.classes.query import Filter

        where = Filter.by_id().contains_any(uuids_of(ids))
        page = self._ask(
            "reading",
            name,
            lambda _: self._there(name).query.fetch_objects(
                filters=where, limit=len(ids), include_vector=True
            ),
        )
        return rows_of.table(shape, page.objects)

    def _nearest(self, name: str, shape: Shape, queries: Queries, k: int) -> list[list[Near]]:
        """A request for each query."""
        from weaviate.classes.query import MetadataQuery

        found = []
        for query in queries.tolist():
            answer = self._ask(
                "searching",
                name,
                lambda _, vector=query: self._there(name).query.near_vector(  # type: ignore[misc]
                    vector,
                    limit=k,
                    return_properties=[ROW_ID],
                    return_metadata=MetadataQuery(distance=True),
                ),
            )
            found.append(
                [
                    Near(
                        id_of(one.uuid, one.properties, ROW_ID),
                        rows_of.score(one.metadata.distance or 0.0, shape.metric),
                    )
                    for one in answer.objects
                ]
            )
        return found

    def _stamps(self) -> dict[str, str | None]:
        """Those of all collections, by their names in the store; None where one is not ours."""
        listed = self._ask(
            "listing collections", None, lambda client: client.collections.list_all(simple=True)
        )
        return {full: self._stamp_of(one.description) for full, one in listed.items()}

    def _collection(self, name: str) -> "Collection[Any, None]":
        return self._client.collections.use(self._full(name))

    def _there(self, name: str) -> "Collection[Any, None]":
        """By REST, which fails at once where nobody answers; gRPC is tried for a minute."""
        if not self._client.collections.exists(self._full(name)):
            raise self._gone("looking for", name)
        return self._collection(name)

    def _described(self, stamp: str) -> str:
        return json.dumps({"vectorline": self._readers, "stamp": stamp})

    def _stamp_of(self, description: str | None) -> str | None:
        try:
            said = json.loads(description or "")
        except ValueError:
            return None
        is_ours = isinstance(said, dict) and said.get("vectorline") == self._readers
        return str(said["stamp"]) if is_ours else None

    def _refused(self, name: str, message: str) -> SinkError:
        """For what was said about a row of a batch that was taken."""
        failure = _meant(message)
        if failure.why is Why.OTHER:
            failure = Failure(Why.ROWS, message)
        return self._error(WRITING, name, failure)


def _meant(said: str) -> Failure:
    """What is meant by words that came without a status, or with one that says nothing."""
    words = said.lower()
    if "could not find class" in words:
        return Failure(Why.GONE, said)
    if any(one in words for one in LATE_WORDS):
        return Failure(Why.SLOW, said)
    is_passing = any(one in words for one in PASSING_WORDS)
    return Failure(Why.BUSY if is_passing else Why.OTHER, said)
