"""The quarantine of a table: the records that could not be encoded."""

from collections.abc import Iterable

import pyarrow as pa

from schemas.quarantine import QuarantineEntry
from tasks.store import files, layout, snapshots

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


def tables(store_uri: str, space: str) -> list[str]:
    """The tables of a space that have entries, also those that no run committed to yet."""
    ending = f".{NAME}.lance"
    folder = layout.states_folder(store_uri)
    found = files.of(folder).names(folder)
    names = [name.removesuffix(ending) for name in found if name.endswith(ending)]
    return [name for name in names if layout.space_of(name) == space]


def read(store_uri: str, table: str) -> list[QuarantineEntry]:
    """All entries, ordered by id, content hash and source."""
    found = snapshots.read(store_uri, table, NAME)
    if found is None:
        return []
    return [QuarantineEntry.model_validate(entry) for entry in found[0].to_pylist()]


def write(store_uri: str, table: str, entries: Iterable[QuarantineEntry]) -> None:
    """Replaces all entries; nothing is written where they are equal."""
    wanted = sorted(entries, key=lambda entry: (entry.id, entry.content_hash, entry.source_uri))
    if wanted == read(store_uri, table):
        return
    rows = [entry.model_dump(mode="json") for entry in wanted]
    snapshots.write(store_uri, table, NAME, pa.Table.from_pylist(rows, SCHEMA), PROPERTIES)
