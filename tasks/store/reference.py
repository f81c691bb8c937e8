"""The version that drift is measured from: the one of a table with the tag `reference`.

Its tag holds it against retention, so that slow drift is seen however long ago it began.
"""

from schemas.catalog import VersionEntry
from tasks.errors import StoreError
from tasks.store import tags
from tasks.store.catalog import Catalog
from tasks.store.table import Table

TAG = "reference"


def reference_of(store_uri: str, candidate: VersionEntry) -> VersionEntry | None:
    """That of the candidate's table; where it has none, the first that served and is there gets it.

    None where no version of the table has served. Raises StoreError where the tag is on no version:
    maintenance that was cut off has moved the tag, and the next one moves the version.
    """
    catalog, table = Catalog(store_uri), Table(store_uri, candidate.table)
    own = [one for one in catalog.versions(candidate.space) if one.table == candidate.table]
    tagged = table.tags().get(TAG)
    for one in own:
        if one.lance_version == tagged:
            return one
    if tagged is not None:  # to tag another version would forget what somebody chose
        raise StoreError(
            f"tag {TAG!r} of table {table.name!r} is on Lance version {tagged}, which is no "
            f"version of space {candidate.space!r}: `vectorline maintain {candidate.space}` mends "
            f"it, or `vectorline drift {candidate.space} --rebase V` tags another one"
        )
    served = {move.to_version for move in catalog.serving_history(candidate.space)}
    first = next((one for one in own if one.version in served), None)
    if first is not None:
        rebase(store_uri, first)
    return first


def rebase(store_uri: str, version: VersionEntry) -> None:
    """Lets drift be measured from this version on."""
    tags.put(Table(store_uri, version.table), TAG, version.lance_version)
