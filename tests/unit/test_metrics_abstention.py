import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import MetricError
from tasks.metrics.retrieval import Confidence, abstention, confidence, ndcg
from tasks.metrics.score import Score, mean_score


@given(
    st.lists(
        st.tuples(st.integers(0, 4).map(lambda n: n / 4), st.integers(-3, 3)), min_size=2
    ).filter(lambda rows: len({value for value, _ in rows}) > 1)
)
def test_it_is_that_of_mteb_whatever_ties(rows: list[tuple[float, int]]) -> None:
    from mteb._evaluators.retrieval_metrics import nauc

    values, sure = np.array(rows, np.float64).T
    assert abstention(mean_score(values), sure).value == pytest.approx(nauc(sure, values), abs=1e-9)


def test_it_is_that_of_mteb_from_the_same_run() -> None:
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    rng = np.random.default_rng(0)
    run = {
        f"q{query:02}": {f"d{doc}": float(rng.normal()) for doc in range(rng.integers(1, 30))}
        for query in range(37)
    }
    qrels = {query: {f"d{doc}": int(rng.integers(1, 3)) for doc in range(9)} for query in run}
    expected = calculate_retrieval_scores(run, qrels, [5])
    score = ndcg(qrels, run, k=5)
    for kind in Confidence:
        found = abstention(score, confidence(run, score.items, kind=kind))
        assert found.value == pytest.approx(expected.naucs[f"nAUC_NDCG@5_{kind}"], abs=1e-12)
    assert score.value == pytest.approx(expected.ndcg["NDCG@5"], abs=5e-6)  # mteb rounds


def test_one_is_dropping_the_worst_first_and_zero_is_not_knowing() -> None:
    score = mean_score(np.arange(20.0))
    assert abstention(score, np.arange(20)).value == pytest.approx(1)
    assert abstention(score, np.zeros(20)).value == pytest.approx(0)
    assert abstention(score, -np.arange(20)).value == pytest.approx(-1)


def test_confidence_is_of_the_scores_of_each_query() -> None:
    run = {"a": {"x": 1.0, "y": 4.0, "z": 2.5}, "b": {"x": -2.0}, "d": {}}
    queries = ["b", "a", "c", "d"]
    assert confidence(run, queries).tolist() == [-2.0, 4.0, -np.inf, -np.inf]
    assert confidence(run, queries, kind="std").tolist() == [0.0, math.sqrt(1.5), 0.0, 0.0]
    assert confidence(run, queries, kind="diff1").tolist() == [0.0, 1.5, 0.0, 0.0]


def test_a_query_without_results_is_dropped_first() -> None:
    run = {"b": {"x": -2.0}, "c": {"x": -1.0}}
    score = mean_score([0.0, 0.5, 1.0], items=("a", "b", "c"), warnings=["odd"])
    found = abstention(score, confidence(run, score.items))
    assert found.value == pytest.approx(1)
    assert (found.n, found.warnings) == (3, ("odd",))


@pytest.mark.parametrize(
    ("score", "sure", "said"),
    [
        (mean_score([0.1, 0.1, 0.1]), [1, 2, 3], "all 3 items have the value 0.1"),
        (mean_score([0.5]), [1], "all 1 items have the value 0.5"),
        (mean_score([0.0, 1.0]), [1], "lengths differ: score 2, sure 1"),
        (mean_score([0.0, 1.0]), [1, math.nan], "the confidence of item 1 is NaN"),
        (Score(0.5, 2), [1, 2], "needs a score with a value for each item"),
    ],
)
def test_what_is_undefined_is_said(score: Score, sure: list[float], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        abstention(score, sure)


def test_confidences_that_are_none_are_said() -> None:
    with pytest.raises(MetricError, match="confidence 'min': expected one of max, std, diff1"):
        confidence({}, ["q"], kind="min")
    with pytest.raises(MetricError, match="query 'q' has a score that is not finite"):
        confidence({"q": {"a": math.nan}}, ["q"])
