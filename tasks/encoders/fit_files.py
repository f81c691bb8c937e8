"""The file of what was fitted, read without Arrow: tables by the ids of a corpus.

One safetensors file: `vectors`, float32 of shape (n, dim), and the ids as UTF-8, end to end in
`ids` with `ends` for where each one stops. Besides, where they are known, `contexts` of the same
shape and `counts`, and in its metadata `about`: plain data on how items are told in a content.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import StoreError

NAME = "fit.safetensors"


@dataclass(frozen=True)
class FitFile:
    """A fit in its folder; nothing is read but what is asked for."""

    folder: Path

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / NAME

    def shape(self) -> tuple[int, int]:
        """How many items there are, and components of each vector."""
        with self._opened() as file:
            n_items, dim = file.get_slice("vectors").get_shape()
        return int(n_items), int(dim)

    def about(self) -> dict[str, Any]:
        """What the fit says of itself."""
        with self._opened() as file:
            told: dict[str, Any] = json.loads((file.metadata() or {}).get("about", "{}"))
        return told

    def ids(self) -> list[str]:
        """All ids, in the order of the rows."""
        data, starts = self.table("ids").tobytes(), [0, *self.table("ends").tolist()]
        return [data[start:end].decode() for start, end in pairwise(starts)]

    def has(self, name: str) -> bool:
        """Whether there is such a table."""
        with self._opened() as file:
            return name in file.keys()  # noqa: SIM118

    def table(
        self, name: str, start: int | None = None, end: int | None = None
    ) -> npt.NDArray[Any]:
        """A table, or some rows of it."""
        with self._opened() as file:
            part: npt.NDArray[Any] = file.get_slice(name)[start:end]
        return part

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="numpy") as file:
                yield file
        except (OSError, SafetensorError) as error:
            raise StoreError(f"the fit in {self.folder} cannot be read: {error}") from error


def write(folder: Path, tables: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Writes the file."""
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(table) for name, table in tables.items()}
    save_file(whole, folder / NAME, {"about": json.dumps(about, sort_keys=True)})
