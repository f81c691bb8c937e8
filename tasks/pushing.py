"""Pushing batches into a sink: some at a time, again after a pause, halved to find a bad row."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from schemas.publication import Refused
from tasks.errors import RowsRefused, SinkUnavailable
from tasks.sinks.base import ID, Limits, Writer
from tasks.sinks.plain import is_foreign

T = TypeVar("T")

ATTEMPTS = 8  # of one call: with the pauses below, about two minutes
PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LONGEST_ASKED_S = 600.0  # that a store may ask to be left alone: who asks for more is given up
REASON_CHARACTERS = 300


@dataclass
class Pushed:
    """What became of rows.

    Attributes:
        upserted: How many were put.
        deleted: How many ids were to be removed.
        refused: The rows that the store does not take.
    """

    upserted: int = 0
    deleted: int = 0
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True)
class Patience:
    """Makes a call again, after a pause, where a store does not answer or asks to wait.

    Attributes:
        check: Called before each call and each pause; raises where the user asked to stop.
        sleep: Waits for so many seconds; may come back earlier, when the user asks to stop.
        tell: Told when a call is made again, and for which time.
    """

    check: Callable[[], None] = lambda: None
    sleep: Callable[[float], object] = time.sleep
    tell: Callable[[str], None] = lambda said: None

    def pause(self, seconds: float) -> None:
        """Waits, unless the user asked to stop."""
        self.check()
        self.sleep(seconds)
        self.check()

    def again(self, do: Callable[[], T]) -> T:
        """What a call gives.

        Raises SinkUnavailable where it failed eight times, or asks for more than ten minutes.
        """
        attempt = 1
        while True:
            self.check()
            try:
                return do()
            except SinkUnavailable as error:
                asked = error.retry_after_s or 0.0
                if asked > LONGEST_ASKED_S:
                    error.add_note(f"it asks to be left alone for {asked:,.0f} s: try again then")
                    raise
                if attempt >= ATTEMPTS:
                    raise
            pause = min(LONGEST_PAUSE_S, PAUSE_S * 2 ** (attempt - 1))
            pause = max(asked, pause * random.uniform(0.5, 1))  # noqa: S311 (spreads calls)
            attempt += 1
            self.tell(f"asked again in {pause:,.0f} s, {attempt} of {ATTEMPTS}")
            self.pause(pause)


@dataclass(frozen=True)
class Pusher:
    """Feeds one writer.

    Attributes:
        writer: Where rows go.
        limits: What it takes.
        patience: With a store that does not answer; its `check` is called between batches, too.
        report: Told how many rows are done.
        hide: Keeps secrets out of the reasons why rows are refused.
    """

    writer: Writer
    limits: Limits
    patience: Patience
    report: Callable[[int], None]
    hide: Callable[[str], str] = str

    def push(self, batches: Iterable[pa.Table], gone: Sequence[str], pushed: Pushed) -> None:
        """Puts all rows, then removes the others; no more batches are held than are in flight.

        Rows that others wrote go first: one may have the key of a row that is put. What was there
        of a row that is refused goes, too: it is of an earlier version. `pushed` counts as it goes
        on. Raises SinkUnavailable where a batch failed eight times.
        """
        self._remove([one for one in gone if is_foreign(one)], pushed)
        for refused, n_rows in self._each(self._upsert, batches):
            pushed.refused += refused
            pushed.upserted += n_rows - len(refused)
            self.report(pushed.upserted + len(pushed.refused) + pushed.deleted)
        stale = [one.id for one in pushed.refused]
        for _ in self._each(self._delete, self._parts(stale)):
            pass
        self._remove([one for one in gone if not is_foreign(one)], pushed)

    def _remove(self, ids: Sequence[str], pushed: Pushed) -> None:
        for _, n_rows in self._each(self._delete, self._parts(ids)):
            pushed.deleted += n_rows
            self.report(pushed.upserted + len(pushed.refused) + pushed.deleted)

    def _each(
        self, do: Callable[[T], tuple[list[Refused], int]], parts: Iterable[T]
    ) -> Iterator[tuple[list[Refused], int]]:
        with ThreadPoolExecutor(self.limits.concurrency) as threads:
            flying: deque[Future[tuple[list[Refused], int]]] = deque()
            try:
                for part in parts:
                    self.patience.check()
                    flying.append(threads.submit(do, part))
                    if len(flying) > self.limits.concurrency:
                        yield flying.popleft().result()
                while flying:
                    yield flying.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)

    def _parts(self, ids: Sequence[str]) -> Iterator[Sequence[str]]:
        for start in range(0, len(ids), self.limits.batch_rows):
            yield ids[start : start + self.limits.batch_rows]

    def _delete(self, ids: Sequence[str]) -> tuple[list[Refused], int]:
        self.patience.again(lambda: self.writer.delete(ids))
        return [], len(ids)

    def _upsert(self, rows: pa.Table) -> tuple[list[Refused], int]:
        return self._halved(rows), len(rows)

    def _halved(self, rows: pa.Table) -> list[Refused]:
        """Puts what the store takes, and gives what it does not."""
        try:
            self.patience.again(lambda: self.writer.upsert(rows))
        except RowsRefused as error:
            if len(rows) == 1:
                reason = self.hide(str(error))[:REASON_CHARACTERS]
                return [Refused(id=rows[ID][0].as_py(), reason=reason)]
            middle = len(rows) // 2
            return [*self._halved(rows.slice(0, middle)), *self._halved(rows.slice(middle))]
        return []
