"""How far two versions are apart, by their sketches alone."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.drift.default import default_test
from tasks.drift.sketches import Sketch
from tasks.drift.value import Blocks, DriftTest, DriftValue
from tasks.errors import DriftError
from tasks.metrics.moments import Moments
from tasks.metrics.score import Matrix


@dataclass(frozen=True, slots=True)
class Distances:
    """How far all rows of two versions are apart.

    Attributes:
        mmd: The squared maximum mean discrepancy, unbiased, under the kernel of the basis' random
            features (Rahimi and Recht 2007, NeurIPS).
        frechet: The squared Frechet distance of normal laws with the rows' means and covariances
            (Dowson and Landau 1982, Journal of Multivariate Analysis 12(3)).
        clusters: The share of rows that would have to change cluster; 0 without centres.
        norms: The share of rows whose norm would have to change its bin.
        lengths: Likewise of lengths; 0 where none were given.
    """

    mmd: float
    frechet: float
    clusters: float
    norms: float
    lengths: float


@dataclass(frozen=True, slots=True)
class Compared(Distances):
    """How far two versions are apart, by what is kept of them.

    Attributes:
        test: What the test finds on the samples, with its p-value and effect.
    """

    test: DriftValue


class Samples(NamedTuple):
    """Rows of two versions that no row is on both sides of.

    Attributes:
        baseline: Shape (n, dim).
        candidate: Shape (m, dim): what the baseline lacks; m may be 0.
        blocks: What rows of either side belong to; None where none belong together.
    """

    baseline: Matrix
    candidate: Matrix
    blocks: Blocks | None


def compare(
    baseline: Sketch,
    candidate: Sketch,
    rng: np.random.Generator,
    *,
    test: DriftTest | None = None,
) -> Compared:
    """How far the candidate's rows are from the baseline's, of which nothing else is read.

    The test compares `samples`, all other numbers are `distances` of all rows. Raises DriftError
    as these and as the test (None: the default one), and where fewer than two rows of the
    candidate's sample are not the baseline's.
    """
    apart = distances(baseline, candidate)
    sides = samples(baseline, candidate)
    if len(sides.candidate) < 2:
        raise DriftError(
            f"the candidate's sample has {len(sides.candidate)} rows that are not the baseline's: "
            "compare a sketch of the added rows alone"
        )
    found = (test or default_test())(sides.baseline, sides.candidate, rng, blocks=sides.blocks)
    return Compared(**asdict(apart), test=found)


def distances(baseline: Sketch, candidate: Sketch) -> Distances:
    """Of all rows, those that both versions hold among them.

    Raises DriftError for another basis, and where a side has fewer than two rows.
    """
    baseline.check_same_basis(candidate)
    if min(baseline.moments.n, candidate.moments.n) < 2:
        raise DriftError(f"{baseline.moments.n} and {candidate.moments.n} rows: 2 are needed")
    return Distances(
        _mmd(baseline, candidate),
        _frechet(baseline.moments, candidate.moments),
        _moved(baseline.clusters, candidate.clusters),
        _moved(baseline.norms, candidate.norms),
        _moved(baseline.lengths, candidate.lengths),
    )


def samples(baseline: Sketch, candidate: Sketch) -> Samples:
    """The baseline's sample, and of the candidate's what it has beyond the baseline.

    The same ids are sampled from both, so that rows which they share are known. Raises DriftError
    for another basis.
    """
    baseline.check_same_basis(candidate)
    new = _beyond(baseline, candidate)
    owners = (baseline.owners, candidate.owners[new])
    grouped = any(len(np.unique(of)) < len(of) for of in owners)
    return Samples(baseline.vectors, candidate.vectors[new], owners if grouped else None)


def _beyond(baseline: Sketch, candidate: Sketch) -> npt.NDArray[np.bool_]:
    """Which rows of the candidate's sample are compared: all, or those not in the baseline."""
    _, at, place = np.intersect1d(
        candidate.hashes, baseline.hashes, assume_unique=True, return_indices=True
    )
    equal = (candidate.vectors[at] == baseline.vectors[place]).all(axis=1)
    new = np.ones(len(candidate.hashes), np.bool_)
    if equal.any():  # those at or above the baseline's limit may be its rows as well
        new = np.array([int(one) < baseline.limit for one in candidate.hashes], np.bool_)
        new[at[equal]] = False
    return new


def _mmd(one: Sketch, other: Sketch) -> float:
    n, m, scale = one.moments.n, other.moments.n, one.basis.frequencies  # a row with itself: 1
    within = sum(
        (float(side.features @ side.features) / scale - k) / (k * (k - 1))
        for side, k in ((one, n), (other, m))
    )
    return within - 2 * float(one.features @ other.features) / scale / (n * m)


def _frechet(one: Moments, other: Moments) -> float:
    first, second = one.scatter / (one.n - 1), other.scatter / (other.n - 1)
    values, axes = np.linalg.eigh(first)
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = one.mean - other.mean
    return max(0.0, float(apart @ apart + np.trace(first) + np.trace(second) - 2 * mixed))


def _moved(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Total variation of two histograms; 0 where one of them has no counts."""
    if not (one.sum() and other.sum()):
        return 0.0
    return float(np.abs(one / one.sum() - other / other.sum()).sum() / 2)
