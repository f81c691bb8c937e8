"""A column of the newest version that is made of its rows, such as the group of each record.

Its rows stay as they are, and so does its number: what has the same rows in another shape becomes
the newest version, as in upkeep. Rows that a later run writes have no value there until it is made
anew.
"""

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
from lance import LanceDataset, batch_udf

from schemas.catalog import VersionEntry
from tasks.errors import ConfigError, StoreError
from tasks.store import checksums, maintenance
from tasks.store.catalog import Catalog
from tasks.store.files import lance_errors
from tasks.store.rows import check_names
from tasks.store.table import Table

MADE = "vectorline.made."
"""What stands in a table's config before the name of such a column."""


def made_columns(dataset: LanceDataset) -> list[str]:
    """The columns of a Lance version that were made so; their values change in rows that stay."""
    made = (key.removeprefix(MADE) for key in dataset.config() if key.startswith(MADE))
    return sorted({*made} & {*dataset.schema.names})


def put_column(
    table: Table,
    catalog: Catalog,
    version: VersionEntry,
    name: str,
    values: Mapping[str, str],
    *,
    now: datetime,
) -> VersionEntry:
    """Gives each row the value of its record, or null; replaces what was made so before.

    Only under the table's lease, after healing. Raises ConfigError for a name that is taken,
    StoreError where `version` is not the newest one.
    """
    schema = pa.schema([pa.field(name, pa.string())])
    check_names(schema)
    newest = maintenance.newest(table, catalog)
    if newest != version:
        raise StoreError(
            f"version {version.version} of {version.space!r} is not the newest state of its table, "
            f"which is version {newest.version}: ask for that one with --version"
        )
    base, made = table.open(version.lance_version), f"{MADE}{name}"
    if name in base.schema.names and made not in base.config():
        raise ConfigError(
            f"column {name!r} is there already, and comes from a source: give another name"
        )
    with lance_errors(f"preparing table {table.name!r} for column {name!r}"):
        if not maintenance.is_head(table, version):
            base.restore()  # type: ignore[no-untyped-call]  # columns of what was cut off
        table.open().update_config({made: ""})
        head = table.open()

    @batch_udf(output_schema=schema)
    def look_up(batch: pa.RecordBatch) -> pa.RecordBatch:
        found = [values.get(id_) for id_ in batch["record_id"].to_pylist()]
        return pa.record_batch([pa.array(found, pa.string())], schema)

    with lance_errors(f"adding column {name!r} to table {table.name!r}"):
        if name in head.schema.names:
            head.drop_columns([name])
        head.add_columns(look_up, read_columns=["record_id"])
    checksums.complete(table.store_uri, table.name, table.open())
    return maintenance.move(table, catalog, version, now=now)
