"""What is read from a file of edges, and what the user says of how it is written."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Column: TypeAlias = str | int
"""A column by name, or by number from 0 where a file has no header."""
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
    what else the file knows of its nodes.
    """

    source: Ends
    target: Ends
    weights: npt.NDArray[np.float64] | None = None
    directed: bool | None = None
    nodes: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns hold the ends and the weight, how a text is written, what the user says."""

    source: Column | None = None
    target: Column | None = None
    weight: Column | None = None
    header: bool | None = None
    delimiter: str | None = None
    directed: bool | None = None
