"""What a metric gives, and what is asked of the arrays that it takes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.mapped import release

Matrix = npt.NDArray[np.floating]
"""Vectors, shape (n, dim), float32 or float64: row i belongs to item i."""
Reals = npt.NDArray[np.float64]
"""A number for each item, shape (n,)."""
Labels = npt.NDArray[np.generic] | Sequence[str] | Sequence[int]
"""A label for each item, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Score:
    """A finite number with what it was taken from.

    Attributes:
        value: The number.
        n: The number of queries, pairs or items that it stands on.
        per_item: Their values, shape (n,), where `value` is their mean; None where it is not.
        items: Their names, in the same order; empty where items are known by their place.
        warnings: What was odd about the input and what was made of it, one sentence each.
        parts: Further numbers that belong to it, such as an out-of-vocabulary ratio.
    """

    value: float
    n: int
    per_item: Reals | None = None
    items: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise MetricError(f"a score came out as {self.value}: that is a defect of the metric")

    def __float__(self) -> float:
        return self.value

    def warned(self, *warnings: str) -> "Score":
        """The same with more to say about the input."""
        return replace(self, warnings=(*self.warnings, *warnings))


def mean_score(
    per_item: npt.ArrayLike,
    *,
    items: Sequence[str] = (),
    warnings: Sequence[str] = (),
    parts: Mapping[str, float] | None = None,
) -> Score:
    """The score that is the mean of these; raises MetricError if there is none."""
    values = np.asarray(per_item, np.float64)
    if not len(values):
        raise MetricError("the mean of no items is undefined")
    return Score(
        float(values.mean()), len(values), values, tuple(items), tuple(warnings), parts or {}
    )


def check_matrix(vectors: npt.ArrayLike, name: str = "vectors", *, at_least: int = 1) -> Matrix:
    """The same as a matrix of finite floats; float32 and memory-mapped arrays are not copied.

    Raises MetricError for another shape, fewer than `at_least` rows, no columns, NaN, infinity and
    components whose squares would leave float32.
    """
    matrix = np.asarray(vectors)
    if matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float64)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise MetricError(f"{name} has shape {matrix.shape}: expected (n, dim)")
    if len(matrix) < at_least:
        raise MetricError(f"{name} has {len(matrix)} rows: at least {at_least} are needed")
    for start in range(0, len(matrix), ROWS):
        sound = (np.abs(matrix[start : start + ROWS]) < LARGEST).all(axis=1)
        if not sound.all():
            row = start + int(np.flatnonzero(~sound)[0])
            raise MetricError(
                f"{name} has a component in row {row} that is not finite or not below {LARGEST:g}"
            )
        release(matrix)
    return matrix


def check_pair(
    one: npt.ArrayLike, other: npt.ArrayLike, *, at_least: int = 1
) -> tuple[Matrix, Matrix]:
    """Two matrices whose rows belong together; their dimensions may differ.

    Raises MetricError as `check_matrix`, and where they differ in length.
    """
    first = check_matrix(one, "the first matrix", at_least=at_least)
    second = check_matrix(other, "the second matrix", at_least=at_least)
    if len(first) != len(second):
        raise MetricError(f"rows belong together, and there are {len(first)} and {len(second)}")
    return first, second


def check_lengths(**arrays: Sequence[object] | npt.NDArray[np.generic]) -> int:
    """The length that all of these have; raises MetricError where they differ."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise MetricError(f"lengths differ: {said}")
    return next(iter(lengths.values()))


def unit_rows(vectors: Matrix) -> Matrix:
    """Rows at length 1 in the same dtype; rows of zeros stay zeros."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    scaled = vectors / np.where(largest > 0, largest, 1)  # squares of large float32 overflow
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(norms > 0, norms, 1).astype(vectors.dtype)


ROWS = 65_536  # looked at at once
LARGEST = 1e15  # so that sums of squares stay in float32
