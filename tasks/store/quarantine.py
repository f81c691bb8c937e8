"""The quarantine of a table: the records that could not be encoded."""

from collections.abc import Iterable

import pyarrow as pa

from schemas.quarantine import QuarantineEntry
from tasks.store import snapshots

NAME = "quarantine"
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("source_uri", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("transient", pa.bool_()),
    ]
)
PROPERTIES = {"format": "1"}


def read(store_uri: str, table: str) -> list[QuarantineEntry]:
    """All entries, ordered by id and content hash."""
    found = snapshots.read(store_uri, table, NAME)
    if found is None:
        return []
    return [QuarantineEntry.model_validate(entry) for entry in found[0].to_pylist()]


def write(store_uri: str, table: str, entries: Iterable[QuarantineEntry]) -> None:
    """Replaces all entries; nothing is written where they are equal.

    Of two with the same id and content hash the later stays.
    """
    by_key = {(entry.id, entry.content_hash): entry for entry in entries}
    wanted = [by_key[key] for key in sorted(by_key)]
    if wanted == read(store_uri, table):
        return
    rows = [entry.model_dump(mode="json") for entry in wanted]
    snapshots.write(store_uri, table, NAME, pa.Table.from_pylist(rows, SCHEMA), PROPERTIES)
