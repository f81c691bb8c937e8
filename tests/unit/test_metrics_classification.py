import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import MetricError
from tasks.metrics.similarity import average_precision, best_accuracy, best_f1

PAIRS = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=2, max_size=15).filter(
    lambda rows: {label for _, label in rows} == {0, 1}
)


def pairs_of(rows: list[tuple[int, int]]) -> tuple[Any, Any, Any]:
    """Pairs whose dot products are these values, and their labels."""
    values, labels = np.array(rows).T
    return values[:, None].astype(float), np.ones((len(rows), 1)), labels


@given(PAIRS)
def test_best_cuts_are_those_of_every_threshold_tried(rows: list[tuple[int, int]]) -> None:
    values, labels = np.array(rows).T
    tried = []
    for threshold in [*(values - 0.25), 9.0]:
        said = values >= threshold
        hits = int((said & (labels == 1)).sum())
        f1 = 2 * hits / (said.sum() + labels.sum())
        tried.append((f1, float((said == labels).mean())))
    given_pairs = pairs_of(rows)
    assert best_f1(*given_pairs, likeness="dot").value == pytest.approx(max(tried)[0], abs=1e-12)
    accuracy = best_accuracy(*given_pairs, likeness="dot").value
    assert accuracy == pytest.approx(max(right for _, right in tried), abs=1e-12)


@given(PAIRS)
def test_thresholds_are_those_of_sentence_transformers(rows: list[tuple[int, int]]) -> None:
    from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator

    values, labels = (list(column) for column in zip(*rows, strict=True))
    f1, precision, recall, threshold = BinaryClassificationEvaluator.find_best_f1_and_threshold(
        np.array(values, float), np.array(labels), True
    )
    score = best_f1(*pairs_of(rows), likeness="dot")
    assert (score.value, score.n) == pytest.approx((f1, len(rows)), abs=1e-12)
    assert score.parts == pytest.approx(
        {"threshold": threshold, "precision": precision, "recall": recall}, abs=1e-12
    )
    right, threshold = BinaryClassificationEvaluator.find_best_acc_and_threshold(
        np.array(values, float), np.array(labels), True
    )
    score = best_accuracy(*pairs_of(rows), likeness="dot")
    assert (score.value, score.n) == pytest.approx((right, len(rows)), abs=1e-12)
    assert score.parts == {"threshold": threshold}


@pytest.mark.parametrize("likeness", ["cosine", "dot", "euclidean"])
def test_values_are_those_of_mteb_on_real_numbers(likeness: str) -> None:
    from mteb.abstasks import AbsTaskPairClassification

    rng = np.random.default_rng(0)
    one = rng.normal(size=(200, 5))
    labels = rng.integers(0, 2, size=200)
    other = one * labels[:, None] + rng.normal(size=(200, 5))
    if likeness == "cosine":
        above = (one * other).sum(axis=1)
        alike = above / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    elif likeness == "dot":
        alike = (one * other).sum(axis=1)
    else:
        alike = np.linalg.norm(one - other, axis=1)
    task: Any = AbsTaskPairClassification.__new__(type("Task", (AbsTaskPairClassification,), {}))
    expected = task._compute_metrics_values(alike.tolist(), labels, likeness != "euclidean")
    f1 = best_f1(one, other, labels, likeness=likeness)
    found = {
        "accuracy": best_accuracy(one, other, labels, likeness=likeness).value,
        "f1": f1.value,
        "precision": f1.parts["precision"],
        "recall": f1.parts["recall"],
        "ap": average_precision(one, other, labels, likeness=likeness).value,
    }
    assert found == pytest.approx(expected, abs=1e-12)


@given(PAIRS)
def test_average_precision_is_the_sum_over_thresholds(rows: list[tuple[int, int]]) -> None:
    values, labels = np.array(rows).T
    expected = recall_before = 0.0
    for threshold in sorted(set(values), reverse=True):
        said = values >= threshold
        hits = (said & (labels == 1)).sum()
        recall = hits / labels.sum()
        expected += (recall - recall_before) * hits / said.sum()
        recall_before = recall
    score = average_precision(*pairs_of(rows), likeness="dot")
    assert (score.value, score.n) == pytest.approx((expected, len(rows)), abs=1e-12)


@pytest.mark.parametrize("metric", [average_precision, best_f1, best_accuracy])
def test_vectors_of_zeros_are_said_and_truth_values_are_labels(metric: Any) -> None:
    score = metric([[0.0], [1.0]], [[1.0], [1.0]], [False, True])
    assert score.warnings == ("1 vectors are all zeros: their cosine counts 0",)
    assert score.value == 1.0


@pytest.mark.parametrize("metric", [average_precision, best_f1, best_accuracy])
def test_alike_values_everywhere_are_one_threshold(metric: Any) -> None:
    pairs = [[1.0]] * 4, [[1.0]] * 4, [1, 0, 0, 0]
    expected = {average_precision: 0.25, best_f1: 0.4, best_accuracy: 0.75}[metric]
    assert metric(*pairs).value == pytest.approx(expected)


@pytest.mark.parametrize("metric", [average_precision, best_f1, best_accuracy])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, 1], r"2 labels are all \[1\]: both are needed"),
        ([0, 0], r"2 labels are all \[0\]"),
        ([], r"0 labels are all \[\]"),
        ([0, 2], r"labels of shape \(2,\): expected \(n,\), each 0 or 1"),
        ([0, math.nan], "each 0 or 1"),
        (["a", "b"], "each 0 or 1"),
        ([[0, 1]], r"labels of shape \(1, 2\)"),
        ([0, 1, 1], "lengths differ: vectors 2, labels 3"),
    ],
)
def test_labels_that_cannot_be_used_are_said(metric: Any, labels: Any, said: str) -> None:
    with pytest.raises(MetricError, match=said):
        metric([[1.0], [2.0]], [[1.0], [2.0]], labels)
