import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import MetricError
from tasks.metrics.neighbours import nearest
from tasks.metrics.retrieval import (
    Qrels,
    map,
    mrr,
    ndcg,
    precision,
    recall,
    success,
)
from tasks.metrics.runs import Run, run_of
from tasks.metrics.score import Score

METRICS: dict[str, Callable[..., Score]] = {
    "ndcg_cut": ndcg,
    "map_cut": map,
    "recall": recall,
    "P": precision,
    "success": success,
    "recip_rank": mrr,
}
KS = (1, 2, 3, 5, 10, 100)
NAMES = st.sampled_from(["a", "b", "B", "c", "10", "9", "é", "z", "\uffff", "\U0001f600"])
# Equal ones, some in float32 only, their neighbour in float32, and what float32 cannot hold.
SCORES = st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-12, 1.0 + 2e-7, -3.5, 1e300, 2e300, 1e-300])
# pytrec_eval writes beyond its memory where all grades of a query are below -1.
GRADES = st.dictionaries(NAMES, st.integers(-2, 4), max_size=6).filter(
    lambda grades: max(grades.values(), default=0) >= -1
)


def by_trec_eval(qrels: Qrels, run: Run, name: str, k: int) -> dict[str, float]:
    """Each judged query's value, 0 for those that pytrec_eval leaves out."""
    measure = name if name == "recip_rank" else f"{name}.{k}"
    of_queries = pytrec_eval.RelevanceEvaluator(qrels, {measure}).evaluate(run)
    values = {query: 0.0 for query in sorted(qrels) if qrels[query]}
    for query, measures in of_queries.items():
        (values[query],) = measures.values()
        if name == "recip_rank" and values[query] < 1 / k:
            values[query] = 0.0
    return values


@st.composite
def judged_runs(draw: st.DrawFn) -> tuple[Qrels, Run]:
    queries = st.sampled_from(["1", "2", "10", "q"])
    qrels = draw(st.dictionaries(queries, GRADES))
    run = draw(st.dictionaries(queries, st.dictionaries(NAMES, SCORES)))
    qrels["sure"] = draw(GRADES) | {"a": draw(st.integers(1, 3))}  # or nothing is relevant
    run["sure"] = draw(st.dictionaries(NAMES, SCORES, min_size=1))
    return qrels, run


@pytest.mark.parametrize("name", METRICS)
@given(judged=judged_runs())
def test_each_query_has_the_value_of_trec_eval_whatever_ties(
    name: str, judged: tuple[Qrels, Run]
) -> None:
    qrels, run = judged
    for k in KS:
        score = METRICS[name](qrels, run, k=k)
        expected = by_trec_eval(qrels, run, name, k)
        assert score.items == tuple(expected)
        assert score.per_item is not None
        np.testing.assert_allclose(score.per_item, list(expected.values()), rtol=0, atol=1e-12)
        assert score.value == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
        assert score.n == len(expected)


@pytest.mark.parametrize("name", METRICS)
def test_each_query_has_the_value_of_trec_eval_in_long_runs(name: str) -> None:
    rng = np.random.default_rng(0)
    run = {
        f"q{query}": {f"d{doc}": float(rng.integers(200)) for doc in rng.permutation(1000)}
        for query in range(20)
    }
    qrels = {
        query: {f"d{doc}": int(rng.integers(-1, 4)) for doc in rng.permutation(1000)[:50]}
        for query in run
    }
    for k in (1, 10, 50, 1000):
        expected = by_trec_eval(qrels, run, name, k)
        found = METRICS[name](qrels, run, k=k)
        assert found.per_item is not None
        np.testing.assert_allclose(found.per_item, list(expected.values()), rtol=0, atol=1e-12)
        assert found.warnings == ()


def test_means_are_those_of_mteb() -> None:
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    rng = np.random.default_rng(1)
    run = {
        f"q{query}": {f"d{doc}": float(rng.integers(9)) for doc in range(rng.integers(1, 40))}
        for query in range(30)
    }
    qrels = {query: {f"d{doc}": int(rng.integers(1, 4)) for doc in range(5)} for query in run}
    theirs = calculate_retrieval_scores(run, qrels, [3, 10])
    for k in (3, 10):
        found = [metric(qrels, run, k=k).value for metric in METRICS.values()]
        expected = [
            theirs.ndcg[f"NDCG@{k}"],
            theirs.map[f"MAP@{k}"],
            theirs.recall[f"Recall@{k}"],
            theirs.precision[f"P@{k}"],
            theirs.hit_rate[f"HitRate@{k}"],
            theirs.mrr[f"MRR@{k}"],
        ]
        assert found == pytest.approx(expected, abs=5e-6)  # mteb rounds to five places


def test_mrr_is_zero_behind_the_cut() -> None:
    qrels, run = {"q": {"a": 1}}, {"q": {"a": 1.0, "b": 2.0, "c": 3.0}}
    assert [mrr(qrels, run, k=k).value for k in (1, 2, 3)] == [0.0, 0.0, 1 / 3]


def test_gain_is_linear_in_the_grade() -> None:
    score = ndcg({"q": {"a": 3, "b": 1}}, {"q": {"a": 1.0, "b": 2.0}}, k=2)
    assert score.value == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


@pytest.mark.parametrize("metric", METRICS.values())
def test_what_is_odd_is_counted_and_said(metric: Callable[..., Score]) -> None:
    qrels = {"both": {"a": 1}, "lost": {"x": 1, "y": 2}, "none": {"a": -2, "b": -3}, "empty": {}}
    run = {"both": {"a": 1.0}, "none": {"b": 2.0}, "new": {"a": 1.0}, "empty": {"a": 1.0}}
    score = metric(qrels, run, k=1, known=["a", "b"])
    assert score.items == ("both", "lost", "none")
    assert score.per_item is not None
    assert score.per_item.tolist() == [1.0, 0.0, 0.0]
    assert score.warnings == (
        "1 judged queries have no results and count 0, the first 'lost'",
        "1 queries have no relevant document and count 0, as in trec_eval, the first 'none'",
        "2 queries are not judged and left out, the first 'empty'",
        "2 judged documents are not in the corpus and cannot be found, the first 'x'",
    )


def test_a_k_beyond_all_results_is_said_and_precision_is_still_over_k() -> None:
    score = precision({"q": {"a": 1}}, {"q": {"a": 1.0, "b": 0.0}}, k=10)
    assert (score.value, score.warnings) == (
        0.1,
        ("k = 10, and no query has more than 2 results",),
    )


@pytest.mark.parametrize(
    ("qrels", "run", "k", "said"),
    [
        ({"q": {"a": 1}}, {"q": {"a": 1.0}}, 0, "k = 0: expected 1 or more"),
        ({}, {"q": {"a": 1.0}}, 1, "answers none of 0 judged queries"),
        ({"q": {}}, {"q": {"a": 1.0}}, 1, "answers none of 0 judged queries"),
        ({"q": {"a": 1}}, {}, 1, "answers none of 1 judged queries"),
        ({"q": {"a": 1}}, {"q": {}}, 1, "answers none of 1 judged queries"),
        ({"q": {"a": 1}}, {"Q": {"a": 1.0}}, 1, r"its queries are \['Q'\], the judged ones \['q'"),
        ({"q": {"a": 0}}, {"q": {"a": 1.0}}, 1, "none of 1 queries has a document with a grade"),
        ({"q": {"a": 1.5}}, {"q": {"a": 1.0}}, 1, "'a' has grade 1.5 for query 'q': expected an"),
        ({"q": {"a": 1}}, {"q": {"a": math.nan}}, 1, "score of document 'a' is nan"),
        ({"q": {"a": 1}}, {"q": {"a": 0.0, "b": math.inf}}, 1, "score of document 'b' is inf"),
    ],
)
def test_what_cannot_be_judged_is_said(qrels: Qrels, run: Run, k: int, said: str) -> None:
    for metric in METRICS.values():
        with pytest.raises(MetricError, match=said):
            metric(qrels, run, k=k)


def test_numpy_grades_and_scores_are_taken() -> None:
    qrels: Any = {"q": {"a": np.int64(1)}}
    run: Any = {"q": {"a": np.float32(1)}}
    assert recall(qrels, run, k=1).value == 1.0


def test_a_run_cut_in_a_tie_scores_as_the_whole_if_rows_descend_by_id() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 2, size=(60, 3)).astype(np.float32)
    queries = rng.integers(0, 3, size=(8, 3)).astype(np.float32)
    row_ids = sorted((f"d{row}" for row in range(60)), reverse=True)
    query_ids = [f"q{row}" for row in range(8)]
    qrels = {query: {f"d{row}": 1 for row in rng.permutation(60)[:9]} for query in query_ids}
    whole = run_of(nearest(queries, vectors, 60, likeness="dot"), query_ids, row_ids)
    for k in (1, 4, 7, 30):
        cut = run_of(nearest(queries, vectors, k, likeness="dot"), query_ids, row_ids)
        for metric in METRICS.values():
            assert metric(qrels, cut, k=k).value == metric(qrels, whole, k=k).value
