"""Blocks of rows that depend on each other: how many rows of each take part."""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

LARGE = 200  # rows of one block that take part: more of the same say little, and fill memory


def some_of_each(of: Numbers, most: Numbers, rng: np.random.Generator) -> Numbers:
    """Places of at most `most[b]` rows of each block b, drawn at random, ascending.

    `of` are the blocks of rows by their numbers, shape (n,).
    """
    mine = rng.permutation(np.flatnonzero(most[of] > 0))
    mine = mine[np.argsort(of[mine], kind="stable")]
    place = np.arange(len(mine)) - np.searchsorted(of[mine], of[mine])
    return np.sort(mine[place < most[of[mine]]])


def drawn_blocks(blocks: Numbers, rng: np.random.Generator, most: int) -> Numbers:
    """Places of the rows of blocks that are drawn, ascending; of one block at least.

    Together at most so many, and of a block with more than 200 rows a random 200.
    """
    of, sizes = _numbered(blocks)
    order = rng.permutation(len(sizes))
    fits = np.cumsum(np.minimum(sizes[order], LARGE)) <= most
    fits[:1] = True
    held = np.zeros(len(sizes), np.int64)
    held[order[fits]] = LARGE
    return some_of_each(of, held, rng)


def alike_blocks(one: Numbers, other: Numbers, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Places of rows of both sides whose blocks have like sizes, ascending.

    The largest block of a side has as many rows as the largest of the other, and so on by rank, of
    the larger one drawn at random. Who wrote for years has many rows on one side, who wrote today a
    few on the other: blocks of other sizes are not exchangeable, and where nothing drifted a
    quarter of tests were alarms at 5 %.
    """
    (first, sizes), (second, others) = map(_numbered, (one, other))
    return (
        some_of_each(first, _ranked(sizes, others, rng), rng),
        some_of_each(second, _ranked(others, sizes, rng), rng),
    )


def _ranked(sizes: Numbers, others: Numbers, rng: np.random.Generator) -> Numbers:
    """Of each block the size of the other side's one of the same rank, ties in random order."""
    held = np.empty(len(sizes), np.int64)
    ranks = ((np.arange(len(sizes)) + 0.5) * len(others) / len(sizes)).astype(np.int64)
    held[np.lexsort((rng.random(len(sizes)), sizes))] = np.sort(others)[ranks]
    return held


def _numbered(blocks: Numbers) -> tuple[Numbers, Numbers]:
    """Of each row the number of its block, from 0, and the size of each block."""
    _, of, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    return of, sizes
