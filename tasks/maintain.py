"""Maintain: keep one table small and quick, within the retention policy."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.config import IndexConfig, Retention
from tasks import ledger
from tasks.errors import ConfigError, noting
from tasks.progress import Report, listener
from tasks.store import indexes, maintenance, publications
from tasks.store.catalog import Catalog
from tasks.store.drop import begin_drop, finish_drop
from tasks.store.heal import heal
from tasks.store.lease import lease
from tasks.store.table import Table


@task(name="maintain", persist_result=False, cache_policy=NO_CACHE)
def maintain(
    store_uri: str,
    name: str,
    retention: Retention,
    index: IndexConfig,
    wait_s: float,
    sinks: Sequence[str] = (),
    baseline: str | None = None,
) -> dict[str, Any]:
    """Removes what nothing needs, lets versions go, brings indexes up to date, gathers fragments.

    A table of another encoder that is of no use any more is dropped. What stores downstream have
    is held if they are among `sinks`, and so is the version that `baseline` names. Raises LeaseHeld
    while a run writes the table, ConfigError for an index of a column that the newest table lacks.
    """
    listener.get()(Report(f"maintain {name}"))
    table, catalog, now = Table(store_uri, name), Catalog(store_uri), datetime.now(UTC)
    notes: list[str] = []
    with noting(notes), lease(store_uri, name, wait_s) as held:
        notes += heal(table, catalog)
        publications.release(table, sinks)
        if maintenance.expired(table, catalog, days=retention.tables, now=now):
            begin_drop(table, catalog, "its retention policy")
            held.check()
            return {
                "table": name,
                "dropped": True,
                "freed_bytes": finish_drop(table, catalog),
                "notes": notes,
            }
        before = maintenance.newest(table, catalog)
        if before == catalog.latest(before.space):  # an older encoder's may lack a newer column
            indexes.check_columns(table.open().schema, index)
        freed_bytes = maintenance.clean(table, catalog, now=now)  # first: the rest needs some room
        held.check()
        retired = maintenance.retire(
            table,
            catalog,
            versions=retention.versions,
            days=retention.days,
            now=now,
            held=_meant(catalog, before.space, baseline),
        )
        after, tuned = before, indexes.Tuned()
        if maintenance.is_head(table, before):
            held.check()
            indexes.update(table, index)
            held.check()
            maintenance.gather(table)
            held.check()
            tuned = indexes.tune(table, index)
            held.check()
            after = maintenance.move(table, catalog, before, now=now)
            ledger.follow(store_uri, name, before.lance_version, after.lance_version)
        else:
            notes.append(
                "a run that was cut off has changed the columns: indexes and fragments are left as "
                "they are until a run has come to its end"
            )
        old, new = (table.open(version.lance_version) for version in (before, after))
        return {
            "table": name,
            "dropped": False,
            "retired": retired,
            "freed_bytes": freed_bytes,
            "fragments_before": len(old.get_fragments()),
            "fragments": len(new.get_fragments()),
            "index": {**indexes.describe(new), "retrained": tuned.retrained},
            "notes": [*notes, *tuned.notes],
        }


def _meant(catalog: Catalog, space: str, named: str | None) -> set[int]:
    """The number of the version that is named; nothing where there is none."""
    with suppress(ConfigError):
        return set() if named is None else {catalog.resolve(space, named).version}
    return set()


@task(name="tidy the catalog", persist_result=False, cache_policy=NO_CACHE)
def tidy(store_uri: str) -> None:
    """Gathers the catalog's log, and removes its old files."""
    Catalog(store_uri).tidy(maintenance.GRACE)
