"""Sketches of versions, by which any two of them compare without their rows.

They stand beside the runs of their table, and go with it, as does the one basis that all of them
have. A sketch that is damaged is made anew; without the basis, all of them are.
"""

import io
import logging
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.drift.basis import Basis, basis_from_arrays
from tasks.drift.sketches import Sketch, from_arrays
from tasks.errors import DriftError
from tasks.store import files, layout

ENDING = ".npz"
DAMAGE = (zipfile.BadZipFile, EOFError, KeyError, RuntimeError, ValueError, DriftError)

Arrays = Mapping[str, npt.NDArray[Any]]

logger = logging.getLogger(__name__)


def keep(store_uri: str, table: str, version: int, sketch: Sketch) -> None:
    """Writes it, whole or not at all."""
    _write(layout.sketch_path(store_uri, table, version), sketch.arrays())


def read(store_uri: str, table: str, version: int, basis: Basis) -> Sketch | None:
    """That of a version; None where there is none of this basis that can be read."""
    place = layout.sketch_path(store_uri, table, version)
    try:
        arrays = _arrays(place)
        if arrays is None:
            return None
        sketch = from_arrays(arrays)
        if not sketch.basis.same(basis):
            raise DriftError("it has another basis than its table")
        return sketch
    except DAMAGE as error:
        logger.warning("sketch %s cannot be used, and is made anew from the rows: %s", place, error)
        return None


def keep_basis(store_uri: str, table: str, basis: Basis) -> None:
    """Writes that of a table; sketches that it has already had another one, and are removed."""
    place = layout.basis_path(store_uri, table)
    if lost := _sketched(store_uri, table):
        logger.warning(
            "table %s has %d sketches and no basis of them that can be read: a new one is made, "
            "and each sketch anew from the rows when it is asked for",
            table,
            len(lost),
        )
        keep_only(store_uri, table, set())
    _write(place, basis.arrays())


def read_basis(store_uri: str, table: str) -> Basis | None:
    """What all sketches of a table have in common; None where there is none that can be read."""
    place = layout.basis_path(store_uri, table)
    try:
        arrays = _arrays(place)
        return None if arrays is None else basis_from_arrays(arrays)
    except DAMAGE as error:
        logger.warning("basis %s cannot be read: %s", place, error)
        return None


def keep_only(store_uri: str, table: str, versions: set[int]) -> None:
    """Removes sketches of other versions."""
    folder = layout.sketches_folder(store_uri, table)
    wanted = {f"{version}{ENDING}" for version in versions}
    others = [name for name in _sketched(store_uri, table) if name not in wanted]
    files.of(folder).remove(f"{folder}/{name}" for name in others)


def _sketched(store_uri: str, table: str) -> list[str]:
    """The names of the files of all sketches."""
    folder = layout.sketches_folder(store_uri, table)
    return [
        name
        for name in files.of(folder).names(folder)
        if name.endswith(ENDING) and name.removesuffix(ENDING).isdigit()
    ]


def _write(place: str, arrays: Mapping[str, Any]) -> None:
    data = io.BytesIO()
    np.savez(data, **arrays)
    files.of(place).write(place, data.getvalue())


def _arrays(place: str) -> Arrays | None:
    """None where there is no such file; raises what `DAMAGE` has for one that is damaged."""
    data = files.of(place).read(place)
    if data is None:
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as whole:
        bad = whole.testzip()  # numpy reads what is damaged, and warns or fails
    if bad is not None:
        raise DriftError(f"{bad} of it is damaged")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)
