import numpy as np
import pytest

from tasks.errors import MetricError
from tasks.metrics.neighbours import Neighbours
from tasks.metrics.runs import best_chunks, ranked, run_of


def test_ranked_is_by_float32_and_then_by_id_from_the_last() -> None:
    results = {"10": 1.0, "9": 1.0 + 1e-12, "é": 1.0, "z": 1.0, "Z": 2.0, "\U0001f600": 0.5}
    assert ranked(results, 9) == ["Z", "é", "z", "9", "10", "\U0001f600"]
    assert [ranked(results, k) for k in range(1, 6)] == [
        ["Z", "é", "z", "9", "10", "\U0001f600"][:k] for k in range(1, 6)
    ]


def test_neighbours_become_a_run() -> None:
    found = Neighbours(np.array([[2, 0], [1, 2]]), np.array([[0.9, 0.5], [0.25, 0.125]]))
    assert run_of(found, ["p", "q"], ["a", "b", "c"]) == {
        "p": {"c": 0.9, "a": 0.5},
        "q": {"b": 0.25, "c": 0.125},
    }


@pytest.mark.parametrize(
    ("query_ids", "row_ids", "said"),
    [
        (["p", "q"], ["a", "b"], "query_ids 2, neighbours 1"),
        (["p"], ["a", "b", "a"], "row_ids hold 'a' twice"),
        (["p"], ["a"], "row 1 was found, of 1 row_ids"),
    ],
)
def test_ids_that_do_not_fit_are_said(query_ids: list[str], row_ids: list[str], said: str) -> None:
    found = Neighbours(np.array([[1, 0]]), np.array([[0.9, 0.5]]))
    with pytest.raises(MetricError, match=said):
        run_of(found, query_ids, row_ids)


def test_query_ids_that_are_there_twice_are_said() -> None:
    found = Neighbours(np.array([[0], [0]]), np.array([[0.9], [0.5]]))
    with pytest.raises(MetricError, match="query_ids hold 'p' twice"):
        run_of(found, ["p", "p"], ["a"])


def test_records_score_as_their_best_chunks() -> None:
    run = {"p": {"a1": -0.5, "a2": -0.25, "b1": 0.1, "a3": -1.0}, "q": {"b1": 2.0}, "r": {}}
    record_of = {"a1": "a", "a2": "a", "a3": "a", "b1": "b"}
    assert best_chunks(run, record_of) == {"p": {"a": -0.25, "b": 0.1}, "q": {"b": 2.0}, "r": {}}
    with pytest.raises(MetricError, match="chunk 'b1', found for query 'p', has no record"):
        best_chunks(run, {"a1": "a", "a2": "a", "a3": "a"})
