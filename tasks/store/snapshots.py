"""Small tables that belong to a table and are replaced whole: quarantine, file ledger, canaries."""

import json
from collections.abc import Mapping

import lance
import pyarrow as pa

from tasks.store import layout
from tasks.store.durable import store_error, sync
from tasks.store.table import exists

PROPERTIES_KEY = b"vectorline"
KEPT = 2  # versions, so that a reader that has the last one open can go on


def write(
    store_uri: str, table: str, name: str, rows: pa.Table, properties: Mapping[str, str]
) -> None:
    """Replaces the snapshot, durably; only under the table's lease."""
    path = layout.state_path(store_uri, table, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = rows.replace_schema_metadata({PROPERTIES_KEY: json.dumps(dict(properties))})
    try:
        dataset = lance.write_dataset(rows, str(path), schema=rows.schema, mode="overwrite")
        sync(file for file in path.rglob("*") if file.is_file())
        dataset.cleanup_old_versions(retain_versions=KEPT)
    except (OSError, ValueError) as error:
        raise store_error(error, f"writing {path}") from error


def read(store_uri: str, table: str, name: str) -> tuple[pa.Table, dict[str, str]] | None:
    """The rows as they were written and the properties; None if there is no such snapshot."""
    path = layout.state_path(store_uri, table, name)
    if not exists(path):
        return None
    try:
        rows = lance.dataset(str(path)).to_table()
    except (OSError, ValueError) as error:
        raise store_error(error, f"reading {path}") from error
    properties: dict[str, str] = json.loads(rows.schema.metadata[PROPERTIES_KEY])
    return rows.replace_schema_metadata(None), properties
