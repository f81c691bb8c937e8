"""The next version of a collection that is kept in parts, while rows come and go.

Rows become parts at once, as many as a call brings; which rows are replaced by them is found at
the end, by the ids of all parts. Parts that lose no row are taken over as they are. Small ones
are put together: of those that may be, there is never more than one.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from tasks.sinks.base import ID, Shape
from tasks.sinks.folder import Draft, Part, Version, prove

WRITERS = 4
SMALL_BYTES = 16 * 2**20  # on the disk; a part of fewer, with less than half of its rows, is small
PART_BYTES = 64 * 2**20  # in memory, of small ones put together

Told: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Lets what files and libraries raise be a SinkError."""


class Files(Protocol):
    """How the rows of a part are kept in files; one of them is Parquet and has the ids."""

    def split(self, rows: pa.Table) -> list[pa.Table]:
        """Rows that may be in one part, each; raises RowsRefused before anything is written."""

    def group(self, part: Part) -> str:
        """Equal for parts that may be put together."""

    def write(self, draft: Draft, number: int, rows: pa.Table) -> None:
        """Writes the files of a part of a draft; several threads may write different ones."""

    def read(self, part: Part, shape: Shape) -> pa.Table:
        """The same rows."""

    def ids(self, part: Part) -> pa.Array:
        """Of the rows, in their order."""


class Block:
    """A Writer into a draft.

    Attributes:
        draft: Where files are written.
        is_touched: Whether there was any call.
    """

    def __init__(
        self,
        files: Files,
        old: Version | None,
        draft: Draft,
        shape: Shape,
        *,
        part_rows: int,
        told: Told,
    ) -> None:
        """`old` is the version before; parts have at most so many rows."""
        self.draft = draft
        self._files, self._old, self._shape = files, old, shape
        self._part_rows, self._told = part_rows, told
        self._mutex = threading.Lock()
        self._calls: list[pa.Array] = []
        self._call_of: dict[int, int] = {}

    @property
    def is_touched(self) -> bool:
        """Whether there was any call."""
        return bool(self._calls)

    def upsert(self, rows: pa.Table) -> None:
        """Writes them."""
        with self._told("writing rows"):
            self._put(rows)

    def delete(self, ids: Sequence[str]) -> None:
        """Keeps them in mind."""
        with self._mutex:
            self._calls.append(pa.array(ids, pa.string()))

    def settle(self) -> dict[str, str]:
        """Leaves in the draft what the calls made of the version before, the last one in force.

        Gives what the manifest is to keep for the sink.
        """
        small: dict[str, list[tuple[Part, pa.BooleanArray | None]]] = {}
        changing: list[Callable[[], None]] = []
        for part, stale in [*self._stale()]:  # of the draft, before any is taken over
            n_stays = part.rows - (stale.true_count if stale is not None else 0)
            is_small = 2 * n_stays < self._part_rows and part.size_bytes < SMALL_BYTES
            if is_small:
                small.setdefault(self._files.group(part), []).append((part, stale))
            elif stale is not None:
                changing.append(partial(self._rewrite, part, stale))
            else:
                self._keep(part)
        for waiting in small.values():
            if len(waiting) == 1 and waiting[0][1] is None:
                self._keep(waiting[0][0])
            else:
                changing.append(partial(self._gather, waiting))
        in_turn(changing)
        return {}

    def _put(self, rows: pa.Table) -> None:
        """Writes the parts of a call, as they are to be stored."""
        made = [
            self._write(piece.slice(start, self._part_rows))
            for piece in self._files.split(rows)
            for start in range(0, len(piece), self._part_rows)
        ]
        with self._mutex:
            self._call_of |= dict.fromkeys(made, len(self._calls))
            self._calls.append(rows[ID].combine_chunks())

    def _lose(self, rows: pa.Table) -> None:
        """Is told of stored rows that are no more."""

    def _write(self, rows: pa.Table) -> int:
        number = self.draft.number()
        self._files.write(self.draft, number, rows)
        return number

    def _keep(self, part: Part) -> None:
        if part.folder != self.draft.path:
            self.draft.keep(part.folder, part.files)

    def _stale(self) -> Iterator[tuple[Part, pa.BooleanArray | None]]:
        """Parts of the version before and of the draft, each with which of its rows go."""
        every = pa.chunked_array(self._calls, pa.string())
        old = [] if self._old is None else self._old.parts
        ids = [self._ids(part) for part in old] if len(every) else []
        gone = pc.is_in(pa.chunked_array(ids, pa.string()), value_set=every).combine_chunks()
        start = 0
        for part in old:
            mask = gone.slice(start, part.rows)
            start += part.rows
            yield part, mask if mask.true_count else None
        counted = pc.value_counts(every)
        again = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
        for part in self.draft.parts:
            yield part, self._overruled(part, again)

    def _ids(self, part: Part) -> pa.Array:
        try:
            return self._files.ids(part)
        except (OSError, pa.ArrowException):
            prove(part.folder, part.files)  # which says what is damaged
            raise

    def _overruled(self, part: Part, again: pa.Array) -> pa.BooleanArray | None:
        """Which rows of a new part a later call made stale, of the ids in several calls."""
        later = self._calls[self._call_of[part.number] + 1 :]
        if not len(again) or not later:
            return None
        said = pa.chunked_array(later, pa.string())
        value_set = said.filter(pc.is_in(said, value_set=again))
        mask = pc.is_in(self._files.ids(part), value_set=value_set)
        return mask if mask.true_count else None

    def _rewrite(self, part: Part, stale: pa.BooleanArray | None) -> None:
        rows = self._rest(part, stale)
        if len(rows):
            self._write(rows)

    def _gather(self, parts: Iterable[tuple[Part, pa.BooleanArray | None]]) -> None:
        waiting: list[pa.Table] = []
        n_rows = size_bytes = 0
        for part, stale in parts:
            waiting.append(self._rest(part, stale))
            n_rows += len(waiting[-1])
            size_bytes += waiting[-1].nbytes
            while n_rows >= self._part_rows or size_bytes >= PART_BYTES:
                rows = pa.concat_tables(waiting).combine_chunks()
                self._write(rows.slice(0, self._part_rows))
                waiting = [rows.slice(self._part_rows)]
                n_rows, size_bytes = len(waiting[0]), waiting[0].nbytes
        if n_rows:
            self._write(pa.concat_tables(waiting).combine_chunks())

    def _rest(self, part: Part, stale: pa.BooleanArray | None) -> pa.Table:
        """The rows of a part that stay, which is then no more in the draft."""
        prove(part.folder, part.files)  # or damaged rows would get a good checksum
        rows = self._files.read(part, self._shape)
        if part.folder == self.draft.path:
            self.draft.remove(part)
        if stale is None:
            return rows
        self._lose(rows.filter(stale))
        return rows.filter(pc.invert(stale))


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
