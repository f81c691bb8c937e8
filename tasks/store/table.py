"""One table: all vectors of a space that one encoder made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from lance import LanceDataset, LanceOperation, batch_udf
from pydantic import TypeAdapter

from schemas.table import TableSettings
from tasks.digests import Digests, digest_text, to_array
from tasks.errors import StoreError
from tasks.store import checksums, files, layout
from tasks.store.files import lance_errors, store_error
from tasks.store.formats import parse
from tasks.store.rows import MetadataChange, to_digests

if TYPE_CHECKING:
    import lancedb

Dataset: TypeAlias = LanceDataset
"""A table's rows, pinned to one Lance version."""
LanceDBTable: TypeAlias = "lancedb.table.Table"
"""The same as LanceDB opens it."""
Addresses = npt.NDArray[np.uint64]
"""Row addresses of one Lance version: fragment << 32 | offset."""

SETTINGS_KEY = b"vectorline"
SETTINGS = TypeAdapter(TableSettings)
BASE_COLUMNS = ["record_id", "content_hash", "metadata_hash", "source_uri", "chunk"]
WIDE, NARROW = "_wide_", "_narrow_"
VECTOR_COLUMNS = ["chunk_hash", "vector"]


@dataclass(frozen=True, slots=True)
class BaseRows:
    """What a table holds, without the vectors; row i of each array is row i of the table.

    `record_ids` are digests of ids. `uri_codes[i]` is the index in `uris` of the row's source.
    """

    record_ids: Digests
    contents: Digests
    metadata: Digests
    addresses: Addresses
    chunks: npt.NDArray[np.int32]
    uris: list[str]
    uri_codes: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Table:
    """A table by its name; nothing is opened before it is asked, so that it travels to workers."""

    store_uri: str
    name: str

    @property
    def uri(self) -> str:
        """Its Lance dataset."""
        return layout.table_uri(self.store_uri, self.name)

    def exists(self) -> bool:
        """Whether it was created."""
        return exists(self.uri)

    def create(self, schema: pa.Schema, settings: TableSettings) -> None:
        """Makes the table, without rows; StoreError if there is one of this name."""
        if self.exists():
            raise StoreError(f"table {self.name!r} is there already in {self.store_uri}")
        create(self.uri, schema.with_metadata({SETTINGS_KEY: settings.model_dump_json()}))

    def discard(self) -> None:
        """Removes the table with all its versions; only under its lease."""
        files.of(self.uri).remove_folder(self.uri)

    def settings(self) -> TableSettings:
        """What it says about itself; StoreError if that is missing or of a newer format."""
        text = (self.open().schema.metadata or {}).get(SETTINGS_KEY)
        if text is None:
            raise StoreError(f"{self.uri} is no table of vectorline: its schema has no settings")
        return parse(SETTINGS, text, f"the settings of table {self.name!r}")

    def open(self, lance_version: int | None = None) -> LanceDataset:
        """The Lance dataset, pinned to a version; None is the head."""
        try:
            return lance.dataset(self.uri, version=lance_version)
        except (OSError, ValueError) as error:
            version = "the head" if lance_version is None else f"Lance version {lance_version}"
            raise store_error(error, f"opening {version} of table {self.name!r}") from error

    def tags(self) -> dict[str, int]:
        """The Lance versions that have a name, by it."""
        head = self.open()
        with lance_errors(f"reading the tags of table {self.name!r}"):
            return {name: tag["version"] for name, tag in head.tags.list().items()}

    def lancedb(self, lance_version: int) -> LanceDBTable:
        """The table as LanceDB opens it, pinned to a version."""
        import lancedb

        table = lancedb.connect(layout.root(self.store_uri)).open_table(self.name)
        table.checkout(lance_version)
        return table

    def evolve(self, change: MetadataChange) -> int:
        """Adds and widens metadata columns; gives the Lance version to commit on.

        Row addresses stay as they were. Such a Lance version is no version of the space.
        """
        dataset = self.open()
        try:
            if change.added:
                dataset.add_columns(pa.schema(list(change.added)))
            if change.widened:
                _widen(dataset, change.widened)
                checksums.complete(self.store_uri, self.name, dataset)
        except (OSError, ValueError) as error:
            raise store_error(error, f"changing the columns of table {self.name!r}") from error
        return dataset.version

    def base(self, lance_version: int) -> BaseRows:
        """The rows of a version, read in batches."""
        dataset = self.open(lance_version)
        n_rows = dataset.count_rows()
        record_ids, contents, metadata = (np.empty((n_rows, 2), np.uint64) for _ in range(3))
        addresses = np.empty(n_rows, np.uint64)
        chunks, uri_codes = (np.empty(n_rows, np.int32) for _ in range(2))
        codes: dict[str, int] = {}
        for start, batch in _positions(dataset.scanner(BASE_COLUMNS, with_row_address=True)):
            rows = slice(start, start + batch.num_rows)
            record_ids[rows] = to_array(map(digest_text, batch["record_id"].to_pylist()))
            contents[rows] = to_digests(batch["content_hash"])
            metadata[rows] = to_digests(batch["metadata_hash"])
            addresses[rows] = batch["_rowaddr"]
            chunks[rows] = batch["chunk"]
            uris = batch["source_uri"].dictionary_encode()
            own = [codes.setdefault(uri, len(codes)) for uri in uris.dictionary.to_pylist()]
            uri_codes[rows] = np.array(own, np.int32)[uris.indices]
        return BaseRows(record_ids, contents, metadata, addresses, chunks, list(codes), uri_codes)

    def vectors_at(self, lance_version: int, addresses: Addresses) -> pa.Table:
        """chunk_hash and vector of these rows, in the order asked."""
        dataset = self.open(lance_version)
        wanted, order = np.unique(addresses, return_inverse=True)
        parts: list[pa.Table] = []
        for fragment_id in np.unique(wanted >> 32).tolist():
            fragment = dataset.get_fragment(fragment_id)
            own = wanted[wanted >> 32 == fragment_id]
            if fragment is None:
                raise StoreError(
                    f"table {self.name!r} has no fragment {fragment_id} in version {lance_version}"
                )
            live = fragment.to_table(columns=[], with_row_address=True)["_rowaddr"].to_numpy()
            # Lance's take counts the rows that are left, an address the rows that were ever there.
            places = np.searchsorted(live, own)
            if not np.array_equal(live[np.minimum(places, len(live) - 1)], own):
                raise StoreError(
                    f"rows of table {self.name!r} are not there in version {lance_version}"
                )
            parts.append(fragment.take(places.tolist(), columns=VECTOR_COLUMNS))
        if not parts:
            return pa.schema([dataset.schema.field(name) for name in VECTOR_COLUMNS]).empty_table()
        return pa.concat_tables(parts).take(order)


def exists(uri: str) -> bool:
    """Whether there is a Lance dataset of this name."""
    return any(name.endswith(".manifest") for name in files.of(uri).names(f"{uri}/_versions"))


def create(uri: str, schema: pa.Schema) -> None:
    """Makes an empty Lance dataset, unless one of this schema is there already.

    Another process may have been first, or the answer to an earlier request was lost.
    """
    try:
        operation = LanceOperation.Overwrite(schema, [])
        LanceDataset.commit(uri, operation, max_retries=0, enable_stable_row_ids=True)
    except (OSError, ValueError) as error:
        if not exists(uri) or not lance.dataset(uri).schema.equals(schema, check_metadata=True):
            raise store_error(error, f"creating {uri}") from error


def _widen(dataset: LanceDataset, fields: Sequence[pa.Field]) -> None:
    """Casts columns; one commit puts all wide ones in place of the narrow ones.

    Lance's own change of type does not turn integers into floats. Integers beyond 2**53 become
    the nearest float.
    """
    names = [field.name for field in fields]
    if left := [name for name in dataset.schema.names if name.startswith((WIDE, NARROW))]:
        dataset.drop_columns(left)  # of a process that was killed here

    def cast(batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [batch[field.name].cast(field.type, safe=False) for field in fields]
        return pa.record_batch(arrays, wide)

    wide = pa.schema([field.with_name(WIDE + field.name) for field in fields])
    dataset.add_columns(batch_udf(output_schema=wide)(cast), read_columns=names)
    swapped = [{"path": name, "name": NARROW + name} for name in names]
    swapped += [{"path": WIDE + name, "name": name} for name in names]
    dataset.alter_columns(*swapped)  # type: ignore[arg-type]  # annotated as iterables of these
    dataset.drop_columns([NARROW + name for name in names])


def _positions(scanner: lance.LanceScanner) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    for batch in scanner.to_batches():
        yield start, batch
        start += batch.num_rows
