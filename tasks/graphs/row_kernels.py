"""Compiled loops that make the rows of a graph, and the tables that draw from them by weight.

Imported by the functions that call them: compiling, and numba itself, take seconds.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba  # noqa: TID253
import numpy as np

from tasks.graphs.arrays import Indices, Marks, Reals, Weights

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """The function, compiled when it is first called, once for a machine."""
    made = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast("F", made)


@compiled
def count(ends: Indices, others: Indices, both: bool, indptr: Indices) -> None:
    """Makes `indptr`, all zeros, the starts of rows that hold the edges by `ends`.

    With `both` each edge stands in the row of its other end too, a self loop once.
    """
    for edge in range(ends.size):
        indptr[ends[edge] + 1] += 1
        if both and ends[edge] != others[edge]:
            indptr[others[edge] + 1] += 1
    for row in range(indptr.size - 1):
        indptr[row + 1] += indptr[row]


@compiled
def scatter(
    ends: Indices,
    others: Indices,
    weights: Weights,
    both: bool,
    free: Indices,
    indices: Indices,
    row_weights: Weights,
) -> None:
    """Writes each edge into its row, in the order of edges; `free` are the rows' starts, used up.

    No weights are an empty array, here and below.
    """
    for edge in range(ends.size):
        end, other = ends[edge], others[edge]
        at = free[end]
        free[end] += 1
        indices[at] = other
        if weights.size:
            row_weights[at] = weights[edge]
        if both and end != other:
            at = free[other]
            free[other] += 1
            indices[at] = end
            if weights.size:
                row_weights[at] = weights[edge]


@compiled
def transpose(
    indptr: Indices,
    indices: Indices,
    weights: Weights,
    free: Indices,
    to_indices: Indices,
    to_weights: Weights,
) -> None:
    """Writes rows as the rows of the other ends, which it leaves sorted."""
    for row in range(indptr.size - 1):
        for at in range(indptr[row], indptr[row + 1]):
            end = indices[at]
            to_indices[free[end]] = row
            if weights.size:
                to_weights[free[end]] = weights[at]
            free[end] += 1


@compiled
def merge(indptr: Indices, indices: Indices, weights: Weights) -> None:
    """Leaves one of the equal entries of a sorted row, with the sum of their weights."""
    start = kept = 0
    for row in range(indptr.size - 1):
        at, end = start, indptr[row + 1]
        start = end
        while at < end:
            node = indices[at]
            total = 0.0
            while at < end and indices[at] == node:
                if weights.size:
                    total += weights[at]
                at += 1
            indices[kept] = node
            if weights.size:
                weights[kept] = total
            kept += 1
        indptr[row + 1] = kept


@compiled
def find(indices: Indices, start: int, end: int, node: int) -> int:
    """Where a node stands in the sorted `indices[start:end]`; -1 if it does not."""
    while start < end:
        middle = (start + end) >> 1
        if indices[middle] < node:
            start = middle + 1
        elif indices[middle] > node:
            end = middle
        else:
            return middle
    return -1


@compiled
def count_loops(indptr: Indices, indices: Indices) -> int:
    """How many nodes have themselves as a neighbour."""
    loops = 0
    for row in range(indptr.size - 1):
        loops += find(indices, indptr[row], indptr[row + 1], row) >= 0
    return loops


@compiled
def mark(node: int) -> np.uint64:
    """One of 64 bits."""
    return np.uint64(1) << (np.uint64(node) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(58))


@compiled
def mark_rows(indptr: Indices, indices: Indices, marks: Marks) -> None:
    """Sets the bits of each node's neighbours, all zero before: most of the others lack theirs."""
    for row in range(indptr.size - 1):
        for at in range(indptr[row], indptr[row + 1]):
            marks[row] |= mark(indices[at])


@compiled
def make_tables(
    indptr: Indices, weights: Weights, totals: Reals, keep: Weights, instead: Indices
) -> None:
    """Fills the sums of rows and the alias tables of Walker (1977), as Vose (1991) builds them.

    Slot `at` of a row stands for itself with probability `keep[at]`, otherwise for the entry
    `instead[at]` after the row's start.
    """
    longest = 0
    for row in range(indptr.size - 1):
        longest = max(longest, indptr[row + 1] - indptr[row])
    shares = np.empty(longest)
    stack = np.empty(longest, np.int64)
    for row in range(indptr.size - 1):
        part = slice(indptr[row], indptr[row + 1])
        totals[row] = _fill(weights[part], keep[part], instead[part], shares, stack)


@compiled
def _fill(
    weights: Weights, keep: Weights, instead: Indices, shares: Reals, stack: Indices
) -> float:
    """Fills the table of one row, whose sum it gives."""
    size = weights.size
    total = 0.0
    for at in range(size):
        total += weights[at]
    # What is below the mean grows from the bottom of the stack, what is above from its top.
    below, above = 0, size
    for at in range(size):
        keep[at], instead[at] = 1.0, at
        shares[at] = weights[at] / total * size
        if shares[at] < 1.0:
            stack[below] = at
            below += 1
        else:
            above -= 1
            stack[above] = at
    while below > 0 and above < size:
        below -= 1
        small, large = stack[below], stack[above]
        keep[small], instead[small] = shares[small], large
        shares[large] -= 1.0 - shares[small]
        if shares[large] < 1.0:
            above += 1
            stack[below] = large
            below += 1
    return total
