"""Elasticsearch; readers' name is an alias of an index.

A document's `_id` is the UUID of the row's id (it takes no empty one and 512 bytes at most), and
`id` a keyword. Vectors stay in `_source`: of those that it leaves out, which is the default since
9.2, cosine's come back rounded, from what was normalized. Rows are written through an alias of the
collection's own, so that a write to an index that is gone fails instead of making another one.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import ConfigError, SinkUnavailable
from tasks.sinks import elasticsearch_rows as rows_of
from tasks.sinks.base import (
    HASH,
    ID,
    VECTOR,
    Element,
    Held,
    Limits,
    Near,
    Queries,
    Shape,
    Writer,
)
from tasks.sinks.elasticsearch_rows import ELEMENTS
from tasks.sinks.http_answers import failure_of
from tasks.sinks.plain import held_of, id_of, is_ours, keys_of, uuids_of
from tasks.sinks.remote import WRITING, Failure, RemoteSink, RemoteWriter, Why
from tasks.sources.web import without_password

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch as Client

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,200}")
OURS = "vectorline"
PAGE_ROWS = 5_000
KEEPS_VECTORS, PACKS = (9, 2), (9, 3)
NOT_FOUND = 404
MISSING_INDEX, BLOCKED = "index_not_found_exception", "cluster_block_exception"


class ElasticsearchSink(RemoteSink["Client"]):
    """Whole versions are made beside; rows are seen by searches from the next refresh."""

    place = ("url", "collection")
    use, store = "elasticsearch", "Elasticsearch"
    per_fetch = 500
    login = "api_key, or username and password"
    limits = Limits(
        concurrency=4,
        max_dim=4_096,
        elements=frozenset(ELEMENTS),
    )

    def __init__(
        self,
        *,
        url: str | list[str],
        collection: str,
        api_key: str | None = None,
        username: str | None = None,
        password: str | None = None,
        ca_certs: str | None = None,
        settings: dict[str, Any] | None = None,
        index_options: dict[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """`settings` are those of each index, `index_options` those of its vectors.

        The latter are HNSW over the vectors as they are if nothing is said; Elasticsearch's own
        default rounds them to a bit a component.
        """
        if not NAME.fullmatch(collection):
            raise ConfigError(
                f"collection = {collection!r} is no name for Elasticsearch: lower-case letters, "
                "digits, '.', '-' and '_', a letter or digit first"
            )
        self._urls = [url] if isinstance(url, str) else url
        super().__init__(
            collection, ", ".join(map(without_password, self._urls)), api_key, password
        )
        self._login = (username, password) if username and password is not None else None
        self._api_key, self._ca_certs = api_key, ca_certs
        self._settings = settings or {}
        self._index_options = index_options or {"type": "hnsw"}
        self._timeout_s = timeout_s
        self._version = (0, 0)

    def collections(self) -> dict[str, str]:
        """Those whose mapping says in `_meta` that they were made here, for these readers."""
        return {
            str(self._name_of(full)): one["stamp"]
            for full, one in sorted(self._marks().items())
            if one and one["collection"] == self._readers
        }

    def create(self, name: str, shape: Shape) -> None:
        """With fields for the columns and no others."""
        self.drop(name)
        settings = dict(self._settings)
        if self._version >= KEEPS_VECTORS:
            settings["index.mapping.exclude_source_vectors"] = False
        mappings = {
            "dynamic": "strict",
            "properties": rows_of.properties(shape, self._index_options),
            "_meta": self._meta(""),
        }
        self._ask(
            "creating",
            name,
            lambda client: client.indices.create(
                index=self._full(name),
                settings=settings,
                mappings=mappings,
                aliases={self._door(name): {}},
            ),
        )

    def stamp(self, name: str, text: str) -> None:
        """In `_meta` of the mapping."""
        self._ask(
            "stamping",
            name,
            lambda client: client.indices.put_mapping(
                index=self._full(name), meta=self._meta(text)
            ),
        )

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """Rows are seen from the next refresh, with the stamp at the latest."""
        yield RemoteWriter(self, name, shape)
        self.finish(name, shape)
        self.stamp(name, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """Lets searches see everything."""
        self._refresh(name)

    def count(self, name: str) -> int:
        """After a refresh."""
        self._refresh(name)
        counted = self._ask(
            "counting", name, lambda client: client.count(index=self._full(name)).body
        )
        if counted["_shards"]["failed"]:
            raise SinkUnavailable(f"{self._what('counting', name)}: a shard is missing")
        return int(counted["count"])

    def held(self, name: str) -> Iterator[list[Held]]:
        """By a scroll, after a refresh."""
        from elasticsearch.helpers import ScanError, scan

        self._refresh(name)
        hits = scan(
            self._client,
            query={"query": {"match_all": {}}, "_source": [ID, HASH]},
            index=self._full(name),
            size=PAGE_ROWS,
        )

        def page() -> list[Held]:
            try:
                said = [*islice(hits, PAGE_ROWS)]
            except ScanError:
                raise SinkUnavailable(
                    f"{self._what('listing', name)}: a shard is missing"
                ) from None
            return [held_of(one["_id"], one.get("_source", {})) for one in said]

        while part := self._told("listing", name, page, again=False):
            yield part

    def drop(self, name: str) -> None:
        """Its aliases go with it; SinkError for an index that vectorline did not make."""
        if self._full(name) in self._marks() and name not in self.collections():
            raise self._not_ours(f"the index {self._full(name)}")
        self._ask(
            "removing",
            name,
            lambda client: client.indices.delete(index=self._full(name), ignore_unavailable=True),
        )

    def serving(self) -> str | None:
        """What the alias points at."""
        pointed = self._pointed()
        if len(pointed) > 1:
            raise self._not_ours(f"the alias {self._readers} of {', '.join(pointed)}")
        return self._name_of(pointed[0]) if pointed else None

    def serve(self, name: str) -> None:
        """One call takes the alias from all that were made here and gives it to this one."""
        actions = [{"add": {"index": self._full(name), "alias": self._readers}}]
        if self._pointed():
            actions.insert(0, {"remove": {"index": self._full("*"), "alias": self._readers}})
        self._ask(
            f"pointing {self._readers} at",
            name,
            lambda client: client.indices.update_aliases(actions=actions),
        )

    def _open(self) -> "Client":
        """Asks for the server's version."""
        from elasticsearch import Elasticsearch

        # It tells what is raised here besides, a warning for each try.
        logging.getLogger("elastic_transport.node_pool").setLevel(logging.ERROR)
        more: dict[str, Any] = {"ca_certs": self._ca_certs} if self._ca_certs else {}
        try:
            client = Elasticsearch(
                self._urls,
                api_key=self._api_key,
                basic_auth=self._login,
                request_timeout=self._timeout_s,
                max_retries=0,
                retry_on_timeout=False,
                **more,
            )
        except ValueError:
            raise ConfigError(
                f"{self._place} is none, such as https://host:9200, "
                "or api_key and username are both given"
            ) from None
        try:
            major, minor = client.info()["version"]["number"].split(".")[:2]
            self._version = (int(major), int(minor))
        except BaseException:
            client.close()
            raise
        return client

    def _raises(self) -> tuple[type[Exception], ...]:
        from elasticsearch import ApiError, TransportError

        return (ApiError, TransportError)

    def _failure(self, error: Exception) -> Failure:
        from elasticsearch import (
            ApiError,
            ConnectionTimeout,
            SerializationError,
            TransportError,
        )

        if isinstance(error, ApiError):
            words = dict.fromkeys((error.message, _reason(error.body)))
            said, headers = " ".join(words), dict(error.meta.headers)
            if "flood-stage" in str(error):  # a 429 that does not pass by itself
                return Failure(Why.OTHER, f"its disk is full: {error.meta.status} {error}")
            return failure_of(error.meta.status, said, headers)
        if isinstance(error, TransportError) and not isinstance(error, SerializationError):
            is_late = isinstance(error, ConnectionTimeout)
            return Failure(Why.SLOW if is_late else Why.AWAY, error.message)
        return Failure(Why.OTHER, str(error))

    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        """One bulk request, cut by the client where it has more than 100 MB."""
        made = rows_of.made(rows, shape, packs=self._version >= PACKS)
        keys = uuids_of([row[ID] for row in made])
        self._send(
            name,
            [
                {"_op_type": "index", "_id": key, "_source": row}
                for key, row in zip(keys, made, strict=True)
            ],
        )

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        self._send(name, [{"_op_type": "delete", "_id": key} for key in keys_of(ids)])

    def _send(self, name: str, actions: list[dict[str, Any]]) -> None:
        from elasticsearch.helpers import streaming_bulk

        def send(client: "Client") -> None:
            for done, item in streaming_bulk(
                client,
                actions,
                chunk_size=self.limits.batch_rows,
                index=self._door(name),
                require_alias=True,
                raise_on_error=False,
            ):
                ((verb, said),) = item.items()
                missed = verb == "delete" and said["status"] == NOT_FOUND and "error" not in said
                if not done and not missed:
                    raise self._error(WRITING, name, _refused(said))

        self._ask(WRITING, name, send)

    def _rows(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By `_id`, which needs no refresh."""
        answer = self._ask(
            "reading",
            name,
            lambda client: client.mget(index=self._full(name), ids=uuids_of(ids)).body,
        )
        for one in answer["docs"]:
            if "error" in one:
                raise self._error("reading", name, _refused({"status": 503} | one))
        found = [(one["_id"], one["_source"]) for one in answer["docs"] if one["found"]]
        return rows_of.table(shape, [row for key, row in found if is_ours(key, row)])

    def _nearest(self, name: str, shape: Shape, queries: Queries, k: int) -> list[list[Near]]:
        """A request for each query."""
        if shape.element is Element.BINARY:
            queries = queries.view(np.int8)

        def one(query: npt.NDArray[Any]) -> list[Near]:
            answer = self._client.search(
                index=self._full(name),
                knn={
                    "field": VECTOR,
                    "query_vector": query.tolist(),
                    "k": k,
                    "num_candidates": min(self.most_found, max(100, 4 * k)),
                },
                source={"includes": [ID]},
                size=k,
            )
            hits = answer["hits"]["hits"]
            return [
                Near(id_of(hit["_id"], hit.get("_source", {})), rows_of.score(hit["_score"], shape))
                for hit in hits
            ]

        return [self._told("searching", name, lambda: one(query)) for query in queries]  # noqa: B023

    def _marks(self) -> dict[str, dict[str, str] | None]:
        """What indices say of themselves whose names are as ours; None for nothing."""
        found = self._ask(
            "listing collections",
            None,
            lambda client: client.indices.get_mapping(index=self._full("*")),
        )
        return {name: one["mappings"].get("_meta", {}).get(OURS) for name, one in found.items()}

    def _door(self, name: str) -> str:
        return f"{self._full(name)}.write"

    def _meta(self, stamp: str) -> dict[str, Any]:
        return {OURS: {"collection": self._readers, "stamp": stamp}}

    def _refresh(self, name: str) -> None:
        self._ask("refreshing", name, lambda client: client.indices.refresh(index=self._full(name)))

    def _pointed(self) -> list[str]:
        from elasticsearch import NotFoundError

        alias = self._readers

        def found(client: "Client") -> list[str]:
            try:
                return sorted(client.indices.get_alias(name=alias))
            except NotFoundError:
                if client.indices.exists(index=alias):
                    raise self._not_ours(f"the index {alias}") from None
                return []

        pointed = self._ask("reading aliases", None, found)
        ours = {self._full(name) for name in self.collections()}
        if not ours.issuperset(pointed):
            raise self._not_ours(f"the alias {alias} of {', '.join(pointed)}")
        return pointed


def _refused(said: dict[str, Any]) -> Failure:
    """What is meant by the answer about one row of a request that was taken."""
    error = said.get("error") or {}
    cause = error.get("caused_by", {}).get("reason", "")
    words = f"{error.get('type')}: {error.get('reason')} {cause}"
    if error.get("type") == MISSING_INDEX:
        return Failure(Why.GONE, words)
    if error.get("type") == BLOCKED:
        return Failure(Why.OTHER, f"{words}; is its disk full?")
    failure = failure_of(said["status"], words)
    return failure if failure.why is Why.BUSY else Failure(Why.ROWS, words)


def _reason(body: object) -> str:
    """Of an answer, which cause it names."""
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("reason") if isinstance(error, dict) else error or "")
