"""One run, one commit, one Lance version: new, changed and removed rows at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from lance import LanceDataset
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata

from schemas.receipt import WrittenFragment
from tasks import failpoints
from tasks.errors import StoreError
from tasks.store import checksums, files, tags
from tasks.store.files import store_error
from tasks.store.fragments import data_path
from tasks.store.swap import RUN_ID, find_run, settle, swap
from tasks.store.table import Addresses, Table

RUN_TAG = "run-"


@dataclass(frozen=True, slots=True)
class Change:
    """What a run does to its table.

    `removed` are addresses of rows of the base. `token` is the lease's. `properties` go into
    Lance's transaction, which every later manifest carries: keep them few and short. `data_digest`
    among them goes into the catalog.
    """

    run_id: str
    base_version: int
    fragments: Sequence[WrittenFragment]
    removed: Addresses
    rows_before: int
    rows_written: int
    rows_after: int
    token: int
    properties: Mapping[str, str] = field(default_factory=dict)


def commit(table: Table, change: Change) -> int:
    """Makes the Lance version of a run and its tag, once however often it is called.

    Raises StoreError, before anything is visible, if the books do not balance or a data file is not
    as its worker left it; CommitConflict if the base is not the head any more.
    """
    base = table.open(change.base_version)
    version = find_run(base, change.run_id)
    if version is None:
        _check_files(table, change)
        _check_books(base, change)
        updated, removed = _remove(table, base, change)
        written = [file for fragment in change.fragments for file in fragment.files]
        marks = [
            checksums.look_at(f"{table.uri}/{mark.path(fragment.id)}")
            for fragment in updated
            if (mark := fragment.deletion_file)
        ]
        checksums.keep(table.store_uri, table.name, [*written, *marks])
        failpoints.reach("before-commit")
        new = [FragmentMetadata.from_json(fragment.metadata) for fragment in change.fragments]
        version = swap(base, new, _properties(change), updated=updated, removed=removed)
        failpoints.reach("after-commit")
    else:
        settle(table.uri, version)  # whoever made it may have been killed before
    tag_run(table, change.run_id, version)
    failpoints.reach("after-tag")
    return version


def tag_run(table: Table, run_id: str, version: int) -> bool:
    """Gives a Lance version, settled before, its run's tag; False if it was there already."""
    named = table.open().tags
    name = f"{RUN_TAG}{run_id}"
    try:
        named.create(name, version)
    except (OSError, ValueError) as error:
        present = table.tags().get(name)
        if present is None:
            raise store_error(
                error, f"tagging version {version} of table {table.name!r}"
            ) from error
        if present != version:
            raise StoreError(
                f"tag {name} of table {table.name!r} is on Lance version {present}, "
                f"and the run made {version}: delete the tag if you made it"
            ) from error
        return False
    files.of(table.uri).sync([tags.path(table, name)])
    return True


def _properties(change: Change) -> dict[str, str]:
    return {
        **change.properties,
        RUN_ID: change.run_id,
        "token": str(change.token),
        "rows": str(change.rows_after),
        "created_at": datetime.now(UTC).isoformat(),
    }


def _check_files(table: Table, change: Change) -> None:
    """Lance accepts a commit that names a missing file: only reads fail."""
    for fragment in change.fragments:
        for file in fragment.files:
            path = data_path(table.uri, file.path)
            size_bytes = files.of(path).size_bytes(path)
            if size_bytes != file.size_bytes:
                found = "is missing" if size_bytes is None else f"has {size_bytes} bytes"
                raise StoreError(
                    f"data file {path} {found}, its worker wrote {file.size_bytes}: "
                    "nothing was committed; run again"
                )


def _check_books(base: LanceDataset, change: Change) -> None:
    counted = sum(_count(base.uri, fragment) for fragment in change.fragments)
    n_removed = len(np.unique(change.removed))
    books = {
        "rows before, and rows in the base": (change.rows_before, base.count_rows()),
        "rows written, and rows in the fragments": (change.rows_written, counted),
        "rows after, and before + written - removed": (
            change.rows_after,
            change.rows_before + change.rows_written - n_removed,
        ),
    }
    for what, (said, found) in books.items():
        if said != found:
            raise StoreError(
                f"the books do not balance, nothing was committed: {what} are {said} and {found}"
            )


def _count(table_uri: str, fragment: WrittenFragment) -> int:
    """Rows of a fragment by the footers of its files, less those that it marks as deleted."""
    metadata = FragmentMetadata.from_json(fragment.metadata)
    for file in fragment.files:
        n_rows = LanceFileReader(data_path(table_uri, file.path)).num_rows()
        if n_rows != metadata.physical_rows or fragment.rows != metadata.num_rows:
            raise StoreError(
                f"the books do not balance, nothing was committed: data file {file.path} has "
                f"{n_rows} rows, its receipt says {fragment.rows}"
            )
    return fragment.rows


def _remove(
    table: Table, base: LanceDataset, change: Change
) -> tuple[list[FragmentMetadata], list[int]]:
    """Fragments with new deletion vectors, which are durable, and ids of those with no row left."""
    updated: list[FragmentMetadata] = []
    emptied: list[int] = []
    removed = np.unique(change.removed)
    rows_left = base.count_rows()
    for fragment_id in np.unique(removed >> 32).tolist():
        offsets = removed[removed >> 32 == fragment_id] & 0xFFFFFFFF
        fragment = base.get_fragment(fragment_id)
        if fragment is None:
            raise StoreError(
                f"table {table.name!r} has no fragment {fragment_id} to remove rows from"
            )
        try:
            left = fragment.delete_rows(offsets.tolist())
        except (OSError, ValueError) as error:
            raise store_error(error, f"removing rows from {base.uri}") from error
        rows_left -= fragment.count_rows()
        if left is None:
            emptied.append(fragment_id)
        else:
            updated.append(left)
            rows_left += left.num_rows
    if rows_left != change.rows_before - len(removed):
        raise StoreError("rows that are to be removed are not in the base: nothing was committed")
    marks = ((fragment.id, fragment.deletion_file) for fragment in updated)
    files.of(table.uri).sync(
        f"{table.uri}/{mark.path(fragment_id)}" for fragment_id, mark in marks if mark
    )
    return updated, emptied
