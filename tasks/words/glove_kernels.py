"""What numba compiles for GloVe: import it where vectors are fitted, not before."""

import math

import numpy as np
import numpy.typing as npt
from numba import njit  # noqa: TID253 - whoever imports this module trains

# Without these liberties with the order of sums no loop over components is vectorised.
_compiled = njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)

FREE = -1
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio: Knuth's multiplicative hashing


@_compiled
def _slot(keys: npt.NDArray[np.int64], key: int) -> int:
    """Where the key stands, or is to stand, in a table whose length is a power of two."""
    last = len(keys) - 1
    slot = int((np.uint64(key) * _SPREAD) >> np.uint64(32)) & last
    while keys[slot] != key and keys[slot] != FREE:
        slot = (slot + 1) & last
    return slot


@_compiled
def count(
    tokens: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    first: int,
    window: int,
    n_words: int,
    keys: npt.NDArray[np.int64],
    sums: npt.NDArray[np.float64],
    n_keys: int,
    most_keys: int,
) -> tuple[int, int]:
    """Adds the pairs of each token and those before it in its text, which begins at `starts`.

    Stops before the table has more than `most_keys`. Gives the next token, and how many keys the
    table has. The key of two words is the smaller number times `n_words`, plus the larger one.
    """
    for at in range(first, len(tokens)):
        if n_keys + window > most_keys:
            return at, n_keys
        for before in range(max(starts[at], at - window), at):
            one, other = tokens[before], tokens[at]
            slot = _slot(keys, np.int64(min(one, other)) * n_words + max(one, other))
            if keys[slot] == FREE:
                keys[slot] = np.int64(min(one, other)) * n_words + max(one, other)
                n_keys += 1
            sums[slot] += (2.0 if one == other else 1.0) / (at - before)
    return len(tokens), n_keys


@_compiled
def move(
    keys: npt.NDArray[np.int64],
    sums: npt.NDArray[np.float64],
    new_keys: npt.NDArray[np.int64],
    new_sums: npt.NDArray[np.float64],
) -> None:
    """Copies a table into a larger one, which is empty."""
    for place in range(len(keys)):
        if keys[place] != FREE:
            slot = _slot(new_keys, keys[place])
            new_keys[slot], new_sums[slot] = keys[place], sums[place]


@_compiled
def _learn_pair(
    word: npt.NDArray[np.float32],
    context: npt.NDArray[np.float32],
    word_squares: npt.NDArray[np.float32],
    context_squares: npt.NDArray[np.float32],
    wanted: np.float32,
    rate: np.float32,
    bias_rate: np.float32,
) -> float:
    """One step of AdaGrad; gives the error before it. The last components are the biases."""
    dim = len(word) - 1
    error: float = word[dim] + context[dim] - wanted
    for d in range(dim):
        error += word[d] * context[d]
    gain = rate * error
    for d in range(dim):
        step, other = gain * context[d], gain * word[d]
        word[d] -= step / math.sqrt(word_squares[d])
        context[d] -= other / math.sqrt(context_squares[d])
        word_squares[d] += step * step
        context_squares[d] += other * other
    step = bias_rate * error
    word[dim] -= step / math.sqrt(word_squares[dim])
    context[dim] -= step / math.sqrt(context_squares[dim])
    word_squares[dim] += step * step
    context_squares[dim] += step * step
    return error


@_compiled
def learn(
    order: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    columns: npt.NDArray[np.int32],
    logarithms: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    words: npt.NDArray[np.float32],
    contexts: npt.NDArray[np.float32],
    word_squares: npt.NDArray[np.float32],
    context_squares: npt.NDArray[np.float32],
    rate: float,
    bias_rate: float,
) -> tuple[float, int]:
    """Learns from these pairs, in this order, both ways round.

    Gives the sum of the weighted squares of the errors, and how many there are.
    """
    loss, n_terms = 0.0, 0
    for n in order:
        one, other = rows[n], columns[n]
        for _ in range(1 if one == other else 2):
            error = _learn_pair(
                words[one],
                contexts[other],
                word_squares[one],
                context_squares[other],
                logarithms[n],
                np.float32(rate * weights[n]),
                np.float32(bias_rate * weights[n]),
            )
            loss += weights[n] * error * error
            n_terms += 1
            one, other = other, one
    return loss, n_terms
