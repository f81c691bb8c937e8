"""What sketches have in common: a kernel's random features, centres, hashes of ids, and bins."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from tasks.errors import DriftError, MetricError
from tasks.metrics.score import Matrix, check_matrix

Counts = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

FEW = 1_000  # rows whose distances give the bandwidth
EIGHTHS = 8  # bins of an octave
OCTAVES = 40  # above and below 1
BINS = 2 * OCTAVES * EIGHTHS + 1


@dataclass(frozen=True, eq=False)
class Basis:
    """What sketches must have in common to be merged and compared.

    Attributes:
        bandwidth: s of the kernel exp(-d^2 / (2 s^2)), in the vectors' unit.
        centres: Of clusters whose rows are counted, shape (k, dim), float32; k may be 0.
        rows: How many rows a sample has.
        frequencies: How many there are, each with a cosine and a sine.
        seed: Of the frequencies and of the sample.
    """

    bandwidth: float
    centres: Matrix
    rows: int = 1_500
    frequencies: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.bandwidth < np.inf:
            raise DriftError(f"bandwidth = {self.bandwidth}: expected more than 0")
        if self.rows < 2 or self.frequencies < 1:
            raise DriftError(f"{self.rows} rows and {self.frequencies} frequencies are too few")
        if self.centres.ndim != 2 or not self.centres.shape[1]:
            raise DriftError(f"centres have shape {self.centres.shape}: expected (k, dim)")

    @property
    def dim(self) -> int:
        """The vectors' number of components."""
        return int(self.centres.shape[1])

    @cached_property
    def waves(self) -> Matrix:
        """The frequencies as columns, shape (dim, frequencies), float32."""
        drawn = np.random.default_rng(self.seed).normal(size=(self.dim, self.frequencies))
        return (drawn / self.bandwidth).astype(np.float32)

    @cached_property
    def halves(self) -> Matrix:
        """Half the squared length of each centre, shape (k,), float32."""
        return np.asarray(np.einsum("ij,ij->i", self.centres, self.centres) / 2)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All of it, to be stored."""
        return {
            "bandwidth": np.array(self.bandwidth),
            "centres": self.centres,
            "basis": np.array([self.rows, self.frequencies, self.seed], np.int64),
        }

    def same(self, other: "Basis") -> bool:
        """Whether sketches of both can be merged and compared."""
        mine, theirs = self.arrays(), other.arrays()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)


def basis_of(
    sample: npt.ArrayLike, centres: npt.ArrayLike | None = None, *, seed: int = 0
) -> Basis:
    """A basis whose bandwidth is the median distance of rows: of the reference's, at random.

    Rows after the first 1,000 are left out, and pairs of equal ones. Raises DriftError where all
    are equal, and as `checked_rows`.
    """
    rows = checked_rows(sample)
    apart = pdist(rows[:FEW].astype(np.float64))
    if not (apart > 0).any():
        raise DriftError("all rows of the sample are equal: they give no bandwidth")
    held = np.empty((0, rows.shape[1]), np.float32)
    if centres is not None:
        held = checked_rows(centres).astype(np.float32)
    return Basis(float(np.median(apart[apart > 0])), held, seed=seed)


def basis_from_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> Basis:
    """The basis that gave these arrays."""
    rows, frequencies, seed = (int(one) for one in arrays["basis"])
    centres = np.asarray(arrays["centres"], np.float32)
    return Basis(float(arrays["bandwidth"]), centres, rows, frequencies, seed)


def checked_rows(vectors: npt.ArrayLike) -> Matrix:
    """The same as a matrix of finite floats, one row at least; raises DriftError."""
    try:
        return check_matrix(vectors)
    except MetricError as error:
        raise DriftError(str(error)) from None


def hashed(ids: Iterable[str], seed: int) -> Hashes:
    """A hash of each, blake2b keyed by the seed: chance, but the same one wherever it is taken."""
    key = seed.to_bytes(8, "little", signed=True)
    digests = [
        hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
        for id_ in ids
    ]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def histogram(values: npt.ArrayLike) -> Counts:
    """How many of these numbers fall into bins of an eighth of an octave, shape (BINS,).

    Bin 0 is for 0; bin b from 1 on starts at `floors()[b]`, and the outer ones take what lies
    beyond them. A power of 2 is in the middle of a bin: norms that are 1 but for rounding are in
    one. Raises DriftError for what is not finite or below 0.
    """
    given = np.asarray(values, np.float64)
    if not (np.isfinite(given) & (given >= 0)).all():
        raise DriftError("lengths must be finite and not below 0")
    there = given[given > 0]
    bins = np.floor(EIGHTHS * np.log2(there) + 0.5).astype(np.int64) + OCTAVES * EIGHTHS + 1
    counts = np.bincount(np.clip(bins, 1, BINS - 1), minlength=BINS)
    counts[0] = given.size - there.size
    return counts.astype(np.int64)


def floors() -> npt.NDArray[np.float64]:
    """Where each bin of a histogram starts, shape (BINS,)."""
    steps = (np.arange(BINS - 1) - 0.5) / EIGHTHS - OCTAVES
    return np.concatenate([[0.0], 2.0**steps])
