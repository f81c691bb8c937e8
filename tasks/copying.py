"""Vectors of contents that are known already, copied instead of encoded again."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from tasks.digests import to_array
from tasks.encoders.base import Vectors
from tasks.errors import SourceChanged
from tasks.jobs import Donors, Target
from tasks.rows import Row
from tasks.store import fragments
from tasks.store.rows import to_matrix
from tasks.store.table import Table


def copy_vectors(rows: Sequence[Row], donors: Donors, target: Target) -> Vectors:
    """The vectors that equal contents have in the donors, row i for row i.

    Raises SourceChanged if one is not there any more.
    """
    places: dict[tuple[bytes, int], int] = {}
    parts: list[Vectors] = []
    for part in _donor_rows(Table(target.store_uri, target.table), donors, rows):
        keys = zip(part["content_hash"].to_pylist(), part["chunk"].to_pylist(), strict=True)
        n_before = sum(map(len, parts))
        places |= {key: place for place, key in enumerate(keys, start=n_before)}
        parts.append(to_matrix(part["vector"]))
    try:
        wanted = [places[row.content, row.chunk] for row in rows]
    except KeyError as error:
        raise SourceChanged(
            "a vector that was to be copied is not there any more; plan anew"
        ) from error
    vectors: Vectors = np.concatenate(parts)[wanted]
    return vectors


def _donor_rows(table: Table, donors: Donors, rows: Sequence[Row]) -> Iterator[pa.Table]:
    if donors.addresses is not None and donors.lance_version is not None:
        yield table.vectors_at(donors.lance_version, donors.addresses)
    if donors.fragments:
        wanted = to_array(sorted({row.content for row in rows}))
        yield fragments.read_vectors(table.uri, donors.fragments, wanted)
