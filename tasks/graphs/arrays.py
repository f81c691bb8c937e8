"""The arrays that graphs are made of."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Indices: TypeAlias = npt.NDArray[np.signedinteger[Any]]
"""Shape (n,), dtype int32 or int64: nodes, or places in an array."""
Weights: TypeAlias = npt.NDArray[np.float32]
"""Shape (n,), dtype float32: one for each entry of the rows."""
Counts: TypeAlias = npt.NDArray[np.int64]
"""Shape (n,), dtype int64: how many of something, or which one."""
Reals: TypeAlias = npt.NDArray[np.float64]
"""Shape (n,), dtype float64."""
Marks: TypeAlias = npt.NDArray[np.uint64]
"""Shape (n,), dtype uint64: three bits of one word for each edge, shared by several."""
Walks: TypeAlias = npt.NDArray[np.signedinteger[Any]]
"""Shape (walks, length), dtype that of the graph's `indices`: nodes; -1 after a walk's end."""
