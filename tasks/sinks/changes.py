"""What is put into and taken out of a collection, kept by bucket until its files are written.

A bucket is a part of the ids: CRC-32 of their UTF-8, modulo the number of buckets. Rows stay in
memory up to 256 MiB and wait on the disk beyond.
"""

import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from tempfile import TemporaryFile, gettempdir
from types import TracebackType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import SinkError
from tasks.sinks.base import ID

SPILL_BYTES = 256 * 2**20
ORDER = "_order"
PLACE = "_place"

Buckets: TypeAlias = npt.NDArray[np.int64]
"""Shape (n,): the bucket of id i."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happens in one bucket: rows with the ids `touched` go, then `rows` come."""

    touched: pa.Array
    rows: pa.Table


class _Waiting:
    """Rows of one call, found by bucket."""

    def __init__(self, rows: pa.RecordBatch, buckets: Buckets, n_buckets: int) -> None:
        self._rows = rows
        self._order = np.argsort(buckets, kind="stable")
        self._ends = np.cumsum(np.bincount(buckets, minlength=n_buckets))

    def of(self, bucket: int) -> pa.RecordBatch:
        start = int(self._ends[bucket - 1]) if bucket else 0
        chosen = self._order[start : int(self._ends[bucket])]
        return self._rows.take(pa.array(chosen)) if len(chosen) else self._rows.slice(0, 0)


class _Spilled:
    """The same on the disk, of several calls, bucket by bucket."""

    def __init__(self, buckets: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        with TemporaryFile() as held:  # it has no name that a kill could leave
            with pa.ipc.new_file(pa.PythonFile(held, "w"), schema) as file:
                for batch in buckets:
                    file.write_batch(batch)
            held.flush()
            self._file = pa.ipc.open_file(pa.OSFile(f"/dev/fd/{held.fileno()}"))
        self._mutex = threading.Lock()

    def of(self, bucket: int) -> pa.RecordBatch:
        with self._mutex:
            return self._file.get_batch(bucket)


class Changes:
    """A Writer into memory and, beyond a limit, into temporary files."""

    def __init__(self, schema: pa.Schema, n_buckets: int) -> None:
        """`schema` is that of the rows."""
        self._schema = schema
        self._n = n_buckets
        self._turn = count()
        self._mutex = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._spilled: list[_Spilled] = []
        self._deleted: list[tuple[int, pa.Array, Buckets]] = []
        self._is_touched = np.zeros(n_buckets, bool)

    def __enter__(self) -> "Changes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.clear()
        self._spilled.clear()

    def upsert(self, rows: pa.Table) -> None:
        """Keeps them."""
        buckets = buckets_of(rows[ID].to_pylist(), self._n)
        with self._mutex:
            turn = np.full(len(rows), next(self._turn), np.int64)
            held = rows.select(self._schema.names).append_column(ORDER, pa.array(turn))
            self._is_touched[buckets] = True
            for batch in held.combine_chunks().to_batches():
                self._waiting.append(_Waiting(batch, buckets, self._n))
            self._waiting_bytes += held.nbytes
            if self._waiting_bytes >= SPILL_BYTES:
                self._spill()

    def delete(self, ids: Sequence[str]) -> None:
        """Keeps them."""
        buckets = buckets_of(ids, self._n)
        with self._mutex:
            self._is_touched[buckets] = True
            self._deleted.append((next(self._turn), pa.array(ids, pa.string()), buckets))

    def touched(self) -> list[int]:
        """Buckets in which something may change."""
        found: list[int] = np.flatnonzero(self._is_touched).tolist()
        return found

    def of(self, bucket: int) -> Change:
        """What happens in a bucket, the last call for an id being the one in force.

        May be asked from several threads, once all is kept.
        """
        schema = self._schema.append(pa.field(ORDER, pa.int64()))
        kept: list[_Waiting | _Spilled] = [*self._spilled, *self._waiting]
        parts = [part.of(bucket).cast(schema) for part in kept]
        return self._settled(bucket, pa.Table.from_batches(parts, schema).combine_chunks())

    def _settled(self, bucket: int, rows: pa.Table) -> Change:
        calls = [pa.table({ID: rows[ID], ORDER: rows[ORDER], PLACE: np.arange(len(rows))})]
        for turn, ids, buckets in self._deleted:
            here = ids.filter(pa.array(buckets == bucket))
            orders, places = np.full(len(here), turn), np.full(len(here), -1)
            calls.append(pa.table({ID: here, ORDER: orders, PLACE: places}))
        if len(calls) > 1 or len(rows[ID].unique()) < len(rows):
            last = pa.concat_tables(calls).sort_by(ORDER).group_by(ID, use_threads=False)
            final = last.aggregate([(PLACE, "last")])
            places = final[f"{PLACE}_last"].to_numpy()
            return Change(
                final[ID].combine_chunks(),
                rows.take(pa.array(places[places >= 0])).drop_columns(ORDER),
            )
        return Change(rows[ID].combine_chunks(), rows.drop_columns(ORDER))

    def _spill(self) -> None:
        place = "a temporary folder"
        try:
            place = gettempdir()
            self._put_aside()
        except OSError as error:
            raise SinkError(
                f"rows cannot be put aside in {place} ({error.strerror or error}): free some space "
                "there, or let TMPDIR name another folder, and publish again; readers have what "
                "they had"
            ) from error

    def _put_aside(self) -> None:
        schema = self._schema.append(pa.field(ORDER, pa.int64()))
        buckets = (
            pa.concat_batches([one.of(bucket).cast(schema) for one in self._waiting])
            for bucket in range(self._n)
        )
        self._spilled.append(_Spilled(buckets, schema))
        self._waiting, self._waiting_bytes = [], 0


def buckets_of(ids: Sequence[str], n: int) -> Buckets:
    """The bucket of each id."""
    sums = (zlib.crc32(one.encode()) for one in ids)
    return np.fromiter(sums, np.int64, len(ids)) % n
