"""Vectors that a store scales to a length of one, and what tells them again bit for bit.

That is the length, and the lowest byte of each component: a store's scaling is off by a few units
in the last place, and a byte tells 127 of them apart either way. It is a quarter of the vector.
"""

import base64
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]
"""Shape (n, dim)."""
LENGTH_BYTES = 8
LENGTHS = (1e-15, 1e15)  # of which float32 holds the squares
SMALLEST = 1e-30  # below it float32 has fewer digits, or none


def remainders(vectors: Vectors) -> list[str]:
    """One base64 text for each vector; one that cannot be told again is there whole."""
    vectors = np.ascontiguousarray(vectors, "<f4")
    lengths = _lengths(vectors)
    low = np.ascontiguousarray(vectors.view(np.uint8)[:, ::4])
    with np.errstate(all="ignore"):
        scaled = (vectors / lengths[:, None]).astype("<f4")
    is_told = (_told(scaled, lengths, low).view("<i4") == vectors.view("<i4")).all(axis=1)
    is_told &= (lengths > LENGTHS[0]) & (lengths < LENGTHS[1])
    is_plain_zero = (vectors == 0) & ~np.signbit(vectors)  # JSON may lose the sign
    is_told &= ((np.abs(scaled) > SMALLEST) | is_plain_zero).all(axis=1)
    parts = [
        lengths[row].tobytes() + low[row].tobytes() if told else vectors[row].tobytes()
        for row, told in enumerate(is_told.tolist())
    ]
    return [base64.b64encode(part).decode() for part in parts]


def restored(held: Vectors, texts: Sequence[str]) -> Vectors:
    """The vectors of which a store gives these, scaled or not; texts are their `remainders`."""
    made = np.array(held, "<f4")
    parts = [base64.b64decode(text) for text in texts]
    is_whole = np.array([len(part) == 4 * made.shape[1] for part in parts], bool)
    if not is_whole.all():
        kept = [part for part, whole in zip(parts, is_whole, strict=True) if not whole]
        lengths = np.array([np.frombuffer(part[:LENGTH_BYTES], "<f8")[0] for part in kept])
        low = np.stack([np.frombuffer(part[LENGTH_BYTES:], np.uint8) for part in kept])
        made[~is_whole] = _told(made[~is_whole], lengths, low)
    for row in np.flatnonzero(is_whole).tolist():
        made[row] = np.frombuffer(parts[row], "<f4")
    return made


def _lengths(vectors: Vectors) -> npt.NDArray[np.float64]:
    lengths: npt.NDArray[np.float64] = np.linalg.norm(vectors.astype("<f8"), axis=1)
    return lengths


def _told(scaled: Vectors, lengths: npt.NDArray[np.float64], low: npt.NDArray[np.uint8]) -> Vectors:
    """The nearest to what was scaled whose lowest bytes are these."""
    with np.errstate(all="ignore"):
        about = (scaled * (lengths / _lengths(scaled))[:, None]).astype("<f4")
    bits = about.view("<i4")
    off = (low.astype(np.int32) - bits).astype(np.int8)  # of 256 the nearest
    told: Vectors = (bits + off).view("<f4")
    return told
