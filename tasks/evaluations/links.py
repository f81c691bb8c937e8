"""Links that a graph was not shown: whether vectors tell them from pairs that are none."""

from collections.abc import Callable

import numpy as np

from tasks.errors import ConfigError, MetricError
from tasks.evaluations.base import Measurement, Rows, Version
from tasks.evaluations.files import read_columns
from tasks.evaluations.records import at_most, connected, find_pairs
from tasks.metrics import graph
from tasks.metrics.graph import Negatives
from tasks.metrics.neighbours import Likeness
from tasks.metrics.score import Reals
from tasks.metrics.similarity import similarities

UNKNOWN = (
    "edges that the fit has seen may be among the pairs that are taken for no edges: give `known`"
)


class Links:
    """AUC, average precision, Hits@k and MRR of held-out edges among pairs that are no edges."""

    def __init__(
        self,
        *,
        edges: str,
        source: str = "source",
        target: str = "target",
        known: str | None = None,
        k: int = 50,
        likeness: str = "cosine",
        components: bool = False,
    ) -> None:
        """`edges` and `known` are CSV or TSV files with a header: held out, and shown to the fit.

        With `components`, edges of one connected component of the graph (both files) are resampled
        together: for many small graphs in one space, such as molecules.

        Pairs of `known` are never taken for ones that are no edges. Edges have no direction: one
        that is given twice, or both ways, counts once, with a warning.
        """
        if k < 1:
            raise ConfigError(f"k = {k}: expected 1 or more")
        if likeness not in (*Likeness,):
            raise ConfigError(f"likeness = {likeness!r}: expected {', '.join(Likeness)}")
        self._path, self._k, self._likeness, self._components = edges, k, likeness, components
        self._edges = read_columns(edges, [source, target])
        self._known = [] if known is None else read_columns(known, [source, target])
        self.metrics = ("auc", "average_precision", f"hits@{k}", "mrr", "auc_by_degree")

    def measure(self, version: Version) -> list[Measurement]:
        """Beside uniform pairs, and `auc_by_degree` beside pairs of nodes with as many edges."""
        held, ends, said = find_pairs(version, self._edges, self._path)
        first = _once(ends)
        if twice := len(ends) - len(first):
            said += (f"{twice:,} edges stand there again or the other way round: they count once",)
        held, ends = held[first], ends[first]
        every = ends
        if self._known:
            every = np.concatenate([ends, find_pairs(version, self._known, "known")[1]])
            every = every[_once(every)]
        else:
            said += (UNKNOWN,)
        n = len(version.record_ids)
        counts = np.bincount(every.ravel(), minlength=n)
        degrees = np.minimum(counts[ends[:, 0]], counts[ends[:, 1]])
        links = self._scores(version, ends)
        uniform, matched = (
            self._scores(version, graph.negatives(every, n, rng=version.rng, kind=kind))
            for kind in (Negatives.UNIFORM, Negatives.DEGREE)
        )
        groups = connected(every.tolist())[: len(ends)] if self._components else None
        items = tuple(" / ".join(self._edges[pair]) for pair in held.tolist())
        k, few = at_most(self._k, len(uniform), "pairs that are no edges")
        scores = {
            "auc": graph.link_auc(links, uniform, degrees=degrees),
            "average_precision": graph.link_average_precision(links, uniform),
            f"hits@{self._k}": graph.link_hits(links, uniform, k, degrees=degrees).warned(*few),
            "mrr": graph.link_mrr(links, uniform, degrees=degrees),
            "auc_by_degree": graph.link_auc(links, matched, degrees=degrees),
        }
        statistics = {"average_precision": _over(links, uniform)}
        return [
            Measurement(
                name,
                score.warned(*said),
                "edge",
                items,
                statistic=statistics.get(name),
                groups=groups,
                texts=items,
            )
            for name, score in scores.items()
        ]

    def _scores(self, version: Version, pairs: Rows) -> Reals:
        return similarities(
            version.records[pairs[:, 0]], version.records[pairs[:, 1]], self._likeness
        )


def _once(pairs: Rows) -> Rows:
    """Where each pair stands for the first time, either way round."""
    return np.sort(np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)[1])


def _over(links: Reals, others: Reals) -> Callable[[Rows], float]:
    def over(rows: Rows) -> float:
        try:
            return float(graph.link_average_precision(links[rows], others))
        except MetricError:
            return float("nan")

    return over
