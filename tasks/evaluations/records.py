"""Finding records of a version by their ids, and those that have a value in a column."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.errors import ConfigError, MetricError
from tasks.evaluations.base import Rows, Version


def find_records(version: Version, ids: Sequence[str]) -> Rows:
    """The number of the record with each of these ids, -1 where there is none."""
    wanted = set(ids)
    place = {id_: number for number, id_ in enumerate(version.record_ids) if id_ in wanted}
    return np.array([place.get(id_, -1) for id_ in ids], np.int64)


def find_pairs(
    version: Version, pairs: Sequence[Sequence[str]], where: str
) -> tuple[Rows, Rows, tuple[str, ...]]:
    """Which pairs the version has, their records, shape (n, 2), and what to warn of.

    Raises ConfigError if it has none of them; `where` names them in it.
    """
    flat = find_records(version, [id_ for pair in pairs for id_ in pair])
    records = flat.reshape(-1, 2)
    known = np.flatnonzero((records >= 0).all(axis=1))
    if not len(known):
        raise ConfigError(
            f"of the {len(pairs):,} pairs of {where} the version has none: are they ids of its "
            f"records, such as {version.record_ids[0]!r}?"
        )
    lost = len(pairs) - len(known)
    said = (f"{lost:,} of {len(pairs):,} pairs name records that this version lacks",) * bool(lost)
    return known, records[known], said


def has_value(value: object) -> bool:
    """Whether a column says something of a record: None and NaN do not."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def find_values(version: Version, column: str) -> tuple[list[object], Rows, tuple[str, ...]]:
    """The values of a column, the records that have one, ascending, and what to warn of.

    Raises MetricError where no record has one.
    """
    values = version.column(column)
    there = np.array([row for row, value in enumerate(values) if has_value(value)], np.int64)
    if not len(there):
        raise MetricError(f"no record has a value in column {column!r}")
    lost = len(values) - len(there)
    said = (f"{lost:,} of {len(values):,} records have no value in column {column!r}",) * bool(lost)
    return values, there, said


class LabelledRecords:
    """Some records that have a value in a column, in a random order that is always the same."""

    def __init__(self, rows: Rows, values: list[object]) -> None:
        self.rows, self.values = rows, values


def labelled(version: Version, column: str, most: int) -> tuple[LabelledRecords, tuple[str, ...]]:
    """The records with a value in a column, at most so many, and what to warn of."""
    values, there, said = find_values(version, column)
    chosen = version.rng.permutation(there)[:most]
    if len(there) > most:
        said += (f"a sample of {most:,} of {len(there):,} records",)
    return LabelledRecords(chosen, [values[row] for row in chosen.tolist()]), said


def groups_of(version: Version, column: str | None, rows: Rows) -> Rows | None:
    """The number of its group, by a column, for each of these records; None without a column.

    A record without a value is a group of its own.
    """
    if column is None:
        return None
    values = version.column(column)
    named = [
        f"alone {row}" if values[row] is None else f"group {values[row]}" for row in rows.tolist()
    ]
    groups: Rows = np.unique(named, return_inverse=True)[1].astype(np.int64)
    return groups


def connected(sets: Sequence[Sequence[Hashable]]) -> Rows:
    """The number of its group for each set: sets that share a member, through others too, are one.

    An empty set is a group of its own.
    """
    members = {one: place for place, one in enumerate({one: 0 for own in sets for one in own})}
    ends = np.array(
        [(place, members[one]) for place, own in enumerate(sets) for one in own], np.int64
    ).reshape(-1, 2)
    n = len(sets) + len(members)
    links = coo_array((np.ones(len(ends)), (ends[:, 0], len(sets) + ends[:, 1])), (n, n))
    groups: Rows = connected_components(links, directed=False)[1][: len(sets)].astype(np.int64)
    return groups


def at_most(k: int, n: int, what: str) -> tuple[int, tuple[str, ...]]:
    """k, or n where there are no more, and what to warn of then."""
    if k <= n:
        return k, ()
    return n, (f"there are {n:,} {what}: measured at {n} instead of {k}",)
