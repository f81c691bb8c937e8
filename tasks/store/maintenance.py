"""Keeping a table small and quick without making a version of it.

Runs leave many small fragments, rows that are only marked as deleted, and a Lance version each.
Here fragments are gathered, versions that nothing holds are let go, and their files are removed.
What has the same rows in another shape, gathered or with another index, becomes the newest version.
Readers go on: what was replaced or let go stays on the disk for `GRACE` longer, for those who
opened it just before.

All of it is done under the table's lease, after healing; each step can be cut off and done again.
"""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import numpy as np
import numpy.typing as npt
from lance import LanceDataset

from schemas.catalog import VersionEntry
from schemas.manifest import Manifest
from schemas.receipt import Receipt
from tasks import failpoints
from tasks.errors import StoreError
from tasks.store import checksums, files, fits, layout, manifests, models, receipts, sketches, tags
from tasks.store.catalog import Catalog
from tasks.store.commit import RUN_TAG, tag_run
from tasks.store.damage import find_damage
from tasks.store.files import lance_errors, store_error
from tasks.store.swap import settle
from tasks.store.table import Table

GRACE = timedelta(hours=1)
FRAGMENT_BYTES = 256 * 2**20
"""What a gathered fragment holds of vectors; up to so much is copied where it is not full yet."""
SPARE_FRAGMENTS = 16
"""Fragments beyond full ones that are left alone.

Each version that is kept has the copy that it was gathered into: done for every new row, ten runs
of one row each took eleven times the disk.
"""
DELETED = 0.2
"""The same of the share of rows that are marked as deleted."""

# Tags on what readers may have open still: the Lance version, and since when, in unix seconds.
_REPLACED = re.compile(r"replaced-\d+-(\d+)")


def retire(
    table: Table,
    catalog: Catalog,
    *,
    versions: int,
    days: int,
    now: datetime,
    held: Collection[int] = (),
) -> list[int]:
    """Lets go of this table's versions that nothing holds; gives their numbers.

    Held are the newest `versions` of the space, those that are not `days` old, the table's newest,
    those that served last, those with a tag that is not their run's, and those of the numbers
    `held`.
    """
    space = table.settings().space
    live = catalog.versions(space)
    own = [entry for entry in live if entry.table == table.name]
    tagged = _tagged(table, own)
    newest = {entry.version for entry in live[-versions:]} | {*held}
    gone = [
        entry
        for entry in _old(live, days, now)
        if entry in own[:-1] and entry.version not in newest and entry.lance_version not in tagged
    ]
    retired = []
    for entry in gone:
        if catalog.retire(entry):
            failpoints.reach("retire")
            retired.append(entry.version)
    return retired


def expired(table: Table, catalog: Catalog, *, days: int, now: datetime) -> bool:
    """Whether this table may be dropped: of another encoder, and its newest version is so old.

    It has neither the serving version nor the latest, none that served lately, none with a tag of
    the user's, no fit that another table is encoded with, and no work of a run that never came to
    its commit.
    """
    space = table.settings().space
    live = catalog.versions(space)
    own = [entry for entry in live if entry.table == table.name]
    if not own or own[-1] == live[-1] or receipts.list(table.store_uri, table.name)[0]:
        return False
    held = set(catalog.served(space)) & {entry.version for entry in own}
    return (
        not held
        and not _tagged(table, own) & {entry.lance_version for entry in own}
        and own[-1] in _old(live, days, now)
        and not _in_use(table, catalog)
    )


def _in_use(table: Table, catalog: Catalog) -> bool:
    """Whether another table is encoded with a fit of this one, or may be: it cannot be opened."""
    try:
        return bool(fits.users(catalog, table.name))
    except StoreError:
        return True


def clean(table: Table, catalog: Catalog, *, now: datetime) -> int:
    """Removes what no version needs any longer; gives the bytes that were freed."""
    space = table.settings().space
    own = {entry.run_id: entry for entry in catalog.made(space) if entry.table == table.name}
    retired = catalog.retired(space)
    dataset = table.open()
    named = table.tags()
    for run_id, entry in own.items():
        if entry.version not in retired and f"{RUN_TAG}{run_id}" not in named:
            tag_run(table, run_id, entry.lance_version)  # else it would go with the others
    try:
        for name in named:
            if _expired(name, own, retired, now):
                dataset.tags.delete(name)
        failpoints.reach("cleanup")
        done = table.open().cleanup_old_versions(GRACE, error_if_tagged_old_versions=False)
    except (OSError, ValueError) as error:
        raise store_error(error, f"cleaning up table {table.name!r}") from error
    checksums.tidy(table.store_uri, table.name, table.uri)
    receipts.drop(table.store_uri, _worthless(table))
    live = {one.version for one in own.values() if one.version not in retired}
    sketches.keep_only(table.store_uri, table.name, live)
    _clean_fits(table, catalog, [one for one in own.values() if one.version not in retired], now)
    runs = layout.table_runs_folder(table.store_uri, table.name)
    files.of(runs).sweep(runs, now - GRACE)
    return int(done.bytes_removed)


def _clean_fits(
    table: Table, catalog: Catalog, live: Sequence[VersionEntry], now: datetime
) -> None:
    """Lets go of the fits of versions that were let go, and of runs that came to no version.

    Not of those that other tables are encoded with; of none while one of these cannot be opened.
    """
    folder = layout.models_folder(table.store_uri, table.name)
    if not files.of(folder).names(folder):
        return
    made = [manifests.read(table.store_uri, table.name, one.run_id, Manifest) for one in live]
    held = {one.fit.model for one in made if one is not None and one.fit is not None}
    try:
        held |= fits.users(catalog, table.name).keys()
    except StoreError:
        return
    models.keep_only(table.store_uri, table.name, held, now - GRACE)


def newest(table: Table, catalog: Catalog) -> VersionEntry:
    """The newest version of a table, which is the one that upkeep is for."""
    versions = catalog.versions(table.settings().space)
    return [entry for entry in versions if entry.table == table.name][-1]


def is_head(table: Table, version: VersionEntry) -> bool:
    """Whether the head has the columns and the rows of the newest version, which is upkeep's base.

    It has other columns where a run was cut off: the next run goes on from there. Raises StoreError
    for other rows: somebody else wrote to the table.
    """
    head, before = table.open(), table.open(version.lance_version)
    if head.version == before.version:
        return True
    if head.schema != before.schema:
        return False
    if not np.array_equal(row_ids(head), row_ids(before)):
        raise StoreError(
            f"the head of table {table.name!r}, Lance version {head.version}, has other rows than "
            f"version {version.version} of {version.space}, which no run of vectorline made: "
            f"`restore()` of Lance version {before.version} brings that back"
        )
    return True


def gather(table: Table) -> None:
    """Puts small fragments together, and drops deleted rows of those that have many, if it pays."""
    head = table.open()
    rows = max(1, FRAGMENT_BYTES // (4 * table.settings().dim))
    if not _pays(head, rows):
        return
    if damaged := find_damage(table.store_uri, table.name, {head.version: head}).faults:
        what = "; ".join(f"{place} {fault}" for place, fault in sorted(damaged.items())[:3])
        raise StoreError(
            f"table {table.name!r} has damaged files, which are not gathered: {what}; "
            "`vectorline verify` says which versions are whole"
        )
    try:
        head.optimize.compact_files(target_rows_per_fragment=rows)
    except (OSError, ValueError) as error:
        raise store_error(error, f"gathering the fragments of table {table.name!r}") from error
    failpoints.reach("compaction")


def move(table: Table, catalog: Catalog, version: VersionEntry, *, now: datetime) -> VersionEntry:
    """Lets the newest version be the head, once this was proved to have the same rows.

    Otherwise the head is put back and a StoreError raised.
    """
    before, after = table.open(version.lance_version), table.open()
    if after.version == before.version:
        return version
    if not np.array_equal(row_ids(before), row_ids(after)):
        before.restore()  # type: ignore[no-untyped-call]
        settle(table.uri, table.open().version)
        raise StoreError(
            f"upkeep of table {table.name!r} would have changed its rows; "
            "it is as it was before: please report this"
        )
    settle(table.uri, after.version)
    checksums.complete(table.store_uri, table.name, after)
    tags.put(table, f"replaced-{before.version}-{int(now.timestamp())}", before.version)
    tags.put(table, f"{RUN_TAG}{version.run_id}", after.version)
    failpoints.reach("move")
    finish_moves(table, catalog)
    return newest(table, catalog)


def finish_moves(table: Table, catalog: Catalog) -> list[str]:
    """Lets versions follow their runs' tags, which `move` moves first; a sentence for each.

    A tag that someone put on other rows goes back to where it was.
    """
    named = table.tags()
    done = []
    for entry in catalog.versions(table.settings().space):
        name = f"{RUN_TAG}{entry.run_id}"
        target = named.get(name, entry.lance_version)
        if entry.table != table.name or target == entry.lance_version:
            continue
        what = f"version {entry.version} of {entry.space}: Lance version {entry.lance_version}"
        if not np.array_equal(
            row_ids(table.open(entry.lance_version)), row_ids(table.open(target))
        ):
            tags.put(table, name, entry.lance_version)
            done.append(f"{what} got its tag {name} back, which was on other rows")
            continue
        for other, tag in named.items():
            if tag == entry.lance_version and not _REPLACED.fullmatch(other):
                tags.put(table, other, target)
        catalog.move(entry, target)
        done.append(f"{what} is {target} by now, with the same rows")
    return done


def _old(live: Sequence[VersionEntry], days: int, now: datetime) -> list[VersionEntry]:
    """The versions of a space that were made more than so many days before its newest one.

    No clock is believed alone. One that is ahead now makes nothing old, for what counts is when
    the newest version was made; one that was behind does not, for what was made after a version
    that is young is young too, whatever it says.
    """
    now, limit = min(now, live[-1].created_at), timedelta(days=days)
    first = takewhile(lambda entry: not timedelta(0) <= now - entry.created_at <= limit, live)
    return [entry for entry in first if now - entry.created_at > limit]


def _tagged(table: Table, own: Sequence[VersionEntry]) -> set[int]:
    """The Lance versions with a tag that is not that of their run."""
    bookkeeping = {f"{RUN_TAG}{entry.run_id}" for entry in own}
    named = table.tags()
    return {version for name, version in named.items() if name not in bookkeeping}


def _worthless(table: Table) -> list[Receipt]:
    """The receipts whose rows have gone by now.

    A worker that outlived its driver may write one when nobody wants it any more, and a run that
    was cut off need not be followed by another one.
    """
    listed = receipts.list(table.store_uri, table.name)[0]
    there = set(files.of(table.uri).names(f"{table.uri}/data"))
    return [
        receipt
        for receipt in listed
        if not {file.path for one in receipt.fragments for file in one.files} <= there
    ]


def _expired(
    tag: str, own: dict[str, VersionEntry], retired: dict[int, datetime], now: datetime
) -> bool:
    if replaced := _REPLACED.fullmatch(tag):
        since = datetime.fromtimestamp(int(replaced[1]), UTC)
    elif (entry := own.get(tag.removeprefix(RUN_TAG))) is not None and entry.version in retired:
        since = retired[entry.version]
    else:
        return False
    return now - since > GRACE


def _pays(dataset: LanceDataset, rows: int) -> bool:
    fragments = [fragment.metadata for fragment in dataset.get_fragments()]
    physical = sum(fragment.physical_rows for fragment in fragments)
    live = sum(fragment.num_rows for fragment in fragments)
    return len(fragments) > live // rows + SPARE_FRAGMENTS or physical - live > DELETED * physical


def row_ids(dataset: LanceDataset) -> npt.NDArray[np.uint64]:
    """Lance's ids of all rows, sorted: one stands for the same content for ever."""
    with lance_errors(f"reading version {dataset.version} of {dataset.uri}"):
        ids = dataset.to_table(columns=[], with_row_id=True)["_rowid"].to_numpy()
    return np.sort(ids)
