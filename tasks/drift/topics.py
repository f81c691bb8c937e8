"""Topics that one side has and the other lacks: rows whose neighbours are of their own side.

How far a row lies from the other side says little: in a corpus of many topics, rows of a loose one
lie as far from each other as a new topic from its nearest old one. What tells a new topic is that
the nearest rows, near or far, are nearly all of its own side.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components

from tasks.drift.clusters import Numbers
from tasks.metrics.blocks import QUERIES
from tasks.metrics.score import Matrix

Graph = npt.NDArray[np.int64]
"""Of each row its nearest rows, in no order, shape (n, 20); -1 where there are fewer."""
Sides = npt.NDArray[np.bool_]
"""Whether each row is of the side that is looked at, shape (n,)."""

NEIGHBOURS = 20
CHANCE = 0.01  # of a row to have so many of its own side around it where nothing drifts
STAGES = (99, 999)  # permutations; the second where at most 10 of 100 show a topic as large


class Topic(NamedTuple):
    """Rows of one side around which there is nearly nothing of the other.

    Attributes:
        rows: Their numbers, ascending.
        p_value: How likely a topic of so many rows is, anywhere, where nothing drifts.
    """

    rows: Numbers
    p_value: float


def neighbours_of(rows: Matrix, units: Numbers) -> Graph:
    """The 20 nearest of each row that are not of its own unit, by their distance."""
    k = min(NEIGHBOURS, len(rows))
    lengths = np.einsum("ij,ij->i", rows, rows)
    found = np.full((len(rows), NEIGHBOURS), -1)
    for start in range(0, len(rows), QUERIES):
        mine = slice(start, start + QUERIES)
        squares = lengths - 2 * (rows[mine] @ rows.T)
        squares[units[mine][:, None] == units] = np.inf
        nearest = np.argpartition(squares, k - 1, axis=1)[:, :k]
        other = np.isfinite(np.take_along_axis(squares, nearest, axis=1))
        found[mine, :k] = np.where(other, nearest, -1)
    return found


def topics_of(graph: Graph, units: Numbers, sides: Sides, rng: np.random.Generator) -> list[Topic]:
    """Topics of the side that is marked, the largest first.

    Rows with more neighbours of their side than 99 in 100 have by chance are taken together where
    one is a neighbour of another. The p-value is the share of arrangements of the units whose
    largest topic is as large, so that it holds for all topics at once (as of clusters of voxels:
    Bullmore et al. 1999, IEEE Transactions on Medical Imaging 18(1)).
    """
    there = (graph >= 0).sum(axis=1)
    enough = stats.binom.isf(CHANCE, there, sides.mean()) + 1
    found = _together(graph, sides, enough)
    for permutations in STAGES if found else ():
        largest = np.array(
            [
                max(map(len, _together(graph, mixed, enough)), default=0)
                for mixed in _arrangements(units, sides, permutations, rng)
            ]
        )
        as_large = [1 + int((largest >= len(rows)).sum()) for rows in found]
        p_values = [count / (permutations + 1) for count in as_large]
        if p_values[0] > 0.1:
            break
    return [Topic(rows, p) for rows, p in zip(found, p_values, strict=True)] if found else []


def _arrangements(
    units: Numbers, sides: Sides, permutations: int, rng: np.random.Generator
) -> Iterator[Sides]:
    """Sides with units exchanged at random; as many as given are of the marked side."""
    of_unit = np.zeros(int(units.max()) + 1, np.bool_)
    of_unit[units] = sides
    for _ in range(permutations):
        yield rng.permutation(of_unit)[units]


def _together(graph: Graph, sides: Sides, enough: npt.NDArray[np.float64]) -> list[Numbers]:
    """Rows of the marked side that it surrounds, in groups of neighbours, the largest first."""
    marked = np.append(sides, False)  # what -1 reads
    rows = np.flatnonzero(sides & (marked[graph].sum(axis=1) >= enough))
    if not len(rows):
        return []
    place = np.full(len(marked), -1)
    place[rows] = np.arange(len(rows))
    ends = place[graph[rows]]
    start, column = np.nonzero(ends >= 0)
    links = sparse.csr_array(
        (np.ones(len(start)), (start, ends[start, column])), shape=(len(rows), len(rows))
    )
    of = connected_components(links, directed=False)[1]
    groups = [rows[of == group] for group in range(int(of.max()) + 1)]
    return sorted(groups, key=len, reverse=True)
