"""Elasticsearch; readers' name is an alias of an index.

A document's `_id` is the UUID of the row's id (it takes no empty one and 512 bytes at most), and
`id` a keyword. Vectors stay in `_source`: of those that it leaves out, which is the default since
9.2, cosine's come back rounded, from what was normalized. Rows are written through an alias of the
collection's own, so that a write to an index that is gone fails instead of making another one.
"""

import base64
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from tasks.errors import ConfigError, RowsRefused, SinkError
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
    Writer,
)
from tasks.sinks.http_answers import PASSING, TOO_LARGE, unavailable
from tasks.sinks.originals import CANDIDATES, ordered
from tasks.sinks.plain import Holds, Lists, hexes_of, plain_rows, table_of, uuids_of, vectors_of

if TYPE_CHECKING:
    from elasticsearch import ApiError
    from elasticsearch import Elasticsearch as Client

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,200}")
HOLDS = Holds(lists=Lists.ANY, most=2**64)  # JSON's integers are of any size
OURS = "vectorline"
PAGE_ROWS = 5_000
FETCH_ROWS = 500
MAX_FOUND = 10_000
KEYWORD_CHARACTERS = 8_191  # longer ones are kept and not searched; Lucene refuses 32,767 bytes
KEEPS_VECTORS, PACKS = (9, 2), (9, 3)
ELEMENTS = {Element.FLOAT32: "float", Element.INT8: "byte", Element.BINARY: "bit"}
SIMILARITIES = {
    Metric.COSINE: "cosine",
    Metric.DOT: "max_inner_product",
    Metric.EUCLIDEAN: "l2_norm",
}
NOT_FOUND = 404


class ElasticsearchSink:
    """Whole versions are made beside; rows are seen by searches from the next refresh."""

    modes = (Mode.SWITCH, Mode.ROWWISE)
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
        self._readers = collection
        self._urls = [url] if isinstance(url, str) else url
        self._place = re.sub(r"//[^/@]*@", "//", ", ".join(self._urls))
        self._login = (username, password) if username and password is not None else None
        self._api_key, self._ca_certs = api_key, ca_certs
        self._settings = settings or {}
        self._index_options = index_options or {"type": "hnsw"}
        self._timeout_s = timeout_s
        self._opened: Client | None = None
        self._version = (0, 0)

    def connect(self) -> None:
        """Asks for the server's version."""
        if self._opened is not None:
            return
        try:
            from elasticsearch import Elasticsearch
        except ImportError as error:
            raise ConfigError(
                "elasticsearch needs its client: pip install 'vectorline[elasticsearch]'"
            ) from error
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
                f"url = {self._place!r} is none of Elasticsearch, such as https://host:9200, "
                "or api_key and username are both given"
            ) from None
        with self._errors("opened"):
            try:
                major, minor = client.info()["version"]["number"].split(".")[:2]
                self._version = (int(major), int(minor))
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
        """Those whose mapping says in `_meta` that they were made here, for these readers."""
        with self._errors("listed"):
            found = self._client.indices.get_mapping(index=f"{self._readers}__*")
        said = {name: one["mappings"].get("_meta", {}).get(OURS) for name, one in found.items()}
        return {
            name.removeprefix(f"{self._readers}__"): one["stamp"]
            for name, one in sorted(said.items())
            if one and one["collection"] == self._readers
        }

    def create(self, name: str, shape: Shape) -> None:
        """With fields for the columns and no others."""
        self.drop(name)
        settings = dict(self._settings)
        if self._version >= KEEPS_VECTORS:
            settings["index.mapping.exclude_source_vectors"] = False
        with self._errors("created", name):
            self._client.indices.create(
                index=self._full(name),
                settings=settings,
                mappings={
                    "dynamic": "strict",
                    "properties": self._properties(shape),
                    "_meta": self._meta(""),
                },
                aliases={self._door(name): {}},
            )

    def stamp(self, name: str, text: str) -> None:
        """In `_meta` of the mapping."""
        with self._errors("stamped", name):
            self._client.indices.put_mapping(index=self._full(name), meta=self._meta(text))

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """Rows are seen from the next refresh, with the stamp at the latest."""
        yield _ElasticsearchWriter(self, name, shape)
        self._refresh(name)
        self.stamp(name, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """Lets searches see everything."""
        self._refresh(name)

    def count(self, name: str) -> int:
        """After a refresh."""
        self._refresh(name)
        with self._errors("counted", name):
            counted = self._client.count(index=self._full(name))
            if counted["_shards"]["failed"]:
                raise unavailable(f"{self._what(name)} cannot be counted: a shard is missing")
            return int(counted["count"])

    def held(self, name: str) -> Iterator[list[Held]]:
        """By a scroll, after a refresh."""
        from elasticsearch.helpers import ScanError, scan

        self._refresh(name)
        page: list[Held] = []
        with self._errors("listed", name):
            try:
                for hit in scan(
                    self._client,
                    query={"query": {"match_all": {}}, "_source": [ID, HASH]},
                    index=self._full(name),
                    size=PAGE_ROWS,
                ):
                    page.append(Held(hit["_source"][ID], bytes.fromhex(hit["_source"][HASH])))
                    if len(page) == PAGE_ROWS:
                        yield page
                        page = []
            except ScanError:
                raise unavailable(
                    f"{self._what(name)} cannot be listed: a shard is missing"
                ) from None
        if page:
            yield page

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By `_id`, which needs no refresh."""
        found: list[dict[str, Any]] = []
        keys = uuids_of(ids)
        for start in range(0, len(ids), FETCH_ROWS):
            with self._errors("read", name):
                answer = self._client.mget(
                    index=self._full(name), ids=keys[start : start + FETCH_ROWS]
                )
                for one in answer["docs"]:
                    self._check_read(name, one)
                    if one["found"]:
                        found.append(one["_source"])
        return table_of(
            shape,
            [row[ID] for row in found],
            [row[HASH] for row in found],
            [_unpacked(row[VECTOR], shape.element) for row in found],
            found,
            [_unpacked(row[FULL], Element.FLOAT32) for row in found] if shape.full_dim else None,
        )

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """A request for each query."""
        again = bool(shape.full_dim) and originals is not None
        wanted = min(MAX_FOUND, k * CANDIDATES if again else k)
        if shape.element is Element.BINARY:
            queries = queries.view(np.int8)
        found = []
        for query in queries:
            with self._errors("searched", name):
                answer = self._client.search(
                    index=self._full(name),
                    knn={
                        "field": VECTOR,
                        "query_vector": query.tolist(),
                        "k": wanted,
                        "num_candidates": min(MAX_FOUND, max(100, 4 * wanted)),
                    },
                    source={"includes": [ID]},
                    size=wanted,
                )
            hits = answer["hits"]["hits"]
            found.append([Near(hit["_source"][ID], _score(hit["_score"], shape)) for hit in hits])
        if not again or originals is None:
            return found
        candidates = [[near.id for near in of_query] for of_query in found]
        rows = self.fetch(name, shape, sorted({one for ids in candidates for one in ids}))
        return ordered(candidates, rows, originals, shape.metric, k)

    def drop(self, name: str) -> None:
        """Its aliases go with it."""
        with self._errors("dropped", name):
            self._client.indices.delete(index=self._full(name), ignore_unavailable=True)

    def serving(self) -> str | None:
        """What the alias points at."""
        pointed = self._pointed()
        if len(pointed) > 1:
            raise self._not_ours(f"an alias of {', '.join(pointed)}")
        return pointed[0].removeprefix(f"{self._readers}__") if pointed else None

    def serve(self, name: str) -> None:
        """One call takes the alias from all that were made here and gives it to this one."""
        actions = [{"add": {"index": self._full(name), "alias": self._readers}}]
        if self._pointed():
            actions.insert(0, {"remove": {"index": f"{self._readers}__*", "alias": self._readers}})
        with self._errors("served", name):
            self._client.indices.update_aliases(actions=actions)

    @property
    def _client(self) -> "Client":
        if self._opened is None:
            raise SinkError(f"elasticsearch at {self._place} is not open: connect comes first")
        return self._opened

    def _full(self, name: str) -> str:
        return f"{self._readers}__{name}"

    def _door(self, name: str) -> str:
        return f"{self._full(name)}.write"

    def _meta(self, stamp: str) -> dict[str, Any]:
        return {OURS: {"collection": self._readers, "stamp": stamp}}

    def _properties(self, shape: Shape) -> dict[str, Any]:
        vector = {
            "type": "dense_vector",
            "dims": shape.dim,
            "element_type": ELEMENTS[shape.element],
            "index": True,
            "index_options": self._index_options,
        }
        if shape.element is not Element.BINARY:  # these are near by equal bits, always
            vector["similarity"] = SIMILARITIES[shape.metric]
        keyword = {"type": "keyword", "ignore_above": KEYWORD_CHARACTERS}
        found: dict[str, Any] = {field.name: _kind(field.type) for field in shape.columns}
        found |= {ID: keyword, HASH: {"type": "keyword"}, VECTOR: vector}
        if shape.full_dim:
            found[FULL] = {"type": "dense_vector", "dims": shape.full_dim, "index": False}
        return found

    def _refresh(self, name: str) -> None:
        with self._errors("refreshed", name):
            self._client.indices.refresh(index=self._full(name))

    def _pointed(self) -> list[str]:
        from elasticsearch import NotFoundError

        with self._errors("read"):
            try:
                pointed = sorted(self._client.indices.get_alias(name=self._readers))
            except NotFoundError:
                if self._client.indices.exists(index=self._readers):
                    raise self._not_ours("an index") from None
                return []
        ours = {self._full(name) for name in self.collections()}
        if not ours.issuperset(pointed):
            raise self._not_ours(f"an alias of {', '.join(pointed)}")
        return pointed

    def _check_read(self, name: str, one: dict[str, Any]) -> None:
        if "error" not in one:
            return
        said = one["error"]
        if said.get("type") == "index_not_found_exception":
            raise self._gone("read", name)
        raise unavailable(f"{self._what(name)} cannot be read: {self._words(said.get('reason'))}")

    def _what(self, name: str | None) -> str:
        return f"elasticsearch at {self._place}: {self._full(name) if name else self._readers!r}"

    def _gone(self, done: str, name: str | None) -> SinkError:
        return SinkError(
            f"{self._what(name)} cannot be {done}: it is not there; was it removed? publish again"
        )

    def _not_ours(self, what: str) -> SinkError:
        return SinkError(
            f"elasticsearch at {self._place}: {self._readers!r} is {what} that was not made here; "
            "nothing was changed; give collection another name"
        )

    @contextmanager
    def _errors(self, done: str, name: str | None = None) -> Iterator[None]:
        from elasticsearch import ApiError, SerializationError, TransportError

        what = f"{self._what(name)} cannot be {done}"
        try:
            yield
        except ApiError as error:
            raise self._answered(error, done, name) from None
        except SerializationError as error:
            raise SinkError(f"{what}: {self._words(error.message)}") from None
        except TransportError as error:
            raise unavailable(f"{what}: {self._words(error.message)}") from None

    def _answered(self, error: "ApiError", done: str, name: str | None) -> SinkError:
        what = f"{self._what(name)} cannot be {done}"
        status = error.meta.status
        words = self._words(f"HTTP status {status}, {error}")
        if status == NOT_FOUND and name:
            return self._gone(done, name)
        if "flood-stage" in words:  # a 429 that does not pass by itself
            return SinkError(f"{what}: its disk is full: {words}")
        if status in PASSING:
            return unavailable(f"{what}: {words}", dict(error.meta.headers))
        if status == TOO_LARGE and done == "written":
            return RowsRefused(f"{what}: the batch is too large for it: {words}")
        return SinkError(f"{what}: {words}")

    def _words(self, said: object) -> str:
        words = str(said).replace("\n", " ")[:400]
        for secret in (self._api_key, self._login and self._login[1]):
            words = words.replace(secret, "***") if secret else words
        return re.sub(r"//[^/@\s]*@", "//", words)


class _ElasticsearchWriter:
    """Documents are replaced whole."""

    def __init__(self, sink: ElasticsearchSink, name: str, shape: Shape) -> None:
        self._sink, self._name, self._shape = sink, name, shape

    def upsert(self, rows: pa.Table) -> None:
        """One bulk request, cut by the client where it has more than 100 MB."""
        if not len(rows):
            return
        ids = rows[ID].to_pylist()
        made: list[dict[str, Any]] = plain_rows(rows, self._shape.columns, HOLDS)
        vectors = self._packed(vectors_of(rows))
        for row, id_, hash_, vector in zip(made, ids, hexes_of(rows), vectors, strict=True):
            row |= {ID: id_, HASH: hash_, VECTOR: vector}
        if self._shape.full_dim:
            for row, full in zip(made, self._packed(vectors_of(rows, FULL)), strict=True):
                row[FULL] = full
        self._send(
            {"_op_type": "index", "_id": key, "_source": row}
            for key, row in zip(uuids_of(ids), made, strict=True)
        )

    def delete(self, ids: Sequence[str]) -> None:
        """By `_id`."""
        if len(ids):
            self._send({"_op_type": "delete", "_id": key} for key in uuids_of(ids))

    def _packed(self, vectors: npt.NDArray[Any]) -> list[Any]:
        """Base64 of big-endian floats where the server takes it, which it does fastest."""
        if vectors.dtype != np.float32 or self._sink._version < PACKS:
            flat: list[Any] = vectors.view(np.int8).tolist() if vectors.itemsize == 1 else []
            return flat or vectors.tolist()
        return [base64.b64encode(row).decode() for row in vectors.astype(">f4")]

    def _send(self, actions: Iterator[dict[str, Any]]) -> None:
        from elasticsearch.helpers import streaming_bulk

        sink, name = self._sink, self._name
        with sink._errors("written", name):
            for done, item in streaming_bulk(
                sink._client,
                actions,
                chunk_size=self._sink.limits.batch_rows,
                index=sink._door(name),
                require_alias=True,
                raise_on_error=False,
            ):
                ((verb, said),) = item.items()
                missed = verb == "delete" and said["status"] == NOT_FOUND and "error" not in said
                if not done and not missed:
                    raise self._refused(said)

    def _refused(self, said: dict[str, Any]) -> SinkError:
        error = said.get("error") or {}
        if error.get("type") == "index_not_found_exception":
            return self._sink._gone("written", self._name)
        cause = error.get("caused_by", {}).get("reason", "")
        words = self._sink._words(f"{error.get('type')}: {error.get('reason')} {cause}")
        what = self._sink._what(self._name)
        if error.get("type") == "cluster_block_exception":
            return SinkError(f"{what} cannot be written: {words}; is its disk full?")
        if said["status"] in PASSING:
            return unavailable(f"{what} cannot be written: {words}")
        return RowsRefused(f"{what} does not take a row: {words}")


def _kind(data_type: pa.DataType) -> dict[str, Any]:
    """The type of a field; what it does not take is kept and not searched."""
    if pat.is_list(data_type) or pat.is_large_list(data_type):
        return _kind(data_type.value_type)
    kinds = (
        (pat.is_boolean, "boolean"),
        (pat.is_uint64, "unsigned_long"),
        (pat.is_integer, "long"),
        (pat.is_float32, "float"),
        (pat.is_floating, "double"),
        (lambda one: pat.is_date(one) or pat.is_timestamp(one), "date"),
    )
    for is_one, kind in kinds:
        if is_one(data_type):
            return {"type": kind} | ({} if kind == "boolean" else {"ignore_malformed": True})
    return {"type": "keyword", "ignore_above": KEYWORD_CHARACTERS}


def _unpacked(vector: str | list[float], element: Element) -> npt.NDArray[Any]:
    if isinstance(vector, str):
        return np.frombuffer(base64.b64decode(vector), ">f4").astype(np.float32)
    if element is Element.BINARY:
        return np.array(vector, np.int8).view(np.uint8)
    return np.array(vector, np.int8 if element is Element.INT8 else np.float32)


def _score(said: float, shape: Shape) -> float:
    """The metric's own unit, of what Elasticsearch makes of it so that it is above 0."""
    if shape.element is Element.BINARY:
        return float(round(said * shape.dim))
    if shape.metric is Metric.COSINE:
        return 2 * said - 1
    if shape.metric is Metric.EUCLIDEAN:
        return -math.sqrt(max(0.0, 1 / said - 1))
    return said - 1 if said >= 1 else 1 - 1 / said
