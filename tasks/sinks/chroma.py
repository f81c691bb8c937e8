"""Collections of a Chroma server, or of a folder that Chroma keeps itself.

Chroma has no aliases: the collection that serves is renamed to readers' name, and the one before
back to its own. Whoever asks for the name between the two finds nothing for a moment; whoever holds
a collection keeps what it holds. Chroma scales what it searches by cosine to a length of one, some
rows sooner than others: `_vector` of a row's metadata tells the vector as it was (see scaled.py).
An original is in `_full_vector`, its bytes as base64.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import ConfigError, RowsRefused, SinkError, SinkUnavailable
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Held,
    Limits,
    Metric,
    Mode,
    Near,
    Originals,
    Queries,
    Shape,
)
from tasks.sinks.originals import CANDIDATES, ordered
from tasks.sinks.plain import Holds, Lists, hexes_of, plain_rows, table_of, vectors_of
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
RESERVED = "chroma:"  # it drops such keys without a word
PER_CALL = 1_000
LISTED = 2_000
WAITING = (408, 429)
TOO_LARGE, FAILED, SERVER = 413, 400, 500


class ChromaSink:
    """Collections are called `<name>--<collection>` while they do not serve."""

    modes = (Mode.SWITCH, Mode.ROWWISE)

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
        self._url, self._path, self._api_key = url, path, api_key
        self._tenant, self._database = tenant, database
        self._timeout_s, self._hnsw = timeout_s, hnsw or {}
        self._served = collection
        self._client: ClientAPI | None = None
        self._sessions: list[httpx.Client] = []
        self.limits = Limits(batch_rows=PER_CALL, concurrency=2 if url else 1)

    def connect(self) -> None:
        """As Sink.connect."""
        if self._client is not None:
            return
        try:
            from chromadb import HttpClient, PersistentClient
            from chromadb.config import Settings
            from httpx import Timeout
        except ImportError as error:
            raise ConfigError("chroma needs it: pip install 'vectorline[chroma]'") from error
        settings = Settings(anonymized_telemetry=False)
        place = {"tenant": self._tenant, "database": self._database, "settings": settings}
        with self._errors("opening"):
            if self._path is not None:
                self._client = PersistentClient(self._path, **place)  # type: ignore[arg-type]
                return
            host, port, is_secure = self._host()
            headers = {"X-Chroma-Token": self._api_key} if self._api_key else None
            self._check_alive(headers)
            client: Any = HttpClient(host, port, is_secure, headers, **place)  # type: ignore[arg-type]
            # It waits for ever, and raises Exception itself for what is not Chroma's own answer.
            for one in (client, client._admin_client):
                session: httpx.Client = one._server._session
                session.timeout = Timeout(self._timeout_s)
                session.event_hooks = {"response": [self._check_answer]}
                self._sessions.append(session)
            self._client = client

    def close(self) -> None:
        """As Sink.close."""
        if self._client is not None:
            self._client.close()  # type: ignore[attr-defined]
        while self._sessions:
            self._sessions.pop().close()  # the client leaves its connections open
        self._client = None

    def collections(self) -> dict[str, str]:
        """As Sink.collections: stamps are metadata of their collections."""
        with self._asking("listing collections") as client:
            ours = [one.metadata for one in _listed(client) if self._is_ours(one)]
        return {str(one[NAME]): str(one[STAMP]) for one in ours}

    def create(self, name: str, shape: Shape) -> None:
        """As Sink.create; SinkError for a column whose name Chroma does not take."""
        for column in shape.columns.names:
            if not column or column.startswith(RESERVED):
                raise SinkError(f"{self._place}: Chroma has no metadata called {column!r}")
        self.drop(name)
        with self._asking(f"creating {self._named(name)}") as client:
            client.create_collection(
                self._named(name),
                configuration={"hnsw": {"space": SPACES[shape.metric], **self._hnsw}},  # type: ignore[arg-type]
                metadata={MARK: self._served, NAME: name, STAMP: ""},
                embedding_function=None,
            )

    def stamp(self, name: str, text: str) -> None:
        """As Sink.stamp."""
        with self._using(name, "stamping") as collection:
            collection.modify(metadata={**(collection.metadata or {}), STAMP: text})

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator["_Writer"]:
        """As Sink.writing."""
        yield _Writer(self, name, shape)
        self.stamp(name, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """As Sink.finish: nothing is left to do, rows are indexed as they come."""

    def count(self, name: str) -> int:
        """As Sink.count."""
        with self._using(name, "counting") as collection:
            return collection.count()

    def held(self, name: str) -> Iterator[list[Held]]:
        """As Sink.held: 2,000 a part with all their metadata, which cannot be read in part."""
        start = 0
        while True:
            with self._using(name, "listing") as collection:
                found = collection.get(limit=LISTED, offset=start, include=["metadatas"])
            rows = zip(found["ids"], found["metadatas"] or [], strict=True)
            part = [Held(_id(one), bytes.fromhex(str(row[HASH]))) for one, row in rows]
            yield part
            start += len(part)
            if len(part) < LISTED:
                return

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """As Sink.fetch."""
        parts = [shape.row_schema.empty_table()]
        for start in range(0, len(ids), PER_CALL):
            asked = _keys(ids[start : start + PER_CALL])
            with self._using(name, "reading") as collection:
                found = collection.get(ids=asked, include=["metadatas", "embeddings"])
            rows: list[dict[str, Any]] = [dict(row) for row in found["metadatas"] or []]
            vectors = np.asarray(found["embeddings"], np.float32).reshape(len(rows), shape.dim)
            if shape.metric is Metric.COSINE:
                vectors = restored(vectors, [row[f"_{VECTOR}"] for row in rows])
            full = _unpacked(rows) if shape.full_dim else None
            kept, hashes = [_id(one) for one in found["ids"]], [row[HASH] for row in rows]
            parts.append(table_of(shape, kept, hashes, vectors, rows, full))
        return pa.concat_tables(parts).combine_chunks()

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """As Sink.search."""
        wanted = k if originals is None else k * CANDIDATES
        with self._using(name, "searching") as collection:
            found = collection.query(
                query_embeddings=queries.astype(np.float32), n_results=wanted, include=["distances"]
            )
        if originals is not None:
            candidates = [[_id(one) for one in part] for part in found["ids"]]
            rows = self.fetch(name, shape, sorted({one for part in candidates for one in part}))
            return ordered(candidates, rows, originals, shape.metric, k)
        return [
            [Near(_id(one), _score(far, shape.metric)) for one, far in zip(ids, fars, strict=True)]
            for ids, fars in zip(found["ids"], found["distances"] or [], strict=True)
        ]

    def drop(self, name: str) -> None:
        """As Sink.drop; SinkError for a collection that vectorline did not make."""
        with self._asking(f"removing {self._named(name)}") as client:
            if (collection := self._find(client, name)) is not None:
                client.delete_collection(collection.name)

    def serving(self) -> str | None:
        """As Sink.serving."""
        with self._asking(f"looking for {self._served}") as client:
            served = _get(client, self._served)
        return str(served.metadata[NAME]) if served and self._is_ours(served) else None

    def serve(self, name: str) -> None:
        """As Sink.serve: two renames, between which readers' name is nobody's."""
        with self._using(name, f"renaming to {self._served}") as collection:
            if collection.name == self._served:
                return
            served = _get(self._opened(), self._served)
            if served is not None:
                if not self._is_ours(served):
                    raise SinkError(
                        f"{self._place}: the collection {self._served} is not vectorline's; rename "
                        "or remove it, or give another collection in the config"
                    )
                served.modify(name=self._named(str(served.metadata[NAME])))
            collection.modify(name=self._served)

    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        """Rows that are there go first, and are missing for a moment.

        An upsert merges metadata, and was five times as slow on rows that are there.
        Every row has every key, None too: nothing is merged either where two write at once.
        """
        ids: list[str] = rows[ID].to_pylist()
        vectors = vectors_of(rows)
        metadata: list[dict[str, Any]] = plain_rows(rows, shape.columns, HOLDS)
        _set(metadata, HASH, hexes_of(rows))
        if shape.metric is Metric.COSINE:
            _set(metadata, f"_{VECTOR}", remainders(vectors))
        if shape.full_dim:
            _set(metadata, f"_{FULL}", _packed(vectors_of(rows, FULL)))
        with self._using(name, "writing", writing=True) as collection:
            keys = _keys(ids)
            if there := collection.get(ids=keys, include=[])["ids"]:
                collection.delete(ids=there)
            collection.upsert(ids=keys, embeddings=vectors, metadatas=metadata)  # type: ignore[arg-type]

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), PER_CALL):
            with self._using(name, "deleting") as collection:
                collection.delete(ids=_keys(ids[start : start + PER_CALL]))

    def _named(self, name: str) -> str:
        return f"{name}--{self._served}"

    def _is_ours(self, collection: "Collection") -> bool:
        metadata = collection.metadata or {}
        return metadata.get(MARK) == self._served and NAME in metadata

    def _find(self, client: "ClientAPI", name: str) -> "Collection | None":
        """A collection of ours under its own name or that of the readers."""
        own = _get(client, self._named(name))
        if own is not None and not self._is_ours(own):
            raise SinkError(
                f"{self._place}: the collection {own.name} is not vectorline's; rename it, or give "
                "another collection in the config"
            )
        served = None if own else _get(client, self._served)
        is_it = served is not None and self._is_ours(served) and served.metadata[NAME] == name
        return served if is_it else own

    @property
    def _place(self) -> str:
        return f"Chroma at {without_password(self._url) if self._url else self._path}"

    def _opened(self) -> "ClientAPI":
        if self._client is None:
            raise SinkError(f"{self._place} is not open")
        return self._client

    @contextmanager
    def _asking(self, what: str) -> Iterator["ClientAPI"]:
        with self._errors(what):
            yield self._opened()

    @contextmanager
    def _using(self, name: str, what: str, *, writing: bool = False) -> Iterator["Collection"]:
        with self._errors(f"{what} {self._named(name)}", writing=writing):
            if (collection := self._find(self._opened(), name)) is None:
                raise SinkError(
                    f"{self._place} has no collection {self._named(name)} any more; was it removed "
                    "by someone else? publish again"
                )
            yield collection

    @contextmanager
    def _errors(self, what: str, *, writing: bool = False) -> Iterator[None]:
        """What the client raises becomes an error that says what was asked."""
        from chromadb.errors import ChromaError
        from httpx import TransportError

        asked = f"{self._place}, {what}"
        try:
            yield
        except TransportError as error:
            raise SinkUnavailable(f"{asked}: {type(error).__name__} {error}") from error
        except ChromaError as error:
            raise _error_of(error, asked, writing=writing) from error
        except (ValueError, TypeError, OSError) as error:
            raise SinkError(f"{asked}: {str(error)[:300]}") from error

    def _host(self) -> tuple[str, int, bool]:
        parts = urlsplit(self._url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ConfigError(
                f"chroma: url = {without_password(self._url or '')!r}; write http://host:8000"
            )
        is_secure = parts.scheme == "https"
        return parts.hostname, parts.port or (443 if is_secure else 8000), is_secure

    def _check_alive(self, headers: dict[str, str] | None) -> None:
        """Asks once with a time-out: the client's constructor has none."""
        import httpx

        answer = httpx.get(
            f"{(self._url or '').rstrip('/')}/api/v2/heartbeat",
            headers=headers,
            timeout=self._timeout_s,
        )
        self._check_answer(answer)
        if "heartbeat" not in answer.text:
            raise SinkError(f"{self._place}: the answer is not Chroma's; check url")

    def _check_answer(self, answer: "httpx.Response") -> None:
        """Raises for what the client has no error for, and for what may pass."""
        if answer.status_code < FAILED:
            return
        said = f"{self._place}: {answer.status_code} {answer.read().decode(errors='replace')[:300]}"
        if answer.status_code in WAITING or answer.status_code >= SERVER:
            unavailable = SinkUnavailable(said)
            wait = answer.headers.get("Retry-After", "")
            unavailable.retry_after_s = float(wait) if wait.isdecimal() else None
            raise unavailable
        if answer.status_code == TOO_LARGE:
            raise RowsRefused(said)
        if '"error"' not in answer.text:
            raise SinkError(f"{said}; check url and api_key")


class _Writer:
    """Rows on their way into one collection; each call is whole when it returns."""

    def __init__(self, sink: ChromaSink, name: str, shape: Shape) -> None:
        self._sink, self._name, self._shape = sink, name, shape

    def upsert(self, rows: pa.Table) -> None:
        """As Writer.upsert."""
        if len(rows):
            self._sink._put(self._name, self._shape, rows)

    def delete(self, ids: Sequence[str]) -> None:
        """As Writer.delete."""
        self._sink._remove(self._name, ids)


def _error_of(error: Exception, asked: str, *, writing: bool) -> SinkError:
    from chromadb import errors

    said = f"{asked}: {str(error)[:300]}"
    refused = (
        errors.InvalidArgumentError,
        errors.InvalidDimensionException,
        errors.BatchSizeExceededError,
        errors.QuotaError,  # of Chroma Cloud: 300 rows a call, so many bytes of a value
    )
    if writing and isinstance(error, refused):
        return RowsRefused(said)
    if isinstance(error, errors.RateLimitError) or "database is locked" in said:
        return SinkUnavailable(said)
    if isinstance(error, (errors.ChromaAuthError, errors.AuthorizationError)):
        return SinkError(f"{asked}: refused; check api_key, tenant and database")
    if isinstance(error, errors.NotFoundError):
        said += "; was it removed by someone else? publish again"
    return SinkError(said)


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


def _keys(ids: Sequence[str]) -> list[str]:
    return [NOT_EMPTY + one if one[:1] in ("", NOT_EMPTY) else one for one in ids]


def _id(key: str) -> str:
    return key.removeprefix(NOT_EMPTY)


def _set(rows: Sequence[dict[str, Any]], key: str, values: Sequence[str]) -> None:
    for row, value in zip(rows, values, strict=True):
        row[key] = value


def _packed(vectors: npt.NDArray[Any]) -> list[str]:
    return [base64.b64encode(vector.tobytes()).decode() for vector in vectors]


def _unpacked(rows: Sequence[dict[str, Any]]) -> list[npt.NDArray[np.float32]]:
    return [np.frombuffer(base64.b64decode(row[f"_{FULL}"]), np.float32) for row in rows]


def _score(far: float, metric: Metric) -> float:
    """Chroma's distances are squares, and what the cosine or the product lack of one."""
    return -float(np.sqrt(far)) if metric is Metric.EUCLIDEAN else 1 - far
