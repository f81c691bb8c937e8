"""All records of a run in (source, shard, offset) order: the scans of its shards, joined."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from schemas.quarantine import QuarantineEntry
from tasks.digests import Digests, stack
from tasks.scan import Found, ShardScan
from tasks.sources.base import Shard
from tasks.store.diff import Indices


@dataclass(frozen=True, slots=True)
class Planned:
    """A shard with the number of its source."""

    source: int
    shard: Shard


@dataclass(slots=True)
class Scanned:
    """Arrays over all records that were read; `bounds[s]` is the first record of shard s.

    `files[i]` is the number of the file that record i came from, in the order of the listing.
    """

    shards: list[Planned]
    bounds: Indices
    ids: Digests
    contents: Digests
    metadata: Digests
    sizes: npt.NDArray[np.uint32]
    files: npt.NDArray[np.int32]
    problems: list[tuple[int, QuarantineEntry]]
    tombstones: Indices
    isolated: Indices

    def places(self, records: Indices) -> Iterator[tuple[Planned, Indices, Indices]]:
        """Each shard that holds some of these records, their offsets in it, and the records.

        `records` are ascending.
        """
        edges = np.searchsorted(records, self.bounds).tolist()
        for shard, (start, end) in enumerate(pairwise(edges)):
            if start < end:
                part = records[start:end]
                yield self.shards[shard], part - self.bounds[shard], part

    def place(self, source: int, shard: Shard, offset: int) -> int:
        """The place of the record with this offset in this shard."""
        return int(self.bounds[self.shards.index(Planned(source, shard))]) + offset


def gather(
    shards: Sequence[Planned], scans: Sequence[ShardScan], numbers: Mapping[tuple[int, str], int]
) -> Scanned:
    """Joins the scans, which are in the order of `shards`.

    `numbers` gives each (source, uri) its file's number.
    """
    lengths = [len(scan.ids) for scan in scans]
    bounds = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))]).astype(np.int64)
    files = np.empty(int(bounds[-1]), np.int32)
    problems: list[tuple[int, QuarantineEntry]] = []
    seen: dict[tuple[int, str], int] = {}
    for planned, scan, bound in zip(shards, scans, bounds.tolist(), strict=False):
        rows = _rows(planned.source, scan, seen)
        position = bound
        for uri, count in scan.runs:
            files[position : position + count] = numbers[planned.source, uri]
            position += count
        problems += [(bound + found.offset, _entry(found, rows, scan)) for found in scan.problems]
    return Scanned(
        shards=list(shards),
        bounds=bounds,
        ids=stack(scan.ids for scan in scans),
        contents=stack(scan.contents for scan in scans),
        metadata=stack(scan.metadata for scan in scans),
        sizes=np.concatenate([np.empty(0, np.uint32), *(scan.sizes for scan in scans)]),
        files=files,
        problems=problems,
        tombstones=_places(bounds, [scan.tombstones for scan in scans]),
        isolated=_places(bounds, [scan.isolated for scan in scans]),
    )


def _places(bounds: Indices, offsets: Sequence[Indices]) -> Indices:
    """Offsets in their shards as places among all records."""
    parts = [bound + own for bound, own in zip(bounds.tolist(), offsets, strict=False)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _rows(source: int, scan: ShardScan, seen: dict[tuple[int, str], int]) -> list[tuple[int, int]]:
    """For each run of the shard: its first offset, and the number in its file of that record."""
    rows, offset = [], 0
    for uri, count in scan.runs:
        before = seen.get((source, uri), 0)
        rows.append((offset, before))
        seen[source, uri] = before + count
        offset += count
    return rows


def _entry(found: Found, rows: list[tuple[int, int]], scan: ShardScan) -> QuarantineEntry:
    offset, number = next(row for row in reversed(rows) if row[0] <= found.offset)
    name = found.id or f"{found.source_uri}#row={number + found.offset - offset}"
    return QuarantineEntry(
        id=name.encode("utf-8", "backslashreplace").decode(),
        reason=found.problem.reason,
        detail=found.problem.detail,
        source_uri=found.problem.uri or found.source_uri,
        content_hash=scan.contents[found.offset].tobytes().hex(),
        transient=found.problem.reason.transient,
    )
