"""How well the right documents are found: the measures of trec_eval, query by query.

pytrec_eval leaves out judged queries that a run does not answer, ranks NaN, ends the process where
all grades of a query are below -1 and has no MRR@k; the measures here are checked against it.

What trec_eval does is the rule. A run is ordered by score, held in float32, and equal scores by
document id, descending. A document is relevant at grade 1 or more; one that nobody judged is not.
The items of each score are the judged queries in the order of their ids. A judged query without
results counts 0 (trec_eval's option -c), as does one without a relevant document: both are warned
of.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics._abstention import Confidence, abstention, confidence
from tasks.metrics.runs import Run, best_chunks, ranked, run_of
from tasks.metrics.score import Reals, Score, mean_score

__all__ = [
    "Confidence",
    "Qrels",
    "Run",
    "abstention",
    "best_chunks",
    "confidence",
    "map",
    "mrr",
    "ndcg",
    "precision",
    "recall",
    "run_of",
    "success",
]

Qrels = Mapping[str, Mapping[str, int]]
"""query -> document -> grade, as BEIR and pytrec_eval have them"""


def ndcg(qrels: Qrels, run: Run, *, k: int = 10, known: Collection[str] | None = None) -> Score:
    """nDCG@k: the gain of the first k documents over that of the best k.

    Järvelin & Kekäläinen 2002 (TOIS): the sum of grade / log2(rank + 1), over the same sum of the
    judged documents in the order of their grades; grades below 0 gain nothing. It is trec_eval's
    ndcg_cut. For warnings and errors see `recall`.
    """

    def per_query(judged: _Judged) -> Reals:
        discount = 1 / np.log2(np.arange(2, judged.grades.shape[1] + 2))
        return _over(np.maximum(judged.grades, 0) @ discount, judged.ideal @ discount)

    return _score(per_query, qrels, run, k, known)


def map(qrels: Qrels, run: Run, *, k: int = 10, known: Collection[str] | None = None) -> Score:
    """MAP@k: the precisions at the relevant documents of the first k, over all relevant ones.

    Those that are not among the first k count 0: trec_eval's map_cut. Buckley & Voorhees 2000,
    SIGIR. For warnings and errors see `recall`.
    """

    def per_query(judged: _Judged) -> Reals:
        hits = judged.hits
        precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
        return _over((precisions * hits).sum(axis=1), judged.n_relevant)

    return _score(per_query, qrels, run, k, known)


def mrr(qrels: Qrels, run: Run, *, k: int = 10, known: Collection[str] | None = None) -> Score:
    """MRR@k: 1 / the rank of the first relevant document, 0 where it is not among the first k.

    trec_eval's recip_rank (Voorhees 1999, TREC-8), cut at k. mteb's own holds scores in float64 and
    differs where two are equal in float32 only. For warnings and errors see `recall`.
    """

    def per_query(judged: _Judged) -> Reals:
        return np.where(judged.hits.any(axis=1), 1 / (1 + judged.hits.argmax(axis=1)), 0.0)

    return _score(per_query, qrels, run, k, known)


def recall(qrels: Qrels, run: Run, *, k: int = 10, known: Collection[str] | None = None) -> Score:
    """Recall@k: the part of the relevant documents that is among the first k.

    Warns of judged queries without results or without a relevant document, of queries that nobody
    judged (left out), of a run that nowhere holds k documents, and, given the ids of the corpus as
    `known`, of judged documents that it does not hold. Raises MetricError where k is below 1, a
    grade is no integer, a score is not finite, no document is relevant, or the run answers no
    judged query.
    """

    def per_query(judged: _Judged) -> Reals:
        return _over(judged.hits.sum(axis=1), judged.n_relevant)

    return _score(per_query, qrels, run, k, known)


def precision(
    qrels: Qrels, run: Run, *, k: int = 10, known: Collection[str] | None = None
) -> Score:
    """Precision@k: the relevant documents among the first k, over k, however many there are.

    trec_eval's P. For warnings and errors see `recall`.
    """

    def per_query(judged: _Judged) -> Reals:
        counts: Reals = judged.hits.sum(axis=1, dtype=np.float64)
        return counts / k

    return _score(per_query, qrels, run, k, known)


def success(qrels: Qrels, run: Run, *, k: int = 10, known: Collection[str] | None = None) -> Score:
    """Success@k: 1 where a relevant document is among the first k, else 0; also called hit rate.

    For warnings and errors see `recall`.
    """

    def per_query(judged: _Judged) -> Reals:
        return np.where(judged.hits.any(axis=1), 1.0, 0.0)

    return _score(per_query, qrels, run, k, known)


class _Judged(NamedTuple):
    """For each query: grades of the first k, of the best k, both (n, k), and n_relevant (n,)."""

    queries: tuple[str, ...]
    grades: npt.NDArray[np.int64]
    ideal: npt.NDArray[np.int64]
    n_relevant: npt.NDArray[np.int64]

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        return self.grades > 0


def _score(
    per_query: Callable[[_Judged], Reals],
    qrels: Qrels,
    run: Run,
    k: int,
    known: Collection[str] | None,
) -> Score:
    judged = _judge(qrels, run, k)
    return mean_score(
        per_query(judged),
        items=judged.queries,
        warnings=list(_oddities(judged, qrels, run, k, known)),
    )


def _judge(qrels: Qrels, run: Run, k: int) -> _Judged:
    if k < 1:
        raise MetricError(f"k = {k}: expected 1 or more")
    queries = tuple(sorted(query for query, grades in qrels.items() if grades))
    if not any(run.get(query) for query in queries):
        raise MetricError(
            f"the run answers none of {len(queries)} judged queries: its queries are"
            f" {sorted(run)[:3]}, the judged ones {list(queries[:3])}"
        )
    shape = (
        len(queries),
        min(k, max(len(qrels[query]) + len(run.get(query, ())) for query in queries)),
    )
    grades, ideal = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    n_relevant = np.zeros(len(queries), np.int64)
    for row, query in enumerate(queries):
        judged = qrels[query]
        _check_grades(query, judged)
        relevant = sorted((grade for grade in judged.values() if grade > 0), reverse=True)
        n_relevant[row] = len(relevant)
        ideal[row, : len(relevant[:k])] = relevant[:k]
        found = [judged.get(name, 0) for name in ranked(run.get(query, {}), k)]
        grades[row, : len(found)] = found
    if not n_relevant.any():
        raise MetricError(f"none of {len(queries)} queries has a document with a grade above 0")
    return _Judged(queries, grades, ideal, n_relevant)


def _check_grades(query: str, judged: Mapping[str, int]) -> None:
    for name, grade in judged.items():
        if not isinstance(grade, int | np.integer):
            raise MetricError(
                f"document {name!r} has grade {grade!r} for query {query!r}: expected an integer"
            )


def _oddities(
    judged: _Judged, qrels: Qrels, run: Run, k: int, known: Collection[str] | None
) -> Iterable[str]:
    queries = judged.queries
    empty = [query for query in queries if not run.get(query)]
    if empty:
        yield f"{len(empty)} judged queries have no results and count 0, the first {empty[0]!r}"
    pointless = [queries[row] for row in np.flatnonzero(judged.n_relevant == 0)]
    if pointless:
        yield (
            f"{len(pointless)} queries have no relevant document and count 0, as in trec_eval,"
            f" the first {pointless[0]!r}"
        )
    others = sorted(query for query in run if not qrels.get(query))
    if others:
        yield f"{len(others)} queries are not judged and left out, the first {others[0]!r}"
    deepest = max(len(run.get(query, ())) for query in queries)
    if deepest < k:
        yield f"k = {k}, and no query has more than {deepest} results"
    if known is not None:
        there = known if isinstance(known, Mapping | set | frozenset) else frozenset(known)
        lost = sorted({name for query in queries for name in qrels[query] if name not in there})
        if lost:
            yield (
                f"{len(lost)} judged documents are not in the corpus and cannot be found,"
                f" the first {lost[0]!r}"
            )


def _over(above: npt.NDArray[np.number], below: npt.NDArray[np.number]) -> Reals:
    """The quotient, 0 where there is nothing to find."""
    quotient: Reals = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
    return quotient
