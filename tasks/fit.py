"""The part of a run that fits its encoder: one job, of one worker, before any row is written."""

from collections import deque

import numpy as np

from schemas.manifest import FitBook, Manifest
from tasks.digests import digest_json
from tasks.errors import StoreError, Transient
from tasks.jobs import FitJob, Target
from tasks.plan import Work
from tasks.run import Run
from tasks.store import manifests, models
from tasks.store.diff import Outcome

TRIES = 3


def fit(run: Run, work: Work, target: Target) -> FitBook | None:
    """Fits the encoder where the plan makes all vectors anew; else the last fit stands.

    A worker that was lost is followed by another one, which goes on where that was. Raises
    EncoderError for a fit that cannot be used.
    """
    last = _last_fit(run)
    if not work.compared.anew or not work.shares.n_records:
        return last
    run.report("fit")
    jobs = deque([_job(run, work, target, last)])
    for finished in run.pool.map(jobs):
        if isinstance(finished.result, FitBook):
            return finished.result
        if isinstance(finished.error, Transient) and finished.job.attempt + 1 < TRIES:
            jobs.append(finished.job.again())
        elif finished.error is not None:
            raise finished.error
    raise StoreError("no worker has fitted the encoder")


def _last_fit(run: Run) -> FitBook | None:
    """That of the newest version of the run's table."""
    versions = [one for one in run.catalog.versions(run.space) if one.table == run.table.name]
    if not versions:
        return None
    manifest = manifests.read(run.store_uri, run.table.name, versions[-1].run_id, Manifest)
    if manifest is not None:
        return manifest.fit
    known = models.fits(run.store_uri, run.table.name)
    run.notes.append(
        f"the manifest of version {versions[-1].version} is gone: "
        + (f"its fit is taken to be the newest, {known[-1].digest}" if known else "it has no fit")
    )
    return FitBook(model=known[-1].digest) if known else None


def _job(run: Run, work: Work, target: Target, last: FitBook | None) -> FitJob:
    """Items of the corpus are the records that were read, in their order."""
    changed = np.ones(len(work.scanned.ids), np.bool_)
    unchanged = np.isin(work.compared.diff.outcomes, (Outcome.METADATA_CHANGED, Outcome.UNCHANGED))
    changed[work.compared.origin[unchanged]] = False
    encoder = {"use": run.config.encoder.use, **run.encoder_arguments}
    previous, digest = last.model if last else None, work.compared.diff.data_digest
    return FitJob(
        target=target,
        files=work.scanned.shards[0].shard.files,
        changed=changed,
        previous=previous,
        key=digest_json([run.table.name, digest, previous, encoder]).hex(),
        encoder=encoder,
        sources=tuple(one.model_dump(mode="json") for one in run.config.source),
        corpus_digest=digest,
    )
