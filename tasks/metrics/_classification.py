"""How well likeness tells pairs that belong together from those that do not."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics._likeness import compared
from tasks.metrics.neighbours import Likeness
from tasks.metrics.score import Reals, Score


def average_precision(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    likeness: Likeness | str = Likeness.COSINE,
) -> Score:
    """The average precision of likeness as a sign that two belong together; labels (n,) are 0 or 1.

    The sum of (R_i - R_(i-1)) P_i over the thresholds: scikit-learn's, so equal ones share one.
    Warns of vectors of zeros under cosine. Raises MetricError for other labels, and where one of
    both is missing.
    """
    from sklearn.metrics import average_precision_score

    same = _check_labels(labels)
    alike, odd = compared(one, other, likeness, labels=same)
    return Score(float(average_precision_score(same, alike)), len(same), warnings=odd)


def best_f1(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    likeness: Likeness | str = Likeness.COSINE,
) -> Score:
    """The best F1 that any threshold of likeness gives; labels (n,) are 0 or 1.

    Parts: "threshold", "precision", "recall". A threshold lies between two values, never among
    equal ones; of equally good thresholds it is the highest. As sentence-transformers. It is chosen
    on these very pairs, and so flatters. Warns and raises as `average_precision`.
    """
    cuts = _cuts(one, other, labels, likeness)
    f1 = 2 * cuts.hits / (cuts.said + cuts.n_same)
    best = int(f1.argmax())
    parts = {
        "threshold": cuts.threshold(best),
        "precision": float(cuts.hits[best] / cuts.said[best]),
        "recall": float(cuts.hits[best] / cuts.n_same),
    }
    return Score(float(f1[best]), cuts.n, warnings=cuts.warnings, parts=parts)


def best_accuracy(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    likeness: Likeness | str = Likeness.COSINE,
) -> Score:
    """The best accuracy that any threshold of likeness gives; labels (n,) are 0 or 1.

    Part: "threshold", chosen as in `best_f1`; it may lie above all values. mteb has neither the
    threshold above all nor that below all, and is lower where one of them is best. Warns and raises
    as `average_precision`.
    """
    cuts = _cuts(one, other, labels, likeness)
    right = (cuts.hits + (cuts.n - cuts.n_same) - (cuts.said - cuts.hits)) / cuts.n
    best = int(right.argmax())
    parts = {"threshold": cuts.threshold(best)}
    return Score(float(right[best]), cuts.n, warnings=cuts.warnings, parts=parts)


class _Cuts(NamedTuple):
    """Of each threshold from the highest, the first above all: how many it calls alike, and are."""

    values: Reals
    said: Reals
    hits: Reals
    n_same: int
    n: int
    warnings: tuple[str, ...]

    def threshold(self, cut: int) -> float:
        """Halfway to the next lower value."""
        if cut == 0:
            return float(np.nextafter(self.values[1], np.inf))
        if cut == len(self.values) - 1:
            return float(self.values[cut])
        middle = (self.values[cut] + self.values[cut + 1]) / 2
        return float(middle if middle > self.values[cut + 1] else self.values[cut])


def _cuts(
    one: npt.ArrayLike, other: npt.ArrayLike, labels: npt.ArrayLike, likeness: Likeness | str
) -> _Cuts:
    from sklearn.metrics import roc_curve

    same = _check_labels(labels)
    alike, odd = compared(one, other, likeness, labels=same)
    false, true, values = roc_curve(same, alike, drop_intermediate=False)
    n_same = int(same.sum())
    hits = np.rint(true * n_same)
    said = hits + np.rint(false * (len(same) - n_same))
    return _Cuts(values, said, hits, n_same, len(same), odd)


def _check_labels(labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    given = np.asarray(labels)
    if given.ndim != 1 or not np.isin(given, (0, 1)).all():
        raise MetricError(f"labels of shape {given.shape}: expected (n,), each 0 or 1")
    if len(np.unique(given)) < 2:
        raise MetricError(f"{len(given)} labels are all {given[:1].tolist()}: both are needed")
    return given.astype(np.int64)
