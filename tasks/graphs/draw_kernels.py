"""Compiled draws: a stream of random numbers, and alias tables, which draw by weight.

Imported by the functions that call them: compiling, and numba itself, take seconds.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba  # noqa: TID253
import numpy as np
import numpy.typing as npt

from tasks.graphs.arrays import Counts, Indices, Reals, Weights

F = TypeVar("F", bound=Callable[..., object])

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""What the state of a stream grows by."""


def compiled(function: F) -> F:
    """The function, compiled when it is first called, once for a machine."""
    made = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast("F", made)


@compiled
def mix(value: np.uint64) -> np.uint64:
    """The number that SplitMix64 (Steele, Lea and Flood, 2014) makes of a state."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def unit(state: np.uint64) -> float:
    """A number in [0, 1) with 53 bits."""
    return float(mix(state) >> np.uint64(11)) * 2.0**-53


@compiled
def fill_table(
    weights: npt.NDArray[np.floating[Any]],
    keep: Weights,
    instead: Indices,
    shares: Reals,
    stack: Indices,
) -> float:
    """Fills the alias table of Walker (1977) as Vose (1991) does, and gives the sum of the weights.

    Slot i, drawn uniformly, stands for itself with probability `keep[i]`, otherwise for
    `instead[i]`. `shares` and `stack` are at least as long, and are overwritten.
    """
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


@compiled
def alias_table(weights: Reals) -> tuple[Weights, Counts]:
    """The table of all weights: `keep` and `instead`."""
    n = weights.size
    keep, instead = np.empty(n, np.float32), np.empty(n, np.int64)
    fill_table(weights, keep, instead, np.empty(n), np.empty(n, np.int64))
    return keep, instead
