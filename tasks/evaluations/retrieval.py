"""Retrieval: which records a space finds for queries, and how many of them are right."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigError
from tasks.evaluations.base import Measurement, Rows, Version
from tasks.evaluations.files import read_qrels, read_queries
from tasks.evaluations.records import connected, find_records, groups_of
from tasks.metrics import retrieval
from tasks.metrics.blocks import take
from tasks.metrics.neighbours import nearest
from tasks.metrics.score import Matrix, Reals, Score, mean_score

SPARE = 16  # beyond k: further chunks of one record
MEASURES: dict[str, Callable[..., Score]] = {
    "ndcg": retrieval.ndcg,
    "map": retrieval.map,
    "mrr": retrieval.mrr,
    "recall": retrieval.recall,
    "precision": retrieval.precision,
    "success": retrieval.success,
}


SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
Hits: TypeAlias = tuple[list[int], list[float]]
"""Numbers of records, and the cosine of the best row of each; best first."""


class Retrieval:
    """Exact search over all records by their best chunk, scored as trec_eval does.

    Where the version has an index, `index_recall@k` is the share of the k nearest that a search by
    it finds too.
    """

    def __init__(
        self, *, queries: str, qrels: str, k: int | list[int] = 10, group: str | None = None
    ) -> None:
        """`queries` and `qrels` are files, `k` the cuts of all measures.

        Queries whose relevant records have a value of the column `group` (a document) in common
        are resampled together. Queries that nobody judged are left out, with a warning.
        """
        self._path, self._k, self._group = qrels, [k] if isinstance(k, int) else list(k), group
        if not self._k or min(self._k) < 1:
            raise ConfigError(f"k = {k}: expected 1 or more")
        asked, self._qrels = read_queries(queries), read_qrels(qrels)
        if unknown := sorted(self._qrels.keys() - asked.keys()):
            raise ConfigError(
                f"of the {len(self._qrels):,} queries that {qrels} judges, {queries} lacks "
                f"{len(unknown):,}, such as {unknown[0]!r}"
            )
        self._ids = sorted(self._qrels)
        self._texts = [asked[id_] for id_ in self._ids]
        unjudged = len(asked) - len(self._ids)
        self._unjudged = (
            f"left out, since nobody judged them: {unjudged:,} of {len(asked):,} queries",
        ) * bool(unjudged)
        self._by_index = f"index_recall@{max(self._k)}"
        self.metrics = (*(f"{name}@{k}" for k in self._k for name in MEASURES), self._by_index)

    def measure(self, version: Version) -> list[Measurement]:
        """All measures at all cuts; an item is a query.

        Queries none of whose relevant records are in the version are left out, with a warning:
        nothing could find them. Raises ConfigError if that leaves none.
        """
        asked, said = self._answerable(version)
        ids = [self._ids[place] for place in asked]
        texts = tuple(self._texts[place] for place in asked)
        depth = min(max(self._k), len(version.record_ids))
        queries = version.embed(self._texts)[asked]
        found = nearest_records(version, queries, depth)
        run = {
            id_: {version.record_ids[record]: score for record, score in zip(*hits, strict=True)}
            for id_, hits in zip(ids, found, strict=True)
        }
        qrels, known = {id_: self._qrels[id_] for id_ in ids}, frozenset(version.record_ids)
        answers = [
            _with_gains(version, query, hits, grades)
            for query, hits, grades in zip(queries, found, self._grades(version, ids), strict=True)
        ]
        ties = {k: _said_of_ties(answers, k) for k in self._k}
        scores = {
            f"{name}@{k}": measure(qrels, run, k=k, known=known).warned(*ties[k])
            for k in self._k
            for name, measure in MEASURES.items()
        }
        by_index = version.near(queries, depth)
        if by_index is not None:
            exact = [[version.record_ids[record] for record in rows[:depth]] for rows, _ in found]
            scores[self._by_index] = _index_recall(exact, by_index, depth, ids)
        groups = self._groups(version, ids)
        return [
            Measurement(name, score.warned(*said), "query", score.items, groups=groups, texts=texts)
            for name, score in scores.items()
        ]

    def _grades(self, version: Version, ids: Sequence[str]) -> list[dict[int, int]]:
        """Of each query the records that the version has of its relevant ones, and their grades."""
        relevant = [
            {id_: grade for id_, grade in self._qrels[one].items() if grade > 0} for one in ids
        ]
        named = sorted({id_ for own in relevant for id_ in own})
        place = dict(zip(named, find_records(version, named).tolist(), strict=True))
        return [
            {place[id_]: grade for id_, grade in own.items() if place[id_] >= 0} for own in relevant
        ]

    def _groups(self, version: Version, ids: Sequence[str]) -> Rows | None:
        """The number of its group for each query; None without a column."""
        if self._group is None:
            return None
        relevant = [[id_ for id_, grade in self._qrels[one].items() if grade > 0] for one in ids]
        named = sorted({id_ for own in relevant for id_ in own} & {*version.record_ids})
        groups = groups_of(version, self._group, find_records(version, named))
        of = {} if groups is None else dict(zip(named, groups.tolist(), strict=True))
        return connected([[of[id_] for id_ in own if id_ in of] for own in relevant])

    def _answerable(self, version: Version) -> tuple[list[int], tuple[str, ...]]:
        """Places of the queries that are asked, and what to warn of.

        A query without any relevant record stays: it counts 0, as in trec_eval.
        """
        relevant = [
            {record for record, grade in self._qrels[id_].items() if grade > 0} for id_ in self._ids
        ]
        named = set().union(*relevant)
        there = named.intersection(version.record_ids)
        if named and not there:
            raise ConfigError(
                f"of the {len(named):,} records that {self._path} calls relevant the version has "
                f"none: are they ids of its records, such as {version.record_ids[0]!r}?"
            )
        asked = [place for place, own in enumerate(relevant) if not own or own & there]
        lost = len(relevant) - len(asked)
        said = (
            "left out, since the version has none of their relevant records: "
            f"{lost:,} of {len(relevant):,} queries",
        ) * bool(lost)
        return asked, said + self._unjudged


def _index_recall(
    exact: Sequence[Sequence[str]], by_index: Sequence[Sequence[str]], k: int, ids: Sequence[str]
) -> Score:
    found = [len({*one} & {*other}) / k for one, other in zip(exact, by_index, strict=True)]
    return mean_score(found, items=ids)


def _with_gains(
    version: Version, query: Reals, hits: Hits, grades: Mapping[int, int]
) -> tuple[npt.NDArray[np.float32], Rows]:
    """Scores and grades of what was found and of all relevant records, as trec_eval holds them."""
    scores = dict(zip(*hits, strict=True))
    lost = np.sort([record for record in grades if record not in scores]).astype(np.int64)
    if len(lost):
        starts, ends = (np.searchsorted(version.owners, lost, side) for side in SIDES)
        rows = np.concatenate([np.arange(*ends) for ends in zip(starts, ends, strict=True)])
        near = nearest(query[None], take(version.rows, rows), len(rows))
        owners = version.owners[rows[near.rows[0]]].tolist()
        for record, score in zip(owners, near.scores[0].tolist(), strict=True):
            scores.setdefault(record, score)  # best first
    gains = np.array([grades.get(record, 0) for record in scores], np.int64)
    return np.array([*scores.values()], np.float32), gains


def _said_of_ties(
    answers: Sequence[tuple[npt.NDArray[np.float32], Rows]], k: int
) -> tuple[str, ...]:
    """A warning where ids alone decide how relevant records rank among the first k and others."""
    n = 0
    for scores, gains in answers:
        cut = np.sort(scores)[-k:][0]
        own = np.unique(scores[(gains > 0) & (scores >= cut)])
        n += any(len({*gains[scores == one].tolist()}) > 1 for one in own)
    return (
        f"in {n:,} of {len(answers):,} queries a relevant record ties with others up to the cut at "
        f"{k}: their ids decide, as in trec_eval",
    ) * bool(n)


def nearest_records(version: Version, queries: Matrix, k: int) -> list[Hits]:
    """Of each query, best first: numbers of records and the cosine of their best row.

    At least the k best records. Ties go to the larger id, as in trec_eval: rows are searched from
    the last one, since `nearest` gives ties to the first.
    """
    found: list[Hits] = [([], [])] * len(queries)
    waiting = np.arange(len(queries))
    n_rows = min(k + SPARE, len(version.rows))
    while len(waiting):
        near = nearest(queries[waiting], version.rows[::-1], n_rows)
        found_rows = len(version.rows) - 1 - near.rows
        again = []
        for query, rows, scores in zip(waiting.tolist(), found_rows, near.scores, strict=True):
            records, first = np.unique(version.owners[rows], return_index=True)
            if len(records) < k and n_rows < len(version.rows):
                again.append(query)
            order = np.sort(first)
            found[query] = (version.owners[rows[order]].tolist(), scores[order].tolist())
        waiting = np.array(again, np.int64)
        n_rows = min(4 * n_rows, len(version.rows))
    return found
