"""Sinks that keep rows in parts, each in files of its own.

A publication adds parts, writes those anew that lose a row, and takes over the others.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
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
from tasks.sinks.block import PART_BYTES, WRITERS, Block
from tasks.sinks.folder import Draft, Folder, Part, Version

Places: TypeAlias = npt.NDArray[np.int64]
"""Shape (n,): of rows in a part, ascending."""

CANDIDATES = 4  # times k, where the original decides
HELD_ROWS = 65_536
PART_ROWS = 16_384
LIMITS = Limits(PART_ROWS, PART_BYTES, concurrency=WRITERS, elements=frozenset(Element))


class PartedSink:
    """A Sink over a Folder; what is left to a subclass is how a part's files are made and read."""

    place: ClassVar[tuple[str, ...]] = ("path",)
    modes: tuple[Mode, ...] = (Mode.ATOMIC, Mode.SWITCH)
    limits = LIMITS

    def __init__(self, *, use: str, path: str, link: str, part_rows: int) -> None:
        """`link` is the name in the folder that readers look under."""
        if part_rows < 1:
            raise ConfigError(f"part_rows = {part_rows}: must be at least 1")
        self._folder = Folder(path, link, use)
        self._part_rows = part_rows
        self.limits = replace(self.limits, batch_rows=part_rows)

    def split(self, rows: pa.Table) -> list[pa.Table]:
        """All may be in one."""
        return [rows]

    def group(self, part: Part) -> str:
        """All may be put together."""
        return ""

    def write(self, draft: Draft, number: int, rows: pa.Table) -> None:
        """Writes the files of a part, which has at least one row."""
        raise NotImplementedError

    def read(self, part: Part, shape: Shape) -> pa.Table:
        """What was written."""
        raise NotImplementedError

    def ids(self, part: Part) -> pa.Array:
        """By the Parquet file."""
        return read_parquet(_parquet_of(part), [ID])[ID].combine_chunks()

    def _rows(self, version: Version, part: Part, shape: Shape, places: Places) -> pa.Table:
        """Rows of a part by their places, as `row_schema` has them."""
        return self.read(part, shape).take(pa.array(places))

    def _vectors(self, version: Version, part: Part, shape: Shape) -> exact.Vectors:
        return exact.to_array(self.read(part, shape)[VECTOR])

    def connect(self) -> None:
        """Makes the folder."""
        self._folder.connect()

    def close(self) -> None:
        """Nothing is open."""

    def collections(self) -> dict[str, str]:
        """By their manifests."""
        return {name: self._folder.stamp_of(name) for name in self._folder.names()}

    def create(self, name: str, shape: Shape) -> None:
        """An empty version."""
        folder = self._folder
        with folder.locked(), folder.drafting(name) as draft, folder.told("making a collection"):
            settings = self._block(None, draft, shape).settle()
            folder.publish(name, draft, shape, stamp="", settings=settings, keep=False)

    def stamp(self, name: str, text: str) -> None:
        """In the manifest."""
        self._folder.stamp(name, text)

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """The next version; other writers wait as long."""
        with self._folder.locked():
            old = self._folder.checked(name, shape)
            self._folder.clean()
            with self._folder.drafting(name, old) as draft:
                block = self._block(old, draft, shape)
                yield block
                with self._folder.told("writing"):
                    settings = block.settle()
                    self._folder.publish(name, draft, shape, stamp=stamp, settings=settings)

    def finish(self, name: str, shape: Shape) -> None:
        """Nothing: all is there."""

    def count(self, name: str) -> int:
        """By the manifest, whose files are there."""
        return self._folder.open(name).manifest.rows

    def held(self, name: str) -> Iterator[list[Held]]:
        """By the parts' Parquet files; all files are read, and must be as they were written."""
        version = self._folder.open(name)
        self._folder.prove(version)
        for part in version.parts:
            path = _parquet_of(part)
            with self._folder.told(f"reading {path.name}"):
                batches = pq.ParquetFile(path).iter_batches(HELD_ROWS, columns=[ID, HASH])
                for batch in batches:
                    pairs = zip(batch[ID].to_pylist(), batch[HASH].to_pylist(), strict=True)
                    yield [Held(id_, hash_) for id_, hash_ in pairs]

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By the ids of all parts."""
        version, wanted = self._folder.checked(name, shape), pa.array(ids, pa.string())
        found = [shape.row_schema.empty_table()]
        for part in version.parts:
            with self._folder.told(f"reading part {part.number}"):
                places = np.flatnonzero(pc.is_in(self.ids(part), wanted).to_numpy(False))
                if len(places):
                    found.append(self._rows(version, part, shape, places))
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
        for part in version.parts:
            with self._folder.told(f"reading part {part.number}"):
                ids, held = self.ids(part).to_pylist(), self._vectors(version, part, shape)
            more = exact.best(ids, exact.scores(queries, held, shape.metric, shape.element), k)
            found = [exact.top([*a, *b], k) for a, b in zip(found, more, strict=True)]
        return found

    def _block(self, old: Version | None, draft: Draft, shape: Shape) -> Block:
        told = self._folder.told
        return Block(self, old, draft, shape, part_rows=self._part_rows, told=told)


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
        use_dictionary=[name for name in names if name not in (ID, HASH)],  # none comes twice
        write_statistics=names,
    )
    return buffer.getvalue()


def _parquet_of(part: Part) -> Path:
    return next(part.folder / one.path for one in part.files if one.path.endswith(".parquet"))


def read_parquet(path: Path, columns: list[str]) -> pa.Table:
    """These columns of a file."""
    return pq.ParquetFile(path).read(columns=columns, use_threads=False)
