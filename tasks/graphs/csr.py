"""A graph as compressed sparse rows, in memory or in mapped files that processes share.

The rows are made by counting, in our own loops: sorting pairs of nodes takes several times the
memory of the finished graph.
"""

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.graphs.arrays import Indices, Marks, Reals, Weights

Given: TypeAlias = npt.NDArray[Any]
"""Shape (n,): something of each edge, as a caller has it."""
Integer: TypeAlias = type[np.int32] | type[np.int64]

_FORMAT = 1
_BLOCK_ROWS = 65_536
_ABOUT = "graph.json"
_ROWS = ("indptr", "indices")
_WEIGHTED = ("weights", "totals", "keep", "instead")


def index_types(n_nodes: int, n_entries: int) -> tuple[Integer, Integer]:
    """The integers for places in the rows, and those for nodes.

    `n_entries` are those before duplicates are merged: one for a directed edge and for a self
    loop, two for another.
    """
    return _holding(n_entries), _holding(n_nodes)


def _holding(highest: int) -> Integer:
    return np.int32 if highest < 2**31 else np.int64


@dataclass(frozen=True, eq=False)
class Tables:
    """What draws an entry of a row by weight in constant time: alias tables (Walker, 1977).

    Eight bytes an entry, no more than cumulative sums; walks are 3.5 times faster by them.
    """

    totals: Reals
    """Row by row, the sum of weights."""
    keep: Weights
    """Entry by entry, the probability that it is taken when its place is drawn uniformly."""
    instead: Indices
    """Entry by entry, which entry of the row is taken otherwise, counted from the row's start."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes 0 to n_nodes - 1 and the edges between them; the arrays are never written again.

    A graph that was opened from files is pickled as their folder: processes share the memory.
    """

    indptr: Indices
    """Shape (n_nodes + 1,): the row of node i is `indices[indptr[i]:indptr[i + 1]]`."""
    indices: Indices
    """The neighbours of each node, ascending, each once."""
    weights: Weights | None
    """Of the entries of `indices`, all positive; None where edges have none."""
    tables: Tables | None
    """There where `weights` are."""
    directed: bool
    """Whether rows hold out-edges alone; otherwise an edge stands in the rows of both its ends."""
    folder: Path | None = None
    """Where it was opened."""

    def __post_init__(self) -> None:
        for array in self._arrays().values():
            array.setflags(write=False)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is None:
            arrays = (self.indptr, self.indices, self.weights, self.tables)
            return Graph, (*arrays, self.directed)
        return Graph.open, (self.folder,)

    @property
    def n_nodes(self) -> int:
        """The nodes, with those that have no edge."""
        return self.indptr.size - 1

    @cached_property
    def n_edges(self) -> int:
        """The edges after duplicates are merged, an undirected one counted once."""
        if self.directed:
            return self.indices.size
        from tasks.graphs.row_kernels import count_loops

        return (self.indices.size + count_loops(self.indptr, self.indices)) // 2

    @cached_property
    def joined(self) -> npt.NDArray[np.bool_]:
        """Which nodes an edge joins with another one, shape (n_nodes,)."""
        found = np.zeros(self.n_nodes, np.bool_)
        for first in range(0, self.n_nodes, _BLOCK_ROWS):
            bounds = self.indptr[first : first + _BLOCK_ROWS + 1]
            ends = self.indices[bounds[0] : bounds[-1]]
            rows = np.arange(first, first + bounds.size - 1, dtype=ends.dtype)
            owner = np.repeat(rows, np.diff(bounds))
            other = owner != ends
            found[owner[other]] = found[ends[other]] = True
        return found

    @cached_property
    def marks(self) -> Marks:
        """What shows of most pairs of nodes that no edge joins them, without a search.

        A Bloom filter whose bits for an edge are in one word (Putze, Sanders and Singler, 2007).
        It takes one byte an edge, and less time than the rows.
        """
        from tasks.graphs.row_kernels import mark_edges

        marks = np.zeros(self.n_edges // 8 + 1, np.uint64)
        mark_edges(self.indptr, self.indices, marks)
        marks.setflags(write=False)
        return marks

    def degree(self, node: int) -> int:
        """How many neighbours a node has, itself among them if it has a self loop."""
        return int(self.indptr[node + 1] - self.indptr[node])

    def neighbours(self, node: int) -> Indices:
        """The neighbours of a node, ascending; in a directed graph, where its out-edges go."""
        return self.indices[self.indptr[node] : self.indptr[node + 1]]

    @classmethod
    def from_edges(
        cls,
        source: Given,
        target: Given,
        weight: Given | None = None,
        *,
        n_nodes: int,
        directed: bool,
    ) -> "Graph":
        """The graph of edges from source[i] to target[i], both integers, in any order.

        An edge that is given several times is one, with the sum of the weights; in an undirected
        graph its direction does not count. A self loop stands in its row once.

        Raises:
            ValueError: A node that is not in 0 to n_nodes - 1, a weight that is not a positive
                finite float32, or arrays that are not of one length.
        """
        _check_ends("source", source, n_nodes)
        _check_ends("target", target, n_nodes)
        lengths = {array.shape for array in (source, target, weight) if array is not None}
        if len(lengths) > 1:
            raise ValueError(f"source, target and weight are of several lengths: {sorted(lengths)}")
        given = np.empty(0, np.float32) if weight is None else _checked(weight)
        indptr, indices, weights = _rows(source, target, given, n_nodes, directed)
        if weight is None:
            return cls(indptr, indices, None, None, directed)
        if weights.size and not np.isfinite(weights.max()):
            row = int(np.searchsorted(indptr, np.argmax(weights), "right")) - 1
            raise ValueError(f"the weights of equal edges of node {row} add up to infinity")
        tables = _tables(indptr, indices, weights)
        return cls(indptr, indices, weights, tables, directed)

    def save(self, folder: Path) -> None:
        """Writes files that `open` maps: durably, all or nothing.

        Raises:
            FileExistsError: The folder is there.
        """
        if folder.exists():
            raise FileExistsError(f"{folder} is there already: a saved graph is never replaced")
        draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        draft.mkdir(parents=True)
        try:
            digests = {}
            for name, array in self._arrays().items():
                path = draft / f"{name}.npy"
                np.save(path, array)
                digests[name] = _digest(path)
            about = {"format": _FORMAT, "directed": self.directed, "digests": digests}
            (draft / _ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            for path in (*draft.iterdir(), draft):
                _sync(path)
            draft.rename(folder)
            _sync(folder.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    @classmethod
    def open(cls, folder: Path, *, check: bool = False) -> "Graph":
        """A saved graph, its arrays mapped from their files.

        Args:
            folder: Where it was saved.
            check: Whether to read all of it and compare it with its digests.

        Raises:
            ValueError: There is no saved graph, or it is not what was saved.
        """
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ValueError(f"{folder} holds no saved graph: {_ABOUT} is missing") from error
        if about["format"] != _FORMAT:
            raise ValueError(
                f"{folder} holds a graph of format {about['format']}, this program reads {_FORMAT}"
            )
        arrays = {}
        for name, digest in about["digests"].items():
            path = folder / f"{name}.npy"
            if not path.exists():
                raise ValueError(f"{path} is missing: save the graph again")
            if check and _digest(path) != digest:
                raise ValueError(f"{path} is damaged: its digest is not {digest}; save it again")
            # A plain array over the map: compiled code would take np.memmap for another type.
            arrays[name] = np.load(path, mmap_mode="r").view(np.ndarray)
        weights = arrays.get("weights")
        tables = None if weights is None else Tables(*(arrays[name] for name in _WEIGHTED[1:]))
        indptr, indices = (arrays[name] for name in _ROWS)
        return cls(indptr, indices, weights, tables, about["directed"], folder)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        rows = dict(zip(_ROWS, (self.indptr, self.indices), strict=True))
        if self.weights is None or self.tables is None:
            return rows
        tables = (self.tables.totals, self.tables.keep, self.tables.instead)
        return rows | dict(zip(_WEIGHTED, (self.weights, *tables), strict=True))


def _check_ends(name: str, nodes: Given, n_nodes: int) -> None:
    if nodes.ndim != 1 or nodes.dtype.kind not in "iu":
        raise ValueError(
            f"{name} is {nodes.dtype} of shape {nodes.shape}, but must be integers of shape (n,)"
        )
    if nodes.size and not 0 <= nodes.min() <= nodes.max() < n_nodes:
        at = int(np.argmax((nodes < 0) | (nodes >= n_nodes)))
        raise ValueError(
            f"{name}[{at}] is {nodes[at]}, but the graph has the nodes 0 to {n_nodes - 1}"
        )


def _checked(weight: Given) -> Weights:
    """Weights as they are kept."""
    with np.errstate(over="ignore", under="ignore"):
        kept = np.asarray(weight, np.float32)
    # Written so that NaN, of which every comparison is false, is among the wrong ones.
    right = (kept > 0) & (kept < np.inf)
    if not right.all():
        at = int(np.argmin(right))
        raise ValueError(
            f"weight[{at}] is {weight[at]}, but weights must be positive finite float32 numbers"
        )
    return kept


def _rows(
    source: Given, target: Given, weights: Weights, n_nodes: int, directed: bool
) -> tuple[Indices, Indices, Weights]:
    """Sorted rows without duplicates: edges are put by their targets, then by their sources."""
    from tasks.graphs import row_kernels as kernels

    loops = 0 if directed else int(np.count_nonzero(source == target))
    n_entries = source.size if directed else 2 * source.size - loops
    place, node = index_types(n_nodes, n_entries)

    def space() -> tuple[Indices, Weights]:
        return np.empty(n_entries, node), np.empty(n_entries if weights.size else 0, np.float32)

    both = not directed
    by_target = np.zeros(n_nodes + 1, place)
    kernels.count(target, source, both, by_target)
    first = space()
    kernels.scatter(target, source, weights, both, by_target[:-1].copy(), *first)
    indptr = np.zeros(n_nodes + 1, place)
    kernels.count(source, target, both, indptr)
    indices, row_weights = space()
    free = indptr[:-1].copy()
    kernels.transpose(by_target, *first, free, indices, row_weights)
    del first
    kernels.merge(indptr, indices, row_weights)
    if indptr[-1] < n_entries:
        indices, row_weights = indices[: indptr[-1]].copy(), row_weights[: indptr[-1]].copy()
    return indptr, indices, row_weights


def _tables(indptr: Indices, indices: Indices, weights: Weights) -> Tables:
    from tasks.graphs.row_kernels import make_tables

    totals = np.empty(indptr.size - 1)
    tables = Tables(totals, np.empty_like(weights), np.empty_like(indices))
    make_tables(indptr, weights, tables.totals, tables.keep, tables.instead)
    return tables


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
