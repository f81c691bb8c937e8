"""What was published of a table: records, and tags on versions that sinks have."""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import TypeAdapter

from schemas.catalog import VersionEntry
from schemas.publication import PublicationRecord, Published, Refused, Stamp
from tasks.store import files, layout, tags
from tasks.store.formats import parse
from tasks.store.table import Table

RECORD: TypeAdapter[PublicationRecord] = TypeAdapter(PublicationRecord)
STAMP: TypeAdapter[Stamp] = TypeAdapter(Stamp)
TAG = "synced-"


def stamp_of(text: str, where: str) -> Stamp:
    """What a collection says of itself; `where` names it in errors."""
    return parse(STAMP, text, where)


def published_of(entry: VersionEntry) -> Published:
    """A version as stamps name it."""
    return Published(version=entry.version, run_id=entry.run_id, created_at=entry.created_at)


def write(store_uri: str, record: PublicationRecord) -> None:
    """Keeps a record, durably."""
    place = layout.publication_path(store_uri, record.table, record.id)
    files.of(place).write(place, record.model_dump_json(indent=1))


def read(store_uri: str, table: str, publication_id: str) -> PublicationRecord | None:
    """A record; None if there is none."""
    place = layout.publication_path(store_uri, table, publication_id)
    text = files.of(place).read(place)
    return None if text is None else parse(RECORD, text, f"publication {place}")


def refused(store_uri: str, stamp: Stamp) -> tuple[Refused, ...] | None:
    """The rows that a sink would not take of what it has; None where nobody knows them."""
    if not stamp.refused:
        return ()
    record = read(store_uri, stamp.table, stamp.publication)
    if record is None or len(record.refused) != stamp.refused:
        return None
    return record.refused


def hold(
    store_uri: str,
    sink: str,
    held: Mapping[str, VersionEntry],
    tables: Mapping[str, Sequence[VersionEntry]],
) -> None:
    """Keeps retention from what a sink's collections have, and lets go of what they had before."""
    wanted = {
        (entry.table, f"{TAG}{sink}-{collection}"): entry.lance_version
        for collection, entry in held.items()
    }
    for (table, name), lance_version in wanted.items():
        tags.put(Table(store_uri, table), name, lance_version)
    spaces = {layout.space_of(entry.table) for entry in held.values()}
    for table in tables:
        if layout.space_of(table) in spaces:
            _let_go(Table(store_uri, table), sink, {name for own, name in wanted if own == table})


def release(table: Table, sinks: Iterable[str]) -> None:
    """Lets go of what sinks had that are configured no longer; `sinks` are those that are."""
    known = set(sinks)
    for name in table.tags():
        if name.startswith(TAG) and _sink_of(name) not in known:
            tags.remove(table, name)


def _let_go(table: Table, sink: str, wanted: set[str]) -> None:
    for name in table.tags():
        if name.startswith(TAG) and _sink_of(name) == sink and name not in wanted:
            tags.remove(table, name)


def _sink_of(tag: str) -> str:
    return tag.removeprefix(TAG).rpartition("-")[0]
