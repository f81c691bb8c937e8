"""What differs between two versions of a space: their records, and who is near whom."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.digests import Digests
from tasks.encoders.base import Vectors
from tasks.space import Space
from tasks.store.diff import Indices, find
from tasks.store.rows import to_matrix, unit
from tasks.store.table import BaseRows, Table

NEAREST = 10
QUERIES = 500
"""Records whose neighbours are compared: a share is known within four percent points."""
BATCH_ROWS = 8192
DECIMALS = 6  # below them cosines of float32 vectors are noise, and ties go by the record

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids of records, sorted, by what became of them from one version to the other.

    `changed` ones have another content, or one that is chunked in another way; `metadata_changed`
    ones only other metadata, or come from another file. `neighbour_overlap` is the mean share of
    nearest neighbours that a common record has in both versions, of `neighbours` each, for so many
    `queries`; None where there are not two common records.
    """

    added: list[str]
    changed: list[str]
    metadata_changed: list[str]
    removed: list[str]
    common: int
    neighbour_overlap: float | None
    neighbours: int
    queries: int


def changes(before: Space, after: Space) -> Changes:
    """Compares by id, content and metadata; vectors are streamed, never held."""
    old, new = _Records(before), _Records(after)
    in_old = find(new.rows.record_ids[new.first], old.rows.record_ids[old.first])
    in_new = find(old.rows.record_ids[old.first], new.rows.record_ids[new.first])
    common = np.flatnonzero(in_old >= 0)
    ours, theirs = new.first[common], old.first[in_old[common]]
    content = _differ(new.rows.contents[ours], old.rows.contents[theirs])
    metadata = _differ(new.rows.metadata[ours], old.rows.metadata[theirs])
    k = min(NEAREST, len(common) - 1)
    queries = np.random.default_rng(0).permutation(len(common))[:QUERIES] if k > 0 else common[:0]
    overlap = None
    if len(queries):
        near = [side.nearest(rows, queries, k) for side, rows in ((old, theirs), (new, ours))]
        shared = [len(np.intersect1d(*pair)) for pair in zip(*near, strict=True)]
        overlap = float(np.mean(shared) / k)
    return Changes(
        added=new.names(new.first[in_old < 0]),
        changed=new.names(ours[content]),
        metadata_changed=new.names(ours[metadata & ~content]),
        removed=old.names(old.first[in_new < 0]),
        common=len(common),
        neighbour_overlap=overlap,
        neighbours=max(k, 0),
        queries=len(queries),
    )


class _Records:
    """The rows of one version; `first` are those that stand for their records."""

    def __init__(self, space: Space) -> None:
        self._space = space
        table = Table(space.store_uri, space.entry.table)
        self.rows: BaseRows = table.base(space.entry.lance_version)
        self.first: Indices = np.flatnonzero(self.rows.chunks == 0)

    def names(self, rows: Indices) -> list[str]:
        """Ids of the records of these rows, sorted."""
        wanted = np.zeros(len(self.rows.chunks), np.bool_)
        wanted[rows] = True
        if not len(rows):
            return []
        found, start = [], 0
        for batch in self._space.dataset.to_batches(columns=["record_id"]):
            part = wanted[start : start + batch.num_rows]
            found += batch["record_id"].filter(part).to_pylist()
            start += batch.num_rows
        return sorted(found)

    def nearest(self, first: Indices, queries: Indices, k: int) -> Indices:
        """The k nearest of these records to some of them, by number among them: (queries, k).

        By exact cosine: of the mean vector of a query's rows, with the best row of another record.
        """
        number = find(self.rows.record_ids, self.rows.record_ids[first])
        asked = self._mean_vectors(number, queries)
        best = np.full((len(queries), k), -np.inf, np.float32)
        who = np.full((len(queries), k), -1, np.int64)
        for rows, vectors in self._unit_vectors(number):
            records, starts = np.unique(rows, return_index=True)
            scores = np.maximum.reduceat(asked @ vectors.T, starts, axis=1).round(DECIMALS)
            scores[records == queries[:, None]] = -np.inf  # itself
            best, who = merge(best, who, scores, records, k)
        return who

    def _mean_vectors(self, number: Indices, queries: Indices) -> Vectors:
        place = np.full(number.max() + 1, -1, np.int64)
        place[queries] = np.arange(len(queries))
        total = np.zeros((len(queries), self._space.settings.dim), np.float32)
        for rows, vectors in self._unit_vectors(np.where(number >= 0, place[number], -1)):
            np.add.at(total, rows, vectors)
        return unit(total)

    def _unit_vectors(self, number: Indices) -> Iterator[tuple[Indices, Vectors]]:
        """Numbers and vectors of the rows that have a number, in batches, ascending in each."""
        start = 0
        for batch in self._space.dataset.to_batches(columns=["vector"], batch_size=BATCH_ROWS):
            own = number[start : start + batch.num_rows]
            start += batch.num_rows
            order = np.argsort(own, kind="stable")
            order = order[own[order] >= 0]
            if len(order):
                yield own[order], unit(to_matrix(batch["vector"])[order])


def merge(
    best: Scores, who: Indices, scores: Scores, records: Indices, k: int
) -> tuple[Scores, Indices]:
    """The k best of both, best first, ties by the record; a record counts once, at its best."""
    near = (scores >= best[:, -1:]).any(axis=0)  # all others are out of reach by now
    scores, records = scores[:, near], records[near]
    if scores.shape[1] > k:
        # Of those that tie with the last one the lowest records must be among the k.
        last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        rank = np.where(scores > last, 0, np.where(scores == last, 1, 2)).astype(np.int8)
        chosen = np.argsort(rank, axis=1, kind="stable")[:, :k]
        scores, own = np.take_along_axis(scores, chosen, axis=1), records[chosen]
    else:
        own = np.broadcast_to(records, scores.shape)
    scores, own = np.hstack([best, scores]), np.hstack([who, own])
    order = np.lexsort((own, -scores), axis=1)
    scores, own = np.take_along_axis(scores, order, 1), np.take_along_axis(own, order, 1)
    again = _seen_before(own)
    scores[again] = -np.inf
    order = np.argsort(again, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(own, order, 1)


def _seen_before(rows: Indices) -> npt.NDArray[np.bool_]:
    """Whether a value stands further left in its row."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, 1)
    again = np.zeros(rows.shape, np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    seen = np.empty_like(again)
    np.put_along_axis(seen, order, again, 1)
    return seen


def _differ(one: Digests, other: Digests) -> npt.NDArray[np.bool_]:
    differ: npt.NDArray[np.bool_] = (one != other).any(axis=1)
    return differ
