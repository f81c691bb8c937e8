"""What was read against what the table holds.

The diff, and which rows of the table stand for files that were not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.quarantine import QuarantineEntry, Reason
from tasks.digests import DIGEST_BYTES, Digests, digest_text, to_array
from tasks.reading import Listing, Reading
from tasks.run import Run
from tasks.store.diff import Base, Diff, Indices, Outcome, Present, diff, find
from tasks.store.table import BaseRows

ENCODE_TIME = (
    Reason.EMPTY,
    Reason.UNDECODABLE,
    Reason.UNSUPPORTED_FORMAT,
    Reason.TOO_MANY_PIXELS,
    Reason.NOT_FINITE,
    Reason.ZERO_NORM,
    Reason.NO_KNOWN_WORD,
    Reason.KILLED_WORKER,
)
"""Terminal reasons that only encoding shows: with the same content they are not tried again."""


@dataclass(frozen=True)
class Head:
    """The rows of the head of a table.

    `owners[j]` is the number of the source of row j, -1 for none.
    """

    rows: BaseRows
    owners: Indices

    def file_numbers(self, listing: Listing, rows: Indices) -> Indices:
        """The number of the file of each of these rows, -1 where it is not listed any more."""
        n_sources = int(self.owners.max(initial=0)) + 1
        of_uri = np.full((len(self.rows.uris) + 1, n_sources + 1), -1, np.int64)
        for code, uri in enumerate(self.rows.uris):
            for source in range(n_sources):
                of_uri[code, source] = listing.numbers.get((source, uri), -1)
        numbers: Indices = of_uri[
            self.rows.uri_codes[rows], self.owners[rows]
        ]  # -1 is the last column
        return numbers

    def kept_rows(self, listing: Listing, found: Diff) -> Indices:
        """How many rows of each listed file have a record that is gone: append mode keeps them."""
        seen = np.isin(found.row_groups, found.record_groups)
        numbers = self.file_numbers(listing, np.flatnonzero(~seen & ~found.removed))
        return np.bincount(numbers[numbers >= 0], minlength=len(listing.files))


@dataclass(frozen=True)
class Compared:
    """The diff of all present records against the base, which are the rows of the head.

    `origin[i]` is the place of record i among the scanned ones, -1 where a row of the table stands
    for it since its file was not read. With `anew` the vectors of all records are made anew, so all
    rows are replaced.
    """

    base: Base
    present: Present
    origin: Indices
    diff: Diff
    anew: bool = False

    def losing_rows(self) -> Indices:
        """First rows of the records whose file was not read and whose id another file claims."""
        losing = (self.origin < 0) & (self.diff.outcomes != Outcome.UNCHANGED)
        return self.diff.rows_of(np.flatnonzero(losing))


def head_of(run: Run, lance_version: int) -> Head:
    """The head of the run's table; no rows where there is no table yet."""
    if not lance_version:
        none = np.empty((0, 2), np.uint64)
        codes = np.empty(0, np.int32)
        rows = BaseRows(none, none, none, np.empty(0, np.uint64), codes, [], codes)
        return Head(rows, np.empty(0, np.int64))
    rows = run.table.base(lance_version)
    of_uri = [
        next((n for n, one in enumerate(run.sources) if one.owns(uri)), -1) for uri in rows.uris
    ]
    return Head(rows, np.array([*of_uri, -1], np.int64)[rows.uri_codes])


def compare(
    run: Run,
    listing: Listing,
    reading: Reading,
    head: Head,
    unread: set[int],
    prior: Sequence[QuarantineEntry],
) -> Compared:
    """Compares; the rows of files that were not read stand for their records, as they are.

    Those of unreadable files come first: nobody takes an id from a file that cannot be asked.
    """
    scanned, base = reading.scanned, head.rows
    n_read = min(len(scanned.ids), run.options.limit or len(scanned.ids))
    firsts = np.flatnonzero(base.chunks == 0)
    numbers = head.file_numbers(listing, firsts)
    unreadable = np.isin(numbers, sorted(reading.unreadable))
    stands = np.isin(numbers, sorted(unread)) | unreadable
    standing, numbers = firsts[stands], np.where(unreadable, -1, numbers)[stands]
    n = n_read + len(standing)
    origin = np.full(n, -1, np.int64)
    origin[:n_read] = np.arange(n_read)
    bad, judged, transient, tombstone = (np.zeros(n, np.bool_) for _ in range(4))
    for place, entry in scanned.problems:
        if place < n_read:
            bad[place], transient[place] = True, entry.transient
    for places in (scanned.tombstones, scanned.isolated):  # of neither there is to be a row
        tombstone[places[places < n_read]] = True
    ids = _join(scanned.ids[:n_read], base.record_ids[standing])
    contents = _join(scanned.contents[:n_read], base.contents[standing])
    metadata = _join(scanned.metadata[:n_read], base.metadata[standing])
    judged[_judged(prior, ids, contents)] = True
    present = Present(ids, contents, metadata, bad, judged, transient, tombstone)
    if len(standing):
        position = np.concatenate([scanned.files[:n_read], numbers])
        order = np.argsort(position, kind="stable")
        origin, present = origin[order], present.take(order)
    appends = np.array([source.mode == "append" for source in run.config.source] + [False])
    rows = Base(base.record_ids, base.contents, base.metadata, appends[head.owners])
    return Compared(rows, present, origin, diff(rows, present))


def made_anew(compared: Compared) -> Compared:
    """The same for an encoder that is fitted to all records: if one changes, all vectors do."""
    found = compared.diff
    gone = found.removed.copy()
    gone[found.rows_of(np.flatnonzero(found.outcomes == Outcome.METADATA_CHANGED))] = False
    if not (gone.any() or (found.outcomes <= Outcome.CHANGED).any()):
        return compared
    return replace(compared, diff=all_replaced(found), anew=True)


def all_replaced(found: Diff) -> Diff:
    """The same outcomes, but all rows go."""
    return replace(found, removed=np.ones_like(found.removed))


def _join(read: Digests, standing: Digests) -> Digests:
    """Both in a row, without a copy where `standing` is empty.

    These arrays are what a plan's memory goes to.
    """
    return np.concatenate([read, standing]) if len(standing) else read


def _judged(prior: Sequence[QuarantineEntry], ids: Digests, contents: Digests) -> Indices:
    """The records that an encoder judged before, with this very content."""
    pairs = {
        digest_text(entry.id) + bytes.fromhex(entry.content_hash)
        for entry in prior
        if entry.reason in ENCODE_TIME and entry.content_hash
    }
    names = to_array(sorted(pair[:DIGEST_BYTES] for pair in pairs))
    known = np.flatnonzero(find(ids, names) >= 0) if pairs else np.empty(0, np.int64)
    return np.array(
        [n for n in known.tolist() if ids[n].tobytes() + contents[n].tobytes() in pairs], np.int64
    )
