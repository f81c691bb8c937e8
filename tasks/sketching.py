"""Sketching a version: from its rows by a pool's workers, or from the version before it.

Sums are linear, so that a version is the one before it, less the rows that went, with those that
came: a run that changes one row in a thousand reads the vectors of that one. Rows are told apart by
Lance's ids, which stand for the same content for ever; of the others nothing else is read.

All sketches of a table have the basis that was made of the version sketched first.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.config import ComputeConfig
from tasks.compute.ranges import MapRanges, over_pool
from tasks.drift.basis import Basis, basis_of
from tasks.drift.clusters import centres_of
from tasks.drift.compare import samples
from tasks.drift.sketches import Sketch
from tasks.encoders.base import Vectors
from tasks.errors import DriftError
from tasks.sides import Side
from tasks.space import BATCH_ROWS, Space
from tasks.store import sketches
from tasks.store.catalog import Catalog
from tasks.store.diff import Indices
from tasks.store.files import lance_errors
from tasks.store.rows import to_matrix
from tasks.store.table import Dataset, Table

SAMPLE = 4_000  # rows that the basis is made of
CENTRES = 64  # a row for each, at the least, of a hundred
ENOUGH = 0.5  # of a sample that removed rows have left: below, all is sketched anew
MANY = 200_000  # rows from which on workers are started: below, this process is done sooner
TAKEN = 65_536  # rows that came or went which a worker takes at once
NOWHERE = -1  # the place of a row that nobody knows


def sketch_of(space: Space, compute: ComputeConfig | None = None) -> Sketch:
    """The sketch of a version: the one that is kept, else one that is made and kept.

    Those of one table have one basis: any two of them compare. Raises DriftError where there is no
    basis yet, and the version has fewer than two different rows to make it of.
    """
    store_uri, table, version = space.store_uri, space.entry.table, space.version
    basis = sketches.read_basis(store_uri, table)
    if basis is None:
        basis = _basis(space)
        sketches.keep_basis(store_uri, table, basis)
    kept = sketches.read(store_uri, table, version, basis)
    if kept is not None:
        return kept
    made = _from_parent(space, basis, compute)
    if made is None:
        made = _of_all(space, basis, compute)
    sketches.keep(store_uri, table, version, made)
    return made


@dataclass(frozen=True)
class SketchedSide(Side):
    """Rows of a sample: their places were not kept, so that nothing but vectors can be asked for.

    Attributes:
        kept: Their vectors, shape (n, dim).
    """

    kept: Vectors

    @cached_property
    def vectors(self) -> Vectors:
        """As they were kept."""
        return self.kept


def sketched_sides(
    baseline: tuple[Space, Sketch], candidate: tuple[Space, Sketch]
) -> tuple[SketchedSide, SketchedSide]:
    """Both versions' `samples`; each is drawn from all rows of its version."""
    drawn = samples(baseline[1], candidate[1])
    owners = drawn.blocks or (None, None)
    before, now = (
        SketchedSide(
            space=space,
            rows=np.full(len(vectors), NOWHERE),
            total=sketch.moments.n,
            blocks=None if of is None else np.unique(of, return_inverse=True)[1].astype(np.int64),
            kept=vectors,
        )
        for (space, sketch), vectors, of in zip(
            (baseline, candidate), (drawn.baseline, drawn.candidate), owners, strict=True
        )
    )
    return before, now


def _basis(space: Space) -> Basis:
    """Of a sample of its rows."""
    n = space.rows
    if n < 2:
        raise DriftError(f"version {space.version} has {n} rows: a first sketch needs 2")
    chosen = np.sort(np.random.default_rng(0).permutation(n)[:SAMPLE])
    sample = to_matrix(space.dataset.take(chosen.tolist(), columns=["vector"])["vector"])
    sample = np.random.default_rng(0).permutation(sample)
    rng = np.random.default_rng(0)
    return basis_of(sample, centres_of(sample, min(CENTRES, max(1, len(sample) // 100)), rng))


def _from_parent(space: Space, basis: Basis, compute: ComputeConfig | None) -> Sketch | None:
    """From the nearest version before that has one; None where there is none, or little is left."""
    table = Table(space.store_uri, space.entry.table)
    entries = Catalog(space.store_uri).versions(space.entry.space)
    for entry in reversed(entries):
        if entry.table != table.name or entry.version >= space.version:
            continue
        sketch = sketches.read(space.store_uri, table.name, entry.version, basis)
        if sketch is not None:
            break
    else:
        return None
    ours, theirs = _row_ids(space.dataset), _row_ids(table.open(entry.lance_version))
    came = np.flatnonzero(~np.isin(ours, theirs, assume_unique=True))
    went = np.flatnonzero(~np.isin(theirs, ours, assume_unique=True))
    if len(came) + len(went) > space.rows:
        return None
    with _pool(len(came) + len(went), compute) as map_ranges:
        for part in map_ranges(_Rows(table, entry.lance_version, basis, went), _parts(went)):
            sketch.remove(part)
        for part in map_ranges(_Rows(table, space.entry.lance_version, basis, came), _parts(came)):
            sketch.merge(part)
    short = len(sketch.ids) < ENOUGH * min(basis.rows, sketch.moments.n)
    return None if short or sketch.moments.n != space.rows else sketch


def _of_all(space: Space, basis: Basis, compute: ComputeConfig | None) -> Sketch:
    table = Table(space.store_uri, space.entry.table)
    whole = Sketch(basis)
    fragments = [range(at, at + 1) for at in range(len(space.dataset.get_fragments()))]
    with _pool(space.rows, compute) as map_ranges:
        for part in map_ranges(_Fragments(table, space.entry.lance_version, basis), fragments):
            whole.merge(part)
    return whole


def _row_ids(dataset: Dataset) -> npt.NDArray[np.uint64]:
    """Lance's ids of all rows, in the order of their places."""
    with lance_errors(f"reading version {dataset.version} of {dataset.uri}"):
        ids: npt.NDArray[np.uint64] = dataset.to_table(columns=[], with_row_id=True)[
            "_rowid"
        ].to_numpy()
    return ids


def _parts(places: Indices) -> list[range]:
    return [range(start, min(start + TAKEN, len(places))) for start in range(0, len(places), TAKEN)]


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
class _Fragments:
    """Sketches all rows of some fragments of a dataset."""

    table: Table
    lance_version: int
    basis: Basis

    def __call__(self, fragments: range) -> Sketch:
        """Streams them: memory is a batch of rows beside the sketch."""
        dataset = self.table.open(self.lance_version)
        chosen = [dataset.get_fragments()[number] for number in fragments]
        sketch = Sketch(self.basis)
        scanner = dataset.scanner(_columns(dataset), fragments=chosen, batch_size=BATCH_ROWS)
        for batch in scanner.to_batches():
            _add(sketch, batch)
        return sketch


@dataclass(frozen=True)
class _Rows:
    """Sketches the rows at some places of a dataset, and reads no others."""

    table: Table
    lance_version: int
    basis: Basis
    places: Indices

    def __call__(self, part: range) -> Sketch:
        """Those at `places[part]`."""
        dataset = self.table.open(self.lance_version)
        sketch = Sketch(self.basis)
        for start in part[::BATCH_ROWS]:
            chosen = self.places[start : min(start + BATCH_ROWS, part.stop)]
            _add(sketch, dataset.take(chosen.tolist(), columns=_columns(dataset)))
        return sketch


def _columns(dataset: Dataset) -> list[str]:
    columns = ["id", "record_id", "vector"]
    return [*columns, "text"] if "text" in dataset.schema.names else columns


def _add(sketch: Sketch, rows: pa.RecordBatch | pa.Table) -> None:
    if rows.num_rows:
        sketch.add(
            to_matrix(rows["vector"]),
            rows["id"].to_pylist(),
            owners=rows["record_id"].to_pylist(),
            lengths=_lengths(rows),
        )


def _lengths(rows: pa.RecordBatch | pa.Table) -> Sequence[int] | None:
    """Of the texts, in characters; None where there are none."""
    if "text" not in rows.schema.names or rows["text"].null_count == rows.num_rows:
        return None
    lengths: list[int] = pc.fill_null(pc.utf8_length(rows["text"]), 0).to_pylist()
    return lengths
