"""What a search found for each query, from the rows of its neighbours to records in order."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tasks.errors import MetricError
from tasks.metrics.neighbours import Neighbours
from tasks.metrics.score import check_lengths

Run = Mapping[str, Mapping[str, float]]
"""query -> document -> score, higher is better"""


def ranked(results: Mapping[str, float], k: int) -> list[str]:
    """The best k documents in the order of trec_eval; fewer where there are fewer.

    Raises MetricError for a score that is not finite.
    """
    names = list(results)
    values = np.fromiter(results.values(), np.float64, len(names))
    if not np.isfinite(values).all():
        name = names[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise MetricError(f"the score of document {name!r} is {results[name]}: expected a number")
    with np.errstate(over="ignore"):  # trec_eval makes them infinite, and so equal
        held = values.astype(np.float32)
    if len(names) > k:  # sorting in Python is slow: only those that may be among the first k
        may = np.flatnonzero(held >= np.partition(held, len(held) - k)[len(held) - k])
        names, held = [names[place] for place in may], held[may]
    best = sorted(zip(held.tolist(), names, strict=True), reverse=True)
    return [name for _, name in best[:k]]


def run_of(neighbours: Neighbours, query_ids: Sequence[str], row_ids: Sequence[str]) -> Run:
    """What `nearest` found, as a run: row i answers `query_ids[i]`, row j is `row_ids[j]`.

    `nearest` cuts ties by row and trec_eval by id, descending: where more than k are equally alike,
    the rows decided which are in the run. Search rows that are in descending order of their ids,
    and a run cut at k scores as a run of everything does, as long as vectors are float32.
    Raises MetricError for ids that are there twice (chunks have ids of their own; see
    `best_chunks`) and where lengths differ.
    """
    check_lengths(query_ids=query_ids, neighbours=neighbours.rows)
    for name, ids in (("query_ids", query_ids), ("row_ids", row_ids)):
        if len(set(ids)) < len(ids):
            raise MetricError(f"{name} hold {_repeated(ids)!r} twice: each needs its own")
    if neighbours.rows.size and int(neighbours.rows.max()) >= len(row_ids):
        raise MetricError(f"row {neighbours.rows.max()} was found, of {len(row_ids)} row_ids")
    return {
        query: dict(zip([row_ids[row] for row in rows], scores, strict=True))
        for query, rows, scores in zip(
            query_ids, neighbours.rows.tolist(), neighbours.scores.tolist(), strict=True
        )
    }


def best_chunks(run: Run, record_of: Mapping[str, str]) -> Run:
    """The run of records, each with its best chunk's score; `record_of` names a chunk's record.

    k chunks may be of far fewer than k records: search more chunks than records are asked for.
    Raises MetricError for a chunk whose record is not named.
    """
    records: dict[str, dict[str, float]] = {}
    for query, results in run.items():
        best = records[query] = {}
        for chunk, score in results.items():
            if chunk not in record_of:
                raise MetricError(f"chunk {chunk!r}, found for query {query!r}, has no record")
            record = record_of[chunk]
            if record not in best or score > best[record]:
                best[record] = score
    return records


def _repeated(ids: Sequence[str]) -> str:
    return next(name for name, count in Counter(ids).items() if count > 1)
