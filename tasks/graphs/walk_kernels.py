"""Compiled walks. Imported by the functions that call them: numba and compiling take seconds.

Many walkers step in turn, each kind of memory access for all of them before the next kind: so the
processor waits for many places of memory at once, and not for one after the other. Loops are short
and have few branches: so they are vectorised, and little is mispredicted. Arrays are taken out of
their tuples before the loops, which would count references in every round; calls count them too,
for which there are as many walkers as a core's nearest cache has room for.

Each walk has a random stream of its own, that of SplitMix64 from a hash of seed, start and number
on: nothing else decides where it goes.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.graphs.arrays import Counts, Indices, Marks, Reals, Walks, Weights
from tasks.graphs.draw_kernels import GOLDEN, compiled, mix, unit
from tasks.graphs.row_kernels import find, mark

WALKERS = 512


class Rows(NamedTuple):
    """A graph; without weights, the four arrays that go with them are empty."""

    indptr: Indices
    indices: Indices
    directed: bool
    weights: Weights
    totals: Reals
    keep: Weights
    instead: Indices


class Law(NamedTuple):
    """What the weights of a step are multiplied by (Grover and Leskovec, 2016, section 3.2)."""

    back: float
    """1/p: for the node that the walk came from."""
    out: float
    """1/q: for nodes to which no edge goes from there."""
    extend: bool
    """Whether it is the law of Node2Vec+."""


class Todo(NamedTuple):
    """The walks to fill, of two nodes or more."""

    numbers: Counts
    seed: np.uint64
    walks: Walks
    """Their starts, and anything in the other columns."""


class Walkers(NamedTuple):
    """One walk each, the number of its row in `walks`; what is drawn is for one round."""

    walk: Counts
    step: Counts
    state: npt.NDArray[np.uint64]
    """Of the random stream."""
    before: Counts
    """The node that it came from, -1 at its start."""
    edge: Reals
    """The weight of the way back there, 0 if there is none."""
    node: Counts
    """Where it is; and where the row of that begins, and how long it is."""
    start: Counts
    size: Counts
    tries: Counts
    """Rejections since it came here."""
    entry: Counts
    """Drawn: a place in the row."""
    level: Reals
    """Drawn: how high in the envelope."""
    wanted: Counts
    """Drawn: the node to go to."""
    chosen: npt.NDArray[np.bool_]
    """Whether it goes there."""


@compiled
def stream(seed: np.uint64, start: int, number: int) -> np.uint64:
    """The state that a walk's random stream begins with."""
    state = mix(seed + GOLDEN)
    state = mix((state ^ np.uint64(start)) + GOLDEN)
    return mix((state ^ np.uint64(number)) + GOLDEN)


@compiled
def _size(indptr: Indices, node: int) -> int:
    """How many entries a node's row has."""
    return int(indptr[np.uint64(node + 1)] - indptr[np.uint64(node)])


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
                    nodes[k] = indices[np.uint64(entries[k])]
            for k in range(n):
                walks[first + k, step] = nodes[k] if entries[k] >= 0 else -1


@compiled
def _draw(
    rows: Rows, n: int, nodes: Counts, states: npt.NDArray[np.uint64], entries: Counts, parts: Reals
) -> None:
    """Draws an entry of each node's row by weight; -1 if the row is empty."""
    indptr, keep, instead = rows.indptr, rows.keep, rows.instead
    starts, sizes = np.empty(n, np.int64), np.empty(n, np.int64)
    for k in range(n):
        starts[k], sizes[k] = indptr[np.uint64(nodes[k])], _size(indptr, nodes[k])
    for k in range(n):
        states[k] += GOLDEN
        drawn = unit(states[k]) * sizes[k]
        place = np.int64(drawn)
        entry, parts[k] = starts[k] + place, drawn - place
        entries[k] = entry if sizes[k] > 0 else -1
    if keep.size:
        for k in range(n):
            if entries[k] >= 0 and parts[k] >= keep[entries[k]]:
                entries[k] = starts[k] + instead[entries[k]]


@compiled
def second_order(rows: Rows, marks: Marks, law: Law, todo: Todo) -> None:
    """Fills walks whose every step depends on the node before it too; `marks` are of the edges.

    Steps are drawn by rejection. What the way back has above the others stands beside their
    envelope, as in KnightKing (Yang et al., SOSP 2019), so that a small p rejects no more. A step
    that was rejected as often as its row is long is drawn from the weights of the whole row.
    """
    todo.walks[:, 1:] = -1
    walkers = _idle()
    n, begun = _begin(rows, todo, walkers, WALKERS, 0)
    while n:
        if rows.directed:
            _look_back(rows, walkers, n)
        _propose(rows, law, walkers, n)
        _raise(rows, law, walkers, n)
        asked = _judge(marks, law, walkers, n)
        _answer(rows, law, walkers, asked, _search(rows, walkers, asked))
        _give_up(rows, law, walkers, n)
        if _advance(rows, todo, walkers, n):
            n, begun = _begin(rows, todo, walkers, n, begun)


@compiled
def _idle() -> Walkers:
    """Walkers whose walk has ended."""
    whole, reals = np.zeros((9, WALKERS), np.int64), np.zeros((2, WALKERS))
    return Walkers(
        walk=whole[0],
        step=whole[1],
        state=np.zeros(WALKERS, np.uint64),
        before=whole[2],
        edge=reals[0],
        node=whole[3],
        start=whole[4],
        size=whole[5],
        tries=whole[6],
        entry=whole[7],
        level=reals[1],
        wanted=whole[8],
        chosen=np.zeros(WALKERS, np.bool_),
    )


@compiled
def _begin(rows: Rows, todo: Todo, w: Walkers, n: int, begun: int) -> tuple[int, int]:
    """Begins walks where others have ended; where no more are to begin, the last walker takes over.

    Gives how many walks are under way, and how many have begun.
    """
    walks, indptr = todo.walks, rows.indptr
    k = 0
    while k < n:
        if w.size[k] > 0 and w.step[k] < walks.shape[1] - 1:
            k += 1
        elif begun < walks.shape[0]:
            node = int(walks[begun, 0])
            w.walk[k], w.step[k], w.tries[k] = begun, 0, 0
            w.state[k] = stream(todo.seed, node, todo.numbers[begun])
            w.before[k], w.edge[k] = -1, 0.0
            w.node[k], w.start[k] = node, indptr[node]
            w.size[k] = indptr[node + 1] - indptr[node]
            begun += 1
        else:
            n -= 1
            for part in (w.walk, w.step, w.before, w.node, w.start, w.size, w.tries):
                part[k] = part[n]
            w.state[k], w.edge[k] = w.state[n], w.edge[n]
    return n, begun


@compiled
def _look_back(rows: Rows, walkers: Walkers, n: int) -> None:
    """Finds the way back of who has just arrived: along directed edges there may be none."""
    for k in range(n):
        if walkers.tries[k] == 0 and walkers.step[k] > 0:
            end = walkers.start[k] + walkers.size[k]
            found = find(rows.indices, walkers.start[k], end, walkers.before[k])
            walkers.edge[k] = _weight(rows.weights, found)


@compiled
def _weight(weights: Weights, entry: int) -> float:
    """The weight of an entry; 0 for -1, no entry."""
    if entry < 0:
        return 0.0
    return np.float64(weights[entry]) if weights.size else 1.0


@compiled
def _masses(rows: Rows, walkers: Walkers, n: int) -> Reals:
    """The sums of the weights of the rows."""
    totals, node, size = rows.totals, walkers.node, walkers.size
    masses = np.empty(n)
    for k in range(n):
        masses[k] = size[k]
    if totals.size:
        for k in range(n):
            masses[k] = totals[np.uint64(node[k])]
    return masses


@compiled
def _propose(rows: Rows, law: Law, walkers: Walkers, n: int) -> None:
    """Draws an entry of each row by weight; or chooses what stands beside the envelope."""
    keep, instead = rows.keep, rows.instead
    state, edge, chosen = walkers.state, walkers.edge, walkers.chosen
    start, size, entry = walkers.start, walkers.size, walkers.entry
    beside = max(0.0, law.back / max(1.0, law.out) - 1.0)
    masses, parts = _masses(rows, walkers, n), np.empty(n)
    for k in range(n):
        state[k] += GOLDEN
        drawn = unit(state[k]) * (masses[k] + beside * edge[k])
        chosen[k] = drawn >= masses[k]
        place = drawn / masses[k] * size[k]
        at = min(np.int64(place), size[k] - 1)
        entry[k], parts[k] = start[k] + at, place - at
    if keep.size:
        for k in range(n):
            if parts[k] >= keep[entry[k]]:
                entry[k] = start[k] + instead[entry[k]]


@compiled
def _raise(rows: Rows, law: Law, walkers: Walkers, n: int) -> None:
    """Draws the heights, and says which nodes are wanted.

    The first step of a walk, and what stands beside, are at height 0: none is rejected there.
    """
    indices, state, before, entry = rows.indices, walkers.state, walkers.before, walkers.entry
    level, wanted, chosen = walkers.level, walkers.wanted, walkers.chosen
    top = max(1.0, law.out)
    for k in range(n):
        state[k] += GOLDEN
        height = unit(state[k]) * top
        level[k] = 0.0 if chosen[k] | (before[k] < 0) else height
    for k in range(n):
        drawn, came_from = np.int64(indices[np.uint64(entry[k])]), before[k]
        wanted[k] = came_from if chosen[k] else drawn


@compiled
def _judge(marks: Marks, law: Law, walkers: Walkers, n: int) -> Counts:
    """Chooses, and gives those of the others that a search may still choose."""
    before, level, wanted, chosen = walkers.before, walkers.level, walkers.wanted, walkers.chosen
    n_words = marks.size
    words, bits = np.empty(n, np.uint64), np.empty(n, np.uint64)
    for k in range(n):
        words[k], bits[k] = mark(before[k], wanted[k], n_words)
    low = min(1.0, law.out)
    asked = np.empty(n, np.int64)
    n_asked = 0
    for k in range(n):
        unsure = law.extend | (marks[words[k]] & bits[k] == bits[k])
        back = wanted[k] == before[k]
        factor = low if unsure else law.out
        factor = law.back if back else factor
        rejected = level[k] >= factor
        chosen[k] = not rejected
        asked[n_asked] = k
        n_asked += unsure & rejected & (not back)
    return asked[:n_asked]


@compiled
def _search(rows: Rows, walkers: Walkers, asked: Counts) -> Counts:
    """The edges from `before` to `wanted`, -1 where there is none: all are searched in turn.

    Rows that hold an edge both ways are searched where they are shorter.
    """
    indptr, indices, directed = rows.indptr, rows.indices, rows.directed
    before, wanted = walkers.before, walkers.wanted
    low, left, key = np.empty_like(asked), np.empty_like(asked), np.empty_like(asked)
    longest = 0
    for at in range(asked.size):
        row, other = before[asked[at]], wanted[asked[at]]
        if not directed and _size(indptr, other) < _size(indptr, row):
            row, other = other, row
        low[at], left[at], key[at] = indptr[np.uint64(row)], _size(indptr, row), other
        longest = max(longest, left[at])
    while longest > 1:
        for at in range(asked.size):
            half, lower = left[at] >> 1, low[at]
            middle = lower + half
            below = indices[np.uint64(max(middle - 1, 0))] < key[at]
            low[at] = middle if below else lower
            left[at] -= half
        longest -= longest >> 1
    for at in range(asked.size):
        low[at] = low[at] if indices[np.uint64(low[at])] == key[at] else -1
    return low


@compiled
def _answer(rows: Rows, law: Law, walkers: Walkers, asked: Counts, found: Counts) -> None:
    """Chooses by what the searches found."""
    for at in range(asked.size):
        k = asked[at]
        factor = law.out if found[at] < 0 else 1.0
        if law.extend:
            factor = _extended(rows, law, walkers.node[k], walkers.entry[k], found[at])
        walkers.chosen[k] = walkers.level[k] < factor


@compiled
def _extended(rows: Rows, law: Law, node: int, entry: int, found: int) -> float:
    """The factor of an entry of a node's row by Node2Vec+ (Liu, Hirn and Krishnan, 2021).

    `found` is the edge to its node from `before`, -1 if there is none. An edge is loose if it
    weighs less than the mean of its node's row.
    """
    indptr, weights, totals = rows.indptr, rows.weights, rows.totals
    other = int(rows.indices[entry])
    strength = 0.0
    if found >= 0:
        size = _size(indptr, other)
        strength = _weight(weights, found) * size / totals[other] if size else 1.0
    if strength >= 1.0:
        return 1.0
    if _weight(weights, entry) * _size(indptr, node) < totals[node]:
        return min(1.0, law.out)
    return law.out + (1.0 - law.out) * strength


@compiled
def _give_up(rows: Rows, law: Law, walkers: Walkers, n: int) -> None:
    """Counts rejections, and ends them where there were too many."""
    size, tries, chosen = walkers.size, walkers.tries, walkers.chosen
    too_many = 0
    for k in range(n):
        more = tries[k] + 1
        tries[k] = 0 if chosen[k] else more
        too_many += tries[k] >= size[k]
    if too_many:
        for k in range(n):
            if tries[k] >= size[k]:
                _choose_from_all(rows, law, walkers, k)


@compiled
def _choose_from_all(rows: Rows, law: Law, walkers: Walkers, k: int) -> None:
    """Chooses by the weights of the whole row, without rejection."""
    indices, before = rows.indices, walkers.before[k]
    start, end = rows.indptr[before], rows.indptr[before + 1]
    sums = np.empty(walkers.size[k])
    total = 0.0
    for at in range(sums.size):
        entry = walkers.start[k] + at
        found = find(indices, start, end, indices[entry])
        factor = law.out if found < 0 else 1.0
        if law.extend:
            factor = _extended(rows, law, walkers.node[k], entry, found)
        if indices[entry] == before:
            factor = law.back
        total += _weight(rows.weights, entry) * factor
        sums[at] = total
    walkers.state[k] += GOLDEN
    drawn = int(np.searchsorted(sums, unit(walkers.state[k]) * total, side="right"))
    walkers.entry[k] = walkers.start[k] + min(drawn, sums.size - 1)
    walkers.wanted[k] = indices[walkers.entry[k]]
    walkers.chosen[k], walkers.tries[k] = True, 0


@compiled
def _advance(rows: Rows, todo: Todo, walkers: Walkers, n: int) -> int:
    """Takes the steps that are chosen, and gives how many walks have ended."""
    walks, indptr, indices, weights = todo.walks, rows.indptr, rows.indices, rows.weights
    walk, step, before, edge = walkers.walk, walkers.step, walkers.before, walkers.edge
    node, start, size, entry = walkers.node, walkers.start, walkers.size, walkers.entry
    wanted, chosen = walkers.wanted, walkers.chosen
    last = walks.shape[1] - 1
    ended = 0
    for k in range(n):
        goes, here, to, came_from, way = chosen[k], node[k], wanted[k], before[k], edge[k]
        weight = 1.0
        if weights.size:
            # Whoever went the way that stands beside came back over the edge of the step before.
            direct = indices[np.uint64(entry[k])] == to
            weight = np.float64(weights[np.uint64(entry[k])])
            weight = weight if direct else way
        edge[k] = weight if goes else way
        before[k] = here if goes else came_from
        node[k] = to if goes else here
        step[k] += goes
    for k in range(n):
        now = node[k]
        walks[np.uint64(walk[k]), np.uint64(step[k])] = now
        start[k], size[k] = indptr[np.uint64(now)], _size(indptr, now)
        ended += (step[k] == last) | (size[k] == 0)
    return ended


@compiled
def permute(places: Counts, numbers: Counts, n: int, seed: np.uint64) -> Counts:
    """Maps each place below n by the permutation of its number: a Feistel network of eight rounds.

    With four, the order of few nodes is seen to favour some. The network is of as few bits as n
    needs, in two halves that differ by one at most, and is walked until the place is below n.
    """
    n_bits = 0
    while n - 1 >> n_bits:
        n_bits += 1
    found = np.empty(places.size, np.int64)
    for at in range(places.size):
        key = stream(seed, n, numbers[at])
        place = places[at]
        while True:
            place = _shuffled(place, n_bits, key)
            if place < n:
                break
        found[at] = place
    return found


@compiled
def _shuffled(place: np.int64, n_bits: int, key: np.uint64) -> np.int64:
    """A permutation of the numbers of so many bits."""
    n_left, n_right = np.uint64(n_bits >> 1), np.uint64(n_bits - (n_bits >> 1))
    one = np.uint64(1)
    left, right = np.uint64(place) >> n_right, np.uint64(place) & ((one << n_right) - one)
    for turn in range(1, 9):
        mixed = left ^ mix((key + np.uint64(turn) * GOLDEN) ^ right)
        left, right = right, mixed & ((one << n_left) - one)
        n_left, n_right = n_right, n_left
    return np.int64(left << n_right | right)
