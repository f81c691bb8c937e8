"""Compiled walks. Imported by the functions that call them: numba and compiling take seconds.

Many walkers step in turn, each kind of memory access for all of them before the next kind: so the
processor waits for many places of memory at once, and not for one after the other. Arrays are taken
out of their tuples before the loops, which would count references in every round.

Each walk has a random stream of its own, that of SplitMix64 (Steele, Lea and Flood, 2014) from a
hash of seed, start and number on: nothing else decides where it goes.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.graphs.arrays import Indices, Marks, Reals, Walks, Weights
from tasks.graphs.row_kernels import compiled, find, mark

WALKERS = 64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Rows(NamedTuple):
    """A graph; without weights, the four arrays that go with them are empty."""

    indptr: Indices
    indices: Indices
    directed: bool
    weights: Weights
    totals: Reals
    keep: Weights
    instead: Indices
    marks: Marks


class Law(NamedTuple):
    """What the weights of a step are multiplied by (Grover and Leskovec, 2016, section 3.2)."""

    back: float
    """1/p: for the node that the walk came from."""
    out: float
    """1/q: for nodes to which no edge goes from there."""
    extend: bool
    """Whether it is the law of Node2Vec+."""


class Todo(NamedTuple):
    """The walks to fill."""

    numbers: npt.NDArray[np.int64]
    seed: np.uint64
    walks: Walks
    """Their starts, and -1 in the other columns, of which there is at least one."""


WALKER = np.dtype(
    [
        ("walk", np.int64),
        ("step", np.int64),
        ("state", np.uint64),  # of the random stream
        ("before", np.int64),  # the node that the walk came from, -1 at its start; and its row
        ("before_start", np.int64),
        ("before_size", np.int64),
        ("node", np.int64),  # where it is; and the row
        ("start", np.int64),
        ("size", np.int64),  # 0 where no walk is under way
        ("before_marks", np.uint64),
        ("marks", np.uint64),
        ("mass", np.float64),  # the sum of the row's weights
        ("beside", np.float64),  # what of the way back stands beside the envelope, as a weight
        ("edge", np.float64),  # the weight of the edge that led here
        ("tries", np.int64),
        ("entry", np.int64),  # what was drawn, a place in the row
        ("level", np.float64),  # how high in the envelope it was drawn
        ("wanted", np.int64),  # the node that was drawn
        ("chosen", np.int64),  # the node to go to, -1 while there is none
        ("key", np.int64),  # what is searched in indices[low : low + left]
        ("low", np.int64),
        ("left", np.int64),
    ]
)
Walkers: TypeAlias = npt.NDArray[np.void]
"""Shape (WALKERS,), dtype WALKER."""
Walker: TypeAlias = Any  # a record of Walkers, which numpy has no type for


@compiled
def mix(value: np.uint64) -> np.uint64:
    """SplitMix64's hash of a number."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def unit(state: np.uint64) -> float:
    """A number in [0, 1) with 53 bits."""
    return float(mix(state) >> np.uint64(11)) * 2.0**-53


@compiled
def stream(seed: np.uint64, start: int, number: int) -> np.uint64:
    """The state that a walk's random stream begins with."""
    state = mix(seed + _GOLDEN)
    state = mix((state ^ np.uint64(start)) + _GOLDEN)
    return mix((state ^ np.uint64(number)) + _GOLDEN)


@compiled
def first_order(rows: Rows, todo: Todo) -> None:
    """Fills walks whose every step depends on the node alone."""
    walks, indices = todo.walks, rows.indices
    nodes, entries = np.empty(WALKERS, np.int64), np.empty(WALKERS, np.int64)
    states, parts = np.empty(WALKERS, np.uint64), np.empty(WALKERS)
    for first in range(0, walks.shape[0], WALKERS):
        n = min(WALKERS, walks.shape[0] - first)
        for k in range(n):
            nodes[k] = walks[first + k, 0]
            states[k] = stream(todo.seed, nodes[k], todo.numbers[first + k])
        for step in range(1, walks.shape[1]):
            _draw(rows, n, nodes, states, entries, parts)
            for k in range(n):
                if entries[k] >= 0:
                    nodes[k] = walks[first + k, step] = indices[np.uint64(entries[k])]


@compiled
def _draw(
    rows: Rows,
    n: int,
    nodes: npt.NDArray[np.int64],
    states: npt.NDArray[np.uint64],
    entries: npt.NDArray[np.int64],
    parts: Reals,
) -> None:
    """Draws an entry of each node's row by weight; -1 if the row is empty."""
    indptr, keep, instead = rows.indptr, rows.keep, rows.instead
    for k in range(n):
        states[k] += _GOLDEN
        node = np.uint64(nodes[k])
        start = indptr[node]
        size = indptr[node + np.uint64(1)] - start
        drawn = unit(states[k]) * size
        parts[k] = drawn - np.int64(drawn)
        entries[k] = start + np.int64(drawn) if size > 0 else -1
    if keep.size:
        for k in range(n):
            if entries[k] >= 0 and parts[k] >= keep[entries[k]]:
                entries[k] = indptr[nodes[k]] + instead[entries[k]]


@compiled
def second_order(rows: Rows, law: Law, todo: Todo) -> None:
    """Fills walks whose every step depends on the node before it too.

    Steps are drawn by rejection. What the way back has above the others stands beside their
    envelope, as in KnightKing (Yang et al., SOSP 2019), so that a small p rejects no more. A step
    that was rejected as often as its row is long is drawn from the weights of the whole row.
    """
    walkers = np.zeros(WALKERS, WALKER)
    asked = np.empty(WALKERS, np.int64)
    begun, active = 0, 1
    while active:
        begun, active = _advance(rows, todo, walkers, begun)
        _put_beside(rows, law, walkers)
        _propose(rows, law, walkers)
        n_asked = _judge(rows, law, walkers, asked)
        _search(rows, walkers, asked[:n_asked])
        _answer(rows, law, walkers, asked[:n_asked])
        _give_up(rows, law, walkers)


@compiled
def _advance(rows: Rows, todo: Todo, walkers: Walkers, begun: int) -> tuple[int, int]:
    """Takes the steps that are chosen, and begins walks where others have ended.

    Gives how many walks have begun, and how many are under way.
    """
    walks, seed, numbers = todo.walks, todo.seed, todo.numbers
    indptr, totals, marks = rows.indptr, rows.totals, rows.marks
    active = 0
    for k in range(WALKERS):
        walker = walkers[k]
        node = -1
        if walker.size and walker.chosen >= 0:
            node = int(walker.chosen)
            walker.step += 1
            walks[walker.walk, walker.step] = node
            if walker.step == walks.shape[1] - 1:
                walker.size, node = 0, -1
        while node >= 0 or (walker.size == 0 and begun < walks.shape[0]):
            if node < 0:
                node = int(walks[begun, 0])
                walker.walk, walker.step, walker.node, walker.edge = begun, 0, -1, 1.0
                walker.state = stream(seed, node, numbers[begun])
                begun += 1
            walker.before, walker.node = walker.node, node
            walker.before_start, walker.before_size = walker.start, walker.size
            walker.before_marks, walker.marks = walker.marks, marks[np.uint64(node)]
            walker.start = indptr[np.uint64(node)]
            walker.size = indptr[np.uint64(node + 1)] - walker.start
            walker.mass = totals[node] if totals.size else walker.size
            walker.tries, walker.beside = 0, 0.0
            node = -1
        active += walker.size > 0
    return begun, active


@compiled
def _give_up(rows: Rows, law: Law, walkers: Walkers) -> None:
    """Counts rejections, and ends them where there were too many."""
    for k in range(WALKERS):
        walker = walkers[k]
        if walker.size and walker.chosen < 0:
            walker.tries += 1
            if walker.tries >= walker.size:
                _choose_from_all(rows, law, walker)


@compiled
def _put_beside(rows: Rows, law: Law, walkers: Walkers) -> None:
    """Puts beside the envelope what of the way back is above it, for who has just arrived."""
    indices, weights, directed = rows.indices, rows.weights, rows.directed
    top = max(1.0, law.out)
    if law.back <= top:
        return
    for k in range(WALKERS):
        walker = walkers[k]
        if walker.before >= 0 and walker.tries == 0:
            if directed:
                end = walker.start + walker.size
                walker.edge = _weight(weights, find(indices, walker.start, end, walker.before))
            # Whoever went the way that stands beside came back over the edge of the step before.
            elif weights.size and indices[walker.entry] == walker.node:
                walker.edge = weights[walker.entry]
            walker.beside = (law.back - top) / top * walker.edge


@compiled
def _weight(weights: Weights, entry: int) -> float:
    """The weight of an entry; 0 for -1, no entry."""
    if entry < 0:
        return 0.0
    return np.float64(weights[entry]) if weights.size else 1.0


@compiled
def _propose(rows: Rows, law: Law, walkers: Walkers) -> None:
    """Draws an entry of each row by weight, and a height; or what stands beside the envelope."""
    keep, instead = rows.keep, rows.instead
    top = max(1.0, law.out)
    for k in range(WALKERS):
        walker = walkers[k]
        drawn = unit(walker.state + _GOLDEN) * (walker.mass + walker.beside)
        walker.chosen = walker.before if drawn >= walker.mass else -1
        place = drawn / walker.mass * walker.size if keep.size else drawn
        at = min(np.int64(place), walker.size - 1)
        walker.entry, walker.level = walker.start + at, place - at
    if keep.size:
        for k in range(WALKERS):
            walker = walkers[k]
            if walker.size and walker.level >= keep[walker.entry]:
                walker.entry = walker.start + instead[walker.entry]
    for k in range(WALKERS):
        walker = walkers[k]
        walker.state += _GOLDEN + _GOLDEN
        walker.level = unit(walker.state) * top


@compiled
def _judge(rows: Rows, law: Law, walkers: Walkers, asked: npt.NDArray[np.int64]) -> int:
    """Chooses what needs no search; writes the others to `asked`, and gives how many they are."""
    indices = rows.indices
    low = min(1.0, law.out)
    n_asked = 0
    for k in range(WALKERS):
        walker = walkers[k]
        if walker.size and walker.chosen < 0:
            node = int(indices[np.uint64(walker.entry)])
            walker.wanted = node
            sure = law.back if node == walker.before else low
            if walker.level < sure or walker.before < 0:
                walker.chosen = node
            elif node == walker.before:
                continue
            elif law.extend or walker.before_marks & mark(node):
                asked[n_asked] = k
                n_asked += 1
            elif walker.level < law.out:
                walker.chosen = node
    return n_asked


@compiled
def _search(rows: Rows, walkers: Walkers, asked: npt.NDArray[np.int64]) -> None:
    """Searches for the edges from `before` to `wanted`, all in turn; `low` is where they would be.

    Rows that hold an edge both ways are searched where they are shorter.
    """
    indptr, indices, directed = rows.indptr, rows.indices, rows.directed
    longest = 0
    for k in asked:
        walker = walkers[k]
        walker.key, walker.low, walker.left = (
            walker.wanted,
            walker.before_start,
            walker.before_size,
        )
        if not directed:
            start = np.int64(indptr[np.uint64(walker.wanted)])
            size = indptr[np.uint64(walker.wanted + 1)] - start
            if size < walker.left:
                walker.key, walker.low, walker.left = walker.before, start, size
        longest = max(longest, walker.left)
    while longest > 1:
        for k in asked:
            walker = walkers[k]
            half = walker.left >> 1
            middle = walker.low + half
            if indices[np.uint64(max(middle - 1, 0))] < walker.key:
                walker.low = middle
            walker.left -= half
        longest -= longest >> 1


@compiled
def _answer(rows: Rows, law: Law, walkers: Walkers, asked: npt.NDArray[np.int64]) -> None:
    """Chooses by what the searches found."""
    indices, extend = rows.indices, law.extend
    for k in asked:
        walker = walkers[k]
        found = walker.low if indices[np.uint64(walker.low)] == walker.key else -1
        factor = law.out if found < 0 else 1.0
        if extend:
            factor = _extended(rows, law, walker, walker.entry, found)
        if walker.level < factor:
            walker.chosen = walker.wanted


@compiled
def _extended(rows: Rows, law: Law, walker: Walker, entry: int, found: int) -> float:
    """The factor of an entry by Node2Vec+ (Liu, Hirn and Krishnan, 2021).

    `found` is the edge to its node from `before`, -1 if there is none. An edge is loose if it
    weighs less than the mean of its node's row.
    """
    node = int(rows.indices[entry])
    strength = 0.0
    if found >= 0:
        degree = rows.indptr[node + 1] - rows.indptr[node]
        strength = _weight(rows.weights, found) * degree / rows.totals[node] if degree else 1.0
    if strength >= 1.0:
        return 1.0
    if _weight(rows.weights, entry) * walker.size < walker.mass:
        return min(1.0, law.out)
    return law.out + (1.0 - law.out) * strength


@compiled
def _choose_from_all(rows: Rows, law: Law, walker: Walker) -> None:
    """Chooses by the weights of the whole row, without rejection."""
    indices = rows.indices
    end = walker.before_start + walker.before_size
    sums = np.empty(walker.size)
    total = 0.0
    for at in range(walker.size):
        entry = walker.start + at
        found = find(indices, walker.before_start, end, indices[entry])
        factor = law.out if found < 0 else 1.0
        if law.extend:
            factor = _extended(rows, law, walker, entry, found)
        if indices[entry] == walker.before:
            factor = law.back
        total += _weight(rows.weights, entry) * factor
        sums[at] = total
    walker.state += _GOLDEN
    drawn = int(np.searchsorted(sums, unit(walker.state) * total, side="right"))
    walker.entry = walker.start + min(drawn, walker.size - 1)
    walker.chosen = indices[walker.entry]


@compiled
def permute(
    places: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    n: int,
    bits: int,
    seed: np.uint64,
) -> npt.NDArray[np.int64]:
    """Maps each place below n by the permutation of its number: a Feistel network of eight rounds.

    With four, the order of few nodes is seen to favour some. A place is two halves of so many bits.
    """
    found = np.empty(places.size, np.int64)
    shift = np.uint64(bits)
    mask = (np.uint64(1) << shift) - np.uint64(1)
    for at in range(places.size):
        key = stream(seed, n, numbers[at])
        place = np.uint64(places[at])
        while True:
            left, right = place >> shift, place & mask
            for turn in range(1, 9):
                left, right = right, left ^ (mix((key + np.uint64(turn) * _GOLDEN) ^ right) & mask)
            place = left << shift | right
            if place < np.uint64(n):
                break
        found[at] = place
    return found
