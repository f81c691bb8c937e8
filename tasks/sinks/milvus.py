"""Milvus, a server or a file of milvus-lite; readers' name is an alias.

A row's primary key is `_key`, the UUID of its id, and `id` a field beside it: the client puts keys
between quotes as they are, so that get, delete and iterators break on an id that has one. Every
column is a field of its own that may be null; names that Milvus cannot have are dynamic fields.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

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
    Writer,
)
from tasks.sinks.originals import CANDIDATES, ordered
from tasks.sinks.plain import Holds, Lists, hexes_of, plain_rows, table_of, uuids_of, vectors_of
from tasks.sinks.typed import REST, put_back, set_apart

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient, MilvusException

KEY = "_key"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
OWN = {KEY, ID, HASH, VECTOR, FULL, REST}
KEYWORDS = {"_seq", "_partition", "iso", "interval"}
STAMP = "vectorline.stamp"
OURS = "vectorline.collection"
HOLDS = Holds(lists=Lists.ANY)
MAX_TEXT_BYTES = 65_535
MAX_FULL_DIM = 4_096  # of an array
MAX_FOUND = 16_384
LIMITS = Limits(concurrency=4, max_dim=32_768, id_bytes=MAX_TEXT_BYTES)
METRICS = {Metric.COSINE: "COSINE", Metric.DOT: "IP", Metric.EUCLIDEAN: "L2"}
PAGE_ROWS = 65_536
FETCH_ROWS = 1_000
MISSING, RATE_LIMIT, INVALID = 100, 8, (6, 1100)
PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED")
_served: dict[str, int] = {}  # files that this process has open, and by how many sinks


class MilvusSink:
    """Whole versions are made beside; rows of a batch are there when its call returns."""

    modes = (Mode.SWITCH, Mode.ROWWISE)

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
        self._readers = collection
        self._uri = url or str(Path(path or "").absolute())
        self._file = None if path is None else self._uri
        self._place = self._file or re.sub(r"//[^/@]*@", "//", self._uri)
        self._token, self._database = token, database
        self._index = {"index_type": index_type, "params": index_params or {}}
        self._timeout_s = timeout_s
        self._opened: MilvusClient | None = None
        self.limits = LIMITS

    def connect(self) -> None:
        """Opens the server or the file; a file can be open in one process only."""
        if self._opened is not None:
            return
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise ConfigError("milvus needs pymilvus: pip install 'vectorline[milvus]'") from error
        # It prints each error with a traceback on standard error, and raises it as well.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        if self._file:
            logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
            self._make_folder(Path(self._file).parent)
        with self._errors("opened"):
            self._opened = MilvusClient(
                self._uri, token=self._token, db_name=self._database, timeout=self._timeout_s
            )
            version = self._opened.get_server_version(timeout=self._timeout_s)
            if version.startswith("milvus_lite"):
                self.limits = replace(LIMITS, concurrency=1)  # it has one writer
        if self._file:
            _served[self._file] = _served.get(self._file, 0) + 1

    def close(self) -> None:
        """Lets go; the last sink of a file ends the server of milvus-lite in this process."""
        if self._opened is None:
            return
        self._opened.close()
        self._opened = None
        if self._file:
            _served[self._file] -= 1
            if not _served[self._file]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(self._file)

    def collections(self) -> dict[str, str]:
        """Those whose properties say that they were made here, for these readers."""
        with self._errors("listed"):
            found = {}
            for name in sorted(self._client.list_collections(timeout=self._timeout_s)):
                if name.startswith(f"{self._readers}__"):
                    said = self._properties(name)
                    if said.get(OURS) == self._readers:
                        found[name.removeprefix(f"{self._readers}__")] = said.get(STAMP, "")
            return found

    def create(self, name: str, shape: Shape) -> None:
        """With its index from the start, and loaded: Milvus counts nothing before."""
        taken = [one for one in shape.columns.names if one in OWN or one.startswith("$")]
        if taken:
            raise SinkError(
                f"milvus at {self._place} cannot have the columns {', '.join(taken)}: "
                "these names are taken; rename them in the source"
            )
        self.drop(name)
        if shape.full_dim > MAX_FULL_DIM:
            raise SinkError(
                f"milvus at {self._place} keeps originals of {MAX_FULL_DIM} components, "
                f"not {shape.full_dim}"
            )
        with self._errors("created", name):
            index = self._client.prepare_index_params()
            index.add_index(VECTOR, metric_type=METRICS[shape.metric], **self._index)
            self._client.create_collection(
                self._full(name),
                schema=self._schema(shape),
                index_params=index,
                consistency_level="Strong",
                properties={OURS: self._readers, STAMP: ""},
                timeout=self._timeout_s,
            )

    def stamp(self, name: str, text: str) -> None:
        """A property of the collection."""
        with self._errors("stamped", name):
            self._client.alter_collection_properties(
                self._full(name), {STAMP: text}, timeout=self._timeout_s
            )

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """Rows are there as they are written."""
        yield _MilvusWriter(self, name, shape)
        self.stamp(name, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """Flushes and loads; Milvus indexes what was flushed by itself."""
        with self._errors("indexed", name):
            self._client.flush(self._full(name), timeout=self._timeout_s)
            self._load(name)

    def count(self, name: str) -> int:
        """With the consistency level Strong: of all that was written before."""
        with self._errors("counted", name):
            counted = self._query(name, output_fields=["count(*)"])
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
            first = f"{part:0{digits}x}" if digits else ""
            with self._errors("listed", name):
                page = self._query(
                    name,
                    filter=f"{KEY} >= '{first}' and {KEY} < '{first}g'",
                    output_fields=[ID, HASH],
                )
            yield [Held(row[ID], bytes.fromhex(row[HASH])) for row in page]

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By keys."""
        found: list[dict[str, Any]] = []
        with self._errors("read", name):
            for start in range(0, len(ids), FETCH_ROWS):
                wanted = _keyed(ids[start : start + FETCH_ROWS])
                found += self._query(name, filter=wanted, output_fields=["*"])
        put_back(found)
        return table_of(
            shape,
            [row[ID] for row in found],
            [row[HASH] for row in found],
            [row[VECTOR] for row in found],
            found,
            [row[FULL] for row in found] if shape.full_dim else None,
        )

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """Milvus gives squares of Euclidean distances."""
        again = bool(shape.full_dim) and originals is not None
        with self._errors("searched", name):
            self._load(name)
            hits = self._client.search(
                self._full(name),
                data=list(queries),
                limit=min(MAX_FOUND, k * CANDIDATES if again else k),
                output_fields=[ID],
                anns_field=VECTOR,
                consistency_level="Strong",
                timeout=self._timeout_s,
            )
        euclidean = shape.metric is Metric.EUCLIDEAN
        found = [
            [
                Near(
                    hit["entity"][ID],
                    -(max(0.0, hit["distance"]) ** 0.5) if euclidean else hit["distance"],
                )
                for hit in of_query
            ]
            for of_query in hits
        ]
        if not again or originals is None:
            return found
        candidates = [[near.id for near in of_query] for of_query in found]
        rows = self.fetch(name, shape, sorted({one for ids in candidates for one in ids}))
        return ordered(candidates, rows, originals, shape.metric, k)

    def drop(self, name: str) -> None:
        """Takes readers' name away before if it points there: Milvus refuses otherwise."""
        with self._errors("dropped", name):
            if not self._client.has_collection(self._full(name), timeout=self._timeout_s):
                return
            if self._target() == self._full(name):
                self._client.drop_alias(self._readers, timeout=self._timeout_s)
            self._client.drop_collection(self._full(name), timeout=self._timeout_s)

    def serving(self) -> str | None:
        """What the alias points at."""
        with self._errors("read"):
            target = self._target()
            if target is None:
                if self._client.has_collection(self._readers, timeout=self._timeout_s):
                    raise self._not_ours("a collection")
                return None
            if self._properties(target).get(OURS) != self._readers:
                raise self._not_ours(f"an alias of {target}")
            return target.removeprefix(f"{self._readers}__")

    def serve(self, name: str) -> None:
        """Moves the alias in one call."""
        move = self._client.create_alias if self.serving() is None else self._client.alter_alias
        with self._errors("served", name):
            move(self._full(name), self._readers, timeout=self._timeout_s)

    @property
    def _client(self) -> "MilvusClient":
        if self._opened is None:
            raise SinkError(f"milvus at {self._place} is not open: connect comes first")
        return self._opened

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"milvus: {folder} cannot be made: {error.strerror}") from None
        if not os.access(folder, os.W_OK):
            raise SinkError(f"milvus: {folder} cannot be written; milvus-lite writes when it reads")

    def _full(self, name: str) -> str:
        return f"{self._readers}__{name}"

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

    def _query(self, name: str, **said: str | list[str]) -> list[dict[str, Any]]:
        self._load(name)
        found: list[dict[str, Any]] = self._client.query(
            self._full(name), consistency_level="Strong", timeout=self._timeout_s, **said
        )
        return found

    def _schema(self, shape: Shape) -> "CollectionSchema":
        from pymilvus import DataType

        columns = [field for field in shape.columns if not _is_odd(field.name)]
        schema = self._client.create_schema(
            auto_id=False, enable_dynamic_field=len(columns) < len(shape.columns)
        )
        schema.add_field(KEY, DataType.VARCHAR, is_primary=True, max_length=36)
        schema.add_field(ID, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
        schema.add_field(HASH, DataType.VARCHAR, max_length=32)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=shape.dim)
        if shape.full_dim:
            floats = {"element_type": DataType.FLOAT, "max_capacity": shape.full_dim}
            schema.add_field(FULL, DataType.ARRAY, **floats)
        for field in columns:
            schema.add_field(field.name, nullable=True, **_kind(field.type))
        schema.add_field(REST, DataType.VARCHAR, max_length=MAX_TEXT_BYTES, nullable=True)
        return schema

    def _not_ours(self, what: str) -> SinkError:
        return SinkError(
            f"milvus at {self._place}: {self._readers!r} is {what} that was not made here; "
            "nothing was changed; give collection another name"
        )

    @contextmanager
    def _errors(self, done: str, name: str | None = None) -> Iterator[None]:
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException

        what = f"milvus at {self._place}: {self._full(name) if name else self._readers!r}"
        try:
            yield
        except RpcError as error:
            code = error.code().name
            kind = SinkUnavailable if code in PASSING else SinkError
            words = f"{code}: {error.details()}"
            raise kind(f"{what} cannot be {done}: {self._words(words)}") from None
        except MilvusException as error:
            words = self._words(error.message)
            if "Open local milvus failed" in words:
                words = "another process has this file open, and milvus-lite lets one in"
                raise SinkUnavailable(f"{what} cannot be {done}: {words}") from None
            if error.code == MISSING:
                raise SinkError(
                    f"{what} cannot be {done}: it is not there; was it removed? publish again"
                ) from None
            if _is_passing(error):
                raise SinkUnavailable(f"{what} cannot be {done}: {words}") from None
            if done == "written" and (error.is_input_error or error.code in INVALID):
                raise RowsRefused(f"{what} does not take these rows: {words}") from None
            raise SinkError(f"{what} cannot be {done}: {words}") from None

    def _words(self, said: str) -> str:
        short = said.replace("\n", " ")[:300]
        return short.replace(self._token, "***") if self._token else short


class _MilvusWriter:
    """Each row carries every field: an upsert merges with what was there otherwise."""

    def __init__(self, sink: MilvusSink, name: str, shape: Shape) -> None:
        self._sink, self._name, self._shape = sink, name, shape

    def upsert(self, rows: pa.Table) -> None:
        """One call."""
        if not len(rows):
            return
        columns = self._shape.columns
        for field in (pa.field(ID, pa.string()), *columns):
            _check_text(rows, field)
        ids = rows[ID].to_pylist()
        made: list[dict[str, Any]] = plain_rows(rows, columns, HOLDS)
        set_apart(made, columns)
        vectors = vectors_of(rows).tolist()
        parts = zip(made, uuids_of(ids), ids, hexes_of(rows), vectors, strict=True)
        for row, key, id_, hash_, vector in parts:
            row |= {KEY: key, ID: id_, HASH: hash_, VECTOR: vector, REST: row.get(REST)}
        if self._shape.full_dim:
            for row, full in zip(made, vectors_of(rows, FULL).tolist(), strict=True):
                row[FULL] = full
        with self._sink._errors("written", self._name):
            self._sink._client.upsert(
                self._sink._full(self._name), made, timeout=self._sink._timeout_s
            )

    def delete(self, ids: Sequence[str]) -> None:
        """By keys."""
        with self._sink._errors("written", self._name):
            for start in range(0, len(ids), FETCH_ROWS):
                self._sink._client.delete(
                    self._sink._full(self._name),
                    filter=_keyed(ids[start : start + FETCH_ROWS]),
                    timeout=self._sink._timeout_s,
                )


def _keyed(ids: Sequence[str]) -> str:
    return f"{KEY} in [{', '.join(repr(key) for key in uuids_of(ids))}]"


def _is_odd(name: str) -> bool:
    return not NAME.fullmatch(name) or name.lower() in KEYWORDS


def _kind(data_type: pa.DataType) -> dict[str, Any]:
    from pymilvus import DataType

    if pat.is_boolean(data_type):
        return {"datatype": DataType.BOOL}
    if pat.is_integer(data_type):
        return {"datatype": DataType.INT64}
    if pat.is_floating(data_type):
        return {"datatype": DataType.DOUBLE}
    if pat.is_list(data_type) or pat.is_large_list(data_type):
        return {"datatype": DataType.JSON}
    return {"datatype": DataType.VARCHAR, "max_length": MAX_TEXT_BYTES}


def _check_text(rows: pa.Table, field: pa.Field) -> None:
    if pat.is_string(field.type) or pat.is_large_string(field.type):
        longest = pc.max(pc.binary_length(rows[field.name])).as_py() or 0
        if longest > MAX_TEXT_BYTES:
            raise RowsRefused(
                f"milvus takes {MAX_TEXT_BYTES} bytes of text, and a value of column "
                f"{field.name!r} has {longest}: leave the column out or shorten it"
            )


def _is_passing(error: "MilvusException") -> bool:
    if error.retriable or error.code == RATE_LIMIT:
        return True
    if getattr(error.code, "name", "") in PASSING:
        return True
    return "Fail connecting" in error.message
