"""What numba compiles for the training: import it where vectors are fitted, not before."""

import math

import numpy as np
import numpy.typing as npt
from numba import njit  # noqa: TID253 - whoever imports this module trains

from tasks.graphs.arrays import Counts, Walks, Weights
from tasks.graphs.draw_kernels import GOLDEN, mix, unit

# Without these liberties with the order of sums no loop over components is vectorised.
_compiled = njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)
_inlined = njit(inline="always")

_LEAST_LIKELIHOOD = 1e-300  # of a pair, so that its logarithm is finite


@_inlined
def _next(state: npt.NDArray[np.uint64]) -> np.uint64:
    state[0] += GOLDEN
    return mix(state[0])


@_inlined
def _draw(state: npt.NDArray[np.uint64], keep: Weights, instead: Counts) -> int:
    state[0] += GOLDEN
    x = unit(state[0]) * len(keep)
    slot = int(x)
    return slot if x - slot < keep[slot] else instead[slot]


@_compiled
def draws(keep: Weights, instead: Counts, n_draws: int, seed: np.uint64) -> Counts:
    """So many independent draws from an alias table."""
    state = np.full(1, mix(seed))
    found = np.empty(n_draws, np.int64)
    for i in range(n_draws):
        found[i] = _draw(state, keep, instead)
    return found


@_compiled
def _learn_pair(
    context: npt.NDArray[np.float32],
    table_out: npt.NDArray[np.float32],
    targets: Counts,
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
    keep: Weights,
    instead: Counts,
    targets: Counts,
) -> int:
    """Fills targets after the first with draws that are not the first; gives how many there are."""
    n_targets = 1
    for _ in range(1, len(targets)):
        drawn = _draw(state, keep, instead)
        if drawn != targets[0]:
            targets[n_targets] = drawn
            n_targets += 1
    return n_targets


@_compiled
def learn(
    walks: Walks,
    lengths: Counts,
    rates: npt.NDArray[np.float32],
    first_stream: np.uint64,
    table_in: npt.NDArray[np.float32],
    table_out: npt.NDArray[np.float32],
    keep: Weights,
    instead: Counts,
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
        state[0] = mix(first_stream + np.uint64(row))
        walk, length = walks[row], lengths[row]
        for centre in range(length):
            reach = 1 + int(_next(state) % np.uint64(window))
            targets[0] = walk[centre]
            n_targets = _draw_negatives(state, keep, instead, targets)
            for at in range(max(0, centre - reach), min(length, centre + reach + 1)):
                if at != centre:
                    context = table_in[walk[at]]
                    loss += _learn_pair(context, table_out, targets[:n_targets], rates[row], step)
                    n_pairs += 1
    return loss, n_pairs
