"""Dropping a table for good: first what the catalog says of it, then its data.

Under its lease. Killed in between, it is finished by whoever takes the lease next, before anything
else: else a run's healing would find the commits of the dropped table and give them versions.
"""

import re

from tasks import failpoints
from tasks.store import files, layout, snapshots
from tasks.store.catalog import Catalog
from tasks.store.table import Table

FINGERPRINT = "[0-9a-f]{12}"
"""What stands of one in a table's name: all else in a store's folder is somebody else's."""


def begin_drop(table: Table, catalog: Catalog, who: str) -> None:
    """Takes a table out of the catalog; from here on it goes, whoever comes next.

    Raises ConfigError if it serves while another table of the space has versions.
    """
    catalog.drop(layout.space_of(table.name), table.name, who)
    failpoints.reach("drop")


def finish_drop(table: Table, catalog: Catalog) -> int | None:
    """Removes the data, receipts, manifests and state of a table that is being dropped.

    Gives the bytes that were freed; None if nobody has begun to drop it. Its lock file stays:
    numbers of leases go on.
    """
    if table.name not in catalog.dropping(layout.space_of(table.name)):
        return None
    freed_bytes = _remove(table)
    failpoints.reach("drop-data")
    catalog.finish_drop(layout.space_of(table.name), table.name)
    return freed_bytes


def tables(store_uri: str, space: str) -> list[str]:
    """All tables of a space of which there is anything, with or without a version."""
    found = {
        *(name.removesuffix(".lance") for name in _names(layout.root(store_uri))),
        *_names(layout.runs_folder(store_uri)),
        *(name.rsplit(".", 2)[0] for name in _names(layout.states_folder(store_uri))),
    }
    own = re.compile(rf"{re.escape(space)}\.{FINGERPRINT}")
    return sorted(filter(own.fullmatch, found))


def _remove(table: Table) -> int:
    folders = [
        table.uri,
        layout.table_runs_folder(table.store_uri, table.name),
        layout.models_folder(table.store_uri, table.name),
        *snapshots.uris(table.store_uri, table.name),
    ]
    return sum(files.of(folder).remove_folder(folder) for folder in folders)


def _names(folder: str) -> list[str]:
    return files.of(folder).names(folder)
