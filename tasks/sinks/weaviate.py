"""Weaviate; readers' name is an alias of a collection.

Objects have the UUIDs of the rows' ids, which are their property `row_id`: Weaviate keeps `id` for
itself. Names of collections begin with a capital, of properties with a small letter. Whatever has
no property of its own, or does not fit into it, is in `_rest` as JSON. Numbers travel as doubles.
"""

import json
import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from tasks.errors import ConfigError, RowsRefused, SinkError
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
    Writer,
)
from tasks.sinks.http_answers import PASSING, unavailable
from tasks.sinks.originals import CANDIDATES, ordered
from tasks.sinks.plain import Holds, Lists, hexes_of, plain_rows, table_of, uuids_of, vectors_of
from tasks.sinks.typed import REST, put_back, set_apart

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.collections import Collection
    from weaviate.exceptions import WeaviateBaseError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,200}")
PROPERTY = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,230}")
ROW_ID = "row_id"
OWN = {ROW_ID, HASH, REST, FULL, ID, "_id", "_additional", VECTOR}
MOST = 2**53
HOLDS = Holds(lists=Lists.ALIKE, most=MOST)
DEFAULT = "default"
MAX_FOUND = 10_000
PAGE_ROWS = 2_000
FETCH_ROWS = 1_000
NOT_FOUND = 404
PASSING_WORDS = ("deadline", "exhausted", "unavailable", "timeout", "too many", "rst_stream")
DISTANCES = {Metric.COSINE: "cosine", Metric.DOT: "dot", Metric.EUCLIDEAN: "l2-squared"}


class WeaviateSink:
    """Whole versions are made beside; rows of a batch are there when its call returns."""

    modes = (Mode.SWITCH, Mode.ROWWISE)
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
            raise ConfigError(f"url = {url!r} of weaviate is none: such as http://host:8080")
        if not NAME.fullmatch(collection):
            raise ConfigError(
                f"collection = {collection!r} is no name for Weaviate: "
                "letters, digits and underscores, a letter first"
            )
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if self._secure else 8080)
        self._grpc = (grpc_host or parts.hostname, grpc_port)
        self._place = f"{parts.scheme}://{self._host}:{self._port}"
        self._readers = collection[0].upper() + collection[1:]
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._opened: WeaviateClient | None = None

    def connect(self) -> None:
        """Asks for the server's version; not for the client's at PyPI, which it would itself."""
        if self._opened is not None:
            return
        try:
            import weaviate
            from weaviate.classes.init import AdditionalConfig, Auth, Timeout
            from weaviate.connect import ConnectionParams
        except ImportError as error:
            raise ConfigError(
                "weaviate needs its client: pip install 'vectorline[weaviate]'"
            ) from error
        logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)  # it prints what it raises
        seconds = self._timeout_s
        with self._errors("opened"):
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
                self._opened = client
            finally:
                if self._opened is None:
                    client.close()

    def close(self) -> None:
        """Closes its connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def collections(self) -> dict[str, str]:
        """Those whose description says that they were made here, for these readers."""
        with self._errors("listed"):
            listed = self._client.collections.list_all()
        found = {
            name.removeprefix(f"{self._readers}__"): self._stamp_of(one.description)
            for name, one in sorted(listed.items())
            if name.startswith(f"{self._readers}__")
        }
        return {name: stamp for name, stamp in found.items() if stamp is not None}

    def create(self, name: str, shape: Shape) -> None:
        """With a property for each column that can have one."""
        from weaviate.classes.config import Configure, VectorDistances

        self.drop(name)
        distance = VectorDistances(DISTANCES[shape.metric])
        with self._errors("created", name):
            self._client.collections.create(
                self._full(name),
                description=self._described(""),
                properties=_properties(shape),
                vector_config=Configure.Vectors.self_provided(
                    vector_index_config=Configure.VectorIndex.hnsw(distance_metric=distance)
                ),
            )

    def stamp(self, name: str, text: str) -> None:
        """In the description."""
        with self._errors("stamped", name):
            self._collection(name).config.update(description=self._described(text))

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """Rows are there as they are written."""
        yield _WeaviateWriter(self, name, shape)
        self.stamp(name, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """Nothing: rows are indexed as they come."""
        self._check_there(name, "indexed")

    def count(self, name: str) -> int:
        """As the server counts them."""
        self._check_there(name, "counted")
        with self._errors("counted", name):
            return len(self._collection(name))

    def held(self, name: str) -> Iterator[list[Held]]:
        """In the order of UUIDs."""
        self._check_there(name, "listed")
        after: str | None = None
        while True:
            with self._errors("listed", name):
                page = self._collection(name).query.fetch_objects(
                    limit=PAGE_ROWS, after=after, return_properties=[ROW_ID, HASH]
                )
            if not page.objects:
                return
            said = [one.properties for one in page.objects]
            yield [Held(str(one[ROW_ID]), bytes.fromhex(str(one[HASH]))) for one in said]
            after = str(page.objects[-1].uuid)

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By UUIDs."""
        from weaviate.classes.query import Filter

        self._check_there(name, "read")
        found: list[Any] = []
        keys = uuids_of(ids)
        for start in range(0, len(keys), FETCH_ROWS):
            part = keys[start : start + FETCH_ROWS]
            with self._errors("read", name):
                page = self._collection(name).query.fetch_objects(
                    filters=Filter.by_id().contains_any(part), limit=len(part), include_vector=True
                )
            found += page.objects
        stored = _stored(shape.columns)
        said: list[dict[str, Any]] = [
            {column: one.properties.get(property_) for column, property_ in stored.items()}
            | {REST: one.properties.get(REST)}
            for one in found
        ]
        put_back(said)
        return table_of(
            shape,
            [one.properties[ROW_ID] for one in found],
            [one.properties[HASH] for one in found],
            [one.vector[DEFAULT] for one in found],
            said,
            [one.properties[FULL] for one in found] if shape.full_dim else None,
        )

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """A request for each query."""
        from weaviate.classes.query import MetadataQuery

        self._check_there(name, "searched")
        again = bool(shape.full_dim) and originals is not None
        found = []
        for query in queries:
            with self._errors("searched", name):
                answer = self._collection(name).query.near_vector(
                    query.tolist(),
                    limit=min(MAX_FOUND, k * CANDIDATES if again else k),
                    return_properties=[ROW_ID],
                    return_metadata=MetadataQuery(distance=True),
                )
            found.append(
                [
                    Near(
                        str(one.properties[ROW_ID]),
                        _score(one.metadata.distance or 0.0, shape.metric),
                    )
                    for one in answer.objects
                ]
            )
        if not again or originals is None:
            return found
        candidates = [[near.id for near in of_query] for of_query in found]
        rows = self.fetch(name, shape, sorted({one for ids in candidates for one in ids}))
        return ordered(candidates, rows, originals, shape.metric, k)

    def drop(self, name: str) -> None:
        """Takes readers' name away before if it points there."""
        with self._errors("dropped", name):
            if not self._client.collections.exists(self._full(name)):
                return
            pointed = self._client.alias.get(alias_name=self._readers)
            if pointed is not None and pointed.collection == self._full(name):
                self._client.alias.delete(alias_name=self._readers)
            self._client.collections.delete(self._full(name))

    def serving(self) -> str | None:
        """What the alias points at."""
        with self._errors("read"):
            pointed = self._client.alias.get(alias_name=self._readers)
            if pointed is None:
                if self._client.collections.exists(self._readers):
                    raise self._not_ours("a collection")
                return None
        name = pointed.collection.removeprefix(f"{self._readers}__")
        if name not in self.collections():
            raise self._not_ours(f"an alias of {pointed.collection}")
        return name

    def serve(self, name: str) -> None:
        """Moves the alias in one call."""
        serving = self.serving()
        self._check_there(name, "served")
        alias, full = self._readers, self._full(name)
        with self._errors("served", name):
            if serving is None:
                self._client.alias.create(alias_name=alias, target_collection=full)
            elif not self._client.alias.update(alias_name=alias, new_target_collection=full):
                raise SinkError(f"{self._what(None)} is no alias any more; publish again")

    @property
    def _client(self) -> "WeaviateClient":
        if self._opened is None:
            raise SinkError(f"weaviate at {self._place} is not open: connect comes first")
        return self._opened

    def _full(self, name: str) -> str:
        return f"{self._readers}__{name}"

    def _collection(self, name: str) -> "Collection[Any, None]":
        return self._client.collections.use(self._full(name))

    def _described(self, stamp: str) -> str:
        return json.dumps({"vectorline": self._readers, "stamp": stamp})

    def _stamp_of(self, description: str | None) -> str | None:
        try:
            said = json.loads(description or "")
        except ValueError:
            return None
        is_ours = isinstance(said, dict) and said.get("vectorline") == self._readers
        return str(said["stamp"]) if is_ours else None

    def _check_there(self, name: str, done: str) -> None:
        """By REST, which fails at once where nobody answers; gRPC is tried for a minute."""
        with self._errors(done, name):
            if not self._client.collections.exists(self._full(name)):
                raise self._gone(done, name)

    def _what(self, name: str | None) -> str:
        return f"weaviate at {self._place}: {self._full(name) if name else self._readers!r}"

    def _gone(self, done: str, name: str) -> SinkError:
        return SinkError(
            f"{self._what(name)} cannot be {done}: it is not there; was it removed? publish again"
        )

    def _not_ours(self, what: str) -> SinkError:
        return SinkError(
            f"weaviate at {self._place}: {self._readers!r} is {what} that was not made here; "
            "nothing was changed; give collection another name"
        )

    @contextmanager
    def _errors(self, done: str, name: str | None = None) -> Iterator[None]:
        from httpx import TransportError
        from weaviate import exceptions as its

        what = f"{self._what(name)} cannot be {done}"
        passing = (
            its.WeaviateConnectionError,
            its.WeaviateTimeoutError,
            its.WeaviateStartUpError,
            its.WeaviateRetryError,
            its.WeaviateGRPCUnavailableError,
        )
        try:
            yield
        except (*passing, TransportError) as error:
            raise unavailable(f"{what}: {self._words(error)}") from None
        except its.UnexpectedStatusCodeError as error:
            if error.status_code == NOT_FOUND and name:
                raise self._gone(done, name) from None
            if error.status_code in PASSING:
                raise unavailable(f"{what}: {self._words(error)}") from None
            raise SinkError(f"{what}: {self._words(error)}") from None
        except its.WeaviateBaseError as error:
            raise self._said(_with_code(error), done, name) from None

    def _said(self, message: str, done: str, name: str | None) -> SinkError:
        what = f"{self._what(name)} cannot be {done}"
        words = self._words(message)
        if name and "could not find class" in words:
            return self._gone(done, name)
        if "larger than max" in words:
            return RowsRefused(f"{what}: the batch is too large for it: {words}")
        if any(one in words.lower() for one in PASSING_WORDS):
            return unavailable(f"{what}: {words}")
        return SinkError(f"{what}: {words}")

    def _words(self, said: object) -> str:
        words = str(said).replace("\n", " ")[:400]
        return words.replace(self._api_key, "***") if self._api_key else words


class _WeaviateWriter:
    """An object is replaced whole."""

    def __init__(self, sink: WeaviateSink, name: str, shape: Shape) -> None:
        self._sink, self._name, self._shape = sink, name, shape
        self._stored = _stored(shape.columns)
        self._apart = [one for one in shape.columns.names if one not in self._stored]

    def upsert(self, rows: pa.Table) -> None:
        """One batch; the collection is looked for before, as a batch would make it anew."""
        from weaviate.classes.data import DataObject
        from weaviate.exceptions import WeaviateInsertManyAllFailedError

        if not len(rows):
            return
        sink, name = self._sink, self._name
        vectors = vectors_of(rows)
        if not np.isfinite(vectors).all():
            raise RowsRefused("weaviate takes no NaN or infinity in a vector")
        objects = [
            DataObject(properties=row, uuid=key, vector={DEFAULT: vector})
            for row, key, vector in zip(
                self._made(rows), uuids_of(rows[ID].to_pylist()), vectors.tolist(), strict=True
            )
        ]
        sink._check_there(name, "written")
        with sink._errors("written", name):
            try:
                done = sink._collection(name).data.insert_many(objects)
            except WeaviateInsertManyAllFailedError as error:
                raise self._refused(error.message) from None
        if done.has_errors:
            raise self._refused(next(iter(done.errors.values())).message)

    def delete(self, ids: Sequence[str]) -> None:
        """By UUIDs, up to what the server deletes at a time."""
        from weaviate.classes.query import Filter

        keys = uuids_of(ids)
        for start in range(0, len(keys), FETCH_ROWS):
            part = keys[start : start + FETCH_ROWS]
            with self._sink._errors("written", self._name):
                self._sink._collection(self._name).data.delete_many(
                    where=Filter.by_id().contains_any(part)
                )

    def _made(self, rows: pa.Table) -> list[dict[str, Any]]:
        columns = self._shape.columns
        made: list[dict[str, Any]] = plain_rows(rows, columns, HOLDS, nulls=False)
        set_apart(made, columns, most=MOST, lists=True, always=self._apart)
        stored = self._stored | {REST: REST}
        said = [
            {stored[key]: value for key, value in row.items() if value is not None} for row in made
        ]
        for row, id_, hash_ in zip(said, rows[ID].to_pylist(), hexes_of(rows), strict=True):
            row |= {ROW_ID: id_, HASH: hash_}
        if self._shape.full_dim:
            for row, full in zip(said, vectors_of(rows, FULL).tolist(), strict=True):
                row[FULL] = full
        return said

    def _refused(self, message: str) -> SinkError:
        error = self._sink._said(message, "written", self._name)
        return RowsRefused(str(error)) if type(error) is SinkError else error


def _with_code(error: "WeaviateBaseError") -> str:
    """The client passes on the words of a gRPC answer, and its code only as what came before."""
    from grpc import Call

    cause = error.__context__
    return f"{cause.code().name}: {error.message}" if isinstance(cause, Call) else error.message


def _stored(columns: pa.Schema) -> dict[str, str]:
    """The property of each column that has one."""
    found: dict[str, str] = {}
    for name in columns.names:
        property_ = name[:1].lower() + name[1:]
        if PROPERTY.fullmatch(name) and property_ not in OWN | set(found.values()):
            found[name] = property_
    return found


def _properties(shape: Shape) -> list[Any]:
    from weaviate.classes.config import DataType, Property, Tokenization

    found: list[Any] = [
        Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization.FIELD)
        for name in (ROW_ID, HASH)
    ]
    for column, name in _stored(shape.columns).items():
        kind = DataType(_kind(shape.columns.field(column).type))
        tokens = Tokenization.FIELD if kind in (DataType.TEXT, DataType.TEXT_ARRAY) else None
        found.append(
            Property(name=name, data_type=kind, tokenization=tokens, index_searchable=False)
        )
    kept = [(REST, DataType.TEXT)] + [(FULL, DataType.NUMBER_ARRAY)] * bool(shape.full_dim)
    return found + [
        Property(name=name, data_type=kind, index_filterable=False, index_searchable=False)
        for name, kind in kept
    ]


def _kind(data_type: pa.DataType) -> str:
    if pat.is_list(data_type) or pat.is_large_list(data_type):
        return f"{_kind(data_type.value_type)}[]"
    if pat.is_boolean(data_type):
        return "boolean"
    if pat.is_integer(data_type):
        return "int"
    return "number" if pat.is_floating(data_type) else "text"


def _score(distance: float, metric: Metric) -> float:
    if metric is Metric.COSINE:
        return 1 - distance
    return -distance if metric is Metric.DOT else -math.sqrt(max(0.0, distance))
