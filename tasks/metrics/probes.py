"""Held-out predictions of plain models on vectors: what a task could read out of them.

All of it is scikit-learn, which copies what it is fitted on: give a sample of up to 100,000 rows or
so.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.score import Labels, Matrix, check_matrix

Rows = npt.NDArray[np.int64]
NAMED = 10  # classes in a message


class HeldOut(NamedTuple):
    """Of each kept row its class and the one that was predicted while it was held out."""

    rows: Rows
    truth: Rows
    predicted: Rows
    warnings: list[str]


def classes_of(
    vectors: npt.ArrayLike, labels: Labels, at_least: int
) -> tuple[Matrix, Rows, Rows, list[str]]:
    """Vectors, the rows of classes with enough members, their classes, and what was left out.

    Raises MetricError as `check_matrix`, for another number of labels and for fewer than 2 classes.
    """
    matrix = check_matrix(vectors)
    if len(labels) != len(matrix):
        raise MetricError(f"there are {len(matrix)} vectors and {len(labels)} labels")
    names, of, sizes = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    rows = np.flatnonzero(sizes[of] >= at_least)
    kept = int((sizes >= at_least).sum())
    if kept < 2:
        largest = np.argsort(-sizes, kind="stable")[:NAMED]
        members = ", ".join(f"{names[one]} {sizes[one]:,}" for one in largest)
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        raise MetricError(
            f"{kept} of {len(names)} classes have {at_least} members or more: 2 such are needed "
            f"({members}{more})"
        )
    said = []
    if kept < len(names):
        said.append(
            f"{len(names) - kept} of {len(names)} classes have fewer than {at_least} members: "
            f"{len(matrix) - len(rows)} rows were left out"
        )
    if not np.ptp(matrix, axis=0).any():
        said.append("all vectors are equal")
    return matrix, rows, np.unique(of[rows], return_inverse=True)[1].astype(np.int64), said


def held_out(
    model: Any,  # noqa: ANN401 - scikit-learn has no types
    vectors: npt.ArrayLike,
    labels: Labels,
    *,
    groups: Labels | None,
    folds: int,
    rng: np.random.Generator,
    least: int = 2,
) -> HeldOut:
    """Classes of rows that a model predicts which has not seen them, nor others of their group.

    Folds have the classes in equal shares, as far as groups let them. Classes with one member are
    left out. Raises MetricError as `classes_of`, for more folds than the largest class has rows or
    than there are groups, and where one leaves a single class or fewer than `least` rows to learn.
    """
    matrix, rows, truth, said = classes_of(vectors, labels, 2)
    owners = None if groups is None else _owners(groups, len(matrix))[rows]
    predicted = np.empty(len(rows), np.int64)
    unseen = 0
    for seen, asked in _folds(truth, owners, folds, rng):
        if len(seen) < least or len(np.unique(truth[seen])) < 2:
            raise MetricError(
                f"a fold leaves {len(seen)} rows of {len(np.unique(truth[seen]))} classes to learn "
                f"from: {least} rows and 2 classes are needed"
            )
        unseen += int((~np.isin(truth[asked], truth[seen])).sum())
        fitted, odd = fit(model, matrix[rows[seen]], truth[seen])
        predicted[asked] = fitted.predict(matrix[rows[asked]])
        said += [one for one in odd if one not in said]
    if unseen:
        said.append(f"{unseen} rows are of classes that the other folds do not hold: counted wrong")
    return HeldOut(rows, truth, predicted, said)


def held_out_numbers(
    model: Any,  # noqa: ANN401
    vectors: npt.ArrayLike,
    targets: npt.NDArray[np.float64],
    *,
    groups: Labels | None,
    folds: int,
    rng: np.random.Generator,
    predict: Callable[[Any, Matrix], npt.NDArray[np.float64]],
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Numbers of each row, in the shape of `targets`, by `predict` of a model that has not seen it.

    And what was odd. Raises MetricError as `held_out`.
    """
    matrix = check_matrix(vectors)
    if len(targets) != len(matrix):
        raise MetricError(f"there are {len(matrix)} vectors and {len(targets)} targets")
    owners = None if groups is None else _owners(groups, len(matrix))
    given = np.empty(targets.shape)
    said: list[str] = []
    for seen, asked in _folds(np.zeros(len(matrix), np.int64), owners, folds, rng):
        fitted, odd = fit(model, matrix[seen], targets[seen])
        given[asked] = predict(fitted, matrix[asked])
        said += [one for one in odd if one not in said]
    return given, said


def fit(
    model: Any,  # noqa: ANN401
    vectors: Matrix,
    targets: npt.NDArray[Any],
) -> tuple[Any, list[str]]:
    """A copy of the model that is fitted, and what scikit-learn warned of."""
    from sklearn.base import clone

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = clone(model).fit(vectors, targets)
    return fitted, sorted({str(one.message).splitlines()[0] for one in caught})


def _owners(groups: Labels, n: int) -> Rows:
    if len(groups) != n:
        raise MetricError(f"there are {n} vectors and {len(groups)} labels of groups")
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)


def _folds(
    truth: Rows, owners: Rows | None, folds: int, rng: np.random.Generator
) -> Iterator[tuple[Rows, Rows]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    largest = int(np.bincount(truth).max())
    there = largest if owners is None else min(largest, len(np.unique(owners)))
    if not 2 <= folds <= there:
        raise MetricError(
            f"folds = {folds}: expected 2 to {there}, the rows of the largest class or the groups"
        )
    kind = StratifiedKFold if owners is None else StratifiedGroupKFold
    split = kind(folds, shuffle=True, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        # Of classes with fewer members than folds, which are then not in each of them.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        yield from list(split.split(truth, truth, owners))
