"""Reading the files that changed, in the pool: from a listing to all records' digests."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from schemas.quarantine import QuarantineEntry, Reason
from tasks.errors import ConfigError, SourceError, Transient
from tasks.jobs import NameJob, ScanJob
from tasks.ledger import Ledger
from tasks.run import Run
from tasks.scan import ShardScan
from tasks.scanned import Planned, Scanned, gather
from tasks.sources.base import File, Fittable
from tasks.store.rows import merge_metadata

TRIES = 3


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of one source."""

    source: int
    file: File

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from all others."""
        return self.source, self.file.uri


@dataclass
class Listing:
    """All files of all sources in their order; a file's number is its place."""

    files: Sequence[Listed]

    @cached_property
    def numbers(self) -> Mapping[tuple[int, str], int]:
        """(source, uri) to number."""
        return {one.key: number for number, one in enumerate(self.files)}

    def known(self, ledger: Ledger) -> set[int]:
        """The numbers of the files that are as they were."""
        return {n for n, one in enumerate(self.files) if ledger.known(one.source, one.file)}


@dataclass
class Reading:
    """What the files gave that were read.

    `types` are those of the metadata columns; `empty` ones had no value in any record. `unreadable`
    files, by number, have an entry in quarantine and keep the rows that they had.
    """

    scanned: Scanned
    types: pa.Schema
    empty: list[str]
    unreadable: dict[int, QuarantineEntry] = field(default_factory=dict)


def list_files(run: Run) -> Listing:
    """Lists every source; raises ConfigError or SourceError where one cannot be listed."""
    for source in run.sources:
        if run.options.rehash and isinstance(source, Fittable):
            source.forget()
    listing = Listing(
        [Listed(n, file) for n, source in enumerate(run.sources) for file in source.files()]
    )
    owners: dict[str, int] = {}
    for one in listing.files:
        if owners.setdefault(one.file.uri, one.source) != one.source:
            raise ConfigError(
                f"{one.file.uri} is listed by two sources ({owners[one.file.uri] + 1} and "
                f"{one.source + 1}): a file belongs to one source"
            )
        try:
            one.file.uri.encode()
        except UnicodeEncodeError as error:
            raise SourceError(
                f"the file name {os.fsencode(one.file.uri)!r} is not UTF-8: rename the file"
            ) from error
    return listing


def read(run: Run, listing: Listing, wanted: Sequence[int]) -> Reading:
    """Scans the files with these numbers.

    Raises SourceError for a container that cannot be read, unless its source's config says
    `on_unreadable: quarantine`: then the whole file stands aside.
    """
    unreadable: dict[int, QuarantineEntry] = {}
    shards = list(_shards(run, listing, wanted, unreadable))
    scans = dict(_scans(run, listing, shards, unreadable))
    aside = {listing.files[number].key for number in unreadable}
    good = [
        n for n in sorted(scans) if (shards[n].source, shards[n].shard.files[0].uri) not in aside
    ]
    scanned = gather([shards[n] for n in good], [scans[n] for n in good], listing.numbers)
    found = [(shards[n].source, scans[n]) for n in good]
    whole = [n for n in wanted if n not in unreadable]
    types = _types(run, listing, whole, found)
    empty = {name for _, scan in found for name in scan.types} - set(types.names)
    return Reading(scanned, types, sorted(empty), unreadable)


def entries_of(
    run: Run, scanned: Scanned, why: Mapping[int, tuple[Reason, str]]
) -> list[QuarantineEntry]:
    """Quarantine entries of records by their places, whose ids are read from the source again."""
    parts = list(scanned.places(np.array(sorted(why), np.int64)))
    jobs = deque(
        NameJob(n, part.source, part.shard, offsets) for n, (part, offsets, _) in enumerate(parts)
    )
    made = []
    for finished in run.pool.map(jobs) if jobs else ():
        if finished.error is not None:
            raise finished.error
        names: list[tuple[str, str]] = finished.result  # type: ignore[assignment]
        for place, (name, uri) in zip(parts[finished.job.number][2].tolist(), names, strict=True):
            reason, detail = why[place]
            made.append(
                QuarantineEntry(
                    id=name,
                    reason=reason,
                    detail=detail[:500],
                    source_uri=uri,
                    content_hash=scanned.contents[place].tobytes().hex(),
                    transient=reason.transient,
                )
            )
    return made


def _types(
    run: Run, listing: Listing, wanted: Sequence[int], scans: Sequence[tuple[int, ShardScan]]
) -> pa.Schema:
    """What the files declare where their format does, else what was seen.

    Integers widen to floats.
    """
    merged = pa.schema([])
    for number, source in enumerate(run.sources):
        mine = [listing.files[n].file for n in wanted if listing.files[n].source == number]
        declared = source.schema(mine) if mine else None
        seen = (pa.schema(list(scan.types.items())) for owner, scan in scans if owner == number)
        for types in seen if declared is None else [declared]:
            merged = merge_metadata(merged, types).schema
    return merged


def _shards(
    run: Run, listing: Listing, wanted: Sequence[int], unreadable: dict[int, QuarantineEntry]
) -> Iterator[Planned]:
    for number, source in enumerate(run.sources):
        mine = [n for n in wanted if listing.files[n].source == number]
        tolerant = run.config.source[number].on_unreadable == "quarantine"
        for group in ([n] for n in mine) if tolerant else [mine] if mine else []:
            try:
                shards = source.shards([listing.files[n].file for n in group])
            except SourceError as error:
                unreadable[group[0]] = _aside(run, listing.files[group[0]], error)
            else:
                yield from (Planned(number, shard) for shard in shards)


def _aside(run: Run, one: Listed, error: Exception) -> QuarantineEntry:
    """The entry of a file that cannot be read; raises the error where it stops the run."""
    tolerant = run.config.source[one.source].on_unreadable == "quarantine"
    if not tolerant or isinstance(error, Transient) or not isinstance(error, SourceError):
        raise error
    return QuarantineEntry(
        id=one.file.uri,
        reason=Reason.UNREADABLE,
        detail=str(error)[:500],
        source_uri=one.file.uri,
        content_hash="",
        transient=False,
    )


def _scans(
    run: Run, listing: Listing, shards: Sequence[Planned], unreadable: dict[int, QuarantineEntry]
) -> Iterator[tuple[int, ShardScan]]:
    """The scan of each shard by its number.

    With a limit the shards are scanned one after the other until it is reached.
    """
    limit = run.options.limit
    taken = done = 0
    for batch in ([n] for n in range(len(shards))) if limit else [range(len(shards))]:
        for job, found in _scan(run, shards, batch):
            if isinstance(found, ShardScan):
                yield job.number, found
                taken += len(found.ids)
            else:
                key = job.source, job.shard.files[0].uri
                number = listing.numbers[key]
                unreadable[number] = _aside(run, listing.files[number], found)
            done += 1
            run.report("plan", done, len(shards))
        if limit and taken >= limit:
            return


def _scan(
    run: Run, shards: Sequence[Planned], wanted: Iterable[int]
) -> Iterator[tuple[ScanJob, ShardScan | Exception]]:
    """Each shard's scan, or the error that stayed after the tries that it deserves."""
    jobs = deque(ScanJob(n, shards[n].source, shards[n].shard) for n in wanted)
    for finished in run.pool.map(jobs) if jobs else ():
        job, error, found = finished.job, finished.error, finished.result
        if isinstance(error, Transient) and job.attempt + 1 < TRIES:
            jobs.append(job.again())
        elif error is not None:
            yield job, error
        elif isinstance(found, ShardScan):
            yield job, found
