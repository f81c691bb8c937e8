"""From a plan to jobs: who encodes what, and which vectors are copied from where."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from schemas.receipt import Receipt
from tasks.content import TEXT
from tasks.donors import Borrowed
from tasks.jobs import Donors, Target, VectorFile, WriteJob
from tasks.plan import Work
from tasks.shares import Shares
from tasks.store.diff import Indices, find
from tasks.store.fragments import vector_paths
from tasks.store.table import Table

# What a lost worker costs: seconds of a small model. A worker holds two jobs.
MAX_RECORDS = 2_048
MIN_RECORDS = 256
MAX_BYTES = 1536 * 2**10
# Of an image or a sound: what is decoded of them takes far more.
MEDIA_RECORDS = 512
MEDIA_BYTES = 48 * 2**20


class Cutter:
    """Cuts shares into jobs of bounded size, each within one shard; numbers them."""

    def __init__(
        self,
        work: Work,
        target: Target,
        base_version: int,
        n_jobs: int,
        kinds: Sequence[str],
        *,
        chunked: bool,
    ) -> None:
        """`n_jobs` is how many jobs of even size a share of the records should make at least.

        `kinds` are the modalities of the sources.
        """
        self._work = work
        self._target = target
        self._base_version = base_version
        self._n_jobs = n_jobs
        self._kinds = kinds
        self._chunked = chunked
        self._numbers = count()
        self._records: dict[int, Indices] = {}  # of the jobs that encode

    def halve(self, job: WriteJob) -> tuple[WriteJob, WriteJob]:
        """Two jobs with half of the records each, neither with the number of the whole one."""
        records = self._records.pop(job.number, None)
        middle = len(job.offsets) // 2
        halves = []
        for part in (slice(None, middle), slice(middle, None)):
            number = next(self._numbers)
            if records is not None:
                self._records[number] = records[part]
            halves.append(
                replace(job, number=number, offsets=job.offsets[part], expected=job.expected[part])
            )
        return halves[0], halves[1]

    def encoding(self, records: Indices) -> Iterator[WriteJob]:
        """Jobs for workers with an encoder.

        Chunks of a changed record that stayed as they were are copied.
        """
        diff = self._work.compared.diff
        order = np.argsort(diff.row_groups) if self._chunked else np.empty(0, np.int64)
        groups = diff.row_groups[order]
        for job, part in self._cut(records):
            self._records[job.number] = part
            own = diff.record_groups[part]
            first, last = np.searchsorted(groups, own), np.searchsorted(groups, own, "right")
            rows = np.concatenate([order[a:b] for a, b in zip(first, last, strict=True)])
            yield replace(job, donors=self._rows(rows)) if len(rows) else job

    def copying(self, records: Indices) -> Iterator[WriteJob]:
        """Jobs that take vectors from the rows of the head that have the same content."""
        head = self._work.head.rows
        contents = self._work.compared.present.contents[records]
        groups = self._work.compared.diff.row_groups
        order = np.lexsort((groups, head.contents[:, 1], head.contents[:, 0]))
        held = head.contents[order]
        first = find(contents, held)
        new = (held[1:] != held[:-1]).any(axis=1) | (np.diff(groups[order]) != 0)
        ends = np.append(np.flatnonzero(new), len(held) - 1)
        last = ends[np.searchsorted(ends, first)]  # of the first record with this content
        for job, part in self._cut(records):
            places = np.searchsorted(records, part)
            rows = [order[a : b + 1] for a, b in zip(first[places], last[places], strict=True)]
            yield replace(job, donors=self._rows(np.concatenate(rows)))

    def _rows(self, rows: Indices) -> Donors:
        addresses = self._work.head.rows.addresses[rows]
        return Donors(self._base_version, np.unique(addresses))

    def borrowing(self, borrowed: Borrowed) -> Iterator[WriteJob]:
        """Jobs that take vectors from where they stand already."""
        for job, part in self._cut(borrowed.records):
            needed = np.unique(borrowed.donor[np.searchsorted(borrowed.records, part)]).tolist()
            files = tuple(one for n in needed for one in borrowed.donors[n].files)
            yield replace(job, donors=Donors(files=files))

    def repeating(self, shares: Shares, receipts: Sequence[Receipt]) -> Iterator[WriteJob]:
        """Jobs that take vectors from what this run wrote for `encode`.

        `receipts` name the fragments that it wrote.
        """
        uri = Table(self._target.store_uri, self._target.table).uri
        files = {
            receipt.job: tuple(map(VectorFile, vector_paths(uri, receipt.fragments)))
            for receipt in receipts
            if receipt.session == self._target.session and receipt.job in self._records
        }
        numbers = np.full(len(shares.encode), -1, np.int64)
        for number in files:
            numbers[np.searchsorted(shares.encode, self._records[number])] = number
        leaders = numbers[np.searchsorted(shares.encode, shares.leader)]
        for job, part in self._cut(shares.repeat):
            needed = np.unique(leaders[np.searchsorted(shares.repeat, part)]).tolist()
            donors = Donors(files=tuple(one for number in needed for one in files[number]))
            yield replace(job, donors=donors)

    def _cut(self, records: Indices) -> Iterator[tuple[WriteJob, Indices]]:
        """Each job with its records."""
        scanned, compared = self._work.scanned, self._work.compared
        even = max(MIN_RECORDS, -(-len(records) // self._n_jobs))
        places = compared.origin[records]
        for planned, offsets, part in scanned.places(places):
            text = self._kinds[planned.source] == TEXT
            most, most_bytes = (MAX_RECORDS, MAX_BYTES) if text else (MEDIA_RECORDS, MEDIA_BYTES)
            mine = records[np.searchsorted(places, part)]
            size = np.cumsum(scanned.sizes[part], dtype=np.int64)
            start = 0
            while start < len(part):
                full = int(
                    np.searchsorted(
                        size, most_bytes + (size[start - 1] if start else 0), side="right"
                    )
                )
                end = min(len(part), start + min(most, even), max(start + 1, full))
                number, chosen = next(self._numbers), part[start:end]
                job = WriteJob(
                    number=number,
                    source=planned.source,
                    shard=planned.shard,
                    offsets=offsets[start:end],
                    expected=scanned.ids[chosen]
                    ^ scanned.contents[chosen]
                    ^ scanned.metadata[chosen],
                    target=self._target,
                )
                yield job, mine[start:end]
                start = end
