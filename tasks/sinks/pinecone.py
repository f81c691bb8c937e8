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

from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    Held,
    Limits,
    Metric,
    Near,
    Queries,
    Shape,
    Writer,
)
from tasks.sinks.http_answers import failure_of, unanswered
from tasks.sinks.plain import (
    Holds,
    Lists,
    held_of,
    id_of,
    is_ours,
    keyed_rows,
    keys_of,
    set_each,
    table_of,
    uuids_of,
    vectors_of,
)
from tasks.sinks.remote import WRITING, Failure, RemoteSink, RemoteWriter, Why, parts_of
from tasks.sinks.waiting import wait

if TYPE_CHECKING:
    from pinecone import Index

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
HOLDS = Holds(lists=Lists.TEXTS, most=2**53)  # its numbers are doubles
OWN = {ID, HASH, FULL}
POINTER = "serving"
COLLECTION = "collection/"
OURS = "vectorline"
METRICS = {"cosine": Metric.COSINE, "dotproduct": Metric.DOT, "euclidean": Metric.EUCLIDEAN}
PAGE_ROWS = 500
LISTED = 100
POLL_S = 0.05
LIMITS = Limits(
    batch_rows=1_000,
    batch_bytes=320_000,  # 2 MB of JSON at most, which takes five bytes for one of a vector
    concurrency=8,
    max_dim=20_000,
)


class PineconeSink(RemoteSink["Index"]):
    """Whole versions are made beside; SWITCH holds for readers who follow the record `serving`.

    Each of their queries sees one version as long as they read that record before it.
    """

    place = ("index", "host", "collection", "api_key")  # a key's project has indexes of its own

    use, store = "pinecone", "Pinecone"
    per_fetch = 100  # ids stand in the URL

    def __init__(
        self,
        *,
        collection: str,
        api_key: str,
        index: str | None = None,
        host: str | None = None,
        timeout_s: float = 20.0,
        settle_s: float = 300.0,
    ) -> None:
        """`index` is the name of the index, or `host` where it is.

        It was made with the dimension and the metric of the space. `settle_s` is for how long
        reads may lag behind writes before that is an error. Its client tries four times, each for
        `timeout_s`.
        """
        if (index is None) == (host is None):
            raise ConfigError("pinecone needs either index, its name, or host, where it is")
        if not NAME.fullmatch(collection):
            raise ConfigError(
                f"collection = {collection!r} is no name of a namespace here: "
                "letters, digits, '.', '-' and '_', a letter or digit first"
            )
        super().__init__(collection, host or f"index {index}", api_key)
        self._name, self._host, self._api_key = index, host, api_key
        self._timeout_s, self._settle_s = timeout_s, settle_s
        self._dim = 0  # not known yet
        self.limits = LIMITS  # and the metric of the index, once it is known
        self._lock = threading.Lock()
        self._written: dict[str, int] = {}  # by namespace, where the log was at the last upsert
        self._deleted: dict[str, set[str]] = {}  # keys that reads may still have

    def collections(self) -> dict[str, str]:
        """Those that have a record in readers' namespace, and are there."""

        def stamps(index: "Index") -> dict[str, str]:
            listed = index.list(prefix=COLLECTION, namespace=self._readers)
            ids = [one.id for page in listed for one in page.vectors if one.id]
            said: dict[str, dict[str, Any]] = {}
            for part in parts_of(ids, self.per_fetch):
                said |= self._records(part)
            return {
                id_.removeprefix(COLLECTION): str(one["stamp"])
                for id_, one in sorted(said.items())
                if one.get(OURS) == self._readers
                and self._n_rows(id_.removeprefix(COLLECTION)) >= 0
            }

        return self._ask("listing collections", None, stamps)

    def create(self, name: str, shape: Shape) -> None:
        """A namespace; that of the index's shape is asked for."""
        if self._dim not in (0, shape.dim) or shape.metric not in self.limits.metrics:
            metrics = " or ".join(sorted(self.limits.metrics))
            raise SinkError(
                f"{self._place} is of {self._dim} components and {metrics}, "
                f"the vectors are of {shape.dim} and {shape.metric}: name an index made for them"
            )
        taken = [one for one in shape.columns.names if one in OWN or one[:1] in ("$", "")]
        if taken:
            raise self._taken(taken)
        self._dim = shape.dim
        self.drop(name)
        self._ask("creating", name, lambda index: index.create_namespace(name=self._full(name)))
        self._await("creating", name, lambda: self._n_rows(name) == 0)
        self.stamp(name, "")

    def stamp(self, name: str, text: str) -> None:
        """A record in readers' namespace, waited for until reads have it."""
        self._check_there(name, "stamping")
        self._put_record("stamping", name, COLLECTION + name, {"stamp": text})

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """Rows are seen some time after they are written, and before the stamp."""
        self._check_there(name, WRITING)
        yield RemoteWriter(self, name, shape)
        self._settle(name)
        record = COLLECTION + name  # a write to a namespace that is gone makes another
        if not self._ask("reading", name, lambda _: self._records([record])):
            raise self._gone(WRITING, name)
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

        self._await("counting", name, agree)
        return counts[-1]

    def held(self, name: str) -> Iterator[list[Held]]:
        """By pages, which come with their vectors: Pinecone lists no metadata alone.

        What others put here without a hash comes at the end.
        """
        missing = self.count(name)
        token: str | None = None
        while True:
            page = self._ask(
                "listing",
                name,
                lambda index, after=token: index.fetch_by_metadata(  # type: ignore[misc]
                    filter={HASH: {"$exists": True}},
                    namespace=self._full(name),
                    limit=PAGE_ROWS,
                    pagination_token=after,
                ),
            )
            part = [held_of(one.id, one.metadata or {}) for one in page.vectors.values()]
            yield part
            missing -= len(part)
            token = page.pagination.next if page.pagination else None
            if token is None:
                break
        if missing > 0:
            yield from self._unmarked(name)

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """After reads have what was written here."""
        self._settle(name)
        return super().fetch(name, shape, ids)

    def drop(self, name: str) -> None:
        """The pointer goes before what it points at, and the record before the namespace."""
        from pinecone import NotFoundError

        gone = [COLLECTION + name]
        if self.serving() == name:
            gone.insert(0, POINTER)

        def remove(index: "Index") -> bool:
            is_there = bool(self._records(gone))
            if is_there:
                index.delete(ids=gone, namespace=self._readers)
            return is_there

        if self._ask("removing", name, remove):
            self._await("removing", name, lambda: not self._records(gone))

        def remove_rows(index: "Index") -> None:
            with suppress(NotFoundError):
                index.delete_namespace(name=self._full(name))

        self._ask("removing", name, remove_rows)
        self._await("removing", name, lambda: self._n_rows(name) < 0)
        with self._lock:
            self._written.pop(name, None)
            self._deleted.pop(name, None)

    def serving(self) -> str | None:
        """What the record `serving` says."""

        def pointed(index: "Index") -> str | None:
            said = self._records([POINTER]).get(POINTER)
            if said is None:
                listed = index.list_paginated(namespace=self._readers, limit=LISTED)
                if all((one.id or "").startswith(COLLECTION) for one in listed.vectors):
                    return None
            elif said.get(OURS) == self._readers:
                return self._name_of(str(said["namespace"]))
            raise self._not_ours(f"a record in namespace {self._readers}")

        return self._ask("reading what serves", None, pointed)

    def serve(self, name: str) -> None:
        """Replaces the record in one request, and waits until reads have it."""
        self.serving()
        doing = f"pointing {self._readers} at"
        self._check_there(name, doing)
        self._put_record(doing, name, POINTER, {"namespace": self._full(name)})

    def _open(self) -> "Index":
        """Asks for the index's dimension and metric."""
        from pinecone import Pinecone

        client = Pinecone(self._api_key, timeout=self._timeout_s)  # tries four times itself
        index = client.index(self._name or "", host=self._host or "")
        try:
            said = index.describe_index_stats()
            if said.metric and said.metric not in METRICS:
                raise SinkError(f"{self._place} is no index of dense vectors")
        except BaseException:
            index.close()
            raise
        if said.metric:
            self.limits = replace(self.limits, metrics=frozenset({METRICS[said.metric]}))
        self._dim = said.dimension or 0
        return index

    def _raises(self) -> tuple[type[Exception], ...]:
        from pinecone import PineconeError

        return (PineconeError,)

    def _failure(self, error: Exception) -> Failure:
        from httpx import TransportError
        from pinecone import ApiError, PineconeTimeoutError, PineconeValueError
        from pinecone.errors import PineconeConnectionError, PineconeTypeError

        if isinstance(error, ApiError):
            return failure_of(error.status_code, str(error), error.headers)
        if isinstance(error.__cause__, TransportError):
            return unanswered(error.__cause__)
        if isinstance(error, (PineconeTimeoutError, PineconeConnectionError)):
            return Failure(Why.AWAY, str(error))
        is_given = isinstance(error, (PineconeValueError, PineconeTypeError))
        return Failure(Why.ROWS if is_given else Why.OTHER, str(error))

    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        """One request."""
        from pinecone import Vector

        vectors = vectors_of(rows)
        made = keyed_rows(rows, shape.columns, HOLDS, nulls=False)
        if shape.full_dim:
            full = vectors_of(rows, FULL).astype("<f4")
            set_each(made, FULL, (base64.b64encode(one).decode() for one in full))
        keys = uuids_of([row[ID] for row in made])
        records = [
            Vector(id=key, values=values, metadata=row)
            for key, values, row in zip(keys, vectors.tolist(), made, strict=True)
        ]
        done = self._ask(
            WRITING,
            name,
            lambda index: index.upsert(vectors=records, namespace=self._full(name)),
        )
        committed = done.response_info.lsn_committed if done.response_info else None
        with self._lock:
            if committed is not None:
                self._written[name] = max(committed, self._written.get(name, 0))
            self._deleted.get(name, set()).difference_update(keys)

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        keys = keys_of(ids)
        self._ask(WRITING, name, lambda index: index.delete(ids=keys, namespace=self._full(name)))
        with self._lock:
            self._deleted[name] = set(keys[-self.per_fetch :])

    def _rows(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        page = self._ask(
            "reading",
            name,
            lambda index: index.fetch(ids=uuids_of(ids), namespace=self._full(name)),
        )
        found = [one for one in page.vectors.values() if is_ours(one.id, one.metadata or {})]
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

    def _nearest(self, name: str, shape: Shape, queries: Queries, k: int) -> list[list[Near]]:
        """A request for each query; Pinecone gives squares of Euclidean distances."""
        found: list[list[Near]] = []
        for query in queries.tolist():
            answer = self._ask(
                "searching",
                name,
                lambda index, vector=query: index.query(  # type: ignore[misc]
                    namespace=self._full(name), vector=vector, top_k=k, include_metadata=True
                ),
            )
            if not answer.matches:
                self._check_there(name, "searching")
            found.append(
                [
                    Near(id_of(one.id, one.metadata or {}), _score(one.score, shape.metric))
                    for one in answer.matches
                ]
            )
        return found

    def _put_record(self, doing: str, name: str, id_: str, said: dict[str, str]) -> None:
        """A record of readers' namespace; its vector means nothing."""
        from pinecone import Vector

        metadata = said | {OURS: self._readers}
        values = [1.0] + [0.0] * (self._dim - 1)
        one = Vector(id=id_, values=values, metadata=metadata)
        self._ask(doing, name, lambda index: index.upsert(vectors=[one], namespace=self._readers))

        def is_there() -> bool:
            listed = self._client.list_paginated(prefix=id_, namespace=self._readers)
            known = any(one.id == id_ for one in listed.vectors)
            return known and self._records([id_]).get(id_) == metadata

        self._await(doing, name, is_there)

    def _records(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of readers' namespace that are there."""
        from pinecone import NotFoundError

        try:
            found = self._client.fetch(ids=list(ids), namespace=self._readers)
        except NotFoundError:
            return {}
        return {id_: dict(one.metadata or {}) for id_, one in found.vectors.items()}

    def _unmarked(self, name: str) -> Iterator[list[Held]]:
        """Rows that have no hash, with which all of ours are written."""
        token: str | None = None
        while True:
            page = self._ask(
                "listing",
                name,
                lambda index, after=token: index.list_paginated(  # type: ignore[misc]
                    namespace=self._full(name), limit=LISTED, pagination_token=after
                ),
            )
            keys = [one.id for one in page.vectors if one.id]
            found = self._ask(
                "listing",
                name,
                lambda index, ids=keys: index.fetch(  # type: ignore[misc]
                    ids=ids, namespace=self._full(name)
                ),
            )
            rows = [(one.id, one.metadata or {}) for one in found.vectors.values()]
            yield [held_of(key, row) for key, row in rows if HASH not in row]
            token = page.pagination.next if page.pagination else None
            if token is None:
                return

    def _n_rows(self, name: str) -> int:
        """-1 where there is no such namespace."""
        from pinecone import NotFoundError

        try:
            return int(self._client.describe_namespace(name=self._full(name)).record_count)
        except NotFoundError:
            return -1

    def _check_there(self, name: str, doing: str) -> None:
        if self._ask(doing, name, lambda _: self._n_rows(name)) < 0:
            raise self._gone(doing, name)

    def _settle(self, name: str) -> None:
        """Waits until reads have the last upsert, and not what was deleted after it."""
        with self._lock:
            written, deleted = self._written.get(name), set(self._deleted.get(name, ()))
        keys = sorted(deleted)[: self.per_fetch] or ["-"]

        def is_seen() -> bool:
            found = self._client.fetch(ids=keys, namespace=self._full(name))
            seen = found.response_info.lsn_reconciled if found.response_info else None
            return not found.vectors and (written is None or seen is None or seen >= written)

        self._check_there(name, "reading")
        if written is not None or deleted:
            self._await("reading", name, is_seen)

    def _await(self, doing: str, name: str, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + self._settle_s
        wait_s = POLL_S
        while not self._told(doing, name, is_so):
            if time.monotonic() > end:
                raise SinkUnavailable(
                    f"{self._what(doing, name)}: after {self._settle_s:g} s its reads do "
                    "not have what was written; run again, or set settle_s"
                )
            wait(wait_s)
            wait_s = min(2.0, 1.5 * wait_s)


def _score(said: float, metric: Metric) -> float:
    return -math.sqrt(max(0.0, said)) if metric is Metric.EUCLIDEAN else said
