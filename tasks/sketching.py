"""Sketching a version: from its rows by a pool's workers, or from the version before it.

Sums are linear, so that a version is the one before it, less the rows that went, with those that
came: a run that changes one row in a thousand sketches that one. Rows are told apart by Lance's
ids, which stand for the same content for ever.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.config import ComputeConfig
from tasks.compute.ranges import MapRanges, over_pool
from tasks.drift.basis import Basis, basis_of
from tasks.drift.clusters import centres_of
from tasks.drift.sketches import Sketch
from tasks.errors import DriftError
from tasks.space import BATCH_ROWS, Space
from tasks.store import sketches
from tasks.store.catalog import Catalog
from tasks.store.maintenance import row_ids
from tasks.store.rows import to_matrix
from tasks.store.table import Table

SAMPLE = 4_000  # rows that the basis is made of
CENTRES = 64  # a row for each, at the least, of a hundred
ENOUGH = 0.5  # of a sample that removed rows have left: below, all is sketched anew
MANY = 200_000  # rows from which on workers are started: below, this process is done sooner

RowIds = npt.NDArray[np.uint64]


def sketch_of(space: Space, compute: ComputeConfig | None = None) -> Sketch:
    """The sketch of a version: the one that is kept, else one that is made and kept.

    Raises DriftError for a version with fewer than two different rows.
    """
    table, version = space.entry.table, space.version
    kept = sketches.read(space.store_uri, table, version)
    if kept is not None:
        return kept
    made = _from_parent(space, compute)
    if made is None:
        made = _of_all(space, compute)
    sketches.keep(space.store_uri, table, version, made)
    return made


def _from_parent(space: Space, compute: ComputeConfig | None) -> Sketch | None:
    """From the nearest version before that has one; None where there is none, or little is left."""
    table = Table(space.store_uri, space.entry.table)
    entries = Catalog(space.store_uri).versions(space.entry.space)
    for entry in reversed(entries):
        if entry.table != table.name or entry.version >= space.version:
            continue
        sketch = sketches.read(space.store_uri, table.name, entry.version)
        if sketch is not None:
            break
    else:
        return None
    ours, theirs = row_ids(space.dataset), row_ids(table.open(entry.lance_version))
    came, went = np.setdiff1d(ours, theirs), np.setdiff1d(theirs, ours)
    if len(came) + len(went) > space.rows:
        return None
    for part in _sketched(table, entry.lance_version, went, sketch.basis, None):
        sketch.remove(part)
    for part in _sketched(table, space.entry.lance_version, came, sketch.basis, compute):
        sketch.merge(part)
    short = len(sketch.ids) < ENOUGH * min(sketch.basis.rows, sketch.moments.n)
    return None if short or sketch.moments.n != space.rows else sketch


def _of_all(space: Space, compute: ComputeConfig | None) -> Sketch:
    n = space.rows
    if n < 2:
        raise DriftError(f"version {space.version} has {n} rows: a sketch needs 2")
    chosen = np.sort(np.random.default_rng(0).permutation(n)[:SAMPLE])
    sample = to_matrix(space.dataset.take(chosen.tolist(), columns=["vector"])["vector"])
    sample = np.random.default_rng(0).permutation(sample)
    rng = np.random.default_rng(0)
    centres = centres_of(sample, min(CENTRES, max(1, len(sample) // 100)), rng)
    basis = basis_of(sample, centres)
    whole = Sketch(basis)
    table = Table(space.store_uri, space.entry.table)
    for part in _sketched(table, space.entry.lance_version, None, basis, compute):
        whole.merge(part)
    return whole


def _sketched(
    table: Table,
    lance_version: int,
    ids: RowIds | None,
    basis: Basis,
    compute: ComputeConfig | None,
) -> Iterator[Sketch]:
    """Sketches of parts of the rows with these ids, ascending, or of all rows."""
    dataset = table.open(lance_version)
    n = dataset.count_rows() if ids is None else len(ids)
    if not n:
        return
    job = _Part(table, lance_version, basis, ids)
    fragments = [range(at, at + 1) for at in range(len(dataset.get_fragments()))]
    with _pool(n, compute) as map_ranges:
        yield from map_ranges(job, fragments)


@contextmanager
def _pool(n: int, compute: ComputeConfig | None) -> Iterator[MapRanges]:
    """Workers where there is much to do and somebody said which."""
    if compute is None or n < MANY:
        yield map
        return
    workers = None if compute.workers == "auto" else compute.workers
    with over_pool(compute.use, workers, compute.address, compute.stall_s) as map_ranges:
        yield map_ranges


@dataclass(frozen=True)
class _Part:
    """Sketches some fragments of a dataset, all of their rows or those with these ids."""

    table: Table
    lance_version: int
    basis: Basis
    ids: RowIds | None

    def __call__(self, fragments: range) -> Sketch:
        """Streams the rows: memory is a batch of them beside the sketch."""
        dataset = self.table.open(self.lance_version)
        chosen = [dataset.get_fragments()[number] for number in fragments]
        sketch = Sketch(self.basis)
        columns = ["id", "record_id", "chunk", "vector"]
        if "text" in dataset.schema.names:
            columns.append("text")
        scanner = dataset.scanner(
            columns, fragments=chosen, with_row_id=True, batch_size=BATCH_ROWS
        )
        for batch in scanner.to_batches():
            rows = batch
            if self.ids is not None:
                rows = batch.filter(pa.array(np.isin(batch["_rowid"].to_numpy(), self.ids)))
            if rows.num_rows:
                sketch.add(
                    to_matrix(rows["vector"]),
                    rows["id"].to_pylist(),
                    owners=rows["record_id"].to_pylist(),
                    lengths=_lengths(rows),
                )
        return sketch


def _lengths(rows: pa.RecordBatch) -> Sequence[int] | None:
    """Of the texts, in characters; None where there are none."""
    if "text" not in rows.schema.names or rows["text"].null_count == rows.num_rows:
        return None
    lengths: list[int] = pc.fill_null(pc.utf8_length(rows["text"]), 0).to_pylist()
    return lengths
