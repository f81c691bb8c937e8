"""Finding records of a version by their ids."""

from collections.abc import Sequence

import numpy as np

from tasks.errors import ConfigError
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


def at_most(k: int, n: int, what: str) -> tuple[int, tuple[str, ...]]:
    """k, or n where there are no more, and what to warn of then."""
    if k <= n:
        return k, ()
    return n, (f"there are {n:,} {what}: measured at {n} instead of {k}",)
