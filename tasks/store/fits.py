"""The tables of a fit in the store: what `models` keeps, by the ids of a corpus.

One safetensors file: `vectors` and `contexts`, float32 of shape (n, dim), and the ids as UTF-8, end
to end in `ids` with `ends` for where each one stops.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.encoders.base import Vectors
from tasks.encoders.fitted import Fit, Mask, Start
from tasks.errors import StoreError

NAME = "fit.safetensors"


def write(folder: Path, ids: pa.Array, fit: Fit) -> None:
    """Writes the items that have a vector."""
    from safetensors.numpy import save_file

    fitted = fit.vectors.any(axis=1)
    names = ids.filter(pa.array(fitted)).cast(pa.large_string())
    sizes = pc.binary_length(names).to_numpy()
    data = np.frombuffer(b"".join(one.as_buffer() for one in names), np.uint8)
    save_file(
        {
            "vectors": fit.vectors if fitted.all() else fit.vectors[fitted],
            "contexts": fit.contexts if fitted.all() else fit.contexts[fitted],
            "ids": data,
            "ends": np.cumsum(sizes, dtype=np.int64),
        },
        folder / NAME,
    )


@dataclass(frozen=True)
class FitFile:
    """The tables of a fit; nothing is read but what is asked for."""

    folder: Path

    def ids(self) -> pa.Array:
        """All ids, large strings in the order of the rows."""
        ends, data = self._read("ends"), self._read("ids")
        offsets = np.concatenate([[0], ends]).astype(np.int64)
        return pa.LargeStringArray.from_buffers(
            len(ends), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))
        )

    def vectors(self, ids: pa.Array) -> Vectors:
        """Rows of some of the ids, in their order; StoreError if one has none."""
        places = self._places(ids)
        if (places < 0).any():
            missing = ids[int(np.argmax(places < 0))].as_py()
            raise StoreError(f"the fit in {self.folder} has no vector of {missing!r}")
        if not len(places):
            return self._read("vectors", 0, 0)
        first, last = int(places.min()), int(places.max()) + 1
        return self._read("vectors", first, last)[places - first]

    def start(self, ids: pa.Array, changed: Mask) -> Start:
        """The tables in the order of these ids."""
        places = self._places(ids)
        known = places >= 0

        def placed(name: str) -> Vectors:
            held = self._read(name)
            table = np.zeros((len(ids), held.shape[1]), np.float32)
            table[known] = held[places[known]]
            return table

        return Start(placed("vectors"), placed("contexts"), known, changed)

    def _places(self, ids: pa.Array) -> npt.NDArray[np.int64]:
        found = pc.index_in(ids.cast(pa.large_string()), value_set=self.ids())
        places: npt.NDArray[np.int64] = found.fill_null(-1).to_numpy().astype(np.int64)
        return places

    def _read(
        self, name: str, start: int | None = None, end: int | None = None
    ) -> npt.NDArray[np.float32]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.folder / NAME, framework="numpy") as tensors:
                part: npt.NDArray[np.float32] = tensors.get_slice(name)[start:end]
                return part
        except (OSError, SafetensorError) as error:
            raise StoreError(f"the fit in {self.folder} cannot be read: {error}") from error
