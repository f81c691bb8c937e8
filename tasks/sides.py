"""Which rows a drift report compares: those that came, or went, beside those that were there.

Two versions of a corpus share most of their rows, and a test of both whole tables sees little. So
the candidate is what is new since the baseline and the other side a sample of the baseline's rows:
no row is on both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa

from schemas.config import WindowConfig
from tasks.drift.blocks import alike_blocks, drawn_blocks
from tasks.drift.value import Blocks
from tasks.encoders.base import Vectors
from tasks.errors import ConfigError
from tasks.space import Space
from tasks.store.catalog import Catalog
from tasks.store.diff import Indices, Mask, find
from tasks.store.rows import to_matrix
from tasks.store.table import BaseRows, Table

MOST = 10_000  # rows of a side that are read


@dataclass(frozen=True)
class Side:
    """Some rows of a version, drawn from all that are meant.

    Attributes:
        space: The version that they are of.
        rows: Their places in its table, ascending, shape (n,).
        total: Of how many they were drawn.
        blocks: What each belongs to, shape (n,): rows of one block depend on each other.
    """

    space: Space
    rows: Indices
    total: int
    blocks: Indices | None

    @cached_property
    def vectors(self) -> Vectors:
        """Shape (n, dim), float32."""
        return to_matrix(self._take(["vector"])["vector"])

    @cached_property
    def record_ids(self) -> list[str]:
        """Of each row."""
        return self._strings("record_id")

    @cached_property
    def modalities(self) -> list[str]:
        """What each row is of: text, image, ..."""
        return self._strings("modality")

    @cached_property
    def source_uris(self) -> list[str]:
        """Where each row comes from."""
        return self._strings("source_uri")

    @cached_property
    def texts(self) -> Sequence[str | None]:
        """What each row says; None where the store does not keep it."""
        if not self.space.settings.store_content:
            return [None] * len(self.rows)
        return self._strings("text")

    def column(self, name: str) -> list[object]:
        """A metadata column, a value for each row; ConfigError if there is none."""
        self.space.check_column(name)
        values: list[object] = self._take([name])[name].to_pylist()
        return values

    def blocks_beside(self, other: "Side") -> Blocks | None:
        """What the rows of both belong to; None where no row of either belongs to anything."""
        if self.blocks is None and other.blocks is None:
            return None
        mine, theirs = (
            np.arange(len(side.rows)) if side.blocks is None else side.blocks
            for side in (self, other)
        )
        return mine, theirs

    @property
    def units(self) -> int:
        """How many of its rows or blocks can change sides."""
        return len(self.rows) if self.blocks is None else len(np.unique(self.blocks))

    def _strings(self, column: str) -> list[str]:
        values: list[str] = self._take([column])[column].to_pylist()
        return values

    def _take(self, columns: Sequence[str]) -> pa.Table:
        return self.space.dataset.take(self.rows.tolist(), columns=[*columns])


class Sides:
    """Draws what is compared of two versions of one table; reads ids and digests of both once."""

    def __init__(
        self,
        baseline: Space,
        candidate: Space,
        *,
        group: str | None,
        seed: int,
        refitted: bool = False,
        most: int = MOST,
        new: BaseRows | None = None,
    ) -> None:
        """Reads nothing yet; `group` is a metadata column whose equal values belong together.

        `new` are the candidate's rows, where they were read already.

        `refitted` says that each version has vectors of a fit of its own. Then both sides are of
        one version, and what came or went are ids that the other version lacks: what has other
        neighbours is no random part of a graph.
        """
        self._baseline, self._candidate = baseline, candidate
        self._group, self._seed, self._most = group, seed, most
        self._refitted = refitted
        self._read = new

    def beside(self, other: Space) -> "Sides":
        """The same candidate beside another version: what was read of it is not read again."""
        return Sides(
            other,
            self._candidate,
            group=self._group,
            seed=self._seed,
            refitted=self._refitted,
            most=self._most,
            new=self._new,
        )

    @cached_property
    def were(self) -> Side:
        """Of all rows of the baseline; where it is refitted, those of them in the candidate."""
        if self._refitted:
            return self._drawn(self._candidate, self._new, ~self._came)
        return self._drawn(self._baseline, self._old, np.ones(len(self._old.chunks), np.bool_))

    @cached_property
    def kept(self) -> Side:
        """Of the baseline's rows those that the candidate still has."""
        return self._drawn(self._baseline, self._old, ~self._gone)

    def removed(self, since: "Sides | None" = None) -> Side:
        """Of the baseline's rows those that the candidate lacks or has with another content.

        With `since`, the same candidate beside a later version, only those that this one had.
        """
        gone = self._gone
        if since is not None:
            gone = gone & ~_lacking(self._old, since._old, ids_alone=self._refitted)
        return self._drawn(self._baseline, self._old, gone)

    def added(self, since: "Sides | int | None" = None) -> Side:
        """Of the candidate's rows those that the baseline lacks or has with another content.

        With `since`, only those that came since a later version as well: the same candidate beside
        it, or its number where retention took it, and what runs after it wrote is meant.
        """
        came = self._came
        if isinstance(since, Sides):
            came = came & since._came
        elif since is not None:
            came = came & self._written_after(since)
        return self._drawn(self._candidate, self._new, came)

    def redescribed(self) -> int:
        """How many records have other metadata in the candidate, or another source, alone."""
        first = self._new.chunks == 0
        at = find(self._new.record_ids, self._old.record_ids)
        both = np.flatnonzero(first & (at >= 0) & ~self._came)
        other = (self._new.metadata[both] != self._old.metadata[at[both]]).any(axis=1)
        return int(np.count_nonzero(other))

    @cached_property
    def _old(self) -> BaseRows:
        return _rows(self._baseline)

    @cached_property
    def _new(self) -> BaseRows:
        return _rows(self._candidate) if self._read is None else self._read

    @cached_property
    def _came(self) -> Mask:
        return _lacking(self._new, self._old, ids_alone=self._refitted)

    @cached_property
    def _gone(self) -> Mask:
        return _lacking(self._old, self._new, ids_alone=self._refitted)

    def _written_after(self, version: int) -> Mask:
        space = self._candidate
        later = [
            one.run_id
            for one in Catalog(space.store_uri).made(space.entry.space)
            if one.table == space.entry.table and one.version > version
        ]
        return _mask(space, f"run_id IN ({', '.join(map(_quoted, later))})" if later else "false")

    def _drawn(self, space: Space, rows: BaseRows, meant: Mask) -> Side:
        return drawn(space, rows, meant, self._group, np.random.default_rng(self._seed), self._most)


def windows(
    space: Space, window: WindowConfig, *, group: str | None, seed: int, most: int = MOST
) -> tuple[Side, Side, datetime]:
    """Rows of one version before its last days, and of these; and the newest time in it.

    Rows without a time are on neither side. Raises ConfigError for a column without times.
    """
    space.check_column(window.column)
    seconds = np.array([*_seconds(space, window.column)], np.float64)
    if not np.isfinite(seconds).any():
        raise ConfigError(
            f"column {window.column!r} of space {space.entry.space!r} has no times: dates, or ISO "
            "8601 such as 2025-06-30T12:00"
        )
    newest = float(np.nanmax(seconds))
    start = newest - timedelta(days=window.days).total_seconds()
    rows = _rows(space)
    before, within = seconds <= start, seconds > start
    sides = [
        drawn(space, rows, meant, group, np.random.default_rng(seed), most)
        for meant in (before, within)
    ]
    return sides[0], sides[1], datetime.fromtimestamp(newest, UTC)


def drawn(
    space: Space,
    rows: BaseRows,
    meant: Mask,
    group: str | None,
    rng: np.random.Generator,
    most: int = MOST,
) -> Side:
    """At most so many of the rows that are meant; where rows belong together, blocks of them.

    Of a block with more than 200 rows a random 200, as tests take no more.
    """
    there = np.flatnonzero(meant)
    blocks = _blocks(space, rows, there, group)
    if blocks is None:
        chosen = np.sort(rng.permutation(len(there))[:most])
    else:
        chosen = drawn_blocks(blocks, rng, most)
    return Side(space, there[chosen], len(there), None if blocks is None else blocks[chosen])


def alike_sides(one: Side, other: Side, rng: np.random.Generator) -> tuple[Side, Side]:
    """Both with blocks of like sizes, as `alike_blocks` draws them.

    Without blocks, or without rows, both are as they were.
    """
    if one.blocks is None or other.blocks is None or not (len(one.rows) and len(other.rows)):
        return one, other
    mine, theirs = alike_blocks(one.blocks, other.blocks, rng)
    return (
        replace(one, rows=one.rows[mine], blocks=one.blocks[mine]),
        replace(other, rows=other.rows[theirs], blocks=other.blocks[theirs]),
    )


def _rows(space: Space) -> BaseRows:
    return Table(space.store_uri, space.entry.table).base(space.entry.lance_version)


def _lacking(ours: BaseRows, theirs: BaseRows, *, ids_alone: bool) -> Mask:
    """Whether each row is of a record that they lack or, unless `ids_alone`, have otherwise."""
    at = find(ours.record_ids, theirs.record_ids)
    lacking: Mask = at < 0
    if ids_alone:
        return lacking
    both = np.flatnonzero(~lacking)
    lacking[both] = (ours.contents[both] != theirs.contents[at[both]]).any(axis=1)
    return lacking


def _blocks(space: Space, rows: BaseRows, there: Indices, group: str | None) -> Indices | None:
    """What each of these rows belongs to: its value of `group`, else its record where it has more.

    None where each row is alone.
    """
    if group is None:
        if not rows.chunks.any():
            return None
        first = np.flatnonzero(rows.chunks == 0)
        return find(rows.record_ids[there], rows.record_ids[first])
    space.check_column(group)
    values = space.dataset.take(there.tolist(), columns=[group])[group].to_pylist()
    alone = find(rows.record_ids[there], rows.record_ids)
    named = [
        f"alone {row}" if value is None else f"group {value}"
        for row, value in zip(alone.tolist(), values, strict=True)
    ]
    return np.unique(named, return_inverse=True)[1].astype(np.int64)


def _mask(space: Space, where: str) -> Mask:
    """Whether a filter holds for each row of a version, in the order of its table."""
    addresses = space.dataset.to_table(columns=[], with_row_address=True)["_rowaddr"]
    found = space.dataset.to_table(columns=[], filter=where, with_row_address=True)["_rowaddr"]
    mask: Mask = np.isin(addresses.to_numpy(), found.to_numpy())
    return mask


def _quoted(run_id: str) -> str:
    return "'" + run_id.replace("'", "''") + "'"


def _seconds(space: Space, column: str) -> Iterator[float]:
    """The times of all rows in seconds; NaN where there is none."""
    for batch in space.batches([column]):
        for value in batch[column].to_pylist():
            yield _second(value)


def _second(value: object) -> float:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return float("nan")
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return float("nan")
