"""Writing what was found about records into a column of the newest version."""

from collections.abc import Mapping
from datetime import UTC, datetime

from tasks import ledger
from tasks.space import Space
from tasks.store.catalog import Catalog
from tasks.store.columns import put_column
from tasks.store.heal import heal
from tasks.store.lease import lease
from tasks.store.table import Table


def mark(space: Space, values: Mapping[str, str], column: str, wait_s: float) -> None:
    """Writes a value for each of these records into a column, null for all others.

    Raises ConfigError for a name that is taken, StoreError where `space` is not the newest version
    of its table by now, LeaseHeld while a run writes it.
    """
    table, catalog = Table(space.store_uri, space.entry.table), Catalog(space.store_uri)
    with lease(space.store_uri, table.name, wait_s) as held:
        heal(table, catalog)
        held.check()
        after = put_column(table, catalog, space.entry, column, values, now=datetime.now(UTC))
        ledger.follow(space.store_uri, table.name, space.entry.lance_version, after.lance_version)
