"""What a killed run or a power cut left undone, done by whoever takes the lease next."""

import uuid

from tasks.errors import noting
from tasks.store import checksums, files, layout, maintenance, receipts, snapshots
from tasks.store.catalog import Catalog
from tasks.store.commit import tag_run
from tasks.store.drop import finish_drop
from tasks.store.swap import RUN_ID, runs, settle
from tasks.store.table import Table

MANIFEST_END = b"LANC"


def heal(table: Table, catalog: Catalog) -> list[str]:
    """Mends what a table lacks and gives a sentence for each thing; an error carries them too.

    Called under its lease, before anything is planned. Broken newest manifests of the table, its
    snapshots and the catalog are moved aside; of a table that is being dropped the rest goes;
    commits after the last catalog row get their tags and rows, gathered versions their place; files
    of the head their digests; receipts that a commit took are dropped.
    """
    done: list[str] = []
    with noting(done):
        done += mend_head(layout.log_uri(table.store_uri))
        if finish_drop(table, catalog) is not None:
            done.append(f"table {table.name} was dropped, and what was left of it is removed now")
        for uri in (table.uri, *snapshots.uris(table.store_uri, table.name)):
            done += mend_head(uri)
        if table.exists():
            done += _finish_commits(table, catalog)
            done += maintenance.finish_moves(table, catalog)
            _digest_files_of_head(table, catalog)
            _drop_taken_receipts(table)
    return done


def mend_head(uri: str) -> list[str]:
    """Moves manifests aside that a power cut left broken.

    With a newest one nothing opens; with an older one nothing can be cleaned up.
    """
    folder, there = f"{uri}/_versions", files.of(uri)
    torn = [name for name in there.torn(folder, MANIFEST_END) if name.endswith(".manifest")]
    if not torn:
        return []
    whole = {name for name in there.names(folder) if name.endswith(".manifest")}.difference(torn)
    done = []
    for name in torn:
        aside = f"{uri}/_broken/{name}.{uuid.uuid4().hex}"
        there.move(f"{folder}/{name}", aside)
        newest = all(name < one for one in whole)
        which = "the newest manifest" if newest else "a manifest"
        then = ", and the version before it is the head again" if newest else ""
        done.append(
            f"{which} of {uri.rpartition('/')[2]}, {name}, was broken, "
            f"as a power cut leaves it: it was moved to {aside}{then}"
        )
    return done


def _finish_commits(table: Table, catalog: Catalog) -> list[str]:
    done = []
    for version, properties in runs(table.uri, _newest_known(table, catalog)):
        settle(table.uri, version)
        tag_run(table, properties[RUN_ID], version)
        entry = catalog.add_version(table, version)
        done.append(
            f"run {properties[RUN_ID]} of table {table.name} had committed and was cut off "
            f"before its catalog row: it is version {entry.version} of {entry.space}"
        )
    return done


def _digest_files_of_head(table: Table, catalog: Catalog) -> None:
    """What changes columns or gathers fragments may have been killed before it came to that."""
    head = table.open()
    if head.version != _newest_known(table, catalog):
        checksums.complete(table.store_uri, table.name, head)


def _newest_known(table: Table, catalog: Catalog) -> int:
    """The Lance version of the table's newest version in the catalog; 0 if it has none."""
    versions = catalog.versions(table.settings().space)
    own = (entry.lance_version for entry in versions if entry.table == table.name)
    return max(own, default=0)


def _drop_taken_receipts(table: Table) -> None:
    taken = checksums.locations(table.open())
    receipts.drop(
        table.store_uri,
        (
            receipt
            for receipt in receipts.list(table.store_uri, table.name)[0]
            if any(file.path in taken for fragment in receipt.fragments for file in fragment.files)
        ),
    )
