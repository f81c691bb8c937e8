"""What a drift report tells beside its verdict: sizes, quality, where rows lie, other encoders."""

import numpy as np
import numpy.typing as npt

from schemas.drift import Density, Effect, Encoders, Quality
from schemas.manifest import ChunkBook, Manifest, RecordBook
from tasks.drift.effects import Detectable, Effects
from tasks.encoders.base import Vectors
from tasks.errors import MetricError
from tasks.evaluated import evaluated
from tasks.metrics import compare
from tasks.sides import Side
from tasks.space import Space
from tasks.store import manifests

BINS = 36  # of each axis
SHOWN = 0.995  # of the rows lie within the axes, by each axis
NEIGHBOURS = 10


def effect(found: Effects | Detectable) -> Effect:
    """For the record."""
    low, high = (found.auc_low, found.auc_high) if isinstance(found, Effects) else (None, None)
    return Effect(
        auc=found.auc, auc_low=low, auc_high=high, shift_sd=found.shift_sd, share=found.share
    )


def quality(space: Space, side: Side) -> Quality:
    """Of a version's run what its books say, of the rows that were drawn what they look like."""
    entry = space.entry
    manifest = manifests.read(space.store_uri, entry.table, entry.run_id, Manifest)
    books, chunks, encoded = RecordBook(), ChunkBook(), 0
    if manifest is not None:
        books, chunks, encoded = manifest.records, manifest.chunks, manifest.encoded
    texts = [text for text in side.texts if text is not None]
    lengths = np.array([len(text) for text in texts])
    norms = np.linalg.norm(side.vectors.astype(np.float64), axis=1)
    return Quality(
        quarantined=_share(books.quarantined, books.read),
        duplicate=_share(books.duplicate, books.read),
        truncated=_share(chunks.truncated, encoded),
        empty=float((lengths == 0).mean()) if len(lengths) else None,
        length=float(np.median(lengths)) if len(lengths) else None,
        norm=float(np.median(norms)) if len(norms) else None,
    )


def encoders(baseline: Space, candidate: Space, seed: int) -> Encoders | None:
    """Two encoders on the records that both versions have; None where they have fewer than 3."""
    with evaluated(candidate, seed) as ours:
        shared = set(ours.record_ids)
        with evaluated(baseline, seed) as theirs:
            ids = [id_ for id_ in theirs.record_ids if id_ in shared]
    if len(ids) < 3:
        return None
    with evaluated(candidate, seed, ids) as ours, evaluated(baseline, seed, ids) as theirs:
        k = min(NEIGHBOURS, len(ids) - 1)
        overlap = compare.neighbour_overlap(ours.records, theirs.records, k=k, rng=ours.rng)
        try:
            alike = compare.linear_cka(ours.records, theirs.records).value
        except MetricError:  # all vectors of one of them are equal
            alike = None
    return Encoders(records=len(ids), neighbour_overlap=overlap.value, linear_cka=alike)


def density(before: Side, now: Side, whole: Side | None = None) -> Density | None:
    """Both sides in the plane of the baseline's two largest components; None for one dimension.

    The plane is that of the baseline's rows alone, which are drawn alike for each later version:
    pictures of several looks can be laid beside each other. It is that of `whole` where `before`
    has some rows of each of its blocks.
    """
    if before.vectors.shape[1] < 2:
        return None
    centre, plane = _plane((whole or before).vectors)
    points = [(side.vectors - centre) @ plane for side in (before, now)]
    every = np.concatenate(points)
    tail = (1 - SHOWN) / 2
    low, high = np.quantile(every, [tail, 1 - tail], axis=0)
    wide = np.maximum(high - low, 1e-9)
    low, high = low - 0.05 * wide, high + 0.05 * wide
    edges = np.stack([low, high], axis=1)
    counts = [
        np.histogramdd(np.clip(of, low, high), BINS, edges.tolist())[0].astype(np.int64)
        for of in points
    ]
    return Density(
        low=(float(low[0]), float(low[1])),
        high=(float(high[0]), float(high[1])),
        baseline=_nested(counts[0]),
        candidate=_nested(counts[1]),
    )


def _plane(vectors: Vectors) -> tuple[Vectors, Vectors]:
    """Their mean, and the two directions of most variance, shape (dim, 2), of a fixed sign."""
    centre = vectors.mean(axis=0, dtype=np.float64)
    wide = vectors - centre
    directions = np.linalg.eigh(wide.T @ wide)[1][:, ::-1][:, :2]
    largest = np.abs(directions).argmax(axis=0)
    return centre, directions * np.sign(directions[largest, [0, 1]])


def _nested(counts: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in counts.tolist())


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
