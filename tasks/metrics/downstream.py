"""What vectors are worth to a task: probes, zero-shot classes, retrieval across modalities."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.blocks import Rows
from tasks.metrics.neighbours import nearest
from tasks.metrics.probes import HeldOut, classes_of, fit, held_out, held_out_numbers
from tasks.metrics.score import Labels, Score, check_matrix, check_pair, mean_score

FOLDS = 5
SHOTS = 10
REPEATS = 20
STEPS = 1000  # of a logistic regression
PENALTIES = tuple(10.0**power for power in range(-3, 5))  # of a ridge regression, chosen by fold
Flags = npt.NDArray[np.bool_]


def logistic_probe(
    vectors: npt.ArrayLike,
    labels: Labels,
    *,
    rng: np.random.Generator,
    groups: Labels | None = None,
    folds: int = FOLDS,
) -> Score:
    """The accuracy of a logistic regression on held-out vectors.

    A linear probe (Alain and Bengio 2016, arXiv:1610.01644): scikit-learn's, C = 1, on standardised
    vectors. With groups, chunks of a document are held out together. per_item is 1 where the class
    is right; `items` names the rows where some were left out (classes of one member). Raises
    MetricError for fewer than two classes with two members, and for more folds than the largest of
    them has rows or than there are groups.
    """
    found = held_out(_logistic(), vectors, labels, groups=groups, folds=folds, rng=rng)
    return _accuracy(found, len(labels))


def knn_probe(
    vectors: npt.ArrayLike,
    labels: Labels,
    *,
    rng: np.random.Generator,
    k: int = 5,
    groups: Labels | None = None,
    folds: int = FOLDS,
) -> Score:
    """The accuracy of the commonest class of the k nearest by cosine, on held-out vectors.

    Equal votes go to the class that sorts first. Otherwise as `logistic_probe`, and raises
    MetricError where the other folds hold fewer than k rows.
    """
    from sklearn.neighbors import KNeighborsClassifier

    if k < 1:
        raise MetricError(f"k = {k}: expected 1 or more")
    model = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    try:
        found = held_out(
            model, vectors, labels, groups=groups, folds=folds, rng=rng, least=max(k, 2)
        )
    except MetricError as error:
        raise MetricError(f"k = {k}: {error}") from error
    return _accuracy(found, len(labels))


def few_shot_probe(
    vectors: npt.ArrayLike,
    labels: Labels,
    *,
    rng: np.random.Generator,
    shots: int = SHOTS,
    repeats: int = REPEATS,
) -> Score:
    """The mean accuracy of logistic regressions on a few vectors of each class, on all the others.

    per_item is the accuracy of each repeat: an interval of it says how much the choice of shots
    matters, not how much that of items does. Classes without a member beyond the shots are left
    out. Raises MetricError for fewer than two classes with more members than shots.
    """
    if shots < 1 or repeats < 1:
        raise MetricError(f"shots = {shots}, repeats = {repeats}: at least 1 of each is needed")
    try:
        matrix, rows, truth, said = classes_of(vectors, labels, shots + 1)
    except MetricError as error:
        raise MetricError(f"shots = {shots}: {error}") from error
    accuracies = []
    for _ in range(repeats):
        mixed = rng.permutation(len(rows))
        members = [mixed[truth[mixed] == one] for one in range(truth.max() + 1)]
        seen = np.concatenate([of_class[:shots] for of_class in members])
        asked = np.concatenate([of_class[shots:] for of_class in members])
        fitted, odd = fit(_logistic(), matrix[rows[seen]], truth[seen])
        accuracies.append(np.mean(fitted.predict(matrix[rows[asked]]) == truth[asked]))
        said += [one for one in odd if one not in said]
    parts = {"shots": float(shots), "asked": float(len(asked))}
    return mean_score(accuracies, warnings=said, parts=parts)


def ridge_probe(
    vectors: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    groups: Labels | None = None,
    folds: int = FOLDS,
) -> Score:
    """R2 of a ridge regression on held-out vectors, standardised; 0 is the mean, 1 is all.

    1 - sum (y - f)^2 / sum (y - mean y)^2 over all held-out rows. per_item is 1 - (y - f)^2 / the
    variance of y: their mean is R2, and an interval of it takes that variance as known. Each fold
    chooses its penalty from 0.001 to 10,000 by leaving one out. parts: the root of the mean square
    error. Raises MetricError for targets that are not finite, that are all equal, or too few.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    wanted = np.asarray(targets, np.float64)
    if wanted.ndim != 1 or not np.isfinite(wanted).all():
        raise MetricError(f"a finite target for each row is needed; they have shape {wanted.shape}")
    if not len(wanted) or not np.ptp(wanted):
        raise MetricError("targets are all equal: R2 is undefined")
    model = make_pipeline(StandardScaler(), RidgeCV(list(PENALTIES)))
    given, said = held_out_numbers(
        model,
        vectors,
        wanted,
        groups=groups,
        folds=folds,
        rng=rng,
        predict=lambda fitted, asked: fitted.predict(asked),
    )
    squares = (wanted - given) ** 2
    parts = {"rmse": float(np.sqrt(squares.mean()))}
    return mean_score(1 - squares / wanted.var(), warnings=said, parts=parts)


def zero_shot(vectors: npt.ArrayLike, class_vectors: npt.ArrayLike, labels: Labels) -> Score:
    """The accuracy of the class whose vector has the largest cosine (Radford et al. 2021, CLIP).

    `labels` are rows of `class_vectors`; equal cosines go to the smaller row. per_item is 1 where
    it is right. Raises MetricError as `nearest`, and for a label that is no such row.
    """
    classes = check_matrix(class_vectors, "class_vectors", at_least=2)
    truth = np.asarray(labels)
    if len(truth) != len(check_matrix(vectors)):
        raise MetricError(f"there are {len(check_matrix(vectors))} vectors and {len(truth)} labels")
    odd = np.flatnonzero(~np.isin(truth, np.arange(len(classes))))
    if len(odd):
        raise MetricError(
            f"label {truth[odd[0]]}: expected a row of class_vectors, 0 to {len(classes) - 1}"
        )
    return mean_score(nearest(vectors, classes, 1).rows[:, 0] == truth)


def cross_modal_recall(
    one: npt.ArrayLike, other: npt.ArrayLike, k: int = 1, *, pairs: npt.ArrayLike | None = None
) -> Score:
    """Recall@k of partners by cosine, both ways: the share of rows that find one of theirs.

    As text and image retrieval report it (Karpathy and Fei-Fei 2015, CVPR, section 4.2), where an
    image has five captions and any of them is a hit. `pairs` (m, 2) are rows of `one` and `other`
    that are partners, each row with at least one; without it row i of each belongs to row i. Equal
    cosines go to the smaller row. per_item is 1 where a row found a partner: those of `one`, then
    those of `other`. parts: forth (from `one`) and back, what papers report. Raises MetricError as
    `nearest`, and for pairs that are no rows or leave a row without a partner.
    """
    first, second = (check_matrix(side, at_least=2) for side in (one, other))
    if pairs is None:
        check_pair(first, second)
        pairs = np.arange(len(first)).repeat(2).reshape(-1, 2)
    partners = _partners(pairs, len(first), len(second))
    forth = _any_found(nearest(first, second, k).rows, partners)
    back = _any_found(nearest(second, first, k).rows, partners[:, ::-1])
    parts = {"forth": float(forth.mean()), "back": float(back.mean())}
    return mean_score(np.concatenate([forth, back]), parts=parts)


def multi_label_scores(
    vectors: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    groups: Labels | None = None,
    folds: int = FOLDS,
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Of each row and label the chance that it has it, shape (n, labels), and what was odd.

    By a logistic regression for each label on vectors of other folds; `truth` is of 0 and 1. What
    `multi_label_map` takes and, from 0.5 up, `hamming`. Raises MetricError as these.
    """
    from sklearn.multiclass import OneVsRestClassifier

    flags = _flags(truth, "truth").astype(np.float64)
    given, said = held_out_numbers(
        OneVsRestClassifier(_logistic()),
        vectors,
        flags,
        groups=groups,
        folds=folds,
        rng=rng,
        # Of a single label there are two columns: that it is not there, and that it is.
        predict=lambda fitted, asked: fitted.predict_proba(asked)[:, -flags.shape[1] :],
    )
    return given, tuple(said)


def multi_label_map(scores: npt.ArrayLike, truth: npt.ArrayLike) -> Score:
    """The mean over labels of the average precision of rows by score, as scikit-learn takes it.

    Both have shape (n, labels). Equal scores count together. per_item is that of each label;
    labels that no row has are left out. Raises MetricError where that leaves none, for shapes that
    differ, scores that are not finite and a truth that is not of 0 and 1.
    """
    from sklearn.metrics import average_precision_score

    flags, given = _flags(truth, "truth"), check_matrix(scores, "scores")
    if given.shape != flags.shape:
        raise MetricError(f"scores have shape {given.shape}, truth has {flags.shape}")
    there = np.flatnonzero(flags.any(axis=0))
    if not len(there):
        raise MetricError("no row has any label: average precision is undefined")
    lost = flags.shape[1] - len(there)
    return mean_score(
        [average_precision_score(flags[:, label], given[:, label]) for label in there],
        items=[str(label) for label in there] if lost else (),
        warnings=[f"{lost} labels that no row has were left out"] if lost else (),
    )


def hamming(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> Score:
    """The share of labels that are wrong, over all rows: lower is better; per_item of each row.

    Both have shape (n, labels) and are of 0 and 1. Raises MetricError where they are not.
    """
    flags, given = _flags(truth, "truth"), _flags(predicted, "predicted")
    if given.shape != flags.shape:
        raise MetricError(f"predicted has shape {given.shape}, truth has {flags.shape}")
    return mean_score((flags != given).mean(axis=1))


def _partners(pairs: npt.ArrayLike, n_one: int, n_other: int) -> Rows:
    found = np.asarray(pairs)
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iu":
        raise MetricError(f"pairs have shape {found.shape}: expected (m, 2) of whole numbers")
    for rows, n, name in ((found[:, 0], n_one, "one"), (found[:, 1], n_other, "other")):
        if not np.array_equal(np.unique(rows), np.arange(n)):
            raise MetricError(f"pairs name other rows of `{name}` than 0 to {n - 1}, each of them")
    return found.astype(np.int64)


def _any_found(near: Rows, partners: Rows) -> Flags:
    """Whether any of the rows near each row, shape (n, k), is a partner of it."""
    width = int(partners[:, 1].max()) + 1
    asked = np.arange(len(near))[:, None]
    hits = np.isin(asked * width + near, partners[:, 0] * width + partners[:, 1])
    return np.asarray(hits.any(axis=1))


def _logistic() -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))


def _accuracy(found: HeldOut, n: int) -> Score:
    items = () if len(found.rows) == n else [str(row) for row in found.rows]
    return mean_score(found.predicted == found.truth, items=items, warnings=found.warnings)


def _flags(values: npt.ArrayLike, name: str) -> Flags:
    array = np.asarray(values)
    if array.ndim != 2 or not array.size or not np.isin(array, (0, 1)).all():
        raise MetricError(f"{name} has shape {array.shape}: expected 0 and 1, (n, labels)")
    return array.astype(np.bool_)
