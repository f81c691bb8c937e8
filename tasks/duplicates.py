"""Duplicates: groups of records whose vectors are nearly the same.

Two records are near-duplicates where the cosine of their vectors (of the mean of their chunks) is
at the threshold or above; a group is what such pairs connect. Where the version has a vector index,
the pairs are found by searches through it, which may miss a few; else each vector is compared with
each other one. The vectors of all records are held: 4 bytes for each component.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.encoders.base import Vectors
from tasks.errors import ConfigError
from tasks.space import Space
from tasks.store.indexes import vector_index
from tasks.store.rows import to_matrix, unit

THRESHOLD = 0.95
ROUNDING = 1e-6
BLOCK = 2048
NEIGHBOURS = 32  # asked of the index at first; four times as many while all are near

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""Numbers of records, the first below the second, and their cosines."""


@dataclass(frozen=True, slots=True)
class Group:
    """Records that are near-duplicates, by id; `similarity` is the lowest cosine that joins two."""

    ids: Sequence[str]
    similarity: float


def duplicates(space: Space, threshold: float = THRESHOLD, where: str | None = None) -> list[Group]:
    """The groups of two records or more, the largest first, ties by their first id.

    `where` is a filter in Lance's SQL: others are as if they were not there. Raises ConfigError for
    a filter that the table does not understand, or a threshold that is no cosine.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"--threshold = {threshold}: expected a cosine above 0, up to 1")
    ids, vectors = _records(space, where)
    if where is None and vector_index(space.dataset) is not None:
        parts = _by_index(space, ids, vectors, threshold)
    else:
        parts = _by_blocks(vectors, threshold)
    labels, lowest = np.arange(len(ids)), np.full(len(ids), np.inf, np.float32)
    for first, second, scores in _together(parts, len(ids)):
        np.minimum.at(lowest, first, scores)
        links = coo_array((np.ones(len(first)), (labels[first], labels[second])), (len(ids),) * 2)
        labels = connected_components(links, directed=False)[1][labels]
    return _groups(ids, labels.astype(np.int64), lowest)


def firsts(groups: Sequence[Group]) -> dict[str, str]:
    """The first id of its group for each record that is in one."""
    return {id_: group.ids[0] for group in groups for id_ in group.ids}


def _records(space: Space, where: str | None) -> tuple[list[str], Vectors]:
    """Ids in order, and unit vectors, row i for id i: of chunks their mean."""
    ids: list[str] = []
    parts = [np.empty((0, space.settings.dim), np.float32)]
    for batch in space.batches(["record_id", "vector"], where=where):
        ids += batch["record_id"].to_pylist()
        parts.append(unit(to_matrix(batch["vector"])))
    vectors = np.concatenate(parts)
    names, number = np.unique(np.array(ids, object), return_inverse=True)
    if len(names) == len(ids):
        return names.tolist(), vectors[np.argsort(number)]
    sums = np.zeros((len(names), space.settings.dim), np.float32)
    np.add.at(sums, number, vectors)
    return names.tolist(), unit(sums)


def _together(parts: Iterator[Pairs], least: int) -> Iterator[Pairs]:
    """The same pairs in fewer parts, of `least` or more: taking one in looks at all records."""
    held: list[Pairs] = []
    n_held = 0
    for part in parts:
        if not len(part[0]):
            continue
        held.append(part)
        n_held += len(part[0])
        if n_held >= least:
            yield _joined(held)
            held, n_held = [], 0
    if held:
        yield _joined(held)


def _joined(parts: Sequence[Pairs]) -> Pairs:
    first, second, scores = map(np.concatenate, zip(*parts, strict=True))
    return first, second, scores


def _by_blocks(vectors: Vectors, threshold: float) -> Iterator[Pairs]:
    for start in range(0, len(vectors), BLOCK):
        mine = vectors[start : start + BLOCK]
        for other in range(start, len(vectors), BLOCK):
            scores = mine @ vectors[other : other + BLOCK].T
            one, two = np.nonzero(scores >= threshold - ROUNDING)
            keep = one + start < two + other
            one, two = one[keep], two[keep]
            yield one + start, two + other, scores[one, two]


def _by_index(
    space: Space, ids: Sequence[str], vectors: Vectors, threshold: float
) -> Iterator[Pairs]:
    """Neighbours of each record among the rows; what counts is the cosine of the records.

    Equal vectors are asked for once.
    """
    number = {id_: place for place, id_ in enumerate(ids)}
    kinds = np.ascontiguousarray(vectors).view(
        np.dtype((np.void, vectors.itemsize * space.settings.dim))
    )
    _, first, of = np.unique(kinds.ravel(), return_index=True, return_inverse=True)
    twins = np.flatnonzero(first[of] != np.arange(len(ids)))
    yield first[of][twins], twins, np.ones(len(twins), np.float32)
    for place in first.tolist():
        limit = NEIGHBOURS
        while True:
            hits = space.nearest(vectors[place], limit, columns=(), chunks=True)
            if len(hits) < limit or hits[-1].score < threshold:
                break
            limit *= 4
        others = np.array(sorted({number[hit.record_id] for hit in hits} - {place}), np.int64)
        scores = vectors[others] @ vectors[place]
        keep = scores >= threshold - ROUNDING
        yield np.full(int(keep.sum()), place), others[keep], scores[keep]


def _groups(
    ids: Sequence[str], labels: npt.NDArray[np.int64], lowest: npt.NDArray[np.float32]
) -> list[Group]:
    members: dict[int, list[int]] = {}
    for place in np.flatnonzero(np.bincount(labels)[labels] > 1).tolist():
        members.setdefault(int(labels[place]), []).append(place)
    groups = [
        Group(sorted(ids[place] for place in own), min(1.0, float(lowest[own].min())))
        for own in members.values()
    ]
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids[0]))
