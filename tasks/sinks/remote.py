"""What sinks share whose store is asked by its own client: one connection, one form of errors.

A plugin says how its store is opened, what the client's exceptions mean, and what its store does.
A store that asks to wait is waited for some seconds, also between the pages of a listing, where
nobody else can. Whoever publishes has more patience, and writers leave all of it to him.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError, RowsRefused, SinkError, SinkUnavailable
from tasks.sinks.base import FULL, ID, VECTOR, Limits, Mode, Near, Originals, Queries, Shape, Writer
from tasks.sinks.originals import CANDIDATES, ordered
from tasks.sinks.plain import vectors_of
from tasks.sinks.waiting import wait
from tasks.sources.web import without_password

Client = TypeVar("Client")
Answer = TypeVar("Answer")

WRITING = "writing"
PAUSES_S = (0.5, 1.0, 2.0)
LONGEST_S = 5.0
SAID_CHARACTERS = 300


class Why(StrEnum):
    """What a client's exception means."""

    BUSY = "busy"  # the store answers, and may do it later
    AWAY = "away"  # nobody answers
    SLOW = "slow"  # nobody has answered in time
    TAKEN = "taken"  # somebody else has it open, and it is for one at a time
    GONE = "gone"  # what was asked for is not there
    ROWS = "rows"  # it will never take these rows, if rows were written
    LOGIN = "login"  # it does not let this user in
    OTHER = "other"


HINTS = {
    Why.BUSY: "; it asks to wait",
    Why.AWAY: "; does it run there?",
    Why.SLOW: "; there was no answer within {timeout_s:g} s: does it run there, or has it too much "
    "to do? `timeout_s` is for how long a call is waited for",
    Why.TAKEN: "; end that one, or wait for it",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A client's exception: `said` is what the store said, without what was asked.

    `retry_after_s` is for how long it asked to be left alone, None where it did not say.
    """

    why: Why
    said: str
    retry_after_s: float | None = None


class RemoteSink(ABC, Generic[Client]):
    """As Sink, by a client that `_open` gives; its `close` ends it.

    Attributes:
        use: What the store is called in a config.
        store: What its makers call it.
        parting: What stands between readers' name and that of a collection.
        per_fetch: Rows that are read at a time.
        per_delete: Ids that are removed at a time.
        most_found: Rows that a search may ask for.
        login: Arguments that say who asks.
    """

    place: ClassVar[tuple[str, ...]]
    use: ClassVar[str]
    store: ClassVar[str]
    parting: ClassVar[str] = "__"
    per_fetch: ClassVar[int] = 1_000
    per_delete: ClassVar[int] = 1_000
    most_found: ClassVar[int] = 10_000
    login: ClassVar[str] = "api_key"
    modes: tuple[Mode, ...] = (Mode.SWITCH, Mode.ROWWISE)
    limits: Limits
    _timeout_s: float

    def __init__(self, readers: str, place: str, *secrets: str | None) -> None:
        """`readers` is the name that they know, `place` where the store is, for messages."""
        self._readers = readers
        self._place = f"{self.store} at {without_password(place)}"
        self._secrets = [one for one in secrets if one]
        self._opened: Client | None = None

    def connect(self) -> None:
        """As Sink.connect."""
        if self._opened is not None:
            return
        try:
            self._raises()
        except ImportError as error:
            raise ConfigError(
                f"{self.use} needs its client: pip install 'vectorline[{self.use}]'"
            ) from error
        self._opened = self._told("opening", None, self._open)

    def close(self) -> None:
        """As Sink.close."""
        opened: Any = self._opened
        self._opened = None
        if opened is not None:
            opened.close()

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """As Sink.writing: rows are there as they are written."""
        yield RemoteWriter(self, name, shape)
        self.stamp(name, stamp)

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """As Sink.fetch."""
        found = [self._rows(name, shape, part) for part in parts_of(ids, self.per_fetch)]
        return pa.concat_tables([shape.row_schema.empty_table(), *found]).combine_chunks()

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """As Sink.search."""
        if originals is None or not shape.full_dim:
            return self._nearest(name, shape, queries, min(k, self.most_found))
        wanted = min(self.most_found, k * CANDIDATES)
        found = self._nearest(name, shape, queries, wanted)
        candidates = [[near.id for near in of_query] for of_query in found]
        rows = self.fetch(name, shape, sorted({one for ids in candidates for one in ids}))
        return ordered(candidates, rows, originals, shape.metric, k)

    @abstractmethod
    def stamp(self, name: str, text: str) -> None:
        """As Sink.stamp."""

    @abstractmethod
    def _open(self) -> Client:
        """A client that is connected; one that cannot be is closed again."""

    @abstractmethod
    def _raises(self) -> tuple[type[Exception], ...]:
        """What the client raises; ImportError where it is not installed."""

    @abstractmethod
    def _failure(self, error: Exception) -> Failure:
        """What one of these means."""

    @abstractmethod
    def _put(self, name: str, shape: Shape, rows: pa.Table) -> None:
        """As Writer.upsert, of one row at least, all numbers finite."""

    @abstractmethod
    def _remove(self, name: str, ids: Sequence[str]) -> None:
        """As Writer.delete, of `per_delete` ids at most."""

    @abstractmethod
    def _rows(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """As Sink.fetch, of `per_fetch` ids at most."""

    @abstractmethod
    def _nearest(self, name: str, shape: Shape, queries: Queries, k: int) -> list[list[Near]]:
        """As Sink.search, by the vector that is searched."""

    @property
    def _client(self) -> Client:
        if self._opened is None:
            raise SinkError(f"{self._place} is not open: connect comes first")
        return self._opened

    def _full(self, name: str) -> str:
        """What a collection is called in the store."""
        return f"{self._readers}{self.parting}{name}"

    def _name_of(self, full: str) -> str | None:
        """The opposite; None for a name that is not of this sink's."""
        readers, _, name = full.rpartition(self.parting)
        return name if readers == self._readers and name else None

    def _ask(self, doing: str, name: str | None, call: Callable[[Client], Answer]) -> Answer:
        """What the call gives; `name` is that of the collection which it is about."""
        return self._told(doing, name, lambda: call(self._client))

    def _told(
        self, doing: str, name: str | None, call: Callable[[], Answer], *, again: bool = True
    ) -> Answer:
        """As `_ask`; without `again`, for what may not be asked twice, nothing is waited for."""
        raised = self._raises()
        pauses = iter(PAUSES_S if again and doing != WRITING else ())
        while True:
            try:
                return call()
            except raised as error:
                failure = self._failure(error)
            pause, asked = next(pauses, None), failure.retry_after_s or 0.0
            if failure.why is not Why.BUSY or pause is None or asked > LONGEST_S:
                raise self._error(doing, name, failure)
            wait(max(pause, asked))

    def _error(self, doing: str, name: str | None, failure: Failure) -> SinkError:
        said = f"{self._what(doing, name)}: {self._words(failure.said)}"
        match failure.why:
            case Why.BUSY | Why.AWAY | Why.SLOW | Why.TAKEN:
                hint = HINTS[failure.why].format(timeout_s=self._timeout_s)
                unavailable = SinkUnavailable(said + hint)
                unavailable.retry_after_s = failure.retry_after_s
                return unavailable
            case Why.GONE if name is not None:
                return self._gone(doing, name)
            case Why.ROWS if doing == WRITING:
                return RowsRefused(said)
            case Why.LOGIN:
                return SinkError(f"{said}; check {self.login}, and what it may do")
            case _:
                return SinkError(said)

    def _gone(self, doing: str, name: str) -> SinkError:
        return SinkError(
            f"{self._what(doing, name)}: it is not there; was it removed by someone else? "
            "publish again"
        )

    def _not_ours(self, what: str) -> SinkError:
        """For a name of ours that somebody else has: `what` is that."""
        return SinkError(
            f"{self._place}: {what} is not vectorline's; nothing was changed; rename or remove it, "
            "or give another collection in the config"
        )

    def _taken(self, columns: Sequence[str]) -> SinkError:
        """For columns whose names the store, or this sink, has for something else."""
        return SinkError(
            f"{self._place} cannot have the columns {', '.join(map(repr, columns))}: these names "
            "are taken; rename them in the source, or leave them out of `columns`"
        )

    def _what(self, doing: str, name: str | None) -> str:
        return f"{self._place}, {doing}" + ("" if name is None else f" {self._full(name)}")

    def _words(self, said: object) -> str:
        """On one line, without secrets."""
        words = " ".join(str(said).split())
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return re.sub(r"//[^/@\s]*@", "//", words)[:SAID_CHARACTERS]


class RemoteWriter:
    """As Writer; each call is whole when it returns.

    Stores differ in what they make of NaN and infinity in a vector, and some take it: none gets it.
    """

    def __init__(self, sink: RemoteSink[Any], name: str, shape: Shape) -> None:
        self._sink, self._name, self._shape = sink, name, shape

    def upsert(self, rows: pa.Table) -> None:
        """As Writer.upsert."""
        if not len(rows):
            return
        for column in (VECTOR, FULL) if self._shape.full_dim else (VECTOR,):
            bad = np.flatnonzero(~np.isfinite(vectors_of(rows, column)).all(axis=1)).tolist()
            if bad:
                raise RowsRefused(
                    f"{column} of {rows[ID][bad[0]].as_py()!r} has NaN or infinity, by which "
                    f"{self._sink.store} cannot search"
                )
        self._sink._put(self._name, self._shape, rows)

    def delete(self, ids: Sequence[str]) -> None:
        """As Writer.delete."""
        for part in parts_of(ids, self._sink.per_delete):
            self._sink._remove(self._name, part)


def parts_of(ids: Sequence[str], n: int) -> Iterator[Sequence[str]]:
    """The ids in their order, so many at a time."""
    for start in range(0, len(ids), n):
        yield ids[start : start + n]
