"""How vectors of a table were made shorter for stores downstream: fitted once, used ever after."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import StoreError
from tasks.store import files, layout

Arrays = dict[str, npt.NDArray[Any]]


def keep(store_uri: str, table: str, name: str, arrays: Arrays) -> None:
    """Writes it, whole or not at all."""
    data = io.BytesIO()
    held: dict[str, Any] = arrays
    np.savez(data, **held)
    place = layout.compression_path(store_uri, table, name)
    files.of(place).write(place, data.getvalue())


def read(store_uri: str, table: str, name: str) -> Arrays | None:
    """What was kept; None where there is nothing. Raises StoreError for what cannot be read."""
    place = layout.compression_path(store_uri, table, name)
    data = files.of(place).read(place)
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {one: arrays[one] for one in arrays.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise StoreError(
            f"{place} cannot be read ({error}): what sinks have is made by it. Bring it back from "
            "a copy, or remove it: the next publication makes another one, and pushes all rows anew"
        ) from error
