"""The tables of a fit that `models` keeps, by the ids of a corpus, as Arrow has them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.digests import Digests, digest_text, to_array
from tasks.encoders.base import Vectors
from tasks.encoders.fit_files import FitFile
from tasks.encoders.fit_files import write as write_file
from tasks.encoders.fitted import Fit, Mask, Start
from tasks.errors import StoreError
from tasks.store import files, layout
from tasks.store.catalog import Catalog
from tasks.store.models import PREFIX
from tasks.store.table import Table


def write(folder: Path, ids: pa.Array, fit: Fit) -> None:
    """Writes the items that have a vector; contexts that are all zero are left out."""
    fitted = fit.vectors.any(axis=1)
    whole = bool(fitted.all())  # then nothing is copied
    names = ids.filter(pa.array(fitted)).cast(pa.large_string())
    sizes = pc.binary_length(names).to_numpy()
    tables: dict[str, npt.NDArray[Any]] = {"vectors": fit.vectors}
    if fit.contexts.any():
        tables["contexts"] = fit.contexts
    if fit.counts is not None:
        tables["counts"] = fit.counts
    write_file(
        folder,
        {
            **{name: table if whole else table[fitted] for name, table in tables.items()},
            "ids": np.frombuffer(b"".join(one.as_buffer() for one in names), np.uint8),
            "ends": np.cumsum(sizes, dtype=np.int64),
        },
        fit.about,
    )


SAME_HALF = 2
"""Ids whose digests may begin with the same 64 bits: of a billion, three do once in 10^12."""


@dataclass(frozen=True)
class StoredFit:
    """The tables of a fit; nothing is read but what is asked for."""

    folder: Path

    def vectors(self, ids: pa.Array) -> Vectors:
        """Rows of some of the ids, in their order; StoreError if one has none."""
        places = self._find(ids)
        if (places < 0).any():
            missing = ids[int(np.argmax(places < 0))].as_py()
            raise StoreError(f"the fit in {self.folder} has no vector of {missing!r}")
        if not len(places):
            return self._file.table("vectors", 0, 0)
        first, last = int(places.min()), int(places.max()) + 1
        return self._file.table("vectors", first, last)[places - first]

    def start(self, ids: pa.Array, changed: Mask) -> Start:
        """The tables in the order of these ids."""
        places = self._places(ids)
        known = places >= 0

        def placed(name: str) -> Vectors:
            held = self._file.table(name)
            table = np.zeros((len(ids), held.shape[1]), np.float32)
            table[known] = held[places[known]]
            return table

        return Start(placed("vectors"), placed("contexts"), known, changed)

    def _find(self, ids: pa.Array) -> npt.NDArray[np.int64]:
        """The row of each id, -1 where there is none.

        Made for many calls with few ids: Arrow hashes all that there are in each, which took 229 s
        for a million nodes.
        """
        known, rows = self._index
        wanted = to_array(map(digest_text, ids.to_pylist()))
        place = np.searchsorted(known[:, 0], wanted[:, 0])
        found = np.full(len(wanted), -1, np.int64)
        for _ in range(SAME_HALF):
            inside = place < len(known)
            inside[inside] = (known[place[inside]] == wanted[inside]).all(axis=1)
            found[inside] = rows[place[inside]]
            place += 1
        return found

    @cached_property
    def _index(self) -> tuple[Digests, npt.NDArray[np.int64]]:
        """Digests of all ids in order, and the row of each."""
        digests = to_array(map(digest_text, self._file.ids()))
        order = np.lexsort((digests[:, 1], digests[:, 0]))
        return digests[order], order

    @cached_property
    def _file(self) -> FitFile:
        return FitFile(self.folder)

    def _ids(self) -> pa.Array:
        ends, data = self._file.table("ends"), self._file.table("ids")
        offsets = np.concatenate([[0], ends]).astype(np.int64)
        return pa.LargeStringArray.from_buffers(
            len(ends), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))
        )

    def _places(self, ids: pa.Array) -> npt.NDArray[np.int64]:
        found = pc.index_in(ids.cast(pa.large_string()), value_set=self._ids())
        places: npt.NDArray[np.int64] = found.fill_null(-1).to_numpy().astype(np.int64)
        return places


def users(catalog: Catalog, table: str) -> dict[str, list[str]]:
    """Fits of a table, by their digests, that encoders of other tables are made of: which ones.

    Raises StoreError where another table cannot be opened, and the table has fits.
    """
    found: dict[str, list[str]] = {}
    folder = layout.models_folder(catalog.store_uri, table)
    if not files.of(folder).names(folder):
        return found
    entries = (entry for space in catalog.spaces() for entry in catalog.versions(space))
    for name in sorted({entry.table for entry in entries} - {table}):
        for value in Table(catalog.store_uri, name).settings().encoder.values():
            if isinstance(value, str) and value.startswith(f"{PREFIX}{table}@"):
                found.setdefault(value.rpartition("@")[2], []).append(name)
    return found
