"""Sketches of versions, by which any two of them compare without their rows.

They stand beside the runs of their table, and go with it; one that is damaged is made anew.
"""

import io
import logging
import zipfile
from typing import Any

import numpy as np

from tasks.drift.sketches import Sketch, from_arrays
from tasks.errors import DriftError
from tasks.store import files, layout

logger = logging.getLogger(__name__)


def keep(store_uri: str, table: str, version: int, sketch: Sketch) -> None:
    """Writes it, whole or not at all."""
    data = io.BytesIO()
    arrays: dict[str, Any] = sketch.arrays()
    np.savez(data, **arrays)
    place = layout.sketch_path(store_uri, table, version)
    files.of(place).write(place, data.getvalue())


def read(store_uri: str, table: str, version: int) -> Sketch | None:
    """That of a version; None where there is none that can be read."""
    place = layout.sketch_path(store_uri, table, version)
    data = files.of(place).read(place)
    if data is None:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as whole:
            bad = whole.testzip()  # numpy reads what is damaged, and warns or fails
        if bad is not None:
            raise DriftError(f"{bad} of it is damaged")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return from_arrays(arrays)
    except (zipfile.BadZipFile, EOFError, KeyError, RuntimeError, ValueError, DriftError) as error:
        logger.warning("sketch %s cannot be read, and is made anew from the rows: %s", place, error)
        return None


def keep_only(store_uri: str, table: str, versions: set[int]) -> None:
    """Removes those of other versions."""
    folder = layout.sketches_folder(store_uri, table)
    wanted = {f"{version}.npz" for version in versions}
    others = [name for name in files.of(folder).names(folder) if name not in wanted]
    files.of(folder).remove(f"{folder}/{name}" for name in others)
