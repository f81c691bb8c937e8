"""Rows of a version as a sink gets them, in batches that it can take."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.compression import Compression
from tasks.digests import DIGEST_BYTES, Digests, digest_text, stack, to_array
from tasks.sinks.base import FULL, HASH, ID, VECTOR, Limits, Shape
from tasks.space import Space
from tasks.store.columns import made_columns
from tasks.store.diff import Indices
from tasks.store.rows import to_column, to_matrix

READ_ROWS = 8192
READ_BYTES = 16 * 2**20
FIRST_ROWS = 512
HASHED = ("content_hash", "chunk_hash", "metadata_hash")

RowIds = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Outgoing:
    """The rows of one version in one shape."""

    space: Space
    shape: Shape
    compression: Compression

    @cached_property
    def row_ids(self) -> RowIds:
        """Lance's, in the order of the table: one stands for the same content for ever."""
        ids: RowIds = self.space.dataset.to_table(columns=[], with_row_id=True)["_rowid"].to_numpy()
        return ids

    @cached_property
    def made(self) -> list[str]:
        """The columns whose values change while rows, and their ids of Lance, stay."""
        return [
            name for name in made_columns(self.space.dataset) if name in self.shape.columns.names
        ]

    @cached_property
    def marks(self) -> str:
        """Stands for what is in those columns; "" where there are none."""
        if not self.made:
            return ""
        rows = self.space.dataset.to_table(columns=self.made, with_row_id=True).sort_by("_rowid")
        state = hashlib.blake2b(rows["_rowid"].to_numpy(), digest_size=DIGEST_BYTES)
        for name in self.made:
            state.update(name.encode())
            for value in rows[name].to_pylist():
                state.update(_marked(value))
        return state.hexdigest()

    def ids(self, places: Indices) -> list[str]:
        """Of the rows at these places of the table."""
        found: list[str] = []
        for part in _parts(places, READ_ROWS):
            found += self.space.dataset.take(part.tolist(), columns=[ID])[ID].to_pylist()
        return found

    def all_ids(self) -> Iterator[list[str]]:
        """Of all rows, in parts, in the order of the table."""
        for batch in self.space.batches([ID]):
            yield batch[ID].to_pylist()

    def places_of(self, ids: Sequence[str]) -> Indices:
        """Places of those of these rows that there are, ascending."""
        if not ids:
            return np.empty(0, np.int64)
        held = self.space.dataset.to_table(columns=[ID])[ID]
        return np.flatnonzero(pc.is_in(held, pa.array(ids, held.type)).to_numpy())

    def digests(self) -> tuple[Digests, Digests]:
        """Of ids and of rows, in the order of the table; all rows are read."""
        ids, hashes = [], []
        for batch in self.space.batches([ID, VECTOR, *HASHED, *self.made]):
            ids.append(to_array(map(digest_text, batch[ID].to_pylist())))
            hashes.append(to_array(_hashes(batch, self.made)))
        return stack(ids), stack(hashes)

    def batches(self, places: Indices, limits: Limits) -> Iterator[pa.Table]:
        """The rows at these places, in their order, as many at a time as a sink takes.

        Some batches are read at once, of READ_BYTES or one batch, as far as the rows before tell.
        """
        start, n_read = 0, min(FIRST_ROWS, limits.batch_rows)
        while start < len(places):
            table = self.rows(places[start : start + n_read])
            start += len(table)
            size = max(1, table.nbytes // len(table))
            n_rows = max(1, min(limits.batch_rows, limits.batch_bytes // size))
            for first in range(0, len(table), n_rows):
                yield table.slice(first, n_rows)
            n_read = n_rows * max(1, min(READ_ROWS, READ_BYTES // size) // n_rows)

    def rows(self, places: Indices) -> pa.Table:
        """The rows at these places, in their order, as `Shape.row_schema` has them."""
        wanted = dict.fromkeys([ID, VECTOR, *HASHED, *self.shape.columns.names])
        table = self.space.dataset.take(places.tolist(), columns=[*wanted])
        vectors = to_matrix(table[VECTOR])
        short = self.compression.apply(vectors)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            ID: table[ID],
            HASH: pa.array([*_hashes(table, self.made)], pa.binary(DIGEST_BYTES)),
            VECTOR: pa.FixedSizeListArray.from_arrays(pa.array(short.ravel()), short.shape[1]),
        }
        if self.shape.full_dim:
            columns[FULL] = to_column(vectors)
        columns |= {name: table[name] for name in self.shape.columns.names}
        return pa.table(columns, schema=self.shape.row_schema)


def _parts(places: Indices, n: int) -> Iterator[Indices]:
    for start in range(0, len(places), n):
        yield places[start : start + n]


def _hashes(rows: pa.Table | pa.RecordBatch, made: Sequence[str]) -> Iterator[bytes]:
    """Of each row's vector, content and metadata, 16 bytes.

    The vector is in it, since those of a fitted encoder change with the contents of other rows, and
    so are columns that were made of rows, of which the metadata's hash knows nothing.
    """
    columns = [rows[name].to_pylist() for name in HASHED]
    columns += [[*map(_marked, rows[name].to_pylist())] for name in made]
    vectors = np.ascontiguousarray(to_matrix(rows[VECTOR]))
    for row, parts in enumerate(zip(*columns, strict=True)):
        state = hashlib.blake2b(memoryview(vectors[row]), digest_size=DIGEST_BYTES)
        for part in parts:
            state.update(part or b"")
        yield state.digest()


def _marked(value: str | None) -> bytes:
    """What no other value gives, also before or after others."""
    text = b"" if value is None else value.encode("utf-8", "surrogatepass")
    return b"%d:%b;" % (-1 if value is None else len(text), text)
