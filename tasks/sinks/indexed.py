"""Sinks for libraries of indexes: an index beside Parquet files of its rows, joined by a label.

    rows/rows-N-<token>.parquet   id, _hash, _label, metadata, perhaps _vector
    index-<token>/                the library's own files

A label is a number that no other row of the collection ever has. What an index does not give back
bit for bit is kept in `_vector`; else that is null.
"""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sinks import exact
from tasks.sinks.base import FULL, ID, VECTOR, Near, Queries, Shape
from tasks.sinks.block import Block
from tasks.sinks.folder import Draft, Part, Version, prove
from tasks.sinks.index_block import (
    INDEX,
    KIND,
    LABEL,
    OWN,
    Index,
    IndexBlock,
    Labels,
    no_vectors,
    placed,
    stored_schema,
)
from tasks.sinks.parted import PartedSink, Places, read_parquet, to_parquet


class IndexedSink(PartedSink):
    """Left to a subclass is how an index is made and read."""

    def __init__(self, *, use: str, path: str, link: str, part_rows: int) -> None:
        """As for all sinks with parts."""
        super().__init__(use=use, path=path, link=link, part_rows=part_rows)
        self._mutex = threading.Lock()
        self._cached: tuple[Path, Index] | None = None

    def close(self) -> None:
        """Forgets the index."""
        self._cached = None

    def write(self, draft: Draft, number: int, rows: pa.Table) -> None:
        """One file, of rows as they are stored."""
        name = f"rows/rows-{number:07}-{draft.token}.parquet"
        draft.write(name, [to_parquet(rows, (FULL, OWN))], len(rows), number)

    def read(self, part: Part, shape: Shape) -> pa.Table:
        """By the file."""
        (file,) = part.files
        schema = stored_schema(shape)
        return read_parquet(part.folder / file.path, schema.names).cast(schema)

    def _empty(self, shape: Shape) -> Index:
        """An index without rows, as the constructor's arguments have it."""
        raise NotImplementedError

    def _load(self, folder: Path, shape: Shape, kind: str) -> Index:
        """An index of a version; `kind` is what it had."""
        raise NotImplementedError

    def _rows(self, version: Version, part: Part, shape: Shape, places: Places) -> pa.Table:
        rows, schema = self.read(part, shape).take(pa.array(places)), shape.row_schema
        flat = pa.array(self._whole(version, shape, rows).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, type=schema.field(VECTOR).type)
        held = {name: column if name == VECTOR else rows[name] for name in schema.names}
        return pa.table(held, schema=schema)

    def _whole(self, version: Version, shape: Shape, rows: pa.Table) -> exact.Vectors:
        """Vectors of stored rows."""
        own = rows[OWN].combine_chunks()
        is_own = own.is_valid().to_numpy(zero_copy_only=False)
        made = no_vectors(shape, len(rows))
        if is_own.any():
            flat = own.flatten().to_numpy(zero_copy_only=False)
            made[is_own] = flat.reshape(-1, made.shape[1])
        if not is_own.all():
            labels = rows[LABEL].to_numpy()[~is_own]
            made[~is_own] = self._index(version, shape).get(labels)
        return made

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

    def _block(self, old: Version | None, draft: Draft, shape: Shape) -> Block:
        part_rows, told = self._part_rows, self._folder.told
        if old is None:
            index = self._empty(shape)
        else:
            with told("reading an index"):
                prove(old.path, [one for one in old.manifest.files if one.part is None])
            index = self._fresh(old, shape)
        return IndexBlock(self, old, draft, shape, index, part_rows=part_rows, told=told)

    def _nearest(
        self, version: Version, shape: Shape, queries: Queries, k: int
    ) -> list[list[Near]]:
        wanted = min(k, version.manifest.rows)
        if not wanted or not len(queries):
            return [[] for _ in queries]
        # Without a look beside: a query is of unit length or an index that has no cosine.
        unit, _ = placed(np.asarray(queries), shape, self._index(version, shape))
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
        for part in version.parts:
            (file,) = part.files
            with self._folder.told(f"reading {file.path}"):
                rows = read_parquet(part.folder / file.path, [ID, LABEL])
            rows = rows.filter(pc.is_in(rows[LABEL], wanted))
            found |= zip(rows[LABEL].to_pylist(), rows[ID].to_pylist(), strict=True)
        return found
