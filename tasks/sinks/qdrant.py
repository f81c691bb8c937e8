"""Points of a Qdrant server, by REST, or of the folder of its client's local mode.

Readers' name is an alias, which Qdrant moves at once. A point's id is the UUID of the row's id; its
payload is the metadata with the row's `id` and `_hash`. Qdrant scales what it searches by cosine to
a length of one: a vector that it would change is kept as it was in `_vector` of the payload, bytes
as base64. With an original, the vectors' names are `vector` and `full_vector`.
"""

import sqlite3
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.sinks import qdrant_rows as rows_of
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Element,
    Held,
    Limits,
    Metric,
    Near,
    Originals,
    Queries,
    Shape,
)
from tasks.sinks.http_answers import failure_of, unanswered
from tasks.sinks.plain import held_of, id_of, keys_of, uuids_of
from tasks.sinks.qdrant_rows import UNIT
from tasks.sinks.remote import WRITING, Answer, Failure, RemoteSink, Why
from tasks.sinks.waiting import wait

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import CollectionInfo

MARK = "vectorline"  # key of the stamp in a collection's metadata
OLDEST = (1, 16)  # servers before it know no metadata of collections
OPTIONS = (
    "hnsw_config",
    "on_disk_payload",
    "optimizers_config",
    "quantization_config",
    "replication_factor",
    "shard_number",
    "write_consistency_factor",
)
PER_CALL = 1_000
LISTED = 10_000
CANDIDATES = 10  # for each row that is asked for
POLL_S = 0.5
UUID_DIGITS = 32
MISSED = 3  # answers about an index in a row: a server that builds one may be late


class QdrantSink(RemoteSink["QdrantClient"]):
    """Collections are called `<collection>--<name>`."""

    place = ("url", "path", "collection")
    use, store, parting = "qdrant", "Qdrant", "--"

    def __init__(
        self,
        *,
        collection: str,
        url: str | None = None,
        path: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 60,
        on_disk: bool = False,
        options: dict[str, object] | None = None,
    ) -> None:
        """`collection` is what readers ask for: an alias. Either `url` or `path` is given.

        `path` is for trials: 500 rows a second, all in memory, and nobody else may open the folder
        meanwhile, no reader either. `on_disk` keeps vectors out of the server's memory; `options`
        are those of its collections, such as hnsw_config, quantization_config and shard_number.
        """
        if (url is None) == (path is None):
            raise ConfigError("qdrant: give either url, a server's, or path, a folder's")
        if unknown := sorted(set(options or {}) - set(OPTIONS)):
            raise ConfigError(f"qdrant: options has {unknown[0]!r}; known are {', '.join(OPTIONS)}")
        super().__init__(collection, url or path or "", api_key)
        self._url, self._path, self._api_key = url, path, api_key
        self._timeout_s, self._on_disk, self._options = timeout_s, on_disk, options or {}
        self._near = UNIT if path is None else None  # local mode scales all
        self._turn = nullcontext() if path is None else Lock()  # local mode knows no threads
        self.limits = Limits(
            batch_rows=PER_CALL,
            batch_bytes=4 * 2**20,  # a server takes 32 MiB of JSON, 5 times as long as the vectors
            concurrency=4 if path is None else 1,
            max_dim=65_536,
            elements=frozenset({Element.FLOAT32, Element.FLOAT16}),
        )

    def collections(self) -> dict[str, str]:
        """As Sink.collections: a stamp is metadata of its collection."""

        def marks(client: "QdrantClient") -> dict[str, str | None]:
            listed = [one.name for one in client.get_collections().collections]
            names = [name for name in map(self._name_of, listed) if name is not None]
            return {name: self._mark(client, name) for name in names}

        found = self._ask("listing collections", None, marks)
        return {name: mark for name, mark in found.items() if mark is not None}

    def create(self, name: str, shape: Shape) -> None:
        """As Sink.create."""
        self.drop(name)
        vectors = rows_of.vectors_config(shape, on_disk=self._on_disk)
        options = dict[str, Any](self._options)
        self._ask(
            "creating",
            name,
            lambda client: client.create_collection(
                self._full(name), vectors_config=vectors, metadata={MARK: ""}, **options
            ),
        )

    def stamp(self, name: str, text: str) -> None:
        """As Sink.stamp."""
        self._ask(
            "stamping",
            name,
            lambda client: client.update_collection(self._full(name), metadata={MARK: text}),
        )

    def finish(self, name: str, shape: Shape) -> None:
        """As Sink.finish: waits for the server's optimizer, also where it answers late."""
        from qdrant_client.models import CollectionStatus

        missed = 0
        while True:
            try:
                info = self._ask("indexing", name, lambda client: self._woken(client, name))
            except SinkUnavailable:
                missed += 1
                if missed == MISSED:
                    raise
            else:
                missed = 0
                if info.status == CollectionStatus.GREEN:
                    return
                if info.status == CollectionStatus.RED:
                    raise SinkError(
                        f"{self._what('indexing', name)}: {self._words(info.optimizer_status)}; "
                        "look into the server's log"
                    )
            wait(POLL_S)

    def count(self, name: str) -> int:
        """As Sink.count."""
        return self._ask(
            "counting", name, lambda client: client.count(self._full(name), exact=True).count
        )

    def held(self, name: str) -> Iterator[list[Held]]:
        """As Sink.held: ids and hashes only, 10,000 a part, by the points' ids."""
        offset: Any = None
        while True:
            points, offset = self._ask(
                "listing",
                name,
                lambda client, after=offset: client.scroll(  # type: ignore[misc]
                    self._full(name), limit=LISTED, offset=after, with_payload=[ID, HASH]
                ),
            )
            yield [held_of(one.id, one.payload or {}) for one in points]
            if offset is None:
                return

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """As Sink.search: Qdrant itself scores ten times as many by the original."""
        from qdrant_client.models import Prefetch, QueryRequest

        requests = []
        for row, query in enumerate(queries.astype(np.float32).tolist()):
            one = QueryRequest(query=query, limit=k, with_payload=[ID])
            if shape.full_dim:
                one.using = VECTOR
            if originals is not None:
                one.prefetch = Prefetch(query=query, using=VECTOR, limit=CANDIDATES * k)
                one.query, one.using = originals[row].tolist(), FULL
            requests.append(one)
        answers = self._ask(
            "searching", name, lambda client: client.query_batch_points(self._full(name), requests)
        )
        sign = -1 if shape.metric is Metric.EUCLIDEAN else 1
        return [
            [Near(id_of(one.id, one.payload or {}), sign * one.score) for one in answer.points]
            for answer in answers
        ]

    def drop(self, name: str) -> None:
        """As Sink.drop; SinkError for a collection that vectorline did not make."""

        def remove(client: "QdrantClient") -> None:
            if client.collection_exists(self._full(name)):
                if self._mark(client, name) is None:
                    raise self._not_ours(f"the collection {self._full(name)}")
                client.delete_collection(self._full(name))

        self._ask("removing", name, remove)

    def serving(self) -> str | None:
        """As Sink.serving; SinkError if the name is a collection's, or an alias of another's."""
        return self._ask("reading aliases", None, self._holder)

    def serve(self, name: str) -> None:
        """As Sink.serve; SinkError as `serving`."""
        from qdrant_client.models import (
            CreateAlias,
            CreateAliasOperation,
            DeleteAlias,
            DeleteAliasOperation,
        )

        alias = self._readers
        gone = DeleteAliasOperation(delete_alias=DeleteAlias(alias_name=alias))
        made = CreateAlias(collection_name=self._full(name), alias_name=alias)

        def move(client: "QdrantClient") -> None:
            before = [gone] if self._holder(client) else []
            client.update_collection_aliases([*before, CreateAliasOperation(create_alias=made)])

        self._ask(f"pointing {alias} at", name, move)

    def _open(self) -> "QdrantClient":
        from qdrant_client import QdrantClient

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # keys without TLS, many rows in a folder
            if self._path:
                client = QdrantClient(path=self._path, force_disable_check_same_thread=True)
            else:
                client = QdrantClient(
                    url=self._url,
                    api_key=self._api_key,
                    timeout=max(1, round(self._timeout_s)),
                    check_compatibility=False,
                )
        try:
            version = str(client.info().version)
            if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
                raise SinkError(f"{self._place} is Qdrant {version}; 1.16 or later is needed")
        except BaseException:
            client.close()
            raise
        return client

    def _raises(self) -> tuple[type[Exception], ...]:
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        local = (ValueError, RuntimeError, OSError, sqlite3.Error)
        return (ApiException, QdrantException, *local)

    def _failure(self, error: Exception) -> Failure:
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        if isinstance(error, QdrantException):  # 429 with a Retry-After
            return Failure(Why.BUSY, "429", getattr(error, "retry_after_s", None))
        if isinstance(error, ResponseHandlingException):
            return _unanswered(error.source)
        if isinstance(error, UnexpectedResponse):
            said = error.content.decode(errors="replace")
            return failure_of(error.status_code or 0, said, error.headers)
        is_taken = "already accessed" in str(error)  # a folder of local mode
        return Failure(Why.TAKEN if is_taken else Why.OTHER, str(error))

    def _ask(
        self, doing: str, name: str | None, call: "Callable[[QdrantClient], Answer]"
    ) -> Answer:
        with self._turn:
            return super()._ask(doing, name, call)

    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        self._send(name, rows_of.batch(rows, shape, near=self._near))

    def _send(self, name: str, batch: dict[str, Any]) -> None:
        from pydantic_core import to_json
        from qdrant_client.models import Batch

        if self._path is not None:
            made = Batch.model_construct(**batch)
            self._ask(WRITING, name, lambda client: client.upsert(self._full(name), made))
            return
        content = to_json({"batch": batch})
        # The client's own models check every number: half as fast, for the same bytes.
        self._ask(
            WRITING,
            name,
            lambda client: client.http.client.request(
                type_=dict,
                method="PUT",
                url="/collections/{collection_name}/points",
                path_params={"collection_name": self._full(name)},
                params={"wait": "true"},
                headers={"Content-Type": "application/json"},
                content=content,
            ),
        )

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        from qdrant_client.models import PointIdsList

        # Others may have numbers for keys, of 20 digits at most; a UUID has 32.
        keys = [int(key) if len(key) < UUID_DIGITS else key for key in keys_of(ids)]
        points = PointIdsList(points=[*keys])
        self._ask(WRITING, name, lambda client: client.delete(self._full(name), points))

    def _rows(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        points = self._ask(
            "reading",
            name,
            lambda client: client.retrieve(self._full(name), uuids_of(ids), with_vectors=True),
        )
        return rows_of.table(shape, points)

    def _nearest(self, name: str, shape: Shape, queries: Queries, k: int) -> list[list[Near]]:
        return self.search(name, shape, queries, k)

    def _woken(self, client: "QdrantClient", name: str) -> "CollectionInfo":
        from qdrant_client.models import CollectionStatus, OptimizersConfigDiff

        info = client.get_collection(self._full(name))
        if info.status == CollectionStatus.GREY:  # it waits for an update since its start
            client.update_collection(self._full(name), optimizers_config=OptimizersConfigDiff())
        return info

    def _holder(self, client: "QdrantClient") -> str | None:
        """The collection that readers' name stands for."""
        if self._readers in {one.name for one in client.get_collections().collections}:
            raise self._not_ours(f"the collection {self._readers}")
        aliases = {one.alias_name: one.collection_name for one in client.get_aliases().aliases}
        if (holder := aliases.get(self._readers)) is None:
            return None
        name = self._name_of(holder)
        if name is None or self._mark(client, name) is None:
            raise self._not_ours(f"the alias {self._readers} of {holder}")
        return name

    def _mark(self, client: "QdrantClient", name: str) -> str | None:
        """A collection's stamp; None where it has no place for one."""
        metadata = client.get_collection(self._full(name)).config.metadata or {}
        return metadata.get(MARK)


def _unanswered(source: Exception) -> Failure:
    from httpx import InvalidURL, TransportError

    if isinstance(source, (InvalidURL, TransportError)):
        return unanswered(source)
    return Failure(Why.OTHER, "the answer is not Qdrant's; check url")
