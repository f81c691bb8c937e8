"""Plan: what the sources hold now against the head of the table. Nothing is written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from schemas.manifest import RecordBook
from schemas.quarantine import QuarantineEntry, Reason
from tasks import failpoints, ledger
from tasks.books import books_of_files, books_of_work, file_entries
from tasks.compare import Compared, Head, compare, head_of, made_anew
from tasks.digests import digest_text
from tasks.drift_names import check_columns
from tasks.errors import Transient
from tasks.ledger import FileEntry, Ledger
from tasks.reading import entries_of, list_files, read
from tasks.run import Run
from tasks.scanned import Scanned
from tasks.shares import Shares, share
from tasks.sink_checks import check_sinks
from tasks.store import quarantine
from tasks.store.diff import Outcome
from tasks.store.rows import merge_metadata, metadata_schema, row_schema


@dataclass(frozen=True)
class Work:
    """What there is to do: the records that were read, the head, and how they compare."""

    scanned: Scanned
    head: Head
    compared: Compared
    metadata: pa.Schema

    @cached_property
    def shares(self) -> Shares:
        """The records that must be written."""
        return share(self.compared, self.head)

    @property
    def changes(self) -> bool:
        """Whether there is anything to encode, to copy or to remove."""
        found = self.compared.diff
        return bool(found.removed.any() or (found.outcomes <= Outcome.METADATA_CHANGED).any())


@dataclass(frozen=True)
class Plan:
    """What a run would do; `work` is None where every file is as it was."""

    base_version: int
    rows_before: int
    books: RecordBook
    quarantined: Sequence[QuarantineEntry]
    files: Sequence[FileEntry]
    seconds: float
    work: Work | None = None

    @property
    def changes(self) -> bool:
        """Whether a new version would come of it."""
        return self.work is not None and self.work.changes

    @property
    def chunks_removed(self) -> int:
        """Rows of the table that go."""
        return 0 if self.work is None else int(np.count_nonzero(self.work.compared.diff.removed))


def _is_transient(task: object, task_run: object, state: State[object]) -> bool:
    del task, task_run
    return isinstance(state.result(raise_on_failure=False), Transient)


@task(
    name="plan",
    persist_result=False,
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=_is_transient,
)
def plan(run: Run) -> Plan:
    """Compares the sources with the head of the run's table.

    Raises ConfigError and SourceError for what must stop a run before any work.
    """
    started = time.monotonic()
    run.seconds_to_plan = started - run.started
    run.report("plan")
    dataset = run.table.open() if run.table.exists() else None
    # An empty dataset is false.
    version, rows = (0, 0) if dataset is None else (dataset.version, dataset.count_rows())
    listing = list_files(run)
    failpoints.reach("plan")
    columns = pa.schema([]) if dataset is None else dataset.schema
    held = metadata_schema(columns).names
    known = _ledger(run, version)
    prior = quarantine.read(run.store_uri, run.table.name)
    unread = listing.known(known)
    if run.options.replay:
        unread -= {n for n in unread if known.entries[listing.files[n].key].quarantined}
    if len(unread) == len(listing.files) == len(known.entries):
        check_columns(run.config.drift, held)
        _check_sinks(run, metadata_schema(columns))
        entries = list(known.entries.values())
        return Plan(
            version, rows, books_of_files(entries), prior, entries, time.monotonic() - started
        )
    unread -= {n for n in unread if known.entries[listing.files[n].key].entangled}
    head = head_of(run, version)
    while True:
        reading = read(run, listing, [n for n in range(len(listing.files)) if n not in unread])
        compared = compare(run, listing, reading, head, unread, () if run.options.replay else prior)
        losers = set(head.file_numbers(listing, compared.losing_rows()).tolist()) & unread
        if not losers:
            break
        unread -= losers  # another file claims an id of theirs: they are part of the change
    if run.fitted:
        compared = made_anew(compared)
    work = Work(reading.scanned, head, compared, reading.types)
    check_columns(run.config.drift, dict.fromkeys([*held, *reading.types.names, *reading.empty]))
    if run.has_versions:  # else the table binds nobody: encode makes it anew if need be
        merge_metadata(columns, reading.types)
    new = [field for field in reading.types if field.name not in held]
    _check_sinks(run, pa.schema([*metadata_schema(columns), *new]))
    run.notes += [
        f"metadata column {name!r} is null in all records, and is left out: is it its name?"
        for name in reading.empty
        if name not in columns.names
    ]
    kept = [known.entries[listing.files[n].key] for n in sorted(unread)]
    uris = {entry.uri for entry in kept}
    quarantined = [
        *(entry for entry in prior if entry.source_uri in uris),
        *_entries(run, work, prior),
        *reading.unreadable.values(),
    ]
    files = [*kept, *file_entries(listing, reading, compared, head, unread)]
    books = books_of_work(compared, reading, kept)
    run.notes += _nothing_to_fit(run, books)
    return Plan(version, rows, books, quarantined, files, time.monotonic() - started, work)


def _check_sinks(run: Run, metadata: pa.Schema) -> None:
    """Raises ConfigError and SinkError for what no sink will take, notes what it may not yet."""
    if not run.options.limit:
        dim, keeps = run.encoder.dim, run.config.store_content
        table = row_schema(dim, metadata, keeps)
        run.notes += check_sinks(run.config.publish, run.space, dim, table)


def _nothing_to_fit(run: Run, books: RecordBook) -> list[str]:
    """A note for a fitted space none of whose records can have a vector."""
    if not run.fitted or books.read > books.quarantined + books.isolated:
        return []
    what = run.sources[0].modality
    why = f"each {what} is isolated" if books.isolated else f"the source has no {what}"
    return [f"there is nothing to fit: {why}"]


def _ledger(run: Run, version: int) -> Ledger:
    if run.options.rehash or run.options.limit or not version:
        return Ledger({})
    return ledger.read(
        run.store_uri, run.table.name, lance_version=version, sources_digest=run.sources_digest
    )


def _entries(run: Run, work: Work, prior: Sequence[QuarantineEntry]) -> list[QuarantineEntry]:
    """The quarantine entries of the records that were read; ids of conflicts are asked for."""
    compared, present = work.compared, work.compared.present
    problems = dict(work.scanned.problems)
    judged = {(digest_text(entry.id), entry.content_hash): entry for entry in prior}
    made = []
    bad = np.flatnonzero((compared.diff.outcomes == Outcome.QUARANTINED) & (compared.origin >= 0))
    for record in bad.tolist():
        key = present.ids[record].tobytes(), present.contents[record].tobytes().hex()
        place = int(compared.origin[record])
        made.append(problems[place] if place in problems else judged[key])
    conflicts = compared.origin[
        (compared.diff.outcomes == Outcome.CONFLICT) & (compared.origin >= 0)
    ]
    detail = "a record before it has the same id and another content"
    why = {place: (Reason.ID_CONFLICT, detail) for place in conflicts.tolist()}
    return made + entries_of(run, work.scanned, why)
