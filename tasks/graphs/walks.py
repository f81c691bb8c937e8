"""Random walks on a graph by the law of Node2Vec (Grover and Leskovec, 2016, arXiv:1607.00653).

The loops are our own: what is to be had draws uniform walks where q < 1, or is many times slower.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.graphs.arrays import Indices, Walks
from tasks.graphs.csr import Graph, Tables

if TYPE_CHECKING:
    from tasks.graphs.walk_kernels import Rows

MapRanges: TypeAlias = Callable[[Callable[[range], Walks], Iterable[range]], Iterable[Walks]]
"""Like `map`: the results of a function that can be pickled, in the order of the ranges."""

_BLOCK_NODES = 2**22
_FARTHEST = 1e30  # times any weight, it is still a number


def walk(
    graph: Graph,
    starts: npt.ArrayLike,
    *,
    length: int,
    p: float = 1.0,
    q: float = 1.0,
    seed: int,
    number: npt.ArrayLike = 0,
    extend: bool = False,
) -> Walks:
    """One walk from each of `starts`: row i begins at starts[i], with -1 after an early end.

    From node v, reached from t, the next node x is drawn with the weight of the edge from v to x,
    times 1/p if x is t, else 1/q if no edge goes from t to x. A walk ends early at a node without
    edges.

    Args:
        graph: Where to walk.
        starts: Nodes, shape (n,).
        length: Nodes of a walk, its start among them.
        p: How much rarer a walk goes straight back.
        q: How much rarer it goes farther away.
        seed: Of the random streams. A walk is a function of the graph, p, q, extend, the seed, its
            start and its number; the length only cuts it.
        number: Tells walks from one start apart; one for all, or one for each.
        extend: Whether a weak edge from t to x counts in part (Node2Vec+: Liu, Hirn and Krishnan,
            2021, arXiv:2109.08031); for graphs with weights.

    Raises:
        ValueError: p or q is not from 1e-30 to 1e30, `length` is less than 1, a start is no node,
            or `extend` is asked of a graph without weights.
    """
    from tasks.graphs import walk_kernels as kernels

    _check(graph, length, p, q, extend)
    nodes = np.asarray(starts)
    if nodes.size and not 0 <= nodes.min() <= nodes.max() < graph.n_nodes:
        at = int(np.argmax((nodes < 0) | (nodes >= graph.n_nodes)))
        raise ValueError(
            f"starts[{at}] is {nodes[at]}, but the graph has the nodes 0 to {graph.n_nodes - 1}"
        )
    nodes = nodes.astype(graph.indices.dtype, copy=False)
    numbers = np.ascontiguousarray(np.broadcast_to(np.asarray(number, np.int64), nodes.shape))
    walks = np.empty((nodes.size, length), nodes.dtype)
    walks[:, 0] = nodes
    todo = kernels.Todo(numbers, np.uint64(seed % 2**64), walks)
    if length == 1:
        return walks
    if p == q == 1:
        kernels.first_order(_rows(graph), todo)
    else:
        law = kernels.Law(1 / p, 1 / q, extend)
        kernels.second_order(_rows(graph), graph.marks, law, todo)
    return walks


def corpus(
    graph: Graph,
    *,
    length: int,
    walks_per_node: int,
    p: float = 1.0,
    q: float = 1.0,
    seed: int,
    extend: bool = False,
    starts: Indices | None = None,
    map_ranges: MapRanges = map,
) -> Iterator[Walks]:
    """Walks from many nodes, block after block, in an order that `seed` shuffles.

    All have had a walk before one has its second. A block has some four million nodes of
    walks; how many of them are held at once is up to `map_ranges`. The blocks do not depend on it.

    Args:
        graph: Where to walk; workers in other processes map its files if it was opened from some.
        length: As for `walk`, like all that is not here.
        walks_per_node: Their numbers are 0 to walks_per_node - 1.
        p: As for `walk`.
        q: As for `walk`.
        seed: Of the walks and of their order.
        extend: As for `walk`.
        starts: The nodes to walk from; all of them if nothing else is given.
        map_ranges: Does the blocks, here one after the other if nothing else is given.

    Raises:
        ValueError: As for `walk`, or `walks_per_node` is less than 1.
    """
    _check(graph, length, p, q, extend)
    if walks_per_node < 1:
        raise ValueError(f"walks_per_node is {walks_per_node}, but must be 1 or more")
    block = _Block(graph, length, p, q, seed, extend, starts)
    step = max(1, _BLOCK_NODES // length)
    n_walks = walks_per_node * (graph.n_nodes if starts is None else len(starts))
    ranges = (range(first, min(first + step, n_walks)) for first in range(0, n_walks, step))
    return iter(map_ranges(block, ranges))


@dataclass(frozen=True)
class _Block:
    """The walks at a range of places in the order of all."""

    graph: Graph
    length: int
    p: float
    q: float
    seed: int
    extend: bool
    starts: Indices | None

    def __call__(self, places: range) -> Walks:
        n = self.graph.n_nodes if self.starts is None else len(self.starts)
        number, place = np.divmod(np.arange(places.start, places.stop), n)
        order = shuffled(place, number, n=n, seed=self.seed)
        return walk(
            self.graph,
            order if self.starts is None else self.starts[order],
            length=self.length,
            p=self.p,
            q=self.q,
            seed=self.seed,
            number=number,
            extend=self.extend,
        )


def shuffled(
    places: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64], *, n: int, seed: int
) -> Indices:
    """What stands at each place of the permutation of 0 to n - 1 that has a number.

    A worker computes its own part of the order, which nobody has to hold: it is a Feistel network
    whose places are walked until they are below n (Black and Rogaway, 2002).
    """
    from tasks.graphs.walk_kernels import permute

    found: Indices = permute(places, numbers, n, np.uint64(seed % 2**64))
    return found


def _check(graph: Graph, length: int, p: float, q: float, extend: bool) -> None:
    for name, value in (("p", p), ("q", q)):
        if not 1 / _FARTHEST <= value <= _FARTHEST:
            raise ValueError(
                f"{name} is {value}, but must be positive and finite, from {1 / _FARTHEST:g} to"
                f" {_FARTHEST:g}"
            )
    if length < 1:
        raise ValueError(f"length is {length}, but a walk has 1 node or more")
    if extend and graph.weights is None:
        raise ValueError("extend is for graphs with weights, and this one has none")


def _rows(graph: Graph) -> "Rows":
    from tasks.graphs.walk_kernels import Rows

    weights, tables = graph.weights, graph.tables
    if weights is None or tables is None:
        weights = np.empty(0, np.float32)
        tables = Tables(np.empty(0), weights, np.empty(0, graph.indices.dtype))
        # Written or not, compiled code takes them for other types.
        for array in (tables.totals, tables.keep, tables.instead):
            array.setflags(write=False)
    drawn = (tables.totals, tables.keep, tables.instead)
    return Rows(graph.indptr, graph.indices, graph.directed, weights, *drawn)
