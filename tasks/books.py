"""The books of a plan, whole and file by file."""

from collections.abc import Sequence

import numpy as np

from schemas.manifest import RecordBook
from tasks.compare import Compared, Head
from tasks.ledger import FileEntry
from tasks.reading import Listing, Reading
from tasks.store.diff import Indices, Outcome

BAD = (Outcome.QUARANTINED, Outcome.CONFLICT)


def books_of_files(entries: Sequence[FileEntry]) -> RecordBook:
    """The books of files that were not read: what is neither duplicate nor bad is in the table."""
    read_, duplicate, bad, isolated = (
        sum(getattr(entry, name) for entry in entries)
        for name in ("records", "duplicates", "quarantined", "isolated")
    )
    return RecordBook(
        read=read_,
        unchanged=read_ - duplicate - bad - isolated,
        duplicate=duplicate,
        quarantined=bad,
        isolated=isolated,
    )


def books_of_work(compared: Compared, reading: Reading, kept: Sequence[FileEntry]) -> RecordBook:
    """The books of a plan: what was read and compared, and files that were kept unread."""
    found = compared.diff
    unread, unreadable = books_of_files(kept), len(reading.unreadable)
    isolated = len(_isolated(reading, compared))
    tombstoned = np.isin(found.row_groups, found.record_groups[found.outcomes == Outcome.TOMBSTONE])
    bad = sum(found.count(outcome) for outcome in BAD) + unread.quarantined + unreadable
    return RecordBook(
        read=len(found.outcomes)
        - found.count(Outcome.TOMBSTONE)
        + isolated
        + unread.isolated
        + unread.duplicate
        + unread.quarantined
        + unreadable,
        new=found.count(Outcome.NEW),
        changed=found.count(Outcome.CHANGED),
        metadata_changed=found.count(Outcome.METADATA_CHANGED),
        unchanged=found.count(Outcome.UNCHANGED),
        removed=len(np.unique(found.row_groups[found.absent | tombstoned])),
        duplicate=found.count(Outcome.DUPLICATE) + unread.duplicate,
        quarantined=bad,
        isolated=isolated + unread.isolated,
    )


def _isolated(reading: Reading, compared: Compared) -> Indices:
    """The places of isolated records; none has a row, like tombstones, but they are there."""
    places = reading.scanned.isolated
    return places[np.isin(places, compared.origin)] if len(places) else places


def file_entries(
    listing: Listing, reading: Reading, compared: Compared, head: Head, unread: set[int]
) -> list[FileEntry]:
    """What each file that was read adds to the books."""
    n = len(listing.files)
    kept = head.kept_rows(listing, compared.diff)
    outcomes = compared.diff.outcomes
    records = np.bincount(reading.scanned.files[compared.origin[compared.origin >= 0]], minlength=n)

    def counts(*wanted: Outcome) -> Indices:
        places = compared.origin[np.isin(outcomes, wanted) & (compared.origin >= 0)]
        return np.bincount(reading.scanned.files[places], minlength=n)

    isolated = np.bincount(reading.scanned.files[_isolated(reading, compared)], minlength=n)
    tombstones = counts(Outcome.TOMBSTONE) - isolated
    duplicates, bad = counts(Outcome.DUPLICATE), counts(*BAD)
    judged = compared.origin[compared.present.judged & (compared.origin >= 0)]
    claims = np.bincount(reading.scanned.files[judged], minlength=n)  # of ids that no row shows
    shared = duplicates + counts(Outcome.CONFLICT) + claims + tombstones + kept
    retried = {
        reading.scanned.files[place] for place, entry in reading.scanned.problems if entry.transient
    }
    entries = []
    for number, one in enumerate(listing.files):
        if number in unread:
            continue
        if number in reading.unreadable:
            entries.append(FileEntry(one.file.uri, one.source, "", 1, 0, 1, entangled=True))
            continue
        entries.append(
            FileEntry(
                uri=one.file.uri,
                source=one.source,
                stamp="" if number in retried else one.file.stamp,
                records=int(records[number] - tombstones[number]),
                duplicates=int(duplicates[number]),
                quarantined=int(bad[number]),
                entangled=bool(shared[number]),
                isolated=int(isolated[number]),
            )
        )
    return entries
