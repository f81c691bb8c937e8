"""Encode: turn what the plan wants into fragments with receipts, and not one record more."""

import logging
import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.manifest import FitBook
from schemas.quarantine import QuarantineEntry, Reason
from schemas.receipt import Receipt
from schemas.table import TableSettings
from tasks.cut import Cutter
from tasks.digests import digest_json, to_array
from tasks.donors import Borrowed, borrow, elsewhere
from tasks.encoders.base import Precision
from tasks.errors import ConfigError, EncoderError, StoreError, Transient, WorkerLost
from tasks.fit import fit
from tasks.jobs import CanaryJob, Target, WriteJob
from tasks.plan import Plan, Work
from tasks.reading import entries_of
from tasks.resume import resume
from tasks.run import Run
from tasks.shares import Shares
from tasks.store import canaries as stored_canaries
from tasks.store.diff import find
from tasks.store.layout import root
from tasks.store.rows import merge_metadata, metadata_schema, row_schema
from tasks.worker import Canaries

logger = logging.getLogger(__name__)

TRIES = 3
JOBS_AHEAD = 8  # for each worker; the rest is cut when there is room: jobs take memory
JOBS_PER_WORKER = 4  # so that all workers end at about the same time


@dataclass
class Encoded:
    """What was written, and what went to quarantine on the way.

    `poison` are records that killed each worker that they were given to, alone. `fit` is what the
    table's vectors are of, where they are fitted, and `words` what this run has fitted them to.
    """

    run_id: str
    base_version: int
    receipts: list[Receipt] = field(default_factory=list)
    poison: list[QuarantineEntry] = field(default_factory=list)
    fit: FitBook | None = None
    words: int = 0
    encoder_loads: int = 0
    precision: str | None = None
    seconds: float = 0.0

    @property
    def quarantined(self) -> list[QuarantineEntry]:
        """All records that turned out bad while they were encoded."""
        return [entry for receipt in self.receipts for entry in receipt.quarantined] + self.poison


@task(name="encode", persist_result=False, cache_policy=NO_CACHE)
def encode(run: Run, plan: Plan) -> Encoded:
    """Drives the pool through all jobs of a plan that has changes.

    Raises EncoderError before the table is made if the encoder gives nonsense, WorkerLost if
    workers die without a record that is to blame, Interrupted when the user asked to stop.
    """
    started = time.monotonic()
    if plan.work is None:
        raise ValueError("nothing to encode: the plan has no changes")
    encoded = _prepare_table(run, plan, plan.work)
    target = Target(
        store_uri=root(run.store_uri),
        table=run.table.name,
        run_id=encoded.run_id,
        session=secrets.token_hex(4),
        precision=encoded.precision or "",
        schema=run.table.open(encoded.base_version).schema,
    )
    if run.fitted:
        encoded.fit = fit(run, plan.work, target)
        if encoded.fit is not None and plan.work.compared.anew:
            target = replace(target, fit=encoded.fit.model)
            encoded.words = int(encoded.fit.metrics.get("words", 0))
    resumed, found = _borrow(run, plan.work, encoded)
    shares = found.shares
    total = plan.work.shares.n_records
    n_jobs = run.pool.n_workers * JOBS_PER_WORKER
    chunked = run.config.chunk is not None
    kinds = [source.modality for source in run.sources]
    cutter = Cutter(plan.work, target, encoded.base_version, n_jobs, kinds, chunked=chunked)
    first = chain(
        cutter.encoding(shares.encode),
        cutter.copying(shares.copy),
        cutter.borrowing(resumed),
        cutter.borrowing(found),
    )
    _drive(run, plan.work, encoded, cutter, first, total)
    _account(encoded, total - len(shares.repeat))
    shares = _without_spoiled(run, plan.work, encoded, shares)
    repeats = cutter.repeating(shares, encoded.receipts)
    _drive(run, plan.work, encoded, cutter, repeats, total)
    _account(encoded, total)
    encoded.encoder_loads += sum(receipt.encoder_loads for receipt in encoded.receipts)
    encoded.seconds = time.monotonic() - started
    return encoded


def _borrow(run: Run, work: Work, encoded: Encoded) -> tuple[Borrowed, Borrowed]:
    """What receipts hold, and what the store has elsewhere: the last one has what is left.

    What another run has done whole stands as this one's work. Vectors of one fit are none of
    another's, so where they are fitted nothing is taken.
    """
    if run.fitted:
        none = borrow(work, work.shares, ())
        return none, none
    resumed = resume(run.table, work, encoded.base_version, replay=run.options.replay)
    encoded.receipts += resumed.adopted
    run.notes += resumed.warnings
    held = borrow(work, resumed.shares, resumed.donors)
    others = [*elsewhere(run, encoded.precision or "", work, held.shares)]
    found = borrow(work, held.shares, others)
    if n_records := sum(one.records for one in resumed.adopted) + len(held.records):
        run.notes.append(
            f"{n_records:,} records were taken over from a run that never came to its commit"
        )
    if len(found.records):
        run.notes.append(
            f"{len(found.records):,} records have contents whose vectors the store has already"
        )
    return held, found


def _prepare_table(run: Run, plan: Plan, work: Work) -> Encoded:
    """Makes the table with its canaries, or gives it the metadata columns that it lacks."""
    table, name = run.table, run.table.name
    precision, loads = run.precision, 0
    if table.exists() and not plan.rows_before and not run.has_versions and _binds(run, work):
        table.discard()  # of a first run that failed: no setting of it may bind this one
    if not table.exists():
        made = _no_canaries(run) if run.fitted else _canaries(run, precision)
        settings = TableSettings(
            space=run.space,
            fingerprint=run.fingerprint,
            encoder={"use": run.config.encoder.use, **run.encoder_arguments},
            precision=made.precision,
            dim=run.encoder.dim,
            normalized=run.encoder.normalized,
            store_content=run.config.store_content,
        )
        stored_canaries.write(run.store_uri, name, made.vectors)
        metadata = merge_metadata(pa.schema([]), work.metadata).schema
        table.create(row_schema(run.encoder.dim, metadata, settings.store_content), settings)
        base, precision, loads = table.open().version, made.precision, made.encoder_loads
    else:
        base, precision = _evolve_table(run, plan, work, precision)
    key = [
        name,
        plan.base_version,
        work.compared.diff.data_digest,
        table.open(base).schema.to_string(),
    ]
    return Encoded(digest_json(key).hex(), base, encoder_loads=loads, precision=precision)


def _binds(run: Run, work: Work) -> bool:
    """Whether a table was made with settings that this run's config does not have."""
    settings = run.table.settings()
    try:
        merge_metadata(metadata_schema(run.table.open().schema), work.metadata)
    except ConfigError:
        return True
    return settings.store_content != run.config.store_content or run.precision not in (
        "auto",
        settings.precision,
    )


def _evolve_table(run: Run, plan: Plan, work: Work, wanted: str) -> tuple[int, str]:
    """The version to commit on, and the precision that the table keeps to."""
    settings = run.table.settings()
    if settings.store_content != run.config.store_content:
        raise ConfigError(
            f"store_content = {run.config.store_content}: table {run.table.name!r} was made with "
            f"{settings.store_content}, which cannot be changed; set it back, or use another space"
        )
    if run.options.precision and run.options.precision != settings.precision:
        run.notes.append(f"numerics changed: {settings.precision} -> {wanted}")
        precision = run.options.precision
    else:
        precision = settings.precision
        if wanted not in ("auto", precision):
            run.notes.append(
                f"precision = {wanted} in the config: the table was made in {precision} and keeps "
                f"to it; --precision {wanted} changes it for a run"
            )
    schema = run.table.open(plan.base_version).schema
    change = merge_metadata(metadata_schema(schema), work.metadata)
    return (
        run.table.evolve(change) if change.added or change.widened else plan.base_version
    ), precision


def _no_canaries(run: Run) -> Canaries:
    """Those of an encoder that has vectors for nothing but its corpus."""
    return Canaries(np.empty((0, run.encoder.dim), np.float32), Precision.FLOAT32, 0)


def _canaries(run: Run, precision: str) -> Canaries:
    run.report("load the encoder")
    for finished in run.pool.map(deque([CanaryJob(precision)])):
        if finished.error is not None:
            raise finished.error
        if isinstance(finished.result, Canaries):
            return finished.result
    raise EncoderError("no worker gave canaries")


def _drive(
    run: Run, work: Work, encoded: Encoded, cutter: Cutter, jobs: Iterable[WriteJob], total: int
) -> None:
    """Does the jobs; one that failed is tried elsewhere, then halved until its poison is alone."""
    cut, ahead = iter(jobs), JOBS_AHEAD * run.pool.n_workers
    todo = deque(islice(cut, ahead))
    poison: dict[int, tuple[Reason, str]] = {}
    done = sum(receipt.records for receipt in encoded.receipts)
    run.report("encode", done, total)
    for finished in run.pool.map(todo):
        job, error = finished.job, finished.error
        if isinstance(finished.result, Receipt):
            encoded.receipts.append(finished.result)
            done += finished.result.records
            run.report("encode", done, total)
        elif isinstance(error, Transient) and job.attempt == 0:
            todo.append(job.again())
        elif isinstance(error, WorkerLost) and len(job.offsets) > 1:
            logger.warning(
                "a shard of %d records lost its worker twice and is halved", len(job.offsets)
            )
            todo.extend(cutter.halve(job))
        elif isinstance(error, WorkerLost) and job.attempt + 1 >= TRIES:
            place = work.scanned.place(job.source, job.shard, int(job.offsets[0]))
            poison[place] = (Reason.KILLED_WORKER, f"alone in its worker: {error}")
        elif isinstance(error, Transient) and job.attempt + 1 < TRIES:
            todo.append(job.again())
        elif error is not None:
            raise error
        todo.extend(islice(cut, max(0, ahead - len(todo))))
    encoded.poison += entries_of(run, work.scanned, poison)


def _account(encoded: Encoded, expected: int) -> None:
    """Raises StoreError unless so many records are in receipts or known to be poison."""
    done = sum(receipt.records for receipt in encoded.receipts) + len(encoded.poison)
    if done != expected:
        raise StoreError(
            f"{done} of {expected} records that had to be written were accounted for: nothing was "
            "committed; run again, what was written is kept"
        )


def _without_spoiled(run: Run, work: Work, encoded: Encoded, shares: Shares) -> Shares:
    """Repeats of a content that could not be encoded go to quarantine like their leader."""
    why = {bytes.fromhex(one.content_hash): (one.reason, one.detail) for one in encoded.quarantined}
    if not why:
        return shares
    spoiled = find(work.compared.present.contents[shares.repeat], to_array(why)) >= 0
    places = work.compared.origin[shares.repeat[spoiled]].tolist()
    found = {place: why[work.scanned.contents[place].tobytes()] for place in places}
    encoded.poison += entries_of(run, work.scanned, found)
    return replace(shares, repeat=shares.repeat[~spoiled], leader=shares.leader[~spoiled])
