"""Points of a Qdrant server, by REST, or of the folder of its client's local mode.

Readers' name is an alias, which Qdrant moves at once. A point's id is the UUID of the row's id; its
payload is the metadata with the row's `id` and `_hash`. Qdrant scales what it searches by cosine to
a length of one: a vector that it would change is kept as it was in `_vector` of the payload, bytes
as base64. With an original, the vectors' names are `vector` and `full_vector`.
"""

import base64
import sqlite3
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError, RowsRefused, SinkError, SinkUnavailable
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Element,
    Held,
    Limits,
    Metric,
    Mode,
    Near,
    Originals,
    Queries,
    Shape,
)
from tasks.sinks.plain import (
    Holds,
    Lists,
    Vectors,
    hexes_of,
    plain_rows,
    table_of,
    uuids_of,
    vectors_of,
)
from tasks.sources.web import without_password

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import Record, VectorParams

MARK = "vectorline"  # key of the stamp in a collection's metadata
HOLDS = Holds(Lists.ANY)
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
UNIT = 5e-7  # Qdrant leaves a vector alone whose squared length is within 1e-6 of one
POLL_S = 0.5
BEING_ASKED = (408, 429)
REFUSED_KEY = (401, 403)
GONE, TOO_LARGE, BAD_REQUEST, UNPROCESSABLE, SERVER = 404, 413, 400, 422, 500


class QdrantSink:
    """Collections are called `<collection>--<name>`."""

    modes = (Mode.SWITCH, Mode.ROWWISE)

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
        self._url, self._path, self._api_key = url, path, api_key
        self._timeout_s, self._on_disk, self._options = timeout_s, on_disk, options or {}
        self._alias = collection
        self._client: QdrantClient | None = None
        self._turn = nullcontext() if path is None else Lock()  # local mode knows no threads
        self.limits = Limits(
            batch_rows=PER_CALL,
            batch_bytes=4 * 2**20,  # a server takes 32 MiB of JSON, 5 times as long as the vectors
            concurrency=4 if path is None else 1,
            max_dim=65_536,
            elements=frozenset({Element.FLOAT32, Element.FLOAT16}),
        )

    def connect(self) -> None:
        """As Sink.connect; SinkError for a server before 1.16."""
        if self._client is not None:
            return
        try:
            from qdrant_client import QdrantClient
        except ImportError as error:
            raise ConfigError(
                "qdrant needs its client: pip install 'vectorline[qdrant]'"
            ) from error
        with self._errors("opening"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # keys without TLS, many rows in a folder
            client = (
                QdrantClient(path=self._path, force_disable_check_same_thread=True)
                if self._path
                else QdrantClient(
                    url=self._url,
                    api_key=self._api_key,
                    timeout=max(1, round(self._timeout_s)),
                    check_compatibility=False,
                )
            )
        self._client = client
        try:
            with self._asking("opening"):
                version = str(client.info().version)
            if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
                raise SinkError(f"{self._place} is Qdrant {version}; 1.16 or later is needed")
        except SinkError:
            self.close()
            raise

    def close(self) -> None:
        """As Sink.close."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def collections(self) -> dict[str, str]:
        """As Sink.collections: a stamp is metadata of its collection."""
        with self._asking("listing collections") as client:
            listed = [one.name for one in client.get_collections().collections]
            names = [name for name in map(self._name_of, listed) if name is not None]
            marks = {name: self._mark(client, name) for name in names}
        return {name: mark for name, mark in marks.items() if mark is not None}

    def create(self, name: str, shape: Shape) -> None:
        """As Sink.create."""
        self.drop(name)
        with self._asking(f"creating {self._named(name)}") as client:
            client.create_collection(
                self._named(name),
                vectors_config=self._vectors_config(shape),
                metadata={MARK: ""},
                **self._options,  # type: ignore[arg-type]
            )

    def stamp(self, name: str, text: str) -> None:
        """As Sink.stamp."""
        with self._asking(f"stamping {self._named(name)}") as client:
            client.update_collection(self._named(name), metadata={MARK: text})

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator["_Writer"]:
        """As Sink.writing."""
        yield _Writer(self, name, shape)
        self.stamp(name, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """As Sink.finish: waits for the server's optimizer."""
        from qdrant_client.models import CollectionStatus, OptimizersConfigDiff

        while True:
            with self._asking(f"indexing {self._named(name)}") as client:
                info = client.get_collection(self._named(name))
                if info.status == CollectionStatus.GREEN:
                    return
                if info.status == CollectionStatus.RED:
                    raise SinkError(
                        f"{self._place} cannot index {self._named(name)}: "
                        f"{str(info.optimizer_status)[:300]}; look into the server's log"
                    )
                if info.status == CollectionStatus.GREY:  # it waits for an update since its start
                    client.update_collection(
                        self._named(name), optimizers_config=OptimizersConfigDiff()
                    )
            time.sleep(POLL_S)

    def count(self, name: str) -> int:
        """As Sink.count."""
        with self._asking(f"counting {self._named(name)}") as client:
            return client.count(self._named(name), exact=True).count

    def held(self, name: str) -> Iterator[list[Held]]:
        """As Sink.held: ids and hashes only, 10,000 a part, by the points' ids."""
        offset = None
        while True:
            with self._asking(f"listing {self._named(name)}") as client:
                points, offset = client.scroll(
                    self._named(name), limit=LISTED, offset=offset, with_payload=[ID, HASH]
                )
            rows = [one.payload or {} for one in points]
            yield [Held(row[ID], bytes.fromhex(row[HASH])) for row in rows]
            if offset is None:
                return

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """As Sink.fetch."""
        points: list[Record] = []
        for start in range(0, len(ids), PER_CALL):
            with self._asking(f"reading {self._named(name)}") as client:
                points += client.retrieve(
                    self._named(name), uuids_of(ids[start : start + PER_CALL]), with_vectors=True
                )
        rows = [point.payload or {} for point in points]
        return table_of(
            shape,
            [row[ID] for row in rows],
            [row[HASH] for row in rows],
            [_vector(point, VECTOR, shape) for point in points],
            rows,
            [_vector(point, FULL, shape) for point in points] if shape.full_dim else None,
        )

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
        with self._asking(f"searching {self._named(name)}") as client:
            answers = client.query_batch_points(self._named(name), requests)
        sign = -1 if shape.metric is Metric.EUCLIDEAN else 1
        return [
            [Near((one.payload or {})[ID], sign * one.score) for one in answer.points]
            for answer in answers
        ]

    def drop(self, name: str) -> None:
        """As Sink.drop; SinkError for a collection that vectorline did not make."""
        with self._asking(f"removing {self._named(name)}") as client:
            if not client.collection_exists(self._named(name)):
                return
            if self._mark(client, name) is None:
                raise SinkError(
                    f"{self._place}: the collection {self._named(name)} is not vectorline's; "
                    "rename it, or give another collection in the config"
                )
            client.delete_collection(self._named(name))

    def serving(self) -> str | None:
        """As Sink.serving."""
        with self._asking("reading aliases") as client:
            aliases = {one.alias_name: one.collection_name for one in client.get_aliases().aliases}
        return self._name_of(aliases.get(self._alias, ""))

    def serve(self, name: str) -> None:
        """As Sink.serve; SinkError if the name is a collection's, or an alias to another's."""
        from qdrant_client.models import (
            CreateAlias,
            CreateAliasOperation,
            DeleteAlias,
            DeleteAliasOperation,
        )

        with self._asking(f"pointing {self._alias} at {self._named(name)}") as client:
            aliases = {one.alias_name: one.collection_name for one in client.get_aliases().aliases}
            holder = aliases.get(self._alias)
            listed = {one.name for one in client.get_collections().collections}
            if self._alias in listed or (holder and self._name_of(holder) is None):
                what = f"an alias of {holder}" if holder else "a collection"
                raise SinkError(
                    f"{self._place}: {self._alias} is {what} that is not vectorline's; rename or "
                    "remove it, or give another collection in the config"
                )
            gone = DeleteAliasOperation(delete_alias=DeleteAlias(alias_name=self._alias))
            made = CreateAlias(collection_name=self._named(name), alias_name=self._alias)
            client.update_collection_aliases(
                [*([gone] if holder else []), CreateAliasOperation(create_alias=made)]
            )

    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        columns = [VECTOR, *([FULL] if shape.full_dim else [])]
        vectors = {column: vectors_of(rows, column) for column in columns}
        ids = rows[ID].to_pylist()
        payloads: list[dict[str, Any]] = plain_rows(rows, shape.columns, HOLDS)
        for payload, id_, hash_ in zip(payloads, ids, hexes_of(rows), strict=True):
            payload[ID], payload[HASH] = id_, hash_
        for column, given in vectors.items():
            _check_finite(ids, given, column)
            for row in self._changed(shape, given):
                payloads[row][f"_{column}"] = base64.b64encode(given[row].tobytes()).decode()
        lists = {column: given.tolist() for column, given in vectors.items()}
        batch = {"ids": uuids_of(ids), "vectors": lists if shape.full_dim else lists[VECTOR]}
        self._send(self._named(name), {**batch, "payloads": payloads})

    def _send(self, collection: str, batch: dict[str, Any]) -> None:
        from pydantic_core import to_json
        from qdrant_client.models import Batch

        with self._asking(f"writing {collection}", writing=True) as client:
            if self._path is not None:
                client.upsert(collection, Batch.model_construct(**batch))
                return
            # The client's own models check every number: half as fast, for the same bytes.
            client.http.client.request(
                type_=dict,
                method="PUT",
                url="/collections/{collection_name}/points",
                path_params={"collection_name": collection},
                params={"wait": "true"},
                headers={"Content-Type": "application/json"},
                content=to_json({"batch": batch}),
            )

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        from qdrant_client.models import PointIdsList

        for start in range(0, len(ids), LISTED):
            points = PointIdsList(points=[*uuids_of(ids[start : start + LISTED])])
            with self._asking(f"deleting from {self._named(name)}") as client:
                client.delete(self._named(name), points)

    def _vectors_config(self, shape: Shape) -> "VectorParams | dict[str, VectorParams]":
        from qdrant_client.models import Datatype, Distance, HnswConfigDiff, VectorParams

        distance = {
            Metric.COSINE: Distance.COSINE,
            Metric.DOT: Distance.DOT,
            Metric.EUCLIDEAN: Distance.EUCLID,
        }[shape.metric]
        half = Datatype.FLOAT16 if shape.element is Element.FLOAT16 else None
        searched = VectorParams(
            size=shape.dim, distance=distance, datatype=half, on_disk=self._on_disk
        )
        if not shape.full_dim:
            return searched
        unindexed = HnswConfigDiff(m=0)
        full = VectorParams(
            size=shape.full_dim, distance=distance, on_disk=True, hnsw_config=unindexed
        )
        return {VECTOR: searched, FULL: full}

    def _changed(self, shape: Shape, vectors: Vectors) -> list[int]:
        """The rows whose vectors Qdrant would scale, local mode any of them."""
        if shape.metric is not Metric.COSINE:
            return []
        squared = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        near = UNIT if self._path is None and vectors.dtype == np.float32 else -1
        return np.flatnonzero(np.abs(squared - 1) > near).tolist()

    def _named(self, name: str) -> str:
        return f"{self._alias}--{name}"

    def _name_of(self, collection: str) -> str | None:
        """The name of a collection here; None where it is none of this sink's."""
        ours, _, name = collection.rpartition("--")
        return name if ours == self._alias and name else None

    def _mark(self, client: "QdrantClient", name: str) -> str | None:
        """A collection's stamp; None where it has no place for one."""
        metadata = client.get_collection(self._named(name)).config.metadata or {}
        return metadata.get(MARK)

    @property
    def _place(self) -> str:
        return f"Qdrant at {without_password(self._url) if self._url else self._path}"

    @contextmanager
    def _asking(self, what: str, *, writing: bool = False) -> Iterator["QdrantClient"]:
        if self._client is None:
            raise SinkError(f"{self._place} is not open")
        with self._errors(what, writing=writing), self._turn:
            yield self._client

    @contextmanager
    def _errors(self, what: str, *, writing: bool = False) -> Iterator[None]:
        """What the client raises becomes an error that says what was asked."""
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except (ApiException, QdrantException) as error:
            raise _remote_error(error, f"{self._place}, {what}", writing=writing) from error
        except (ValueError, RuntimeError, OSError, sqlite3.Error) as error:
            raise SinkError(f"{self._place}, {what}: {str(error)[:300]}") from error


class _Writer:
    """Rows on their way into one collection; each call is whole when it returns."""

    def __init__(self, sink: QdrantSink, name: str, shape: Shape) -> None:
        self._sink, self._name, self._shape = sink, name, shape

    def upsert(self, rows: pa.Table) -> None:
        """As Writer.upsert."""
        if len(rows):
            self._sink._put(self._name, self._shape, rows)

    def delete(self, ids: Sequence[str]) -> None:
        """As Writer.delete."""
        self._sink._remove(self._name, ids)


def _vector(point: "Record", column: str, shape: Shape) -> Vectors:
    """As it was put: what Qdrant may have scaled is in the payload too."""
    half = column == VECTOR and shape.element is Element.FLOAT16
    dtype = np.float16 if half else np.float32
    if (kept := (point.payload or {}).get(f"_{column}")) is not None:
        return np.frombuffer(base64.b64decode(kept), dtype)
    held: Any = point.vector
    return np.asarray(held[column] if shape.full_dim else held, dtype)


def _check_finite(ids: Sequence[str], vectors: Vectors, column: str) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()
    if bad:
        raise RowsRefused(
            f"{column} of {ids[bad[0]]!r} has NaN or infinity, which Qdrant takes not"
        )


def _remote_error(error: Exception, asked: str, *, writing: bool) -> SinkError:
    """What a server's answer means; of its text only what it says went wrong."""
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, QdrantException):  # 429 with a Retry-After
        return _unavailable(f"{asked}: asks to wait", getattr(error, "retry_after_s", None))
    if isinstance(error, ResponseHandlingException):
        return _unanswered(error.source, asked)
    if not isinstance(error, UnexpectedResponse):
        return SinkError(f"{asked}: {str(error)[:300]}")
    status = error.status_code or 0
    said = f"{asked}: {status} {error.content.decode(errors='replace')[:300]}"
    if status in BEING_ASKED or status >= SERVER:
        wait = error.headers.get("Retry-After", "")
        return _unavailable(said, float(wait) if wait.isdecimal() else None)
    if status in REFUSED_KEY:
        return SinkError(f"{asked}: {status}; check api_key and what it may do")
    if writing and status in (BAD_REQUEST, TOO_LARGE, UNPROCESSABLE):
        return RowsRefused(said)
    if status == GONE:
        said += "; was it removed by someone else? publish again"
    return SinkError(said)


def _unanswered(source: Exception, asked: str) -> SinkError:
    from httpx import InvalidURL, TransportError, UnsupportedProtocol

    if isinstance(source, TransportError) and not isinstance(source, UnsupportedProtocol):
        return _unavailable(f"{asked}: {type(source).__name__} {source}; does it run there?", None)
    if isinstance(source, (InvalidURL, UnsupportedProtocol)):
        return SinkError(f"{asked}: {source}; check url")
    return SinkError(f"{asked}: the answer is not Qdrant's; check url")


def _unavailable(message: str, retry_after_s: float | None) -> SinkUnavailable:
    unavailable = SinkUnavailable(message)
    unavailable.retry_after_s = retry_after_s
    return unavailable
