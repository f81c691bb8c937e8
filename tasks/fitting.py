"""A fit, in the worker that makes it: from a source's corpus to a model that the store keeps."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from schemas.manifest import FitBook
from schemas.model import TrainedModel
from tasks import failpoints
from tasks.digests import digest_json
from tasks.encoders.base import Vectors
from tasks.encoders.fitted import FittedEncoder, OnFit, anchor, checked
from tasks.encoders.remembered import cache_folder
from tasks.errors import EncoderError
from tasks.jobs import FitJob
from tasks.sources.base import Corpus
from tasks.store import fits, models

RESIDUAL = "residual"

FittedVectors: TypeAlias = Callable[[list[str]], Vectors]


def fit(
    encoder: FittedEncoder[Any],
    read: Callable[[], Corpus],
    job: FitJob,
    threads: int,
    on_fit: OnFit,
) -> FitBook:
    """Fits the encoder, anchors it to the last version and keeps the tables in the store.

    What a killed run has fitted to the same corpus stands. Raises EncoderError for a fit that
    diverged, and for one that is too far from the last version to be called the same space.
    """
    target = job.target
    own = digest_json([target.store_uri, target.table]).hex()
    folder = _only(cache_folder() / "fits" / own, job.key)
    for model in models.fits(target.store_uri, target.table):
        if model.key == job.key:
            shutil.rmtree(folder)
            return _book(model)
    corpus = read()
    start = None
    if job.previous is not None:
        last = models.of_table(target.store_uri, target.table, job.previous)
        place = models.fetch(target.store_uri, last)
        start = fits.StoredFit(place).start(corpus.ids, job.changed[: len(corpus.ids)])
    made = encoder.fit(corpus.data, folder / "state", start=start, threads=threads, on_fit=on_fit)
    made, metrics = checked(made, len(corpus.ids), encoder.dim), dict(made.metrics)
    if start is not None:
        metrics[RESIDUAL] = residual = anchor(made, start)
        del start
        if residual > encoder.max_residual:
            raise EncoderError(
                f"the new fit differs from the last version by a residual of {residual:.2f}, and "
                f"encoder.max_residual is {encoder.max_residual}: its vectors cannot be compared "
                f"with those. Begin a new lineage with encoder.lineage: {encoder.lineage + 1} and "
                "`vectorline backfill`, or allow more"
            )
    kept = _new_folder(folder / "model")
    fits.write(kept, corpus.ids, made)
    model = models.put(
        target.store_uri,
        kept,
        {
            "name": target.table,
            "train": job.encoder,
            "sources": job.sources,
            "corpus_digest": job.corpus_digest,
            "records": len(corpus.ids),
            "metrics": metrics,
            "created_at": datetime.now(UTC).isoformat(),
            "key": job.key,
        },
    )
    failpoints.reach("fit")
    shutil.rmtree(folder, ignore_errors=True)
    return _book(model)


def fitted_vectors(store_uri: str, table: str, fit: str) -> FittedVectors:
    """What gives the vectors of ids, by a fit of a table; StoreError if it is damaged."""
    place = models.fetch(store_uri, models.of_table(store_uri, table, fit))
    file = fits.StoredFit(place)
    return lambda ids: file.vectors(pa.array(ids, pa.large_string()))


def _book(model: TrainedModel) -> FitBook:
    metrics = dict(model.metrics)
    return FitBook(model=model.digest, residual=metrics.pop(RESIDUAL, None), metrics=metrics)


def _only(folder: Path, name: str) -> Path:
    """A folder below this one; what else is there is of fits that nobody goes on with."""
    kept = folder / name
    kept.mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)
    return kept


def _new_folder(folder: Path) -> Path:
    """An empty one, also where all that is above it is gone: a cache may be deleted at any time."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
