"""Sinks that keep rows in parts: buckets of ids, each in files of its own.

A publication writes the parts anew in which a row changes, and takes over the others.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import ConfigError
from tasks.sinks import exact
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Element,
    Held,
    Limits,
    Mode,
    Near,
    Originals,
    Queries,
    Shape,
    Writer,
)
from tasks.sinks.changes import Change, Changes, buckets_of
from tasks.sinks.folder import Draft, Folder, Version

MOST_PARTS = 4096
WRITERS = 4
CANDIDATES = 4  # times k, where the original decides
HELD_ROWS = 65_536
LIMITS = Limits(batch_rows=65_536, batch_bytes=64 * 2**20, elements=frozenset(Element))


class PartedSink:
    """A Sink over a Folder; what is left to a subclass is how a part's files are made and read."""

    modes: tuple[Mode, ...] = (Mode.ATOMIC, Mode.SWITCH)
    limits = LIMITS

    def __init__(self, *, use: str, path: str, link: str, parts: int) -> None:
        """`link` is the name in the folder that readers look under."""
        if not 1 <= parts <= MOST_PARTS:
            raise ConfigError(f"parts = {parts}: must be 1 to {MOST_PARTS}")
        self._folder = Folder(path, link, use)
        self._parts = parts

    def _write(self, draft: Draft, bucket: int, rows: pa.Table) -> None:
        """Writes the files of a part, which has at least one row."""
        raise NotImplementedError

    def _read(self, version: Version, shape: Shape, bucket: int, columns: list[str]) -> pa.Table:
        """These columns of a part's rows; none where there is no part."""
        raise NotImplementedError

    def connect(self) -> None:
        """Makes the folder."""
        self._folder.connect()

    def close(self) -> None:
        """Nothing is open."""

    def collections(self) -> dict[str, str]:
        """By their manifests."""
        return {name: self._folder.open(name).manifest.stamp for name in self._folder.names()}

    def create(self, name: str, shape: Shape) -> None:
        """An empty version."""
        folder = self._folder
        with folder.locked(), folder.drafting(name) as draft, folder.told("making a collection"):
            settings = self._change(None, draft, shape, self._changes(draft, shape))
            self._folder.publish(
                name,
                draft,
                shape,
                stamp="",
                parts=self._parts,
                settings=settings,
                keep=False,
            )

    def stamp(self, name: str, text: str) -> None:
        """In the manifest."""
        self._folder.stamp(name, text)

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """The next version; other writers wait as long."""
        with self._folder.locked():
            old = self._folder.checked(name, shape)
            self._folder.clean(name)
            with self._folder.drafting(name) as draft, self._changes(draft, shape, old) as changes:
                yield changes
                with self._folder.told("writing"):
                    settings = self._change(old, draft, shape, changes)
                    rows = {file.part: file.rows for file in draft.files if file.part is not None}
                    self._folder.publish(
                        name,
                        draft,
                        shape,
                        stamp=stamp,
                        parts=old.manifest.parts,
                        rows=sum(rows.values()),
                        settings=settings,
                    )

    def finish(self, name: str, shape: Shape) -> None:
        """Nothing: all is there."""

    def count(self, name: str) -> int:
        """By the manifest, whose files are there."""
        return self._folder.open(name).manifest.rows

    def held(self, name: str) -> Iterator[list[Held]]:
        """By the parts' Parquet files."""
        version = self._folder.open(name)
        for file in version.manifest.files:
            if file.part is None or not file.path.endswith(".parquet"):
                continue
            with self._folder.told(f"reading {file.path}"):
                batches = pq.ParquetFile(version.path / file.path).iter_batches(
                    HELD_ROWS, columns=[ID, HASH]
                )
                for batch in batches:
                    pairs = zip(batch[ID].to_pylist(), batch[HASH].to_pylist(), strict=True)
                    yield [Held(id_, hash_) for id_, hash_ in pairs]

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By the buckets of the ids."""
        version = self._folder.checked(name, shape)
        found = [shape.row_schema.empty_table()]
        for bucket in np.unique(buckets_of(ids, version.manifest.parts)).tolist():
            with self._folder.told(f"reading part {bucket}"):
                rows = self._read(version, shape, bucket, shape.row_schema.names)
                found.append(rows.filter(pc.is_in(rows[ID], pa.array(ids, pa.string()))))
        return pa.concat_tables(found).combine_chunks()

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """By all rows' vectors, unless a subclass knows better; then by the originals."""
        version = self._folder.checked(name, shape)
        decides = bool(shape.full_dim) and originals is not None
        found = self._nearest(version, shape, queries, k * CANDIDATES if decides else k)
        if originals is None or not decides:
            return found
        rows = self.fetch(name, shape, sorted({one.id for part in found for one in part}))
        return exact.reordered(found, originals, rows, FULL, shape.metric, k)

    def drop(self, name: str) -> None:
        """With all versions."""
        self._folder.drop(name)

    def serving(self) -> str | None:
        """By the link."""
        return self._folder.serving()

    def serve(self, name: str) -> None:
        """By the link."""
        self._folder.serve(name)

    def _nearest(
        self, version: Version, shape: Shape, queries: Queries, k: int
    ) -> list[list[Near]]:
        found: list[list[Near]] = [[] for _ in queries]
        for bucket in sorted({one.part for one in version.manifest.files if one.part is not None}):
            with self._folder.told(f"reading part {bucket}"):
                rows = self._read(version, shape, bucket, [ID, VECTOR])
            by = exact.scores(queries, vectors(rows), shape.metric, shape.element)
            more = exact.best(rows[ID].to_pylist(), by, k)
            found = [exact.top([*a, *b], k) for a, b in zip(found, more, strict=True)]
        return found

    def _changes(self, draft: Draft, shape: Shape, old: Version | None = None) -> Changes:
        return Changes(
            draft.path / "aside",
            shape.row_schema,
            old.manifest.parts if old else self._parts,
            self._folder.told,
        )

    def _change(
        self, old: Version | None, draft: Draft, shape: Shape, changes: Changes
    ) -> dict[str, str]:
        """Writes the parts of the next version; gives what the manifest keeps for the sink."""
        if old is not None:
            touched = set(changes.touched())
            draft.keep(old, (one for one in old.manifest.files if one.part not in touched))

            def rewrite(bucket: int) -> None:
                before = self._read(old, shape, bucket, shape.row_schema.names)
                rows = merged(before, changes.of(bucket))
                if len(rows):
                    self._write(draft, bucket, rows)

            in_turn(partial(rewrite, bucket) for bucket in changes.touched())
        return {}


def in_turn(calls: Iterable[Callable[[], None]]) -> None:
    """Makes calls on a few threads, without asking for many more before the first have ended."""
    with ThreadPoolExecutor(WRITERS) as pool:
        waiting: deque[Future[None]] = deque()
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > WRITERS:
                waiting.popleft().result()
        for one in waiting:
            one.result()


def merged(before: pa.Table, change: Change) -> pa.Table:
    """The rows of a part after a change of its bucket."""
    if not len(before):
        return change.rows
    kept = before.filter(pc.invert(pc.is_in(before[ID], change.touched)))
    return pa.concat_tables([kept, change.rows]).combine_chunks()


def vectors(rows: pa.Table, column: str = VECTOR) -> exact.Vectors:
    """A column of vectors, without a copy where it has one chunk."""
    held = rows[column].combine_chunks()
    flat = held.flatten().to_numpy(zero_copy_only=False)
    array: exact.Vectors = flat.reshape(len(rows), held.type.list_size)
    return array


def to_parquet(rows: pa.Table, plain: Sequence[str] = ()) -> pa.Buffer:
    """A Parquet file of rows; columns of floats, which do not get smaller, are named in `plain`."""
    packed = [name for name in rows.column_names if name not in plain]
    buffer = pa.BufferOutputStream()
    leaves = [rows.schema.field(name) for name in packed]
    names = [
        f"{one.name}.list.element" if pa.types.is_list(one.type) else one.name for one in leaves
    ]
    pq.write_table(
        rows,
        buffer,
        compression={name: "zstd" for name in names} or "none",
        use_dictionary=names,
        write_statistics=names,
    )
    return buffer.getvalue()


def read_parquet(path: Path, columns: list[str]) -> pa.Table:
    """These columns of a file."""
    return pq.ParquetFile(path).read(columns=columns, use_threads=False)
