"""What is read from a file of edges, and what the user says of how it is written."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Column: TypeAlias = str | int
"""A column by name, or by number from 0 where a file has no header."""
Opened: TypeAlias = Callable[[], AbstractContextManager[IO[bytes]]]
"""What opens a file; it may be read more than once."""
Codes: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Ends:
    """One end of each edge: `ids[codes[i]]` for edge i."""

    codes: Codes
    ids: pa.Array


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of one file, of which some may be named twice.

    `directed` is what the file says of it, None where it does not. `nodes` has a column `id` and
    what else the file knows of its nodes. `place` says where edge i is.
    """

    source: Ends
    target: Ends
    weights: npt.NDArray[np.float64] | None = None
    directed: bool | None = None
    nodes: pa.Table | None = None
    place: Callable[[int], str] = lambda edge: f"edge {edge + 1}"


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns hold the ends and the weight, how a text is written, what the user says."""

    source: Column | None = None
    target: Column | None = None
    weight: Column | None = None
    header: bool | None = None
    delimiter: str | None = None
    directed: bool | None = None
