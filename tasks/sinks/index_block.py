"""The next version of an index and of the rows beside it, while rows come and go.

Rows get labels as they come. What an index does not give back bit for bit, because it is coarser
or holds what is not of unit length in unit length, is kept beside it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sinks import exact
from tasks.sinks.base import VECTOR, Element, Metric, Shape
from tasks.sinks.block import Block, Files, Told
from tasks.sinks.folder import Draft, Version, prove

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
        has_cosine: Whether it knows cosines; else they are products of vectors of unit length.
        kind: By what the library makes it again.
    """

    lossless: bool
    has_cosine: bool
    kind: str

    def get(self, labels: Labels) -> exact.Vectors:
        """Vectors of rows that are there."""

    def changed(self, gone: Labels, labels: Labels, new: Parts, whole: Whole) -> "Index":
        """One without the rows `gone` and with new ones; this one may not be used any more."""

    def save(self, draft: Draft, folder: str) -> None:
        """Writes its files into a folder of a draft, which is not there yet."""

    def search(self, queries: exact.Vectors, k: int) -> tuple[Labels, Scores]:
        """Labels and scores (n, k), the best first; a label of -1 is none."""


class IndexBlock(Block):
    """A Writer into a draft and an index; stored rows have labels, and vectors where they must."""

    def __init__(
        self,
        files: Files,
        old: Version | None,
        draft: Draft,
        shape: Shape,
        index: Index,
        *,
        part_rows: int,
        told: Told,
    ) -> None:
        """`index` is that of the version before, or one without rows."""
        super().__init__(files, old, draft, shape, part_rows=part_rows, told=told)
        self._index = index
        self._first = self._next = int(old.manifest.settings[NEXT]) if old else 0
        self._new: dict[int, exact.Vectors] = {}
        self._gone: list[Labels] = [np.empty(0, np.int64)]

    def settle(self) -> dict[str, str]:
        """Writes the index, too."""
        if self._old is not None and not self.is_touched:
            self.draft.keep(self._old.path, self._old.manifest.files)
            return self._old.manifest.settings
        super().settle()
        gone = np.concatenate(self._gone)
        labels, new = self._came(gone)
        index = self._index.changed(gone[gone < self._first], labels, new, self._whole)
        name = f"{INDEX}-{self.draft.token}"
        index.save(self.draft, name)
        return {INDEX: name, KIND: index.kind, NEXT: str(self._next)}

    def _put(self, rows: pa.Table) -> None:
        put, own = placed(exact.to_array(rows[VECTOR]), self._shape, self._index)
        with self._mutex:
            first = self._next
            self._next += len(rows)
        super()._put(_to_stored(rows, self._shape, first, own))
        with self._mutex:
            self._new[first] = put

    def _lose(self, rows: pa.Table) -> None:
        with self._mutex:
            self._gone.append(rows[LABEL].to_numpy())

    def _came(self, gone: Labels) -> tuple[Labels, list[exact.Vectors]]:
        """Labels and vectors of rows that came and stay."""
        labels, new = [np.empty(0, np.int64)], []
        for first in sorted(self._new):
            vectors = self._new[first]
            own = np.arange(first, first + len(vectors))
            stays = ~np.isin(own, gone)
            labels.append(own[stays])
            new.append(vectors if stays.all() else vectors[stays])
        return np.concatenate(labels), new

    def _whole(self) -> tuple[Labels, exact.Vectors]:
        """All rows of the draft, as the index has them."""
        if self._old is not None:
            kept = {*self.draft.files}
            prove(self._old.path, [one for one in self._old.manifest.files if one in kept])
        tables = [
            self._files.read(part, self._shape).select([LABEL, OWN]) for part in self.draft.parts
        ]
        labels = np.concatenate([np.empty(0, np.int64), *(one[LABEL] for one in tables)])
        order = np.argsort(labels)
        n_old = int((labels < self._first).sum())
        _, new = self._came(np.concatenate(self._gone))
        made = np.concatenate([no_vectors(self._shape, n_old), *new])
        if self._index.lossless and n_old:
            made[:n_old] = self._index.get(labels[order[:n_old]])
        elif n_old:
            own = pa.concat_tables(tables)[OWN].take(pa.array(order[:n_old])).combine_chunks()
            flat = own.flatten().to_numpy(zero_copy_only=False)
            made[:n_old], _ = placed(flat.reshape(n_old, -1), self._shape, self._index)
        return labels[order], made


def placed(
    given: exact.Vectors, shape: Shape, index: Index
) -> tuple[exact.Vectors, npt.NDArray[np.bool_]]:
    """Vectors as an index has them, and which of the given ones are to be kept beside."""
    own = np.full(len(given), not index.lossless)
    if index.has_cosine or shape.metric is not Metric.COSINE or shape.element is Element.BINARY:
        return given, own
    wide = given.astype(np.float32, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    other = (np.abs(norms - 1) > UNIT) & (norms > 0)
    if not other.any():
        return given, own
    unit = given / np.where(other, norms, 1)[:, None]
    return np.where(other[:, None], unit.astype(given.dtype), given), own | other


def stored_schema(shape: Shape) -> pa.Schema:
    """Of what is beside an index."""
    vector = shape.row_schema.field(VECTOR)
    fields = [one for one in shape.row_schema if one.name != VECTOR]
    own = pa.field(OWN, pa.list_(vector.type.value_type))
    return pa.schema([*fields[:2], pa.field(LABEL, pa.int64(), nullable=False), *fields[2:], own])


def no_vectors(shape: Shape, n: int = 0) -> exact.Vectors:
    """Room for vectors."""
    kind = shape.row_schema.field(VECTOR).type
    made: exact.Vectors = np.empty((n, kind.list_size), kind.value_type.to_pandas_dtype())
    return made


def _to_stored(rows: pa.Table, shape: Shape, label: int, own: npt.NDArray[np.bool_]) -> pa.Table:
    schema = stored_schema(shape)
    given = exact.to_array(rows[VECTOR])
    ends = pa.array(np.concatenate([[0], np.cumsum(own)]) * given.shape[1], pa.int32())
    kept = pa.ListArray.from_arrays(
        ends, pa.array(given[own].reshape(-1)), type=schema.field(OWN).type, mask=pa.array(~own)
    )
    held: dict[str, Any] = {name: rows[name] for name in schema.names if name in rows.column_names}
    held |= {LABEL: np.arange(label, label + len(rows)), OWN: kept}
    return pa.table({name: held[name] for name in schema.names}, schema=schema)
