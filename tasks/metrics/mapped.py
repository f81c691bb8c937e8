"""Matrices that are mapped from a file: how much of them is in memory."""

import mmap

import numpy as np
import numpy.typing as npt


def release(matrix: npt.NDArray[np.generic]) -> None:
    """Lets pages of a file that is mapped for reading leave memory; they are read again at need."""
    base: object = matrix
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode != "r":
            return  # what was written to a private copy would be lost
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
