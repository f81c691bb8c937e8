"""Shorter vectors for stores downstream: fewer components, and fewer bits of each.

What it costs is measured, on the very rows: how many of the ten nearest by the float32 originals
are still found.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.changes import merge
from tasks.digests import digest
from tasks.errors import ConfigError
from tasks.sinks.base import Element
from tasks.store.diff import Indices
from tasks.store.rows import Matrix, unit

Short: TypeAlias = npt.NDArray[np.float32 | np.float16 | np.int8 | np.uint8]
"""Shape (n, dim) as `Element` says, uint8 (n, dim / 8) where it is binary."""

CLIPPED = 0.9999  # of absolute values that int8 holds: the others become its largest
INT8 = 127
NEAREST = 10
CANDIDATES = 40  # rows whose originals are looked at, where they are kept
ROUNDING = 1e-6  # scores that are this near are equal: rows stand for each other


@dataclass(frozen=True, eq=False)
class Compression:
    """How vectors are made shorter; the same for all rows and queries of a collection.

    Attributes:
        dim: Components that are left.
        element: What they are.
        directions: Of the principal components, shape (dim of the space, dim), float32; None where
            the first components are taken.
        scale: What stands for 127 where components are int8, else 0.
        keeps_original: Whether the float32 original goes along.
    """

    dim: int
    element: Element
    directions: Matrix | None = None
    scale: float = 0.0
    keeps_original: bool = False

    @property
    def digest(self) -> str:
        """Stands for all of it."""
        directions = b"" if self.directions is None else self.directions.tobytes()
        return digest(directions, f"{self.dim} {self.element} {self.scale!r}".encode()).hex()

    def apply(self, vectors: Matrix) -> Short:
        """Shorter ones of vectors (n, dim of the space), float32, row i for row i."""
        if self.directions is not None:
            short = vectors @ self.directions
        else:
            short = np.ascontiguousarray(vectors[:, : self.dim])
        if self.element is Element.FLOAT16:
            return np.asarray(short.astype(np.float16))
        if self.element is Element.INT8:
            scaled = np.round(unit(short) * (INT8 / self.scale))
            return np.asarray(np.clip(scaled, -INT8, INT8).astype(np.int8))
        if self.element is Element.BINARY:
            return np.packbits(short > 0, axis=1)
        return short

    def scores(self, queries: Short, rows: Short) -> Matrix:
        """How near rows are to queries, (n, m): cosines; the share of equal bits where binary."""
        if self.element is Element.BINARY:
            one, other = (
                np.unpackbits(some.view(np.uint8), axis=1).astype(np.float32) * 2 - 1
                for some in (queries, rows)
            )
            return np.asarray((one @ other.T) / (2 * self.dim) + 0.5)
        one, other = (unit(some.astype(np.float32)) for some in (queries, rows))
        return np.asarray(one @ other.T)


def left_of(width: int, dim: int | None, element: Element) -> int:
    """How many of `width` components are left; ConfigError for more, and bits that fill no byte."""
    left = width if dim is None else dim
    if left > width:
        raise ConfigError(f"compress.dim = {left}: vectors have {width} components")
    if element is Element.BINARY and left % 8:
        raise ConfigError(f"compress.dim = {left}: components that become bits must fill bytes")
    return left


def fit(
    sample: Matrix,
    *,
    dim: int | None,
    pca: bool,
    element: Element,
    keeps_original: bool,
) -> Compression:
    """Fits to a sample of vectors (n, d), float32; the same sample gives the same.

    Principal components are those of the second moment, without a mean: products, and so cosines,
    change least (Eckart and Young 1936, Psychometrika 1(3)). int8 has one scale for all components,
    so that cosines stay: that of the largest but one in ten thousand of unit vectors. Raises
    ConfigError for more components than there are, and bits that fill no byte.
    """
    width = sample.shape[1]
    left = left_of(width, dim, element)
    directions = None
    if pca and left < width:
        moment = sample.T.astype(np.float64) @ sample.astype(np.float64)
        values, found = np.linalg.eigh(moment)
        found = found[:, np.argsort(-values, kind="stable")[:left]]
        largest = np.abs(found).argmax(axis=0)
        found *= np.sign(found[largest, np.arange(left)])  # eigenvectors have no sign of their own
        directions = found.astype(np.float32)
    scale = 0.0
    if element is Element.INT8:
        plain = Compression(left, Element.FLOAT32, directions).apply(sample)
        scale = float(np.quantile(np.abs(unit(np.asarray(plain))), CLIPPED)) or 1.0
    return Compression(left, element, directions, scale, keeps_original)


def recall(
    compression: Compression,
    queries: Matrix,
    batches: Callable[[], Iterable[Matrix]],
    k: int = NEAREST,
) -> npt.NDArray[np.float64]:
    """The share of each query's k nearest rows that are found, shape (n,).

    By exact search in what is stored; where originals are kept, the forty nearest are put in order
    by those. `batches` gives all rows (m, d) each time that it is called, in the same order. Rows
    that are as near as the k-th stand for each other.
    """
    exact = Compression(queries.shape[1], Element.FLOAT32)
    least = _best(exact, queries, batches(), k)[0][:, -1]
    depth = max(k, CANDIDATES) if compression.keeps_original else k
    chosen = _best(compression, queries, batches(), depth)[1]
    originals = np.sort(_originals(queries, batches(), chosen), axis=1)[:, ::-1][:, :k]
    return np.asarray((originals >= least[:, None] - ROUNDING).mean(axis=1))


def _best(
    compression: Compression, queries: Matrix, batches: Iterable[Matrix], k: int
) -> tuple[Matrix, Indices]:
    """Scores and numbers of the k nearest rows by short vectors, best first, ties by number."""
    asked = compression.apply(queries)
    best = np.full((len(queries), k), -np.inf, np.float32)
    who = np.full((len(queries), k), -1, np.int64)
    for start, vectors in _numbered(batches):
        scores = compression.scores(asked, compression.apply(vectors))
        best, who = merge(best, who, scores, np.arange(start, start + len(vectors)), k)
    return best, who


def _originals(queries: Matrix, batches: Iterable[Matrix], rows: Indices) -> Matrix:
    """How near these rows (n, k) are to their queries by the originals."""
    found = np.zeros(rows.shape, np.float32)
    for start, vectors in _numbered(batches):
        where = np.nonzero((rows >= start) & (rows < start + len(vectors)))
        if len(where[0]):
            one, other = unit(queries[where[0]]), unit(vectors[rows[where] - start])
            found[where] = np.einsum("ij,ij->i", one, other)
    return found


def _numbered(batches: Iterable[Matrix]) -> Iterator[tuple[int, Matrix]]:
    start = 0
    for vectors in batches:
        yield start, vectors
        start += len(vectors)
