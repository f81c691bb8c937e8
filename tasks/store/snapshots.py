"""Small tables that belong to a table and are replaced whole: quarantine, file ledger, canaries."""

import json
from collections.abc import Mapping

import lance
import pyarrow as pa

from tasks.store import files, layout
from tasks.store.files import store_error
from tasks.store.swap import settle
from tasks.store.table import exists

PROPERTIES_KEY = b"vectorline"
KEPT = 2  # versions, so that a reader that has the last one open can go on


def uris(store_uri: str, table: str) -> list[str]:
    """The datasets of all snapshots of a table."""
    folder = layout.states_folder(store_uri)
    names = files.of(folder).names(folder)
    return [f"{folder}/{name}" for name in names if name.startswith(f"{table}.")]


def write(
    store_uri: str, table: str, name: str, rows: pa.Table, properties: Mapping[str, str]
) -> None:
    """Replaces the snapshot, durably; only under the table's lease."""
    uri = layout.state_uri(store_uri, table, name)
    rows = rows.replace_schema_metadata({PROPERTIES_KEY: json.dumps(dict(properties))})
    try:
        dataset = lance.write_dataset(rows, uri, schema=rows.schema, mode="overwrite")
        settle(uri, dataset.version)
        dataset.cleanup_old_versions(retain_versions=KEPT)
    except (OSError, ValueError) as error:
        raise store_error(error, f"writing {uri}") from error


def read(store_uri: str, table: str, name: str) -> tuple[pa.Table, dict[str, str]] | None:
    """The rows as they were written and the properties; None if there is no such snapshot."""
    uri = layout.state_uri(store_uri, table, name)
    if not exists(uri):
        return None
    try:
        rows = lance.dataset(uri).to_table()
    except (OSError, ValueError) as error:
        raise store_error(error, f"reading {uri}") from error
    properties: dict[str, str] = json.loads(rows.schema.metadata[PROPERTIES_KEY])
    return rows.replace_schema_metadata(None), properties
