"""A version's vectors in a file that other programs read."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import ConfigError
from tasks.space import Space
from tasks.words.formats import Format, write

COUNT = "count"


def export(space: Space, path: Path, form: Format) -> dict[str, Any]:
    """Writes all rows by their ids: the most frequent first where they are words, else by id.

    Raises ConfigError for an id with white space, and a file that cannot be written.
    """
    if path.is_dir() or not path.name:
        raise ConfigError(f"{str(path)!r} is a folder: name the file to write")
    ids, vectors = space.vectors()
    counts = np.zeros(len(ids), np.int64)
    if COUNT in space.dataset.schema.names and space.modalities() == ["word"]:
        counts = space.to_arrow([COUNT])[COUNT].to_numpy()
    order = sorted(range(len(ids)), key=lambda row: (-counts[row], ids[row]))
    write(path, [ids[row] for row in order], vectors[order], form)
    return {
        "space": space.entry.space,
        "version": space.version,
        "path": str(path),
        "format": form.value,
        "rows": len(ids),
        "dim": space.settings.dim,
    }
