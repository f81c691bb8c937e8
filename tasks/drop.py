"""Drop a space, or one of its tables, for good."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from tasks.errors import ConfigError, StoreError
from tasks.store import fits, layout
from tasks.store.catalog import Catalog
from tasks.store.drop import begin_drop, finish_drop, tables
from tasks.store.heal import mend_head
from tasks.store.lease import lease
from tasks.store.table import Table


def droppable(store_uri: str, space: str, table: str | None) -> list[str]:
    """The tables that a drop of this table, or with None of the space, would remove.

    Those without a version too. Raises ConfigError if there is none, or if the table serves.
    """
    catalog = Catalog(store_uri)
    made = {entry.table for entry in catalog.versions(space)}
    names = sorted({*made, *tables(store_uri, space), *catalog.dropping(space)})
    if not names:
        catalog.known(space)
    if table is None:
        _check_unused(catalog, names)
        return names
    if table not in names:
        raise ConfigError(f"space {space!r} has no table {table!r}; it has: {', '.join(names)}")
    serving = catalog.serving(space)
    if serving is not None and serving.table == table:
        raise ConfigError(
            f"version {serving.version} of space {space!r} serves, and is in table {table!r}: "
            f"promote a version of another table, or drop the space: `vectorline drop {space}`"
        )
    _check_unused(catalog, [table])
    return [table]


def _check_unused(catalog: Catalog, names: Sequence[str]) -> None:
    """Raises ConfigError if a table that stays is encoded with what was fitted for one of these."""
    for name in names:
        try:
            users = {user for used in fits.users(catalog, name).values() for user in used}
        except StoreError:  # a table that cannot be opened encodes nothing, and may be dropped
            continue
        if left := sorted(users - {*names}):
            raise ConfigError(
                f"what was fitted for table {name!r} encodes {', '.join(left)}: drop that first"
            )


def drop(
    store_uri: str, space: str, names: Sequence[str], who: str, wait_s: float
) -> dict[str, Any]:
    """Removes tables of a space, all under their leases; gives what was there.

    Raises LeaseHeld while a run writes one of them, ConfigError if one serves and others stay.
    """
    catalog = Catalog(store_uri)
    with ExitStack() as stack:
        held = [stack.enter_context(lease(store_uri, name, wait_s)) for name in sorted(names)]
        mend_head(layout.log_uri(store_uri))
        serving = catalog.serving(space)
        last = None if serving is None else serving.table
        gone = [entry for entry in catalog.versions(space) if entry.table in names]
        for name in sorted(names, key=lambda name: (name == last, name)):
            begin_drop(Table(store_uri, name), catalog, who)
        for one in held:
            one.check()
        freed = [finish_drop(Table(store_uri, name), catalog) or 0 for name in sorted(names)]
    return {
        "space": space,
        "tables": sorted(names),
        "versions": [entry.version for entry in gone],
        "freed_bytes": sum(freed),
    }


def finish_drops(store_uri: str, space: str, wait_s: float) -> None:
    """Goes on with drops of a space that were cut off."""
    catalog = Catalog(store_uri)
    for name in catalog.dropping(space):
        with lease(store_uri, name, wait_s):
            finish_drop(Table(store_uri, name), catalog)
