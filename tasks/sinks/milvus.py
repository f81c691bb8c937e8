"""Milvus, a server or a file of milvus-lite; readers' name is an alias.

A row's primary key is `_key`, the UUID of its id, and `id` a field beside it: the client puts keys
between quotes as they are, so that get, delete and iterators break on an id that has one. Every
column is a field of its own that may be null; names that Milvus cannot have are dynamic fields.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.errors import ConfigError, SinkError
from tasks.sinks import grpc_answers
from tasks.sinks import milvus_rows as rows_of
from tasks.sinks.base import (
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
from tasks.sinks.milvus_rows import KEY, MAX_TEXT_BYTES, NAME, OWN
from tasks.sinks.plain import held_of, id_of, keys_of, uuids_of
from tasks.sinks.remote import WRITING, Failure, RemoteSink, Why

if TYPE_CHECKING:
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

STAMP = "vectorline.stamp"
OURS = "vectorline.collection"
MAX_FULL_DIM = 4_096  # of an array
LIMITS = Limits(concurrency=4, max_dim=32_768, id_bytes=MAX_TEXT_BYTES)
METRICS = {Metric.COSINE: "COSINE", Metric.DOT: "IP", Metric.EUCLIDEAN: "L2"}
PAGE_ROWS = 65_536
MISSING, RATE_LIMIT, INVALID = 100, 8, (6, 1100)
WORDS = (
    ("Fail connecting", Why.AWAY),
    (r"^wait for .* timeout|create index .* timeout in", Why.SLOW),
)
_served: dict[str, int] = {}  # files that this process has open, and by how many sinks


class MilvusSink(RemoteSink["MilvusClient"]):
    """Whole versions are made beside; rows of a batch are there when its call returns."""

    place = ("url", "path", "database", "collection")
    use, store, login = "milvus", "Milvus", "token and database"
    most_found = 16_384

    def __init__(
        self,
        *,
        collection: str,
        url: str | None = None,
        path: str | None = None,
        token: str = "",
        database: str = "",
        index_type: str = "AUTOINDEX",
        index_params: dict[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """`url` is that of a server, `path` a file of milvus-lite, its name ending in .db.

        `collection` is what readers ask for. `token` is "user:password" or a key.
        """
        if (url is None) == (path is None):
            raise ConfigError("milvus needs either url, a server, or path, a file of milvus-lite")
        if path is not None and not path.endswith(".db"):
            raise ConfigError(f"path = {path!r} of milvus must end in .db: pymilvus asks for it")
        if not NAME.fullmatch(collection):
            raise ConfigError(
                f"collection = {collection!r} is no name for Milvus: "
                "letters, digits and underscores, no digit first"
            )
        self._uri = url or str(Path(path or "").absolute())
        self._file = None if path is None else self._uri
        super().__init__(collection, self._uri, token, token.partition(":")[2])
        self._token, self._database = token, database
        self._index = {"index_type": index_type, "params": index_params or {}}
        self._timeout_s = max(1, round(timeout_s))  # with a float it waits for indexes for ever
        self.limits = LIMITS

    def close(self) -> None:
        """As Sink.close; the last sink of a file ends the server of milvus-lite in this process."""
        was_open = self._opened is not None
        super().close()
        if was_open and self._file:
            _served[self._file] -= 1
            if not _served[self._file]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(self._file)

    def collections(self) -> dict[str, str]:
        """Those whose properties say that they were made here, for these readers."""

        def stamps(client: "MilvusClient") -> dict[str, str]:
            found = {}
            for full in sorted(client.list_collections(timeout=self._timeout_s)):
                if (name := self._name_of(full)) is not None:
                    said = self._properties(full)
                    if said.get(OURS) == self._readers:
                        found[name] = said.get(STAMP, "")
            return found

        return self._ask("listing collections", None, stamps)

    def create(self, name: str, shape: Shape) -> None:
        """With its index from the start, and loaded: Milvus counts nothing before."""
        taken = [one for one in shape.columns.names if one in OWN or one.startswith("$")]
        if taken:
            raise self._taken(taken)
        if shape.full_dim > MAX_FULL_DIM:
            raise SinkError(
                f"{self._place} keeps originals of {MAX_FULL_DIM} components, not {shape.full_dim}"
            )
        self.drop(name)

        def make(client: "MilvusClient") -> None:
            index = client.prepare_index_params()
            index.add_index(VECTOR, metric_type=METRICS[shape.metric], **self._index)
            client.create_collection(
                self._full(name),
                schema=rows_of.schema(client, shape),
                index_params=index,
                consistency_level="Strong",
                properties={OURS: self._readers, STAMP: ""},
                timeout=self._timeout_s,
            )

        self._ask("creating", name, make)

    def stamp(self, name: str, text: str) -> None:
        """A property of the collection."""
        self._ask(
            "stamping",
            name,
            lambda client: client.alter_collection_properties(
                self._full(name), {STAMP: text}, timeout=self._timeout_s
            ),
        )

    def finish(self, name: str, shape: Shape) -> None:
        """Flushes and loads; Milvus indexes what was flushed by itself."""

        def flush(client: "MilvusClient") -> None:
            client.flush(self._full(name), timeout=self._timeout_s)
            self._load(name)

        self._ask("indexing", name, flush)

    def count(self, name: str) -> int:
        """With the consistency level Strong: of all that was written before."""
        counted = self._query("counting", name, output_fields=["count(*)"])
        return int(counted[0]["count(*)"])

    def held(self, name: str) -> Iterator[list[Held]]:
        """By the first digits of keys, which are spread evenly.

        An iterator of the client asks a server for a time that milvus-lite does not know, and
        milvus-lite reads the whole collection for each page.
        """
        digits = 0
        n_rows = self.count(name)
        while n_rows > PAGE_ROWS * 16**digits:
            digits += 1
        for part in range(16**digits):
            # Keys of others may be any text: the first part and the last have no bound outside.
            low, high = (f"{one:0{digits}x}" if digits else "" for one in (part, part + 1))
            lower = f"{KEY} >= '{low if part else ''}'"
            is_last = part == 16**digits - 1
            page = self._query(
                "listing",
                name,
                filter=lower if is_last else f"{lower} and {KEY} < '{high}'",
                output_fields=[KEY, ID, HASH],
            )
            yield [held_of(row[KEY], row) for row in page]

    def drop(self, name: str) -> None:
        """Takes readers' name away before if it points there: Milvus refuses otherwise.

        SinkError for a collection that vectorline did not make.
        """

        def remove(client: "MilvusClient") -> None:
            if not client.has_collection(self._full(name), timeout=self._timeout_s):
                return
            if self._properties(self._full(name)).get(OURS) != self._readers:
                raise self._not_ours(f"the collection {self._full(name)}")
            if self._target() == self._full(name):
                client.drop_alias(self._readers, timeout=self._timeout_s)
            client.drop_collection(self._full(name), timeout=self._timeout_s)

        self._ask("removing", name, remove)

    def serving(self) -> str | None:
        """What the alias points at."""

        def pointed(client: "MilvusClient") -> str | None:
            target = self._target()
            if target is None:
                if client.has_collection(self._readers, timeout=self._timeout_s):
                    raise self._not_ours(f"the collection {self._readers}")
                return None
            name = self._name_of(target)  # None where somebody gave ours another one
            if name is None or self._properties(target).get(OURS) != self._readers:
                raise self._not_ours(f"the alias {self._readers} of {target}")
            return name

        return self._ask("reading aliases", None, pointed)

    def serve(self, name: str) -> None:
        """Moves the alias in one call."""
        is_new = self.serving() is None

        def move(client: "MilvusClient") -> None:
            call = client.create_alias if is_new else client.alter_alias
            call(self._full(name), self._readers, timeout=self._timeout_s)

        self._ask(f"pointing {self._readers} at", name, move)

    def _open(self) -> "MilvusClient":
        """The server or the file; a file can be open in one process only."""
        from pymilvus import MilvusClient

        # It prints each error with a traceback on standard error, and raises it as well.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        if self._file:
            # milvus-lite and its gRPC do the same, also for what the client asks in vain and does
            # without.
            for talker in ("milvus_lite", "grpc._server"):
                logging.getLogger(talker).setLevel(logging.CRITICAL)
            self._make_folder(Path(self._file).parent)
        client = MilvusClient(
            self._uri, token=self._token, db_name=self._database, timeout=self._timeout_s
        )
        version = client.get_server_version(timeout=self._timeout_s)
        if version.startswith("milvus_lite"):
            self.limits = replace(LIMITS, concurrency=1)  # it has one writer
        if self._file:
            _served[self._file] = _served.get(self._file, 0) + 1
        return client

    def _raises(self) -> tuple[type[Exception], ...]:
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException

        return (RpcError, MilvusException)

    def _failure(self, error: Exception) -> Failure:
        from pymilvus.exceptions import MilvusException

        if not isinstance(error, MilvusException):
            return grpc_answers.failure_behind(error) or Failure(Why.OTHER, str(error))
        said = str(error.message)
        if "Open local milvus failed" in said:
            file = self._file or ""
            if not (Path(file).is_dir() and os.access(file, os.W_OK)):  # it does not say why
                said = "milvus-lite keeps a folder there and cannot make or write it"
                return Failure(Why.OTHER, f"{said}: check the rights, or name another path")
            said = "another process has this file open, and milvus-lite lets one in"
            return Failure(Why.TAKEN, said)
        return _meant(error, said)

    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        """One call; each row has every field, as an upsert merges with what was there."""
        made = rows_of.made(rows, shape)
        self._ask(
            WRITING,
            name,
            lambda client: client.upsert(self._full(name), made, timeout=self._timeout_s),
        )

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        keys = rows_of.keyed(keys_of(ids))
        self._ask(
            WRITING,
            name,
            lambda client: client.delete(self._full(name), filter=keys, timeout=self._timeout_s),
        )

    def _rows(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        found = self._query(
            "reading", name, filter=rows_of.keyed(uuids_of(ids)), output_fields=["*"]
        )
        return rows_of.table(shape, found)

    def _nearest(self, name: str, shape: Shape, queries: Queries, k: int) -> list[list[Near]]:
        def ask(client: "MilvusClient") -> list[list[dict[str, Any]]]:
            self._load(name)
            found: list[list[dict[str, Any]]] = client.search(
                self._full(name),
                data=list(queries),
                limit=k,
                output_fields=[KEY, ID],
                anns_field=VECTOR,
                consistency_level="Strong",
                timeout=self._timeout_s,
            )
            return found

        return [
            [
                Near(
                    id_of(hit["entity"][KEY], hit["entity"]),
                    rows_of.score(hit["distance"], shape.metric),
                )
                for hit in of_query
            ]
            for of_query in self._ask("searching", name, ask)
        ]

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"milvus: {folder} cannot be made: {error.strerror}") from None
        if not os.access(folder, os.W_OK):
            raise SinkError(f"milvus: {folder} cannot be written; milvus-lite writes when it reads")

    def _properties(self, collection: str) -> dict[str, str]:
        said = self._client.describe_collection(collection, timeout=self._timeout_s)
        return dict(said.get("properties") or {})

    def _target(self) -> str | None:
        listed = self._client.list_aliases(timeout=self._timeout_s)
        if self._readers not in listed["aliases"]:
            return None
        said = self._client.describe_alias(self._readers, timeout=self._timeout_s)
        return str(said["collection_name"])

    def _load(self, name: str) -> None:
        """Always: a server of milvus-lite that was started again has nothing loaded."""
        self._client.load_collection(self._full(name), timeout=self._timeout_s)

    def _query(self, doing: str, name: str, **said: str | list[str]) -> list[dict[str, Any]]:
        def ask(client: "MilvusClient") -> list[dict[str, Any]]:
            self._load(name)
            found: list[dict[str, Any]] = client.query(
                self._full(name), consistency_level="Strong", timeout=self._timeout_s, **said
            )
            return found

        return self._ask(doing, name, ask)


def _meant(error: "MilvusException", said: str) -> Failure:
    """What is meant by an exception of the client about a server."""
    if error.code == MISSING:
        return Failure(Why.GONE, said)
    if error.retriable or error.code == RATE_LIMIT:
        return Failure(Why.BUSY, said)
    if error.is_input_error or error.code in INVALID:
        return Failure(Why.ROWS, said)
    for words, why in WORDS:
        if re.search(words, said):
            return Failure(why, said)
    return grpc_answers.failure_of(getattr(error.code, "name", ""), said)
