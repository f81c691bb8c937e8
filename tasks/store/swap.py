"""The compare-and-swap that commits of tables and of the catalog share.

Lance rebases a stale Append or Update instead of refusing it. Naming the lowest fragment of the
base, unchanged, as an updated one makes any two commits from one base conflict; an empty base,
which has no fragment to name, is committed by a stale-proof Overwrite. Never by `commit_lock`: it
takes Lance's own put-if-absent away.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import lance
from lance import LanceDataset, LanceOperation, Transaction
from lance.commit import CommitConflictError
from lance.fragment import FragmentMetadata

from tasks.errors import CommitConflict, StoreError
from tasks.store import files
from tasks.store.files import lance_errors, store_error

if TYPE_CHECKING:
    from lance.lance.schema import LanceField

RUN_ID = "run_id"
DATA_DIGEST = "data_digest"
ATTEMPTS = 5
NOT_FOUND = "was not found"
"""What Lance says of a version that was cleaned up."""
FIRST_PAUSE_S = 0.1
REBASES = 20  # over what does not conflict: an index that was built meanwhile


def swap(
    base: LanceDataset,
    new: Sequence[FragmentMetadata],
    properties: Mapping[str, str],
    *,
    updated: Sequence[FragmentMetadata] = (),
    removed: Sequence[int] = (),
) -> int:
    """Commits one transaction on top of `base`, exactly once, durably; gives its Lance version.

    `properties` hold the run id, by which the transaction is found again: an error from Lance
    proves nothing, the commit may have landed. Raises CommitConflict if another one came first.
    """
    transaction = Transaction(
        read_version=base.version,
        operation=_operation(base, new, updated, removed),
        transaction_properties=dict(properties),
    )
    failure: Exception | None = None
    for attempt in range(ATTEMPTS):
        time.sleep(FIRST_PAUSE_S * (2**attempt - 1))
        try:
            rebases = REBASES if base.get_fragments() else 0
            version = LanceDataset.commit(base.uri, transaction, max_retries=rebases).version
        except (OSError, ValueError) as error:
            landed = find_run(base, properties[RUN_ID])
            if landed is None and isinstance(error, CommitConflictError):
                raise CommitConflict(
                    f"another commit to {base.uri} came first: plan anew"
                ) from error
            if landed is None:
                failure = error
                continue
            version = landed
        settle(base.uri, version)
        return version
    raise store_error(failure or StoreError("no answer"), f"committing to {base.uri}") from failure


def find_run(base: LanceDataset, run_id: str) -> int | None:
    """The Lance version that this run made after `base`, if it made one."""
    found = (version for version, own in runs(base.uri, base.version) if own[RUN_ID] == run_id)
    return next(found, None)


def runs(uri: str, after: int) -> Iterator[tuple[int, dict[str, str]]]:
    """(Lance version, transaction properties) of each commit of a run after a version, in order."""
    with lance_errors(f"opening {uri}"):
        head = lance.dataset(uri)
    for version in range(after + 1, head.version + 1):
        try:
            transaction = head.read_transaction(version)
        except TypeError:
            continue  # a compaction that remapped an index: pylance cannot read it
        except (OSError, ValueError) as error:
            if NOT_FOUND in str(error):
                continue  # cleaned up
            raise store_error(error, f"reading what was committed to {uri}") from error
        properties = transaction.transaction_properties if transaction else None
        if properties and RUN_ID in properties:
            yield version, properties


def settle(uri: str, version: int) -> None:
    """Brings a Lance version to the disk with all that it rests on.

    Not only what the commit itself added: gathering fragments and widening a column leave files and
    manifests of which Lance syncs none, and a process may be killed before it can. Older manifests
    and transactions may be cleaned up meanwhile.
    """
    there = files.of(uri)
    there.sync(_files(uri, version))
    there.sync((*_listed(uri, "_versions"), *_listed(uri, "_transactions")), missing_ok=True)


def manifest_path(uri: str, version: int) -> str:
    """Where Lance keeps the manifest of a version; names sort newest first."""
    return f"{uri}/_versions/{2**64 - 1 - version:020d}.manifest"


def _files(uri: str, version: int) -> Iterator[str]:
    """Data files, indexes and manifest of a Lance version."""
    dataset = lance.dataset(uri, version=version)
    for fragment in dataset.get_fragments():
        yield from (f"{uri}/data/{file.path}" for file in fragment.metadata.files)
    for part in (part for index in dataset.describe_indices() for part in index.segments):
        yield from _listed(uri, f"_indices/{part.uuid}")
        yield from (f"{uri}/_indices", f"{uri}/_indices/{part.uuid}")  # for the folders above
    yield manifest_path(uri, version)


def _listed(uri: str, folder: str) -> Iterator[str]:
    yield from (f"{uri}/{folder}/{name}" for name in files.of(uri).names(f"{uri}/{folder}"))


def _operation(
    base: LanceDataset,
    new: Sequence[FragmentMetadata],
    updated: Sequence[FragmentMetadata],
    removed: Sequence[int],
) -> LanceOperation.BaseOperation:
    present = [fragment.metadata for fragment in base.get_fragments()]
    if not present:
        return LanceOperation.Overwrite(base.lance_schema, list(new))
    lowest = min(present, key=lambda fragment: fragment.id)
    named = {fragment.id for fragment in updated} | set(removed)
    return LanceOperation.Update(
        removed_fragment_ids=list(removed),
        updated_fragments=[*updated, *([] if lowest.id in named else [lowest])],
        new_fragments=list(new),
        update_mode="rewrite_rows",
        # Left empty, every index would go silently wrong: filters would miss updated rows.
        fields_for_preserving_frag_bitmap=[*_field_ids(base.lance_schema.fields())],
    )


def _field_ids(fields: Iterable["LanceField"]) -> Iterator[int]:
    """Those of columns and of what is inside them."""
    for field in fields:
        yield field.id()
        yield from _field_ids(field.children())
