"""Pinecone: an index of vectors that its user made, with a namespace for each collection.

There are no aliases. The namespace of readers' name has a record `serving` whose metadata say under
`namespace` where the version is that serves, and one for each collection with its stamp: readers
look there first. Reads follow writes after a while; what is written here is waited for where
the next step needs it. Ids are UUIDs of the rows' ids, which are metadata.
"""

import base64
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError, RowsRefused, SinkError, SinkUnavailable
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
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
    from pinecone import ApiError, Index

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
HOLDS = Holds(lists=Lists.TEXTS, most=2**53)  # its numbers are doubles
OWN = {ID, HASH, FULL}
POINTER = "serving"
COLLECTION = "collection/"
OURS = "vectorline"
METRICS = {"cosine": Metric.COSINE, "dotproduct": Metric.DOT, "euclidean": Metric.EUCLIDEAN}
MAX_FOUND = 10_000
PAGE_ROWS = 500
FETCH_ROWS = 100  # ids stand in the URL
DELETE_ROWS = 1_000
POLL_S = 0.05
LIMITS = Limits(
    batch_rows=1_000,
    batch_bytes=320_000,  # 2 MB of JSON at most, which takes five bytes for one of a vector
    concurrency=8,
    max_dim=20_000,
)
NOT_FOUND, CONFLICT, MALFORMED = 404, 409, {400, 422}


class PineconeSink:
    """Whole versions are made beside; SWITCH holds for readers who follow the record `serving`.

    Each of their queries sees one version as long as they read that record before it.
    """

    modes = (Mode.SWITCH, Mode.ROWWISE)

    def __init__(
        self,
        *,
        collection: str,
        api_key: str,
        index: str | None = None,
        host: str | None = None,
        timeout_s: float = 60.0,
        settle_s: float = 300.0,
    ) -> None:
        """`index` is the name of the index, or `host` where it is.

        It was made with the dimension and the metric of the space. `settle_s` is for how long
        reads may lag behind writes before that is an error.
        """
        if (index is None) == (host is None):
            raise ConfigError("pinecone needs either index, its name, or host, where it is")
        if not NAME.fullmatch(collection):
            raise ConfigError(
                f"collection = {collection!r} is no name of a namespace here: "
                "letters, digits, '.', '-' and '_', a letter or digit first"
            )
        self._readers = collection
        self._name, self._host, self._api_key = index, host, api_key
        self._place = re.sub(r"//[^/@]*@", "//", host or index or "")
        self._timeout_s, self._settle_s = timeout_s, settle_s
        self._opened: Index | None = None
        self._dim = 0  # not known yet
        self.limits = LIMITS  # and the metric of the index, once it is known
        self._lock = threading.Lock()
        self._written: dict[str, int] = {}  # by namespace, where the log was at the last upsert
        self._deleted: dict[str, set[str]] = {}  # keys that reads may still have

    def connect(self) -> None:
        """Asks for the index's dimension and metric."""
        if self._opened is not None:
            return
        try:
            from pinecone import Pinecone
        except ImportError as error:
            raise ConfigError(
                "pinecone needs its client: pip install 'vectorline[pinecone]'"
            ) from error
        with self._errors("opened"):
            client = Pinecone(self._api_key, timeout=self._timeout_s)  # tries four times itself
            index = client.index(self._name or "", host=self._host or "")
            try:
                said = index.describe_index_stats()
                if said.metric and said.metric not in METRICS:
                    raise SinkError(f"pinecone: {self._place} is no index of dense vectors")
                if said.metric:
                    metrics = frozenset({METRICS[said.metric]})
                    self.limits = replace(self.limits, metrics=metrics)
                self._dim = said.dimension or 0
                self._opened = index
            finally:
                if self._opened is None:
                    index.close()

    def close(self) -> None:
        """Closes its connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def collections(self) -> dict[str, str]:
        """Those that have a record in readers' namespace."""
        with self._errors("listed"):
            listed = self._index.list(prefix=COLLECTION, namespace=self._readers)
            ids = [one.id for page in listed for one in page.vectors if one.id]
            found: dict[str, str] = {}
            for start in range(0, len(ids), FETCH_ROWS):
                said = self._records(self._readers, ids[start : start + FETCH_ROWS])
                found |= {
                    id_.removeprefix(COLLECTION): str(one["stamp"])
                    for id_, one in said.items()
                    if one.get(OURS) == self._readers
                }
        return dict(sorted(found.items()))

    def create(self, name: str, shape: Shape) -> None:
        """A namespace; that of the index's shape is asked for."""
        if self._dim not in (0, shape.dim) or shape.metric not in self.limits.metrics:
            metrics = " or ".join(sorted(self.limits.metrics))
            raise SinkError(
                f"pinecone: index {self._place} is of {self._dim} components and {metrics}, "
                f"the vectors are of {shape.dim} and {shape.metric}: name an index made for them"
            )
        taken = [one for one in shape.columns.names if one in OWN or one[:1] in ("$", "")]
        if taken:
            raise SinkError(
                f"pinecone cannot have the columns {', '.join(taken)}: "
                "these names are taken; rename them in the source"
            )
        self._dim = shape.dim
        self.drop(name)
        with self._errors("created", name):
            self._index.create_namespace(name=self._full(name))
            self._await(lambda: self._n_rows(name) == 0, "created", name)
        self.stamp(name, "")

    def stamp(self, name: str, text: str) -> None:
        """A record in readers' namespace, waited for until reads have it."""
        with self._errors("stamped", name):
            self._check_there(name, "stamped")
            self._put(COLLECTION + name, {"stamp": text})

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """Rows are seen some time after they are written, and before the stamp."""
        with self._errors("written", name):
            self._check_there(name, "written")
        yield _PineconeWriter(self, name, shape)
        self._settle(name)
        with self._errors("written", name):  # a write to a namespace that is gone makes another
            if COLLECTION + name not in self._records(self._readers, [COLLECTION + name]):
                raise self._gone("written", name)
        self.stamp(name, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """Waits until reads have what was written here."""
        self._settle(name)

    def count(self, name: str) -> int:
        """As the index counts it, when it has said the same twice."""
        self._settle(name)
        counts: list[int] = []

        def agree() -> bool:
            counts.append(self._n_rows(name))
            return len(counts) > 1 and counts[-1] == counts[-2] >= 0

        with self._errors("counted", name):
            self._await(agree, "counted", name)
        return counts[-1]

    def held(self, name: str) -> Iterator[list[Held]]:
        """By pages, which come with their vectors: Pinecone lists no metadata alone."""
        self.count(name)
        token: str | None = None
        while True:
            with self._errors("listed", name):
                page = self._index.fetch_by_metadata(
                    filter={HASH: {"$exists": True}},
                    namespace=self._full(name),
                    limit=PAGE_ROWS,
                    pagination_token=token,
                )
            said = [one.metadata or {} for one in page.vectors.values()]
            yield [Held(one[ID], bytes.fromhex(one[HASH])) for one in said]
            token = page.pagination.next if page.pagination else None
            if token is None:
                return

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By keys, after reads have what was written here."""
        self._settle(name)
        found: list[Any] = []
        keys = uuids_of(ids)
        with self._errors("read", name):
            for start in range(0, len(keys), FETCH_ROWS):
                wanted = keys[start : start + FETCH_ROWS]
                page = self._index.fetch(ids=wanted, namespace=self._full(name))
                found += page.vectors.values()
        said = [one.metadata or {} for one in found]
        full = [np.frombuffer(base64.b64decode(one[FULL]), "<f4") for one in said if FULL in one]
        return table_of(
            shape,
            [one[ID] for one in said],
            [one[HASH] for one in said],
            [one.values for one in found],
            said,
            full if shape.full_dim else None,
        )

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """A request for each query; Pinecone gives squares of Euclidean distances."""
        again = bool(shape.full_dim) and originals is not None
        found: list[list[Near]] = []
        for query in queries:
            with self._errors("searched", name):
                answer = self._index.query(
                    namespace=self._full(name),
                    vector=query.tolist(),
                    top_k=min(MAX_FOUND, k * CANDIDATES if again else k),
                    include_metadata=True,
                )
                if not answer.matches:
                    self._check_there(name, "searched")
            found.append(
                [
                    Near(
                        (one.metadata or {})[ID],
                        -math.sqrt(max(0.0, one.score))
                        if shape.metric is Metric.EUCLIDEAN
                        else one.score,
                    )
                    for one in answer.matches
                ]
            )
        if not again or originals is None:
            return found
        candidates = [[near.id for near in of_query] for of_query in found]
        rows = self.fetch(name, shape, sorted({one for ids in candidates for one in ids}))
        return ordered(candidates, rows, originals, shape.metric, k)

    def drop(self, name: str) -> None:
        """The pointer goes before what it points at, and the record before the namespace."""
        from pinecone import NotFoundError

        gone = [COLLECTION + name]
        if self.serving() == name:
            gone.insert(0, POINTER)
        with self._errors("dropped", name):
            if self._records(self._readers, gone):
                self._index.delete(ids=gone, namespace=self._readers)
                self._await(lambda: not self._records(self._readers, gone), "dropped", name)
            with suppress(NotFoundError):
                self._index.delete_namespace(name=self._full(name))
            self._await(lambda: self._n_rows(name) < 0, "dropped", name)
        with self._lock:
            self._written.pop(name, None)
            self._deleted.pop(name, None)

    def serving(self) -> str | None:
        """What the record `serving` says."""
        with self._errors("read"):
            said = self._records(self._readers, [POINTER]).get(POINTER)
            if said is None:
                listed = self._index.list_paginated(
                    namespace=self._readers, limit=DELETE_ROWS // 10
                )
                if all((one.id or "").startswith(COLLECTION) for one in listed.vectors):
                    return None
            elif said.get(OURS) == self._readers:
                return str(said["namespace"]).removeprefix(f"{self._readers}__")
        raise SinkError(
            f"pinecone: namespace {self._readers!r} of index {self._place} has records that were "
            "not made here; nothing was changed; give collection another name"
        )

    def serve(self, name: str) -> None:
        """Replaces the record in one request, and waits until reads have it."""
        self.serving()
        with self._errors("served", name):
            self._check_there(name, "served")
            self._put(POINTER, {"namespace": self._full(name)})

    @property
    def _index(self) -> "Index":
        if self._opened is None:
            raise SinkError(f"pinecone index {self._place} is not open: connect comes first")
        return self._opened

    def _full(self, name: str) -> str:
        return f"{self._readers}__{name}"

    def _put(self, id_: str, said: dict[str, str]) -> None:
        """A record of readers' namespace; its vector means nothing."""
        from pinecone import Vector

        metadata = said | {OURS: self._readers}
        values = [1.0] + [0.0] * (self._dim - 1)
        one = Vector(id=id_, values=values, metadata=metadata)
        self._index.upsert(vectors=[one], namespace=self._readers)

        def is_there() -> bool:
            listed = self._index.list_paginated(prefix=id_, namespace=self._readers)
            known = any(one.id == id_ for one in listed.vectors)
            return known and self._records(self._readers, [id_]).get(id_) == metadata

        self._await(is_there, "stamped", None)

    def _records(self, namespace: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        from pinecone import NotFoundError

        try:
            found = self._index.fetch(ids=list(ids), namespace=namespace)
        except NotFoundError:
            return {}
        return {id_: dict(one.metadata or {}) for id_, one in found.vectors.items()}

    def _n_rows(self, name: str) -> int:
        """-1 where there is no such namespace."""
        from pinecone import NotFoundError

        try:
            return int(self._index.describe_namespace(name=self._full(name)).record_count)
        except NotFoundError:
            return -1

    def _check_there(self, name: str, done: str) -> None:
        if self._n_rows(name) < 0:
            raise self._gone(done, name)

    def _settle(self, name: str) -> None:
        """Waits until reads have the last upsert, and not what was deleted after it."""
        with self._lock:
            written, deleted = self._written.get(name), set(self._deleted.get(name, ()))
        keys = sorted(deleted)[:FETCH_ROWS] or ["-"]

        def is_seen() -> bool:
            found = self._index.fetch(ids=keys, namespace=self._full(name))
            seen = found.response_info.lsn_reconciled if found.response_info else None
            return not found.vectors and (written is None or seen is None or seen >= written)

        with self._errors("read", name):
            self._check_there(name, "read")
            if written is not None or deleted:
                self._await(is_seen, "read", name)

    def _await(self, is_so: Callable[[], bool], done: str, name: str | None) -> None:
        end = time.monotonic() + self._settle_s
        wait_s = POLL_S
        while not is_so():
            if time.monotonic() > end:
                raise SinkUnavailable(
                    f"{self._what(name)} cannot be {done}: after {self._settle_s:g} s its reads do "
                    "not have what was written; run again, or set settle_s"
                )
            time.sleep(wait_s)
            wait_s = min(2.0, 1.5 * wait_s)

    def _what(self, name: str | None) -> str:
        where = self._full(name) if name else self._readers
        return f"pinecone: namespace {where!r} of index {self._place}"

    def _gone(self, done: str, name: str) -> SinkError:
        return SinkError(
            f"{self._what(name)} cannot be {done}: it is not there; was it removed? publish again"
        )

    @contextmanager
    def _errors(self, done: str, name: str | None = None) -> Iterator[None]:
        from pinecone import ApiError, PineconeError, PineconeTimeoutError, PineconeValueError
        from pinecone.errors import PineconeConnectionError, PineconeTypeError

        what = f"{self._what(name)} cannot be {done}"
        try:
            yield
        except ApiError as error:
            raise self._answered(error, done, name) from None
        except (PineconeTimeoutError, PineconeConnectionError) as error:
            raise unavailable(f"{what}: {self._words(error)}") from None
        except (PineconeValueError, PineconeTypeError) as error:
            kind = RowsRefused if done == "written" else SinkError
            raise kind(f"{what}: {self._words(error)}") from None
        except PineconeError as error:
            raise SinkError(f"{what}: {self._words(error)}") from None

    def _answered(self, error: "ApiError", done: str, name: str | None) -> SinkError:
        what = f"{self._what(name)} cannot be {done}"
        status, words = error.status_code, self._words(error)
        if status == NOT_FOUND and name:
            return self._gone(done, name)
        if status in PASSING:
            return unavailable(f"{what}: {words}", error.headers)
        if done == "written" and (status == TOO_LARGE or status in MALFORMED):
            return RowsRefused(f"{what} with these rows: {words}")
        return SinkError(f"{what}: {words}")

    def _words(self, said: object) -> str:
        return str(said).replace("\n", " ")[:400].replace(self._api_key, "***")


class _PineconeWriter:
    """A record is replaced whole."""

    def __init__(self, sink: PineconeSink, name: str, shape: Shape) -> None:
        self._sink, self._name, self._shape = sink, name, shape

    def upsert(self, rows: pa.Table) -> None:
        """One request."""
        from pinecone import Vector

        if not len(rows):
            return
        vectors = vectors_of(rows)
        if not np.isfinite(vectors).all():
            raise RowsRefused("pinecone takes no NaN or infinity in a vector")
        keys, ids = uuids_of(rows[ID].to_pylist()), rows[ID].to_pylist()
        made: list[dict[str, Any]] = plain_rows(rows, self._shape.columns, HOLDS, nulls=False)
        for row, id_, hash_ in zip(made, ids, hexes_of(rows), strict=True):
            row |= {ID: id_, HASH: hash_}
        if self._shape.full_dim:
            for row, full in zip(made, vectors_of(rows, FULL).astype("<f4"), strict=True):
                row[FULL] = base64.b64encode(full).decode()
        records = [
            Vector(id=key, values=values, metadata=row)
            for key, values, row in zip(keys, vectors.tolist(), made, strict=True)
        ]
        sink, name = self._sink, self._name
        with sink._errors("written", name):
            done = sink._index.upsert(vectors=records, namespace=sink._full(name))
        committed = done.response_info.lsn_committed if done.response_info else None
        with sink._lock:
            if committed is not None:
                sink._written[name] = max(committed, sink._written.get(name, 0))
            sink._deleted.get(name, set()).difference_update(keys)

    def delete(self, ids: Sequence[str]) -> None:
        """A thousand at a time."""
        keys = uuids_of(ids)
        sink, name = self._sink, self._name
        for start in range(0, len(keys), DELETE_ROWS):
            part = keys[start : start + DELETE_ROWS]
            with sink._errors("written", name):
                sink._index.delete(ids=part, namespace=sink._full(name))
            with sink._lock:
                sink._deleted[name] = set(part[-FETCH_ROWS:])
