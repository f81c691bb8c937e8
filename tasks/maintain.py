"""Maintain: keep one table small and quick, within the retention policy."""

from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.config import Retention
from tasks import ledger
from tasks.progress import Report, listener
from tasks.store import maintenance
from tasks.store.catalog import Catalog
from tasks.store.drop import begin_drop, finish_drop
from tasks.store.heal import heal
from tasks.store.lease import lease
from tasks.store.table import Table


@task(name="maintain", persist_result=False, cache_policy=NO_CACHE)
def maintain(store_uri: str, name: str, retention: Retention, wait_s: float) -> dict[str, Any]:
    """Lets versions go, removes what nothing needs, gathers fragments; gives what was done.

    A table of another encoder that is of no use any more is dropped. Raises LeaseHeld while a run
    writes the table.
    """
    listener.get()(Report(f"maintain {name}"))
    table, catalog, now = Table(store_uri, name), Catalog(store_uri), datetime.now(UTC)
    with lease(store_uri, name, wait_s) as held:
        notes = heal(table, catalog)
        if maintenance.expired(table, catalog, days=retention.tables, now=now):
            begin_drop(table, catalog, "its retention policy")
            held.check()
            return {
                "table": name,
                "dropped": True,
                "freed_bytes": finish_drop(table, catalog),
                "notes": notes,
            }
        retired = maintenance.retire(
            table, catalog, versions=retention.versions, days=retention.days, now=now
        )
        held.check()
        freed_bytes = maintenance.clean(table, catalog, now=now)
        held.check()
        gathered = maintenance.gather(table, catalog, now=now)
        ledger.follow(store_uri, name, gathered.lance_version_before, gathered.lance_version)
    return {
        "table": name,
        "dropped": False,
        "retired": retired,
        "freed_bytes": freed_bytes,
        "fragments_before": gathered.fragments_before,
        "fragments": gathered.fragments,
        "notes": notes,
    }


@task(name="tidy the catalog", persist_result=False, cache_policy=NO_CACHE)
def tidy(store_uri: str) -> None:
    """Gathers the catalog's log, and removes its old files."""
    Catalog(store_uri).tidy(maintenance.GRACE)
