"""Maps of the vectors of tables: one for each method, made once, by which all versions are shown.

They stand beside the evaluations of their table, and go with it.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from schemas.suite import MapMethod
from tasks.projections import Anchored, Linear, Projection
from tasks.store import files, layout


def keep(
    store_uri: str, table: str, method: MapMethod, dim: int, make: Callable[[], Projection]
) -> tuple[Projection, str]:
    """The projection that is kept, or one that is made and kept now, and what is odd about that.

    Of two that are made at once, the last one is kept, whole.
    """
    place = layout.evaluation_path(store_uri, table, f"projection-{method}", "npz")
    data = files.of(place).read(place)
    if data is not None and (known := _read(data, method, dim)) is not None:
        return known, ""
    made = make()
    drawn = io.BytesIO()
    np.savez(drawn, **asdict(made))
    files.of(place).write(place, drawn.getvalue())
    said = f"the projection {place} is damaged: it was made anew, and older maps look different"
    return made, "" if data is None else said


def _read(data: bytes, method: MapMethod, dim: int) -> Projection | None:
    """None for what cannot be read, and for what is none of vectors of this dimension."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as whole:
            if whole.testzip() is not None:  # numpy reads what is damaged, and warns or fails
                return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = (Linear if method is MapMethod.PCA else Anchored)(**arrays)
    except (zipfile.BadZipFile, EOFError, RuntimeError, TypeError, ValueError):
        return None
    return found if _is_whole(found, dim) else None


def _is_whole(found: Projection, dim: int) -> bool:
    arrays = asdict(found).values()
    if not all(one.dtype.kind == "f" and np.isfinite(one).all() for one in arrays):
        return False
    shapes = [one.shape for one in arrays]
    if isinstance(found, Linear):
        return shapes == [(dim,), (2, dim)]
    n = len(found.anchors)
    return n > 0 and shapes == [(n, dim), (n, 2)]
