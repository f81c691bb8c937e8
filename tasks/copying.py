"""Vectors of texts that are known already, copied instead of encoded again."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tasks.digests import Digests, to_array
from tasks.encoders.base import Conversion, Converter, Encoder, Vectors
from tasks.errors import StoreError
from tasks.jobs import Donors, Target
from tasks.rows import Row, sound
from tasks.store import fragments
from tasks.store.rows import to_matrix
from tasks.store.table import Table

Mask = npt.NDArray[np.bool_]


def known_vectors(
    rows: Sequence[Row], donors: Donors, target: Target, encoder: Encoder
) -> tuple[Vectors, Mask]:
    """The vectors that equal texts have in the donors, row i for row i, and which rows have one.

    A file that is not there any more, or a vector that this encoder cannot have given, is none.
    """
    vectors, known = np.zeros((len(rows), encoder.dim), np.float32), np.zeros(len(rows), np.bool_)
    for hashes, found, conversion in _parts(rows, donors, target):
        if conversion is not None and isinstance(encoder, Converter):
            found = encoder.convert(found)
        good = sound(found, normalized=encoder.normalized)
        places = {key: place for place, key in enumerate(hashes) if good[place]}
        for number, row in enumerate(rows):
            place = None if known[number] else places.get(row.hash)
            if place is None or not (
                conversion is None or conversion.holds(row.encoded, encoder.tokenizer())
            ):
                continue
            vectors[number], known[number] = found[place], True
    return vectors, known


def _parts(
    rows: Sequence[Row], donors: Donors, target: Target
) -> Iterator[tuple[list[bytes], Vectors, Conversion | None]]:
    """Hashes of texts, and vector i for hash i."""
    if donors.addresses is not None and donors.lance_version is not None:
        table = Table(target.store_uri, target.table)
        found = table.vectors_at(donors.lance_version, donors.addresses)
        yield found["chunk_hash"].to_pylist(), to_matrix(found["vector"]), None
    wanted: Digests = to_array(sorted({row.hash for row in rows}))
    for file in donors.files:
        try:
            found = fragments.read_vectors(file.path, wanted)
        except StoreError:
            continue
        yield found["chunk_hash"].to_pylist(), to_matrix(found["vector"]), file.conversion
