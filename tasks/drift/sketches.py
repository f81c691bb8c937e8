"""What is kept of a version's rows, so that any two versions compare without reading them again.

Sums and histograms of all rows, and a sample of them that does not depend on the order in which
rows came or parts were merged: of all ids those with the lowest hashes. No library keeps these
together; those that sample draw by order of arrival, and give another sample for another order.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tasks.drift.basis import (
    BINS,
    Basis,
    Counts,
    Hashes,
    basis_from_arrays,
    checked_rows,
    hashed,
    histogram,
)
from tasks.errors import DriftError
from tasks.metrics.blocks import blocks
from tasks.metrics.moments import Moments
from tasks.metrics.score import Matrix, Reals

ALL = 2**64  # above every hash
SUMS = ("features", "clusters", "norms", "lengths")
SAMPLE = ("ids", "hashes", "owners", "vectors")


class Sketch:
    """Of all rows that were added: sums, histograms and a sample.

    Another order of rows and parts changes sums by rounding, and the sample not at all.

    Attributes:
        basis: What it has in common with others.
        moments: Number, mean and scatter of the rows, in float64.
        features: The sums of cos and sin of all frequencies, shape (2 * frequencies,), float64.
        clusters: How many rows are nearest each centre, shape (k,).
        norms: Histogram of the vectors' lengths, see `basis.histogram`.
        lengths: Likewise of the lengths that were given.
        ids: Of the sample, shape (m,), by ascending hash.
        hashes: Of these ids, shape (m,).
        owners: Hashes of what the sample's rows belong to, shape (m,); of the id by default.
        vectors: Of the sample, shape (m, dim), float32.
        limit: The sample holds every row whose hash is below.
    """

    def __init__(self, basis: Basis) -> None:
        """Of no rows."""
        dim = basis.dim
        self.basis = basis
        self.moments = Moments(0, np.zeros(dim), np.zeros((dim, dim)))
        self.features: Reals = np.zeros(2 * basis.frequencies)
        self.clusters: Counts = np.zeros(len(basis.centres), np.int64)
        self.norms: Counts = np.zeros(BINS, np.int64)
        self.lengths: Counts = np.zeros(BINS, np.int64)
        self.ids: npt.NDArray[np.str_] = np.empty(0, "U1")
        self.hashes: Hashes = np.empty(0, np.uint64)
        self.owners: Hashes = np.empty(0, np.uint64)
        self.vectors: Matrix = np.empty((0, dim), np.float32)
        self.limit = ALL

    def add(
        self,
        vectors: npt.ArrayLike,
        ids: Sequence[str],
        *,
        owners: Sequence[str] | None = None,
        lengths: npt.ArrayLike | None = None,
    ) -> None:
        """Takes rows (n, dim) in: with their ids, each of which comes once.

        `owners` names what each row belongs to, such as its document, and `lengths` are the texts'.
        Beside the rows, memory is 8,192 of them in float64. Raises DriftError, before anything
        changes, for rows that are not finite or of another width, and for other lengths.
        """
        matrix = checked_rows(vectors)
        if matrix.shape[1] != self.basis.dim:
            raise DriftError(f"rows have {matrix.shape[1]} components, the basis {self.basis.dim}")
        said = histogram(np.empty(0) if lengths is None else lengths)
        counts = {"ids": len(ids), "owners": len(ids if owners is None else owners)}
        if set(counts.values()) | {int(said.sum())} - {0} != {len(matrix)}:
            raise DriftError(f"{len(matrix)} rows, {counts}, {said.sum()} lengths: all must agree")
        self.lengths = self.lengths + said
        for _, block in blocks(matrix):
            self._sum(block)
        hashes = hashed(ids, self.basis.seed)
        low = np.flatnonzero(hashes < self.limit) if self.limit < ALL else np.arange(len(hashes))
        belong = ids if owners is None else owners
        new = {
            "ids": np.array([ids[row] for row in low.tolist()], np.str_),
            "hashes": hashes[low],
            "owners": hashed([belong[row] for row in low.tolist()], self.basis.seed),
            "vectors": matrix[low].astype(np.float32),
        }
        self._keep(new, self.limit)

    def merge(self, other: "Sketch") -> None:
        """Takes all rows of another part in; raises DriftError where its basis is another."""
        self.check_same_basis(other)
        self.moments = _joined(self.moments, other.moments)
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._keep({name: getattr(other, name) for name in SAMPLE}, min(self.limit, other.limit))

    def remove(self, other: "Sketch") -> None:
        """Takes rows out that were added: `other` is of them alone, with their vectors as added.

        The sample is smaller afterwards, and stays so; where it becomes too small, sketch anew.
        Raises DriftError where the basis is another, or there are fewer rows than that.
        """
        self.check_same_basis(other)
        if other.moments.n > self.moments.n:
            raise DriftError(f"{other.moments.n} rows of {self.moments.n} cannot be removed")
        self.moments = _parted(self.moments, other.moments)
        for name in SUMS:
            setattr(self, name, getattr(self, name) - getattr(other, name))
        left = ~np.isin(self.hashes, other.hashes)
        for name in SAMPLE:
            setattr(self, name, getattr(self, name)[left])

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All of it, to be stored: no objects, some 4 MB at 384 components."""
        return {
            **self.basis.arrays(),
            "n": np.array(self.moments.n),
            "mean": self.moments.mean,
            "scatter": self.moments.scatter,
            **{name: getattr(self, name) for name in (*SUMS, *SAMPLE)},
            "limit": np.array([self.limit == ALL, self.limit % ALL], np.uint64),
        }

    def _sum(self, block: Matrix) -> None:
        wide = block.astype(np.float64)
        mean = wide.mean(axis=0)
        self.norms += histogram(np.sqrt(np.einsum("ij,ij->i", wide, wide)))
        wide -= mean
        self.moments = _joined(self.moments, Moments(len(wide), mean, wide.T @ wide))
        narrow = block.astype(np.float32)
        turned = narrow @ self.basis.waves
        parts = [np.cos(turned).sum(axis=0, dtype=np.float64)]
        parts.append(np.sin(turned, out=turned).sum(axis=0, dtype=np.float64))
        self.features = self.features + np.concatenate(parts)
        if len(self.clusters):
            nearest = (narrow @ self.basis.centres.T - self.basis.halves).argmax(axis=1)
            self.clusters = self.clusters + np.bincount(nearest, minlength=len(self.clusters))

    def _keep(self, new: Mapping[str, npt.NDArray[np.generic]], limit: int) -> None:
        """Adds to the sample, and holds it to its size and to what is complete."""
        held = {name: np.concatenate([getattr(self, name), new[name]]) for name in SAMPLE}
        order = np.argsort(held["hashes"], kind="stable")
        if len(order) > self.basis.rows:
            limit = min(limit, int(held["hashes"][order[self.basis.rows]]))
        if limit < ALL:
            order = order[held["hashes"][order] < np.uint64(limit)]
        for name in SAMPLE:
            setattr(self, name, held[name][order])
        self.limit = limit

    def check_same_basis(self, other: "Sketch") -> None:
        """Raises DriftError where the other has another basis."""
        if not self.basis.same(other.basis):
            raise DriftError("these sketches have another basis: sketch one of both anew")


def from_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> Sketch:
    """The sketch that gave these arrays."""
    sketch = Sketch(basis_from_arrays(arrays))
    mean, scatter = (np.asarray(arrays[name], np.float64) for name in ("mean", "scatter"))
    sketch.moments = Moments(int(arrays["n"]), mean, scatter)
    for name in (*SUMS, *SAMPLE):
        setattr(sketch, name, np.asarray(arrays[name]))
    everything, limit = arrays["limit"].tolist()
    sketch.limit = ALL if everything else int(limit)
    return sketch


def _joined(one: Moments, other: Moments) -> Moments:
    """Of both parts together (Chan, Golub and LeVeque 1983, American Statistician 37(3))."""
    n = one.n + other.n
    if not n:
        return one
    apart = other.mean - one.mean
    scatter = one.scatter + other.scatter + np.outer(apart, apart) * (one.n * other.n / n)
    return Moments(n, one.mean + apart * (other.n / n), scatter)


def _parted(whole: Moments, part: Moments) -> Moments:
    """Of what is left without the part: `_joined` solved for it."""
    n = whole.n - part.n
    if not n:
        return Moments(0, np.zeros_like(whole.mean), np.zeros_like(whole.scatter))
    mean = whole.mean + (whole.mean - part.mean) * (part.n / n)
    apart = part.mean - mean
    scatter = whole.scatter - part.scatter - np.outer(apart, apart) * (n * part.n / whole.n)
    return Moments(n, mean, scatter)
