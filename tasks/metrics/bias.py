"""How far vectors bind groups to attributes, and whose items a search shows."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, islice

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.score import (
    Labels,
    Reals,
    Score,
    check_matrix,
    check_pair,
    mean_score,
    unit_rows,
)

SPLITS = 20_000  # at most, that are all looked at: two sets of 8
SAMPLED = 9_999  # of more
BLOCK = 4_096


def weat(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    rng: np.random.Generator,
) -> Score:
    """How much nearer x than y is to a rather than to b: the effect size of WEAT, from -2 to 2.

    Caliskan, Bryson and Narayanan 2017, Science 356, arXiv:1608.07187. With s(w) = mean cos(w, a) -
    mean cos(w, b): (mean s(x) - mean s(y)) / the standard deviation of s over x and y, with ddof 1.
    parts: `p`, the share of splits of x and y into sets of these sizes for which the difference is
    as large or larger (the paper has larger alone, which can be 0); `splits`, how many were looked
    at, and `exact`, 1 where these were all of them: up to 20,000. Of more, 9,999 others are drawn
    without replacement, and p = (b + 1) / 10,000. Rows are words, of one dimension. Raises
    MetricError as `check_matrix`, for vectors of zeros, and where all of x and y have one s.
    """
    sets = [
        _directions(vectors, name) for vectors, name in ((x, "x"), (y, "y"), (a, "a"), (b, "b"))
    ]
    if len({one.shape[1] for one in sets}) > 1:
        raise MetricError(f"dimensions differ: {[one.shape[1] for one in sets]}")
    targets = np.concatenate(sets[:2])
    bound = targets @ sets[2].mean(axis=0) - targets @ sets[3].mean(axis=0)
    first = len(sets[0])
    spread = bound.std(ddof=1)
    if spread <= 1e-12:  # rounding
        raise MetricError("all of x and y are as near to a as to b: the effect size is undefined")
    seen = bound[:first].sum() - 1e-12 * np.abs(bound).sum()  # rounding in another order
    everything = math.comb(len(bound), first)
    exact = everything <= SPLITS
    masks = _every(len(bound), first) if exact else _sampled(len(bound), first, rng)
    as_large = sum(int((mask @ bound >= seen).sum()) for mask in masks)
    splits = everything if exact else SAMPLED
    return Score(
        float((bound[:first].mean() - bound[first:].mean()) / spread),
        len(bound),
        parts={
            "p": as_large / splits if exact else (as_large + 1) / (splits + 1),
            "splits": float(splits),
            "exact": float(exact),
        },
    )


seat = weat
"""SEAT is WEAT on vectors of sentences (May et al. 2019, arXiv:1903.10561)."""


def ripa(vectors: npt.ArrayLike, one: npt.ArrayLike, other: npt.ArrayLike) -> Score:
    """How far vectors reach along the direction from `other` to `one`: their inner product with it.

    Relational inner product association (Ethayarajh, Duvenaud and Hirst 2019, ACL, P19-1166): the
    direction is the first principal component of one[i] - other[i], not centred, at length 1, and
    turned towards `one`; of a single pair it is their difference. Vectors keep their lengths, as
    the paper asks. per_item is of each vector, positive towards `one`; parts has the mean of
    absolute values, as the value may cancel. Raises MetricError as `check_pair`, for other
    dimensions, and where the pairs do not differ or cancel each other.
    """
    words = check_matrix(vectors)
    first, second = check_pair(one, other)
    if not words.shape[1] == first.shape[1] == second.shape[1]:
        raise MetricError(f"dimensions differ: {[words.shape[1], first.shape[1], second.shape[1]]}")
    differences = first.astype(np.float64) - second
    direction = np.linalg.svd(differences, full_matrices=False)[2][0]
    towards = float(differences.mean(axis=0) @ direction)
    if abs(towards) <= 1e-9 * np.linalg.norm(differences) or not differences.any():
        raise MetricError("the pairs are equal or cancel each other: they show no direction")
    reached = words @ (direction * np.sign(towards))
    return mean_score(reached, parts={"mean_absolute": float(np.abs(reached).mean())})


def retrieval_skew(
    rows: npt.ArrayLike, groups: Labels, *, wanted: Mapping[str, float] | None = None
) -> Score:
    """How far what searches show is from the shares of groups: the mean of MaxSkew@k; 0 is even.

    Geyik, Ambler and Kenthapadi 2019, arXiv:1905.01989. `rows` (queries, k) are what was found,
    best first, and `groups` (n,) says whose each is. MaxSkew is the largest log of the share of a
    group among the k over the share that is wanted: that among all n, if `wanted` does not say;
    per_item has it for each query. With few k it is above 0 by chance. parts: `ndkl`, the mean of
    NDKL (eq. 4): Kullback-Leibler divergences of each prefix, discounted by 1 / log2(i + 1); and
    `skew <group>`, of all that was shown. Raises MetricError for rows that are none, and for wanted
    shares that are not positive, do not sum to 1 or are not of the groups.
    """
    names, of = np.unique(np.asarray(groups).astype(np.str_), return_inverse=True)
    found = np.asarray(rows)
    if found.ndim != 2 or not found.size or found.dtype.kind not in "iu":
        raise MetricError(f"rows have shape {found.shape}: expected (queries, k) of whole numbers")
    if found.min() < 0 or found.max() >= len(of):
        raise MetricError(f"rows are {found.min()} to {found.max()}; there are {len(of)} items")
    desired = _desired(names, np.bincount(of) / len(of), wanted)
    k = found.shape[1]
    prefixes = np.arange(1, k + 1)
    discounts = 1 / np.log2(prefixes + 1)
    skews, divergences, shown = [], [], np.zeros(len(names))
    for query in found:
        counts = np.cumsum(of[query][:, None] == np.arange(len(names)), axis=0)
        ratios = counts / prefixes[:, None] / desired
        logs = np.log(np.where(ratios > 0, ratios, 1))
        skews.append(
            logs[-1].max()
        )  # never of one that is not among them: the largest is 0 or more
        divergences.append(discounts @ (ratios * desired * logs).sum(axis=1) / discounts.sum())
        shown += counts[-1]
    never = names[shown == 0]
    parts = {"ndkl": float(np.mean(divergences))}
    for name, share in zip(names, shown / shown.sum() / desired, strict=True):
        if share > 0:
            parts[f"skew {name}"] = math.log(share)
    said = [f"never shown, so without a skew: {', '.join(never)}"] if len(never) else []
    return mean_score(skews, warnings=said, parts=parts)


def _directions(vectors: npt.ArrayLike, name: str) -> Reals:
    matrix = check_matrix(vectors, name).astype(np.float64)
    if not matrix.any(axis=1).all():
        raise MetricError(f"{name} has a vector of zeros: it is near to nothing")
    return np.asarray(unit_rows(matrix), np.float64)


def _every(n: int, size: int) -> Iterator[Reals]:
    """All sets of `size` of n, as rows of 0 and 1, in blocks."""
    chosen = combinations(range(n), size)
    while block := list(islice(chosen, BLOCK)):
        mask = np.zeros((len(block), n))
        np.put_along_axis(mask, np.array(block), 1, axis=1)
        yield mask


def _sampled(n: int, size: int, rng: np.random.Generator) -> Iterator[Reals]:
    """Sets of `size` of n, each once, without that of the first ones."""
    first = np.arange(n) < size
    seen = {np.packbits(first).tobytes()}
    while len(seen) <= SAMPLED:
        masks = rng.permuted(np.tile(first, (BLOCK, 1)), axis=1)
        new = []
        for mask, key in zip(masks, np.packbits(masks, axis=1), strict=True):
            if len(seen) <= SAMPLED and key.tobytes() not in seen:
                seen.add(key.tobytes())
                new.append(mask)
        yield np.array(new, np.float64).reshape(-1, n)


def _desired(
    names: npt.NDArray[np.str_], shares: Reals, wanted: Mapping[str, float] | None
) -> Reals:
    if wanted is None:
        return shares
    if set(wanted) != set(names.tolist()):
        raise MetricError(f"wanted shares are of {sorted(wanted)}, groups are {names.tolist()}")
    desired = np.array([wanted[name] for name in names])
    if not (desired > 0).all() or not math.isclose(desired.sum(), 1, abs_tol=1e-9):
        raise MetricError(f"wanted shares are {dict(wanted)}: expected positive ones that sum to 1")
    return desired
