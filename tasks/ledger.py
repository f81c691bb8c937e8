"""What each file held when a table was last brought up to date.

With it unchanged files are not read. A cache: without it, or when it does not belong to the head of
the table, files are read and hashed again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import pyarrow as pa

from tasks.errors import StoreError
from tasks.sources.base import File
from tasks.store import snapshots

NAME = "files"
SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.int32()),
        ("stamp", pa.string()),
        ("records", pa.int64()),
        ("duplicates", pa.int64()),
        ("quarantined", pa.int64()),
        ("entangled", pa.bool_()),
        ("isolated", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file's part in the books of the last run.

    `entangled` files are read again whenever any file changed: they hold an id that another record
    has too, or that is taken by a record which only the encoder found to be bad, or a record that
    is tried again by each run.
    """

    uri: str
    source: int
    stamp: str
    records: int
    duplicates: int
    quarantined: int
    entangled: bool
    isolated: int = 0  # a ledger of an older version does not say

    def unchanged(self, file: File) -> bool:
        """Whether the file is the one that was read then; an empty stamp is never the same."""
        return bool(file.stamp) and self.stamp == file.stamp


@dataclass(frozen=True, slots=True)
class Ledger:
    """The files of all sources by (source, uri); empty where it does not apply."""

    entries: Mapping[tuple[int, str], FileEntry]

    def known(self, source: int, file: File) -> bool:
        """Whether this very file was read into the head of the table."""
        entry = self.entries.get((source, file.uri))
        return entry is not None and entry.unchanged(file)


def read(store_uri: str, table: str, *, lance_version: int, sources_digest: str) -> Ledger:
    """The ledger if it was written for this Lance version and for sources configured alike."""
    try:
        stored = snapshots.read(store_uri, table, NAME)
    except StoreError:
        return Ledger({})
    if stored is None or stored[1].get("sources") != sources_digest:
        return Ledger({})
    if stored[1].get("lance_version") != str(lance_version):
        return Ledger({})
    entries = (FileEntry(**row) for row in stored[0].to_pylist())
    return Ledger({(entry.source, entry.uri): entry for entry in entries})


def follow(store_uri: str, table: str, before: int, after: int) -> None:
    """Lets the ledger of a Lance version be that of another one with the same rows."""
    stored = snapshots.read(store_uri, table, NAME)
    if before != after and stored is not None and stored[1].get("lance_version") == str(before):
        rows, properties = stored
        snapshots.write(store_uri, table, NAME, rows, {**properties, "lance_version": str(after)})


def drop(store_uri: str, table: str) -> None:
    """Forgets all files: what they put into quarantine is about to be replaced."""
    if snapshots.read(store_uri, table, NAME) is not None:
        write(store_uri, table, (), lance_version=0, sources_digest="")


def write(
    store_uri: str,
    table: str,
    entries: Iterable[FileEntry],
    *,
    lance_version: int,
    sources_digest: str,
) -> None:
    """Replaces the ledger."""
    columns = list(entries)
    arrays = {
        field.name: [getattr(entry, field.name) for entry in columns] for field in fields(FileEntry)
    }
    rows = pa.table(arrays, schema=SCHEMA)
    snapshots.write(
        store_uri,
        table,
        NAME,
        rows,
        {"format": "1", "lance_version": str(lance_version), "sources": sources_digest},
    )
