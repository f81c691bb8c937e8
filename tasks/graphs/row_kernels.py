"""Compiled loops that make the rows of a graph, and what walks look up beside them.

Imported by the functions that call them: compiling, and numba itself, take seconds.
"""

import numpy as np

from tasks.graphs.arrays import Indices, Marks, Reals, Weights
from tasks.graphs.draw_kernels import compiled, fill_table


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
def mark(one: int, other: int, n_words: int) -> tuple[np.uint64, np.uint64]:
    """The word of a pair of nodes, in whatever order, and three bits of it."""
    low, high = np.uint64(min(one, other)), np.uint64(max(one, other))
    hashed = (low * np.uint64(0x9E3779B97F4A7C15) + high) * np.uint64(0xBF58476D1CE4E5B9)
    hashed ^= hashed >> np.uint64(32)
    word = (hashed & np.uint64(0xFFFFFFFF)) * np.uint64(n_words) >> np.uint64(32)
    hashed *= np.uint64(0x94D049BB133111EB)
    bits = np.uint64(0)
    for shift in (58, 52, 46):
        bits |= np.uint64(1) << (hashed >> np.uint64(shift) & np.uint64(63))
    return word, bits


@compiled
def mark_edges(indptr: Indices, indices: Indices, marks: Marks) -> None:
    """Sets the bits of all edges."""
    n_words = marks.size
    for row in range(indptr.size - 1):
        for at in range(indptr[row], indptr[row + 1]):
            word, bits = mark(row, indices[at], n_words)
            marks[word] |= bits


@compiled
def make_tables(
    indptr: Indices, weights: Weights, totals: Reals, keep: Weights, instead: Indices
) -> None:
    """Fills the sums of rows and the alias tables of their entries, each counted from its row's."""
    longest = 0
    for row in range(indptr.size - 1):
        longest = max(longest, indptr[row + 1] - indptr[row])
    shares = np.empty(longest)
    stack = np.empty(longest, np.int64)
    for row in range(indptr.size - 1):
        part = slice(indptr[row], indptr[row + 1])
        totals[row] = fill_table(weights[part], keep[part], instead[part], shares, stack)
