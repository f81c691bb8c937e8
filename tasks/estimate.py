"""What a run would cost: tokens, time, bytes."""

from collections import deque
from itertools import islice
from typing import Any

import numpy as np

from tasks.content import TEXT
from tasks.donors import borrow, elsewhere
from tasks.encoders.fitted import Cost
from tasks.errors import StoreError
from tasks.jobs import CostJob, RateJob
from tasks.limits import objections
from tasks.plan import Plan, Work
from tasks.run import Run
from tasks.store import files
from tasks.store.diff import Indices
from tasks.store.layout import root
from tasks.worker import Rate

SAMPLE_RECORDS = 256
ROW_BYTES = 160  # ids, hashes and the rest of a row beside vector and text
FREE_BYTES = 64 * 2**20


def write_bytes(run: Run, work: Work) -> int:
    """About how many bytes the rows of a plan will take."""
    shares = work.shares
    records = np.concatenate([shares.encode, shares.copy, shares.repeat])
    content = _text_bytes(run, work, records) if run.config.store_content else 0
    return content + len(records) * (4 * run.encoder.dim + ROW_BYTES)


def check_disk(run: Run, work: Work) -> None:
    """Raises StoreError, before any work, if the plan's rows do not fit on the store's disk."""
    needed = write_bytes(run, work) + FREE_BYTES
    free = _free_bytes(run.store_uri)
    if free is not None and needed > free:
        raise StoreError(
            f"the store {run.store_uri!r} has {free / 2**20:.0f} MiB free and this run needs about "
            f"{needed / 2**20:.0f} MiB: nothing was written; free some, or give another --store"
        )


def _free_bytes(store_uri: str) -> int | None:
    folder = root(store_uri)
    return files.of(folder).free_bytes(folder)


def _text_bytes(run: Run, work: Work, records: Indices) -> int:
    """Of texts alone: other contents stay where they are."""
    places = np.sort(work.compared.origin[records])
    parts = work.scanned.places(places)
    texts = (part for planned, _, part in parts if run.sources[planned.source].modality == TEXT)
    return sum(int(work.scanned.sizes[part].sum(dtype=np.int64)) for part in texts)


def _sizes(work: Work, records: Indices) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return work.scanned.sizes[work.compared.origin[records]]


def estimate(run: Run, plan: Plan) -> dict[str, Any]:
    """The plan as plain data: records by outcome, tokens, bytes, seconds, free disk.

    Tokens and seconds are measured on a sample of what would be encoded, by one worker, times the
    number of workers: loading is left out.
    """
    found: dict[str, Any] = {
        "space": run.space,
        "table": run.table.name,
        "fingerprint": run.fingerprint,
        "records": plan.books.model_dump(),
        "to_encode": 0,
        "chunks_removed": plan.chunks_removed,
        "tokens": 0,
        "unit": run.stage.unit,
        "bytes": 0,
        "seconds_estimate": 0.0,
        "free_bytes": _free_bytes(run.store_uri),
        "seconds": {"plan": plan.seconds},
        "objections": list(objections(run, plan)),
        "notes": list(run.notes),
    }
    if plan.work is None or not plan.changes:
        return found
    if run.fitted:
        return found | _of_fit(run, plan.work)
    work, precision = plan.work, _precision(run)
    donors = [*elsewhere(run, precision, work, work.shares)]
    to_encode = borrow(work, work.shares, donors).shares.encode
    found |= {"to_encode": len(to_encode), "bytes": write_bytes(run, work)}
    if len(to_encode):
        rate = _measure(run, work, to_encode, precision)
        tokens = int(_sizes(work, to_encode).sum(dtype=np.int64) * rate.tokens_per_byte)
        found |= {
            "tokens": tokens,
            "seconds_estimate": round(tokens / rate.tokens_per_s / run.pool.n_workers, 3)
            if tokens  # else nothing that was looked at can be encoded
            else 0.0,
        }
    return found


def _of_fit(run: Run, work: Work) -> dict[str, Any]:
    """All vectors are made anew, by words of walks on all cores, or none is."""
    found: dict[str, Any] = {"bytes": write_bytes(run, work)}
    if not work.compared.anew or not work.shares.n_records:
        return found
    for finished in run.pool.map(deque([CostJob(work.scanned.shards[0].shard.files)])):
        if finished.error is not None:
            raise finished.error
        if isinstance(finished.result, Cost):
            return found | {
                "to_encode": work.shares.n_records,
                "tokens": finished.result.words,
                "seconds_estimate": round(finished.result.words / finished.result.words_per_s, 3),
            }
    raise StoreError("no worker measured the fit")


def _precision(run: Run) -> str:
    return run.table.settings().precision if run.table.exists() else run.precision


def _measure(run: Run, work: Work, records: Indices, precision: str) -> Rate:
    """What one worker does with some of the records, taken from all over their first shard."""
    planned, offsets, _ = next(islice(work.scanned.places(work.compared.origin[records]), 1))
    step = max(1, len(offsets) // SAMPLE_RECORDS)
    sample = offsets[::step][:SAMPLE_RECORDS]
    jobs = deque([RateJob(planned.source, planned.shard, sample, precision)])
    for finished in run.pool.map(jobs):
        if finished.error is not None:
            raise finished.error
        if isinstance(finished.result, Rate):
            return finished.result
    raise StoreError("no worker measured the sample")
