"""Sinks for libraries of indexes: an index beside Parquet files of its rows, joined by a label.

    rows/rows-N-<token>.parquet   id, _hash, _label, metadata, perhaps _vector
    index-<token>/                the library's own files

A label is a number that no other row of the collection ever has. What an index does not give back
bit for bit, because it is coarser or holds what is not of unit length in unit length, is kept in
`_vector`; else that is null.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sinks import exact
from tasks.sinks.base import FULL, ID, VECTOR, Element, Metric, Near, Queries, Shape
from tasks.sinks.changes import Changes
from tasks.sinks.folder import Draft, Version
from tasks.sinks.parted import PartedSink, in_turn, read_parquet, to_parquet, vectors

LABEL = "_label"
OWN = "_vector"
INDEX = "index"
NEXT = "next_label"
KIND = "kind"
UNIT = 1e-5  # farther from unit length than rounding to float32 brings a vector

Labels: TypeAlias = npt.NDArray[np.int64]
"""Shape (n,): of row i."""
Parts: TypeAlias = Sequence[exact.Vectors]
"""Vectors in the order of their labels, in parts."""
Scores: TypeAlias = npt.NDArray[Any]
Whole: TypeAlias = Callable[[], tuple[Labels, exact.Vectors]]
"""Gives all rows that an index is to have, ordered by label."""


class Index(Protocol):
    """An index of a library, in memory.

    Attributes:
        lossless: Whether `get` gives back what was put, bit for bit.
        kind: By what the library makes it again.
    """

    lossless: bool
    kind: str

    def get(self, labels: Labels) -> exact.Vectors:
        """Vectors of rows that are there."""

    def changed(self, gone: Labels, labels: Labels, new: Parts, whole: Whole) -> "Index":
        """One without the rows `gone` and with new ones; this one may not be used any more."""

    def save(self, folder: Path) -> None:
        """Writes its files into an empty folder."""

    def search(self, queries: exact.Vectors, k: int) -> tuple[Labels, Scores]:
        """Labels and scores (n, k), the best first; a label of -1 is none."""


class IndexedSink(PartedSink):
    """Left to a subclass is how an index is made and read."""

    has_cosine = False  # else cosines are products of vectors of unit length

    def __init__(self, *, use: str, path: str, link: str, parts: int) -> None:
        """As for all sinks with parts."""
        super().__init__(use=use, path=path, link=link, parts=parts)
        self._mutex = threading.Lock()
        self._cached: tuple[Path, Index] | None = None

    def close(self) -> None:
        """Forgets the index."""
        self._cached = None

    def _empty(self, shape: Shape) -> Index:
        """An index without rows, as the constructor's arguments have it."""
        raise NotImplementedError

    def _load(self, folder: Path, shape: Shape, kind: str) -> Index:
        """An index of a version; `kind` is what it had."""
        raise NotImplementedError

    def _write(self, draft: Draft, bucket: int, rows: pa.Table) -> None:
        name = f"rows/rows-{bucket:05}-{draft.token}.parquet"
        draft.write(name, [to_parquet(rows, (FULL, OWN))], len(rows), bucket)

    def _read(self, version: Version, shape: Shape, bucket: int, columns: list[str]) -> pa.Table:
        rows = self._stored(version, shape, bucket)
        schema = pa.schema([shape.row_schema.field(name) for name in columns])
        held = {name: rows[name] for name in columns if name != VECTOR}
        if VECTOR in columns:
            flat = pa.array(self._vectors(version, shape, rows).reshape(-1))
            held[VECTOR] = pa.FixedSizeListArray.from_arrays(flat, type=schema.field(VECTOR).type)
        return pa.table({name: held[name] for name in columns}, schema=schema)

    def _vectors(self, version: Version, shape: Shape, rows: pa.Table) -> exact.Vectors:
        own = rows[OWN].combine_chunks()
        is_own = own.is_valid().to_numpy(zero_copy_only=False)
        made = _none(shape, len(rows))
        if is_own.any():
            flat = own.flatten().to_numpy(zero_copy_only=False)
            made[is_own] = flat.reshape(-1, made.shape[1])
        if not is_own.all():
            labels = rows[LABEL].to_numpy()[~is_own]
            made[~is_own] = self._index(version, shape).get(labels)
        return made

    def _stored(self, version: Version, shape: Shape, bucket: int) -> pa.Table:
        schema = _stored_schema(shape)
        files = version.part(bucket)
        parts = [read_parquet(version.path / one.path, schema.names).cast(schema) for one in files]
        return pa.concat_tables([schema.empty_table(), *parts])

    def _index(self, version: Version, shape: Shape) -> Index:
        """That of a version, kept in memory until one of another version is asked for."""
        with self._mutex:
            if self._cached is None or self._cached[0] != version.path:
                self._cached = (version.path, self._fresh(version, shape))
            return self._cached[1]

    def _fresh(self, version: Version, shape: Shape) -> Index:
        settings = version.manifest.settings
        with self._folder.told("reading an index"):
            return self._load(version.path / settings[INDEX], shape, settings[KIND])

    def _change(
        self, old: Version | None, draft: Draft, shape: Shape, changes: Changes
    ) -> dict[str, str]:
        touched = set(changes.touched())
        if old is not None and not touched:
            draft.keep(old, old.manifest.files)
            return old.manifest.settings
        index = self._fresh(old, shape) if old else self._empty(shape)
        first = int(old.manifest.settings[NEXT]) if old else 0
        gone: list[Labels] = [np.empty(0, np.int64)]
        new: list[exact.Vectors] = []
        if old is not None:
            files = (one for one in old.manifest.files if one.part is not None)
            draft.keep(old, (one for one in files if one.part not in touched))

            def rewrite() -> Iterator[Callable[[], None]]:
                label = first
                for bucket in changes.touched():
                    change = changes.of(bucket)
                    before = self._stored(old, shape, bucket)
                    goes = pc.is_in(before[ID], change.touched)
                    gone.append(before[LABEL].filter(goes).to_numpy())
                    put, own = self._put(vectors(change.rows), shape, index)
                    new.append(put)
                    stays = before.filter(pc.invert(goes))
                    rows = pa.concat_tables([stays, _to_stored(change.rows, shape, label, own)])
                    label += len(change.rows)
                    if len(rows):
                        yield partial(self._write, draft, bucket, rows)

            in_turn(rewrite())
        labels = np.arange(first, first + sum(map(len, new)))
        whole = self._whole(draft, shape, index, first, new)
        index = index.changed(np.concatenate(gone), labels, new, whole)
        name = f"{INDEX}-{draft.token}"
        (draft.path / name).mkdir()
        index.save(draft.path / name)
        draft.adopt(name)
        return {INDEX: name, KIND: index.kind, NEXT: str(first + len(labels))}

    def _whole(self, draft: Draft, shape: Shape, index: Index, first: int, new: Parts) -> Whole:
        """All rows of a draft's parts as an index has them; from label `first` on they are new."""

        def whole() -> tuple[Labels, exact.Vectors]:
            files = [draft.path / one.path for one in draft.files if one.part is not None]
            tables = [read_parquet(file, [LABEL, OWN]) for file in files]
            labels = np.concatenate([np.empty(0, np.int64), *(one[LABEL] for one in tables)])
            order = np.argsort(labels)
            n_old = int((labels < first).sum())
            made = np.concatenate([_none(shape, n_old), *new])
            if index.lossless and n_old:
                made[:n_old] = index.get(labels[order[:n_old]])
            elif n_old:
                own = pa.concat_tables(tables)[OWN].take(pa.array(order[:n_old])).combine_chunks()
                flat = own.flatten().to_numpy(zero_copy_only=False)
                made[:n_old], _ = self._put(flat.reshape(n_old, -1), shape, index)
            return labels[order], made

        return whole

    def _put(
        self, given: exact.Vectors, shape: Shape, index: Index
    ) -> tuple[exact.Vectors, npt.NDArray[np.bool_]]:
        """Vectors as an index has them, and which of the given ones are to be kept beside."""
        own = np.full(len(given), not index.lossless)
        if self.has_cosine or shape.metric is not Metric.COSINE or shape.element is Element.BINARY:
            return given, own
        wide = given.astype(np.float32, copy=False)
        norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        other = (np.abs(norms - 1) > UNIT) & (norms > 0)
        if not other.any():
            return given, own
        unit = given / np.where(other, norms, 1)[:, None]
        return np.where(other[:, None], unit.astype(given.dtype), given), own | other

    def _nearest(
        self, version: Version, shape: Shape, queries: Queries, k: int
    ) -> list[list[Near]]:
        wanted = min(k, version.manifest.rows)
        if not wanted or not len(queries):
            return [[] for _ in queries]
        # Without a look beside: a query is of unit length or an index that has no cosine.
        unit, _ = self._put(np.asarray(queries), shape, self._index(version, shape))
        with self._folder.told("searching"):
            labels, scores = self._index(version, shape).search(unit, wanted)
        ids = self._ids(version, np.unique(labels))
        return [
            [
                Near(ids[label], score)
                for label, score in zip(found.tolist(), by.tolist(), strict=True)
                if label >= 0
            ]
            for found, by in zip(labels, scores, strict=True)
        ]

    def _ids(self, version: Version, labels: Labels) -> dict[int, str]:
        wanted = pa.array(labels, pa.int64())
        found: dict[int, str] = {}
        for file in version.manifest.files:
            if file.part is not None:
                with self._folder.told(f"reading {file.path}"):
                    rows = read_parquet(version.path / file.path, [ID, LABEL])
                rows = rows.filter(pc.is_in(rows[LABEL], wanted))
                found |= zip(rows[LABEL].to_pylist(), rows[ID].to_pylist(), strict=True)
        return found


def starts(parts: Parts) -> Iterator[tuple[int, exact.Vectors]]:
    """Parts, each with the number of rows before it."""
    start = 0
    for part in parts:
        yield start, part
        start += len(part)


def _to_stored(rows: pa.Table, shape: Shape, label: int, own: npt.NDArray[np.bool_]) -> pa.Table:
    schema = _stored_schema(shape)
    given = vectors(rows)
    ends = pa.array(np.concatenate([[0], np.cumsum(own)]) * given.shape[1], pa.int32())
    kept = pa.ListArray.from_arrays(
        ends, pa.array(given[own].reshape(-1)), type=schema.field(OWN).type, mask=pa.array(~own)
    )
    held: dict[str, Any] = {name: rows[name] for name in schema.names if name in rows.column_names}
    held |= {LABEL: np.arange(label, label + len(rows)), OWN: kept}
    return pa.table({name: held[name] for name in schema.names}, schema=schema)


def _stored_schema(shape: Shape) -> pa.Schema:
    """Of what is beside an index."""
    vector = shape.row_schema.field(VECTOR)
    fields = [one for one in shape.row_schema if one.name != VECTOR]
    own = pa.field(OWN, pa.list_(vector.type.value_type))
    return pa.schema([*fields[:2], pa.field(LABEL, pa.int64(), nullable=False), *fields[2:], own])


def _none(shape: Shape, n: int = 0) -> exact.Vectors:
    """Room for vectors."""
    kind = shape.row_schema.field(VECTOR).type
    made: exact.Vectors = np.empty((n, kind.list_size), kind.value_type.to_pandas_dtype())
    return made
