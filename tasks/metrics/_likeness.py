"""How alike the two of a pair are: what correlations and thresholds are taken of."""

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.neighbours import Likeness
from tasks.metrics.score import Reals, check_lengths, check_pair

ROWS = 4096  # compared at once


def similarities(
    one: npt.ArrayLike, other: npt.ArrayLike, likeness: Likeness | str = Likeness.COSINE
) -> Reals:
    """How alike rows i of both are, shape (n,): cosine, dot product or minus Euclidean distance.

    Taken in float64, a block of rows at a time. The cosine with a vector of zeros is 0; that of a
    vector with itself is exactly 1, so that copies tie. To draw pairs for an interval, take these
    once. Raises MetricError where rows do not belong together.
    """
    if likeness not in list(Likeness):
        raise MetricError(f"likeness {likeness!r}: expected one of {', '.join(Likeness)}")
    first, second = check_pair(one, other)
    if first.shape[1] != second.shape[1]:
        raise MetricError(f"vectors have {first.shape[1]} and {second.shape[1]} components")
    alike = np.empty(len(first))
    for start in range(0, len(first), ROWS):
        block = slice(start, start + ROWS)
        left, right = first[block].astype(np.float64), second[block].astype(np.float64)
        alike[block] = _MEASURES[Likeness(likeness)](left, right)
    return alike


def compared(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    likeness: Likeness | str,
    **given: npt.NDArray[np.generic],
) -> tuple[Reals, tuple[str, ...]]:
    """The similarities, and a sentence if vectors of zeros are among them.

    Raises MetricError as `similarities`, and where what is `given` has another length.
    """
    alike = similarities(one, other, likeness)
    check_lengths(vectors=alike, **given)
    if likeness != Likeness.COSINE:
        return alike, ()
    zero = sum(int(np.count_nonzero(~np.asarray(side).any(axis=1))) for side in (one, other))
    return alike, (f"{zero} vectors are all zeros: their cosine counts 0",) if zero else ()


def _cosine(left: Reals, right: Reals) -> Reals:
    left, right = _scaled(left), _scaled(right)
    squares = _dot(left, left) * _dot(right, right)
    # The root of the product, not the product of roots: it makes copies exactly 1.
    zeros = np.zeros(len(squares))
    cosines = np.divide(_dot(left, right), np.sqrt(squares), out=zeros, where=squares > 0)
    return np.clip(cosines, -1, 1)


def _scaled(rows: Reals) -> Reals:
    """With a largest component of 1, so that no square is below float64; zeros stay zeros."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    return rows / np.where(largest > 0, largest, 1)


def _dot(left: Reals, right: Reals) -> Reals:
    products: Reals = (left * right).sum(axis=1)
    return products


def _euclidean(left: Reals, right: Reals) -> Reals:
    distances: Reals = np.linalg.norm(left - right, axis=1)
    return -distances


_MEASURES = {
    Likeness.COSINE: _cosine,
    Likeness.DOT: _dot,
    Likeness.EUCLIDEAN: _euclidean,
}
