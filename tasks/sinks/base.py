"""What a sink can do: a vector store downstream that holds versions of spaces for others to search.

A sink keeps collections by name. A collection has the rows of one table in one shape, and a stamp
that says which version it holds. Readers know one name, which is not that of a collection: it is
pointed at the one that serves. Who decides what is pushed where is `tasks/standing.py`.

A sink's constructor takes plain keyword arguments, exactly the keys that a user may write under
`publish:`, and opens nothing. Its class may name those of them that say where it is, in a tuple
`place`: two sinks of a config that agree in these are refused. Without it only sinks of one class
whose arguments are all equal are at one place.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ID = "id"
HASH = "_hash"
VECTOR = "vector"
FULL = "full_vector"  # the float32 original, where what is searched is a shorter one

Queries: TypeAlias = npt.NDArray[np.float32 | np.float16 | np.int8 | np.uint8]
"""Made as the vectors of a collection: shape (n, dim), uint8 (n, dim / 8) where they are binary."""
Originals: TypeAlias = npt.NDArray[np.float32]
"""The same queries as the encoder gave them: shape (n, full_dim)."""


class Mode(StrEnum):
    """What readers see while a version is pushed."""

    ATOMIC = "atomic"  # the old version, then the new one
    SWITCH = "switch"  # the same, since it is made beside and readers' name is moved to it
    ROWWISE = "rowwise"  # some rows of either, until all are there


class Element(StrEnum):
    """What a vector's components are."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"  # a bit each, eight to a byte, the first the highest: uint8 (n, dim / 8)


class Metric(StrEnum):
    """What makes rows near."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"


@dataclass(frozen=True, slots=True)
class Shape:
    """What all rows of a collection have in common.

    Attributes:
        dim: Components of a vector.
        element: What they are.
        metric: What makes rows near.
        columns: Metadata columns by name and type: null, bool, (u)int8 to 64, float32 and 64,
            string, date32, time, timestamp, and lists of one of them; any of them may be null.
        full_dim: Components of the float32 original that is kept beside; 0 where none is.
    """

    dim: int
    element: Element
    metric: Metric
    columns: pa.Schema
    full_dim: int = 0

    @property
    def row_schema(self) -> pa.Schema:
        """Of the tables that rows come in: id, hash, vector, the columns, the original if kept.

        `_hash` has 16 bytes that change with whatever of the row's content or metadata changes.
        """
        kinds = {Element.FLOAT32: pa.float32(), Element.FLOAT16: pa.float16()}
        kinds |= {Element.INT8: pa.int8(), Element.BINARY: pa.uint8()}
        width = self.dim // 8 if self.element is Element.BINARY else self.dim
        fields = [
            pa.field(ID, pa.string(), nullable=False),
            pa.field(HASH, pa.binary(16), nullable=False),
            pa.field(VECTOR, pa.list_(kinds[self.element], width), nullable=False),
            *self.columns,
        ]
        if self.full_dim:
            fields.append(pa.field(FULL, pa.list_(pa.float32(), self.full_dim), nullable=False))
        return pa.schema(fields)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sink can take; more is cut into batches, or refused before any work.

    Attributes:
        batch_rows: Rows of a call.
        batch_bytes: Bytes of vectors and columns of a call, as Arrow holds them.
        concurrency: Calls at a time.
        max_dim: Components of a vector; None where there is no limit.
        id_bytes: UTF-8 bytes of an id; None where there is no limit.
        elements: What components may be.
        metrics: By what rows may be searched.
        check: Raises ConfigError or SinkError for another shape that it cannot take, and says why,
            ColumnMissing for want of a column; asked before the rest of these, it opens nothing.
    """

    batch_rows: int = 1_000
    batch_bytes: int = 8 * 2**20
    concurrency: int = 1
    max_dim: int | None = None
    id_bytes: int | None = None
    elements: frozenset[Element] = frozenset({Element.FLOAT32})
    metrics: frozenset[Metric] = frozenset(Metric)
    check: Callable[[Shape], None] = lambda shape: None


@dataclass(frozen=True, slots=True)
class Held:
    """A row as a listing has it."""

    id: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Near:
    """A row that a search found; `score` is higher for what is nearer, in the metric's own unit.

    That is the cosine, the product, or the negative distance: of what the sink stores.
    """

    id: str
    score: float


@runtime_checkable
class Writer(Protocol):
    """Rows on their way into one collection.

    Both methods may be called by `Limits.concurrency` threads at a time, and again with the same
    rows. Each raises RowsRefused for what the store will never take (whoever called halves the
    batch until the rows that are to blame are alone), SinkUnavailable for what may work later, and
    SinkError for the rest.
    """

    def upsert(self, rows: pa.Table) -> None:
        """Puts rows, as `Shape.row_schema` has them, no id twice; those of equal ids are replaced.

        What was there of such a row is gone, also metadata that the new row has not.
        """

    def delete(self, ids: Sequence[str]) -> None:
        """Removes rows; ids that are not there are none of its business."""


@runtime_checkable
class Sink(Protocol):
    """A store, opened by `connect`.

    Names of collections are this project's, not the users': a letter, then lower-case letters,
    digits and underscores, 24 at most. A sink keeps them apart from those of other sinks in the
    same store by what its user calls the collection, or by its folder. Methods raise as those of a
    Writer; none of their messages holds a secret.

    Attributes:
        modes: What readers may see while a version is pushed, the default first.
        limits: What it takes.
    """

    modes: tuple[Mode, ...]
    limits: Limits

    def connect(self) -> None:
        """Opens the store; again, it does nothing. Raises SinkUnavailable where nobody answers."""

    def close(self) -> None:
        """Lets go of connections; what is closed can be opened again."""

    def collections(self) -> dict[str, str]:
        """The stamps of all collections that `create` made here, by name; "" for none yet."""

    def create(self, name: str, shape: Shape) -> None:
        """Makes an empty collection; one that is there is removed before."""

    def stamp(self, name: str, text: str) -> None:
        """Keeps some hundred characters with a collection, durably, instead of the last ones."""

    def writing(self, name: str, shape: Shape, stamp: str) -> AbstractContextManager[Writer]:
        """A writer into a collection whose rows and stamp change together where it can.

        With Mode.ATOMIC, readers see nothing until the block ends, and never anything of a block
        that ends with an exception or is cut off: then collection and stamp are as before. In
        other modes rows are there as they are written, and the stamp is put at the end.
        """

    def finish(self, name: str, shape: Shape) -> None:
        """Makes what searches need: indexes are built or brought up to date. May take long."""

    def count(self, name: str) -> int:
        """How many rows there are, exactly."""

    def held(self, name: str) -> Iterator[list[Held]]:
        """All rows, in any order, in parts."""

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """Those of these rows that are there, in any order, as they are stored: `row_schema`."""

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """The k nearest rows of each query, best first, as users of the store find them.

        Ties are the store's own. Binary vectors are near by the number of equal bits. Where the
        original is kept (and `originals` given), rows are found by the short vector, four times as
        many or more, and the original decides their order and score.
        """

    def drop(self, name: str) -> None:
        """Removes a collection; one that is not there is none of its business."""

    def serving(self) -> str | None:
        """The collection that readers' name points at; None for none."""

    def serve(self, name: str) -> None:
        """Points readers' name at a collection, at once."""
