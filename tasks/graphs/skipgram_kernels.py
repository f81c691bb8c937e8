"""What numba compiles for the training: import it where vectors are fitted, not before."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit  # noqa: TID253 - whoever imports this module trains

# Without these liberties with the order of sums no loop over components is vectorised.
_compiled = njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)
_inlined = njit(inline="always")

_LEAST_LIKELIHOOD = 1e-300  # of a pair, so that its logarithm is finite
_UNIT = 2.0**-53


@_inlined
def _mix(x: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@_inlined
def _next(state: npt.NDArray[np.uint64]) -> np.uint64:
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    return _mix(state[0])


@_inlined
def _draw(
    state: npt.NDArray[np.uint64],
    threshold: npt.NDArray[np.float64],
    alias: npt.NDArray[np.int64],
) -> int:
    x = float(_next(state) >> np.uint64(11)) * _UNIT * len(threshold)
    slot = int(x)
    return slot if x - slot < threshold[slot] else alias[slot]


@_compiled
def alias_table(
    weights: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Thresholds and aliases (Walker 1977, as of Vose 1991) for draws in proportion to weights."""
    n = len(weights)
    threshold = weights * (n / weights.sum())
    alias = np.arange(n)
    # One array for both stacks: the small one grows from its start, the large one from its end.
    stack = np.empty(n, np.int64)
    n_small, n_large = 0, 0
    for i in range(n):
        if threshold[i] < 1:
            stack[n_small] = i
            n_small += 1
        else:
            n_large += 1
            stack[n - n_large] = i
    while n_small and n_large:
        n_small -= 1
        small, large = stack[n_small], stack[n - n_large]
        alias[small] = large
        threshold[large] -= 1 - threshold[small]
        if threshold[large] < 1:
            n_large -= 1
            stack[n_small] = large
            n_small += 1
    # What rounding has left over is full.
    for i in range(n_small):
        threshold[stack[i]] = 1
    for i in range(n_large):
        threshold[stack[n - 1 - i]] = 1
    return threshold, alias


@_compiled
def draws(
    threshold: npt.NDArray[np.float64], alias: npt.NDArray[np.int64], n_draws: int, seed: np.uint64
) -> npt.NDArray[np.int64]:
    """So many independent draws from an alias table."""
    state = np.full(1, _mix(seed))
    found = np.empty(n_draws, np.int64)
    for i in range(n_draws):
        found[i] = _draw(state, threshold, alias)
    return found


@_compiled
def _learn_pair(
    context: npt.NDArray[np.float32],
    table_out: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    rate: np.float32,
    step: npt.NDArray[np.float32],
) -> float:
    """Trains a context's vector on the centre, which is the first target, and its negatives.

    Gives the loss; overwrites `step`.
    """
    one = np.float32(1)
    step[:] = 0
    likelihood = 1.0
    for k in range(len(targets)):
        target = table_out[targets[k]]
        product = np.float32(0)
        for d in range(len(context)):
            product += context[d] * target[d]
        error = -one / (one + np.exp(-product))
        if k == 0:
            error += one
        likelihood *= one - abs(error)
        gain = error * rate
        for d in range(len(context)):
            old = target[d]
            step[d] += gain * old
            target[d] = old + gain * context[d]
    for d in range(len(context)):
        context[d] += step[d]
    # Not by max(), which would make a number of NaN.
    if likelihood < _LEAST_LIKELIHOOD:
        likelihood = _LEAST_LIKELIHOOD
    return -math.log(likelihood)


@_compiled
def _draw_negatives(
    state: npt.NDArray[np.uint64],
    threshold: npt.NDArray[np.float64],
    alias: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
) -> int:
    """Fills targets after the first with draws that are not the first; gives how many there are."""
    n_targets = 1
    for _ in range(1, len(targets)):
        drawn = _draw(state, threshold, alias)
        if drawn != targets[0]:
            targets[n_targets] = drawn
            n_targets += 1
    return n_targets


@_compiled
def learn(
    walks: npt.NDArray[np.signedinteger[Any]],
    lengths: npt.NDArray[np.int64],
    rates: npt.NDArray[np.float32],
    first_stream: np.uint64,
    table_in: npt.NDArray[np.float32],
    table_out: npt.NDArray[np.float32],
    threshold: npt.NDArray[np.float64],
    alias: npt.NDArray[np.int64],
    window: int,
    negatives: int,
) -> tuple[float, int]:
    """Trains on each walk with its rate, its random numbers from stream `first_stream` + row.

    Gives the sum of the pairs' losses and the number of pairs.
    """
    step = np.empty(table_in.shape[1], np.float32)
    targets = np.empty(1 + negatives, np.int64)
    state = np.empty(1, np.uint64)
    loss, n_pairs = 0.0, 0
    for row in range(len(walks)):
        state[0] = _mix(first_stream + np.uint64(row))
        walk, length = walks[row], lengths[row]
        for centre in range(length):
            reach = 1 + int(_next(state) % np.uint64(window))
            targets[0] = walk[centre]
            n_targets = _draw_negatives(state, threshold, alias, targets)
            for at in range(max(0, centre - reach), min(length, centre + reach + 1)):
                if at != centre:
                    context = table_in[walk[at]]
                    loss += _learn_pair(context, table_out, targets[:n_targets], rates[row], step)
                    n_pairs += 1
    return loss, n_pairs
