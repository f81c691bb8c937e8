from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, hamming_loss, r2_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.errors import MetricError
from tasks.metrics import downstream
from tests.oracles import Reals, average_precision_by_loop


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def blobs(n: int, classes: int, spread: float, seed: int = 0) -> tuple[Reals, list[str]]:
    """Points around corners far apart for their spread, and the names of these."""
    drawn = rng(seed)
    of = np.arange(n) % classes
    points = drawn.normal(size=(classes, 6))[of] * 3 + drawn.normal(0, spread, (n, 6))
    return points, [f"class {one}" for one in of]


PROBES: dict[str, Callable[..., Any]] = {
    "logistic": downstream.logistic_probe,
    "knn": downstream.knn_probe,
    "few shots": downstream.few_shot_probe,
}


@pytest.mark.parametrize("k", [None, 1, 5])
def test_a_probe_is_right_where_scikit_learn_is_in_the_same_folds(k: int | None) -> None:
    vectors, labels = blobs(90, 3, 4.0)
    model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if k:
        model = KNeighborsClassifier(k, metric="cosine")
        found = downstream.knn_probe(vectors, labels, k=k, rng=rng(1))
    else:
        found = downstream.logistic_probe(vectors, labels, rng=rng(1))
    folds = StratifiedKFold(5, shuffle=True, random_state=int(rng(1).integers(2**31)))
    theirs = cross_val_predict(model, vectors, labels, cv=folds)
    assert found.value == pytest.approx(accuracy_score(labels, theirs))
    assert found.per_item is not None
    assert found.per_item.tolist() == (theirs == np.array(labels)).tolist()
    assert (found.n, found.items, found.warnings) == (90, (), ())
    assert 0.4 < found.value < 0.95


@pytest.mark.parametrize("probe", PROBES)
def test_classes_far_apart_are_told_apart_and_shuffled_ones_are_not(probe: str) -> None:
    vectors, labels = blobs(200, 2, 0.1)
    assert PROBES[probe](vectors, labels, rng=rng()).value == 1.0
    shuffled = rng(3).permutation(labels).tolist()
    assert 0.3 < PROBES[probe](vectors, shuffled, rng=rng()).value < 0.7


@pytest.mark.parametrize("probe", PROBES)
def test_probes_depend_on_the_generator_alone(probe: str) -> None:
    vectors, labels = blobs(120, 3, 6.0)
    one, same, other = (PROBES[probe](vectors, labels, rng=rng(seed)) for seed in (1, 1, 2))
    assert one.per_item.tolist() == same.per_item.tolist()
    assert one.per_item.tolist() != other.per_item.tolist()


def test_chunks_of_a_document_do_not_leak() -> None:
    # Each document is a point of its own, its class is chance: to know it is to know its chunks.
    drawn = rng(4)
    document = np.repeat(np.arange(60), 5)
    vectors = drawn.normal(size=(60, 20))[document] + 0.01 * drawn.normal(size=(300, 20))
    labels = drawn.integers(0, 2, 60)[document]
    assert downstream.knn_probe(vectors, labels, k=1, rng=rng()).value == 1.0
    held = downstream.knn_probe(vectors, labels, k=1, rng=rng(), groups=document)
    assert 0.2 < held.value < 0.8


def test_classes_of_one_member_are_left_out_and_said() -> None:
    vectors, labels = blobs(40, 2, 0.1)
    labels[7] = "alone"
    found = downstream.logistic_probe(vectors, labels, rng=rng())
    assert (found.value, found.n) == (1.0, 39)
    assert found.items == tuple(str(row) for row in range(40) if row != 7)
    assert found.warnings == ("1 of 3 classes have fewer than 2 members: 1 rows were left out",)


def test_rows_whose_class_the_other_folds_do_not_hold_are_counted_wrong() -> None:
    vectors, labels = blobs(60, 3, 0.1)
    groups = [0 if label == "class 0" else 1 + row % 10 for row, label in enumerate(labels)]
    found = downstream.logistic_probe(vectors, labels, rng=rng(), groups=groups)
    assert found.warnings == (
        "20 rows are of classes that the other folds do not hold: counted wrong",
    )
    assert found.value == pytest.approx(40 / 60)


@pytest.mark.parametrize("probe", PROBES)
def test_equal_vectors_are_said_and_give_the_share_of_a_class(probe: str) -> None:
    found = PROBES[probe](np.ones((60, 4)), ["a", "b"] * 30, rng=rng())
    assert found.value == pytest.approx(0.5)
    assert found.warnings == ("all vectors are equal",)


def test_few_shots_learn_from_so_many_and_are_asked_all_others() -> None:
    vectors, labels = blobs(100, 4, 8.0)
    found = [
        downstream.few_shot_probe(vectors, labels, rng=rng(), shots=shots, repeats=30)
        for shots in (1, 4, 20)
    ]
    assert [one.parts for one in found] == [
        {"shots": 1, "asked": 96},
        {"shots": 4, "asked": 84},
        {"shots": 20, "asked": 20},
    ]
    assert [one.n for one in found] == [30, 30, 30]
    assert found[0].value < found[1].value < found[2].value
    rare = downstream.few_shot_probe(vectors[:90], [*labels[:88], "x", "x"], shots=2, rng=rng())
    assert rare.warnings == ("1 of 5 classes have fewer than 3 members: 2 rows were left out",)


def test_a_probe_is_not_asked_for_its_shots() -> None:
    # Two random vectors of each of ten classes: the one says nothing of the other.
    vectors, labels = rng(13).normal(size=(20, 40)), np.arange(20) % 10
    assert downstream.few_shot_probe(vectors, labels, rng=rng(), shots=1).value < 0.4


def test_r2_is_that_of_scikit_learn_where_the_penalty_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = rng(5)
    vectors = drawn.normal(size=(80, 10))
    targets = vectors @ drawn.normal(size=10) + drawn.normal(0, 3, 80)
    monkeypatch.setattr(downstream, "PENALTIES", (2.5,))
    found = downstream.ridge_probe(vectors, targets, rng=rng(6))
    folds = StratifiedKFold(5, shuffle=True, random_state=int(rng(6).integers(2**31)))
    given = np.empty(80)
    for seen, asked in folds.split(np.zeros(80), np.zeros(80)):
        model = make_pipeline(StandardScaler(), Ridge(2.5)).fit(vectors[seen], targets[seen])
        given[asked] = model.predict(vectors[asked])
    assert found.value == pytest.approx(r2_score(targets, given), abs=1e-9)
    assert found.per_item is not None
    assert found.per_item.mean() == pytest.approx(found.value, abs=1e-12)
    assert found.parts["rmse"] == pytest.approx(np.sqrt(np.mean((targets - given) ** 2)))


def test_r2_of_what_vectors_hold_is_1_and_of_noise_is_not_above_0() -> None:
    vectors = rng(7).normal(size=(150, 8))
    assert downstream.ridge_probe(vectors, vectors @ np.arange(8), rng=rng()).value > 0.999
    assert downstream.ridge_probe(vectors, rng(8).normal(size=150), rng=rng()).value < 0.05
    assert downstream.ridge_probe(np.ones((150, 2)), vectors[:, 0], rng=rng()).value < 0.01


def test_zero_shot_takes_the_class_of_largest_cosine_and_the_smaller_row_of_equal_ones() -> None:
    classes = np.array([[2.0, 0], [0, 1], [0, 3]])
    vectors = np.array([[1.0, 0.1], [0.1, 9], [5, 5], [-1, 0.5]])
    found = downstream.zero_shot(vectors, classes, [0, 1, 0, 2])
    assert found.per_item is not None
    assert found.per_item.tolist() == [1, 1, 1, 0]
    assert found.value == 0.75


def test_recall_across_modalities_is_that_of_a_loop_both_ways() -> None:
    drawn = rng(9)
    one = drawn.normal(size=(30, 5))
    other = one + drawn.normal(0, 1.0, (30, 5))
    cosines = (one / np.linalg.norm(one, axis=1)[:, None]) @ (
        other / np.linalg.norm(other, axis=1)[:, None]
    ).T
    for k in (1, 3, 30):
        forth, back = (
            np.array([sum(line > line[row]) < k for row, line in enumerate(table)])
            for table in (cosines, cosines.T)
        )
        found = downstream.cross_modal_recall(one, other, k)
        assert found.parts == {"forth": forth.mean(), "back": back.mean()}
        assert found.per_item is not None
        assert found.per_item.tolist() == [*forth.tolist(), *back.tolist()]
    assert downstream.cross_modal_recall(one, one).value == 1.0
    assert downstream.cross_modal_recall(np.ones((4, 2)), np.ones((4, 2))).value == 0.25


@pytest.mark.parametrize("k", [1, 4])
def test_any_partner_of_a_row_is_a_hit(k: int) -> None:
    drawn = rng(10)
    images, captions = drawn.normal(size=(12, 4)), drawn.normal(size=(30, 4))
    pairs = [(row % 12, row) for row in range(30)] + [(0, 1), (0, 1)]
    cosines = (images / np.linalg.norm(images, axis=1)[:, None]) @ (
        captions / np.linalg.norm(captions, axis=1)[:, None]
    ).T
    forth = [any((row, c) in pairs for c in np.argsort(-cosines[row])[:k]) for row in range(12)]
    back = [any((i, row) in pairs for i in np.argsort(-cosines[:, row])[:k]) for row in range(30)]
    found = downstream.cross_modal_recall(images, captions, k, pairs=pairs)
    assert found.per_item is not None
    assert found.per_item.tolist() == [*forth, *back]
    assert found.parts == {"forth": np.mean(forth), "back": np.mean(back)}
    perfect = downstream.cross_modal_recall(
        images, np.repeat(images, 5, axis=0), pairs=[(row // 5, row) for row in range(60)]
    )
    assert perfect.value == 1.0


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_that_of_a_loop(ties: bool) -> None:
    for seed in range(10):
        drawn = rng(seed)
        scores = drawn.integers(0, 4, (25, 4)) if ties else drawn.normal(size=(25, 4))
        truth = drawn.random((25, 4)) < 0.3
        truth[0] = True
        found = downstream.multi_label_map(scores, truth)
        slow = [average_precision_by_loop(scores[:, i], truth[:, i].tolist()) for i in range(4)]
        assert found.per_item is not None
        np.testing.assert_allclose(found.per_item, np.array(slow), atol=1e-12)
        assert found.value == pytest.approx(np.mean(slow), abs=1e-12)
        predicted = np.asarray(scores) > 0
        assert downstream.hamming(predicted, truth).value == pytest.approx(
            hamming_loss(truth, predicted), abs=1e-12
        )


def test_labels_that_no_row_has_are_left_out_and_said() -> None:
    found = downstream.multi_label_map([[0.9, 0.5, 0.1], [0.1, 0.5, 0.2]], [[1, 0, 0], [0, 0, 1]])
    assert (found.value, found.n, found.items) == (1.0, 2, ("0", "2"))
    assert found.warnings == ("1 labels that no row has were left out",)


@pytest.mark.parametrize("n_labels", [1, 3])
def test_labels_that_vectors_hold_are_read_out_of_them(n_labels: int) -> None:
    vectors = rng(10).normal(size=(150, 5))
    truth = vectors[:, :n_labels] > 0.3
    scores, said = downstream.multi_label_scores(vectors, truth, rng=rng())
    assert (scores.shape, said) == ((150, n_labels), ())
    assert downstream.multi_label_map(scores, truth).value > 0.97
    assert downstream.hamming(scores >= 0.5, truth).value < 0.1
    noise, _ = downstream.multi_label_scores(rng(11).normal(size=(150, 5)), truth, rng=rng())
    assert downstream.multi_label_map(noise, truth).value < 0.6


def test_a_label_that_all_rows_have_is_said() -> None:
    truth = np.column_stack([np.ones(20), np.arange(20) % 2])
    scores, said = downstream.multi_label_scores(rng(12).normal(size=(20, 3)), truth, rng=rng())
    assert scores[:, 0].tolist() == [1.0] * 20
    assert said == ("Label 0 is present in all training examples.",)


V, L = np.arange(12.0).reshape(6, 2), [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: downstream.logistic_probe(V, ["a"] * 6, rng=rng()), "1 of 1 classes have 2"),
        (lambda: downstream.logistic_probe(V, [*"abbbbb"], rng=rng()), "1 of 2 classes have 2"),
        (lambda: downstream.logistic_probe(V, L[:5], rng=rng()), "6 vectors and 5 labels"),
        (lambda: downstream.logistic_probe(V, L, rng=rng(), folds=7), "folds = 7: expected 2 to 3"),
        (lambda: downstream.logistic_probe(V * np.nan, L, rng=rng()), "row 0 that is not finite"),
        (
            lambda: downstream.logistic_probe(V, L, rng=rng(), folds=2, groups=L),
            "a fold leaves 3 rows of 1 classes to learn from",
        ),
        (
            lambda: downstream.logistic_probe(V, L, rng=rng(), groups=[0, 1]),
            "6 vectors and 2 labels of groups",
        ),
        (lambda: downstream.logistic_probe([], [], rng=rng()), r"shape \(0,\)"),
        (lambda: downstream.knn_probe(V, L, rng=rng(), k=0), "k = 0: expected 1 or more"),
        (
            lambda: downstream.knn_probe(V, L, rng=rng(), k=6, folds=2),
            "6 rows and 2 classes are needed",
        ),
        (
            lambda: downstream.few_shot_probe(V, L, rng=rng(), shots=3),
            r"shots = 3: 0 of 2 classes have 4 members or more: 2 such are needed \(0 3, 1 3\)",
        ),
        (lambda: downstream.few_shot_probe(V, L, rng=rng(), shots=0), "shots = 0"),
        (lambda: downstream.ridge_probe(V, [1.0] * 6, rng=rng()), "targets are all equal"),
        (lambda: downstream.ridge_probe(V, [1.0, np.nan] * 3, rng=rng()), "a finite target"),
        (lambda: downstream.ridge_probe(V, [1.0, 2.0], rng=rng()), "6 vectors and 2 targets"),
        (lambda: downstream.zero_shot(V, V[:2], [0, 1, 2, 0, 0, 0]), "label 2: expected a row"),
        (lambda: downstream.zero_shot(V, V[:2], [0]), "6 vectors and 1 labels"),
        (lambda: downstream.zero_shot(V, V[:1], [0] * 6), "class_vectors has 1 rows"),
        (lambda: downstream.cross_modal_recall(V, V[:5]), "there are 6 and 5"),
        (lambda: downstream.cross_modal_recall(V, V, 7), "k = 7: expected 1 to 6"),
        (lambda: downstream.cross_modal_recall(V, V, pairs=[0, 1]), r"pairs have shape \(2,\)"),
        (lambda: downstream.cross_modal_recall(V, V[:2], pairs=[(0, 0)]), "other rows of `one`"),
        (lambda: downstream.multi_label_map(V, np.zeros((6, 2))), "no row has any label"),
        (lambda: downstream.multi_label_map(V, np.full((6, 2), 2)), "expected 0 and 1"),
        (lambda: downstream.multi_label_map(V, np.ones((6, 1))), r"scores have shape \(6, 2\)"),
        (lambda: downstream.hamming(np.ones((2, 2)), np.ones((3, 2))), "predicted has shape"),
        (lambda: downstream.hamming([], []), r"predicted has shape|truth has shape \(0,\)"),
    ],
)
def test_what_has_no_score_is_said(made: Callable[[], object], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        made()
