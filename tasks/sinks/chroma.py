"""Collections of a Chroma server, or of a folder that Chroma keeps itself.

Chroma has no aliases: the collection that serves is renamed to readers' name, and the one before
back to its own. Whoever asks for the name between the two finds nothing for a moment; whoever holds
a collection keeps what it holds. Chroma scales what it searches by cosine to a length of one, some
rows sooner than others: `_vector` of a row's metadata tells the vector as it was (see scaled.py).
An original is in `_full_vector`, its bytes as base64. A row's text is its document.
"""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import ConfigError
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Held,
    Limits,
    Metric,
    Near,
    Queries,
    Shape,
)
from tasks.sinks.http_answers import failure_of, unanswered
from tasks.sinks.plain import (
    NO_HASH,
    Holds,
    Lists,
    hash_of,
    hexes_of,
    plain_rows,
    set_each,
    table_of,
    vectors_of,
)
from tasks.sinks.remote import WRITING, Answer, Failure, RemoteSink, Why
from tasks.sinks.scaled import remainders, restored
from tasks.sources.web import without_password

if TYPE_CHECKING:
    import httpx
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

MARK, NAME, STAMP = "vectorline", "name", "stamp"  # of a collection's metadata
HOLDS = Holds(Lists.ALIKE, negative_zero=False)
SPACES = {Metric.COSINE: "cosine", Metric.DOT: "ip", Metric.EUCLIDEAN: "l2"}
NAMES = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,480}[a-zA-Z0-9]")
NOT_EMPTY = "\0"  # Chroma takes no empty id
DOCUMENT = "text"  # the column that Chroma has a place of its own for
RESERVED = "chroma:"  # it drops such keys without a word
PER_CALL = 1_000
LISTED = 2_000


class ChromaSink(RemoteSink["ClientAPI"]):
    """Collections are called `<name>--<collection>` while they do not serve."""

    place = ("url", "path", "tenant", "database", "collection")
    use, store, parting, login = "chroma", "Chroma", "--", "api_key, tenant and database"

    def __init__(
        self,
        *,
        collection: str,
        url: str | None = None,
        path: str | None = None,
        api_key: str | None = None,
        tenant: str = "default_tenant",
        database: str = "default_database",
        timeout_s: float = 60,
        hnsw: dict[str, int | float] | None = None,
    ) -> None:
        """`collection` is what readers ask for. Either `url` or `path`, a folder, is given.

        Only one process may open a folder while it is written. `api_key` is sent as X-Chroma-Token;
        `hnsw` are options of the index, such as ef_search and max_neighbors.
        """
        if (url is None) == (path is None):
            raise ConfigError("chroma: give either url, a server's, or path, a folder's")
        if not NAMES.fullmatch(collection):
            raise ConfigError(
                f"chroma: collection = {collection!r}; Chroma takes 3 or more letters, digits, "
                "dots, dashes and underscores, the first and the last a letter or a digit"
            )
        super().__init__(collection, url or path or "", api_key)
        self._url, self._path, self._api_key = url, path, api_key
        self._place_in = {"tenant": tenant, "database": database}
        self._timeout_s, self._hnsw = timeout_s, hnsw or {}
        self._sessions: list[httpx.Client] = []
        self.limits = Limits(batch_rows=PER_CALL, concurrency=2 if url else 1)

    def close(self) -> None:
        """As Sink.close."""
        super().close()
        while self._sessions:
            self._sessions.pop().close()  # the client leaves its connections open

    def collections(self) -> dict[str, str]:
        """As Sink.collections: stamps are metadata of their collections.

        One that somebody gave another name is theirs.
        """
        listed = self._ask("listing collections", None, lambda client: [*_listed(client)])
        ours = {one.name: one.metadata for one in listed if self._is_ours(one)}
        return {
            str(one[NAME]): str(one[STAMP])
            for name, one in ours.items()
            if name in (self._readers, self._full(str(one[NAME])))
        }

    def create(self, name: str, shape: Shape) -> None:
        """As Sink.create; SinkError for a column whose name Chroma does not take."""
        taken = [one for one in shape.columns.names if not one or one.startswith(RESERVED)]
        if taken:
            raise self._taken(taken)
        self.drop(name)
        self._ask(
            "creating",
            name,
            lambda client: client.create_collection(
                self._full(name),
                configuration={"hnsw": {"space": SPACES[shape.metric], **self._hnsw}},  # type: ignore[arg-type]
                metadata={MARK: self._readers, NAME: name, STAMP: ""},
                embedding_function=None,
            ),
        )

    def stamp(self, name: str, text: str) -> None:
        """As Sink.stamp."""
        self._use(
            "stamping", name, lambda one: one.modify(metadata={**(one.metadata or {}), STAMP: text})
        )

    def finish(self, name: str, shape: Shape) -> None:
        """As Sink.finish: nothing is left to do, rows are indexed as they come."""

    def count(self, name: str) -> int:
        """As Sink.count."""
        return self._use("counting", name, lambda collection: collection.count())

    def held(self, name: str) -> Iterator[list[Held]]:
        """As Sink.held: 2,000 a part with all their metadata, which cannot be read in part."""
        start = 0
        while True:
            found = self._use(
                "listing",
                name,
                lambda one, first=start: one.get(  # type: ignore[misc]
                    limit=LISTED, offset=first, include=["metadatas"]
                ),
            )
            rows = zip(found["ids"], found["metadatas"] or [], strict=True)
            part = [Held(_id(one), hash_of((row or {}).get(HASH))) for one, row in rows]
            yield part
            start += len(part)
            if len(part) < LISTED:
                return

    def drop(self, name: str) -> None:
        """As Sink.drop; SinkError for a collection that vectorline did not make."""

        def remove(client: "ClientAPI") -> None:
            if (collection := self._find(client, name)) is not None:
                client.delete_collection(collection.name)

        self._ask("removing", name, remove)

    def serving(self) -> str | None:
        """As Sink.serving."""
        doing = f"looking for {self._readers}"
        served = self._ask(doing, None, self._served)
        return str(served.metadata[NAME]) if served else None

    def serve(self, name: str) -> None:
        """As Sink.serve: two renames, between which readers' name is nobody's."""

        def rename(collection: "Collection") -> None:
            if collection.name == self._readers:
                return
            if (served := self._served(self._client)) is not None:
                served.modify(name=self._full(str(served.metadata[NAME])))
            collection.modify(name=self._readers)

        self._use(f"giving the name {self._readers} to", name, rename)

    def _open(self) -> "ClientAPI":
        from chromadb import PersistentClient
        from chromadb.config import Settings

        from tasks.sinks.chroma_client import connected

        if self._path is not None:
            settings = Settings(anonymized_telemetry=False)
            return PersistentClient(self._path, settings=settings, **self._place_in)
        host, port, is_secure = self._host()
        client, self._sessions = connected(
            host,
            port,
            secure=is_secure,
            headers={"X-Chroma-Token": self._api_key} if self._api_key else {},
            timeout_s=self._timeout_s,
            **self._place_in,
        )
        return client

    def _raises(self) -> tuple[type[Exception], ...]:
        from chromadb.errors import ChromaError
        from httpx import TransportError

        from tasks.sinks.chroma_client import Answered

        return (Answered, ChromaError, TransportError, ValueError, TypeError, OSError)

    def _failure(self, error: Exception) -> Failure:
        from chromadb import errors
        from httpx import TransportError

        from tasks.sinks.chroma_client import Answered

        said = str(error)
        if isinstance(error, Answered):
            failure = failure_of(error.status, said, error.headers)
            is_chromas = '"error"' in said or failure.why in (Why.BUSY, Why.LOGIN, Why.ROWS)
            return failure if is_chromas else Failure(Why.OTHER, f"{failure.said}; check url")
        if isinstance(error, TransportError):
            return unanswered(error)
        meanings: dict[Why, tuple[type[Exception], ...]] = {
            Why.ROWS: (
                errors.InvalidArgumentError,
                errors.InvalidDimensionException,
                errors.BatchSizeExceededError,
                errors.QuotaError,  # of Chroma Cloud: 300 rows a call, so many bytes of a value
            ),
            Why.BUSY: (errors.RateLimitError,),
            Why.LOGIN: (errors.ChromaAuthError, errors.AuthorizationError),
            Why.GONE: (errors.NotFoundError,),
        }
        if "database is locked" in said:
            return Failure(Why.BUSY, said)
        whys = [why for why, kinds in meanings.items() if isinstance(error, kinds)]
        return Failure(whys[0] if whys else Why.OTHER, said)

    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        """Rows that are there go first, and are missing for a moment.

        An upsert merges metadata, and was five times as slow on rows that are there.
        Every row has every key, None too: nothing is merged either where two write at once.
        """
        keys = _keys(rows[ID].to_pylist())
        vectors = vectors_of(rows)
        metadata: list[dict[str, Any]] = plain_rows(rows, shape.columns, HOLDS)
        set_each(metadata, HASH, hexes_of(rows))
        if shape.metric is Metric.COSINE:
            set_each(metadata, f"_{VECTOR}", remainders(vectors))
        if shape.full_dim:
            set_each(metadata, f"_{FULL}", _packed(vectors_of(rows, FULL)))
        texts = [row.pop(DOCUMENT) for row in metadata] if _has_document(shape) else None

        def replace(collection: "Collection") -> None:
            if there := collection.get(ids=keys, include=[])["ids"]:
                collection.delete(ids=there)
            collection.upsert(keys, vectors, metadata, texts)  # type: ignore[arg-type]

        self._use(WRITING, name, replace)

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        self._use(WRITING, name, lambda collection: collection.delete(ids=_keys(ids)))

    def _rows(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        found = self._use(
            "reading",
            name,
            lambda one: one.get(_keys(ids), include=["metadatas", "embeddings", "documents"]),
        )
        said: list[dict[str, Any]] = [dict(row or {}) for row in found["metadatas"] or []]
        if _has_document(shape):
            set_each(said, DOCUMENT, found["documents"] or [])
        ours = [at for at, row in enumerate(said) if _is_whole(row, shape)]
        rows = [said[at] for at in ours]
        vectors = np.asarray(found["embeddings"], np.float32).reshape(len(said), shape.dim)[ours]
        if shape.metric is Metric.COSINE:
            vectors = restored(vectors, [row[f"_{VECTOR}"] for row in rows])
        full = _unpacked(rows) if shape.full_dim else None
        kept, hashes = [_id(found["ids"][at]) for at in ours], [row[HASH] for row in rows]
        return table_of(shape, kept, hashes, vectors, rows, full)

    def _nearest(self, name: str, shape: Shape, queries: Queries, k: int) -> list[list[Near]]:
        vectors = queries.astype(np.float32)
        found = self._use(
            "searching",
            name,
            lambda one: one.query(query_embeddings=vectors, n_results=k, include=["distances"]),
        )
        return [
            [Near(_id(one), _score(far, shape.metric)) for one, far in zip(ids, fars, strict=True)]
            for ids, fars in zip(found["ids"], found["distances"] or [], strict=True)
        ]

    def _full(self, name: str) -> str:
        return f"{name}{self.parting}{self._readers}"

    def _is_ours(self, collection: "Collection") -> bool:
        metadata = collection.metadata or {}
        return metadata.get(MARK) == self._readers and NAME in metadata

    def _served(self, client: "ClientAPI") -> "Collection | None":
        """That of readers' name."""
        served = _get(client, self._readers)
        if served is not None and not self._is_ours(served):
            raise self._not_ours(f"the collection {self._readers}")
        return served

    def _find(self, client: "ClientAPI", name: str) -> "Collection | None":
        """A collection of ours under its own name or that of the readers."""
        own = _get(client, self._full(name))
        if own is not None and not self._is_ours(own):
            raise self._not_ours(f"the collection {own.name}")
        served = None if own else _get(client, self._readers)
        is_it = served is not None and self._is_ours(served) and served.metadata[NAME] == name
        return served if is_it else own

    def _use(self, doing: str, name: str, call: "Callable[[Collection], Answer]") -> Answer:
        """As `_ask`, of the collection itself."""

        def use(client: "ClientAPI") -> Answer:
            if (collection := self._find(client, name)) is None:
                raise self._gone(doing, name)
            return call(collection)

        return self._ask(doing, name, use)

    def _host(self) -> tuple[str, int, bool]:
        parts = urlsplit(self._url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ConfigError(
                f"chroma: url = {without_password(self._url or '')!r}; write http://host:8000"
            )
        is_secure = parts.scheme == "https"
        return parts.hostname, parts.port or (443 if is_secure else 8000), is_secure


def _listed(client: "ClientAPI") -> Iterator["Collection"]:
    start = 0
    while part := client.list_collections(PER_CALL, start):
        yield from part
        start += len(part)


def _get(client: "ClientAPI", name: str) -> "Collection | None":
    from chromadb.errors import NotFoundError

    try:
        return client.get_collection(name, embedding_function=None)
    except NotFoundError:
        return None


def _has_document(shape: Shape) -> bool:
    return DOCUMENT in shape.columns.names and shape.columns.field(DOCUMENT).type == pa.string()


def _is_whole(row: dict[str, Any], shape: Shape) -> bool:
    """Whether a row has all that vectorline put beside the columns; one of others has not."""
    wanted = {f"_{VECTOR}"} if shape.metric is Metric.COSINE else set()
    wanted |= {f"_{FULL}"} if shape.full_dim else set()
    has_all = all(isinstance(row.get(key), str) for key in wanted)
    return has_all and hash_of(row.get(HASH)) != NO_HASH


def _keys(ids: Sequence[str]) -> list[str]:
    return [NOT_EMPTY + one if one[:1] in ("", NOT_EMPTY) else one for one in ids]


def _id(key: str) -> str:
    return key.removeprefix(NOT_EMPTY)


def _packed(vectors: npt.NDArray[Any]) -> list[str]:
    return [base64.b64encode(vector.tobytes()).decode() for vector in vectors]


def _unpacked(rows: Sequence[dict[str, Any]]) -> list[npt.NDArray[np.float32]]:
    return [np.frombuffer(base64.b64decode(row[f"_{FULL}"]), np.float32) for row in rows]


def _score(far: float, metric: Metric) -> float:
    """Chroma's distances are squares, and what the cosine or the product lack of one."""
    return -float(np.sqrt(far)) if metric is Metric.EUCLIDEAN else 1 - far
