"""Indexes of usearch: HNSW graphs of floats, halves, bytes or bits."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import ConfigError, SinkError
from tasks.sinks import exact
from tasks.sinks.base import Element, Metric, Shape
from tasks.sinks.folder import Draft
from tasks.sinks.index_block import Index, Labels, Parts, Scores, Whole
from tasks.sinks.indexed import IndexedSink
from tasks.sinks.parted import PART_ROWS

if TYPE_CHECKING:
    from usearch import index as usearch

FILE = "index.usearch"
KINDS = {
    Element.FLOAT32: "f32",
    Element.FLOAT16: "f16",
    Element.INT8: "i8",
    Element.BINARY: "b1",
}
METRICS = {Metric.COSINE: "cos", Metric.DOT: "ip", Metric.EUCLIDEAN: "l2sq"}


class UsearchSink(IndexedSink):
    """Readers find `index-*/index.usearch`, as the manifest names it, and keys in `rows`.

    Rows are taken out of a graph and put in; it is made anew when half of them go.
    """

    def __init__(
        self,
        *,
        path: str,
        link: str = "current",
        connectivity: int = 16,
        expansion_add: int = 128,
        expansion_search: int = 64,
        part_rows: int = PART_ROWS,
    ) -> None:
        """`path` is a folder of a local disk, `link` what readers look under in it.

        `connectivity`, `expansion_add` and `expansion_search` are usearch's. Metadata are in files
        of at most `part_rows` rows.
        """
        super().__init__(use="usearch", path=path, link=link, part_rows=part_rows)
        self._settings = (connectivity, expansion_add, expansion_search)

    def connect(self) -> None:
        """Makes the folder; usearch must be there."""
        try:
            import usearch.index  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"usearch cannot be imported ({error}): pip install 'vectorline[usearch]'"
            ) from error
        super().connect()

    def _empty(self, shape: Shape) -> Index:
        return _Index(shape, self._settings)

    def _load(self, folder: Path, shape: Shape, kind: str) -> Index:
        made = _Index(shape, self._settings)
        made.load(folder / FILE)
        return made


class _Index:
    lossless = has_cosine = True
    kind = "hnsw"

    def __init__(self, shape: Shape, settings: tuple[int, int, int]) -> None:
        from usearch.index import Index as Graph

        connectivity, expansion_add, expansion_search = settings
        self._shape, self._settings = shape, settings
        is_binary = shape.element is Element.BINARY
        self._graph: usearch.Index = Graph(
            ndim=shape.dim,
            metric="hamming" if is_binary else METRICS[shape.metric],
            dtype=KINDS[shape.element],
            connectivity=connectivity,
            expansion_add=expansion_add,
            expansion_search=expansion_search,
        )

    def load(self, path: Path) -> None:
        """Takes what a file has in the place of nothing."""
        self._graph.load(str(path))

    def get(self, labels: Labels) -> exact.Vectors:
        found = self._graph.get(labels.astype(np.uint64))
        there = [one for one in (() if found is None else found) if one is not None]
        if len(there) < len(labels):
            raise SinkError("an index lacks rows that stand beside it: publish with --repair")
        return np.stack(there)

    def changed(self, gone: Labels, labels: Labels, new: Parts, whole: Whole) -> "_Index":
        graph = self
        if 2 * len(gone) > len(self._graph):
            labels, vectors = whole()
            graph = _Index(self._shape, self._settings)
        else:
            vectors = np.concatenate(new) if new else np.empty(0)
            if len(gone):
                self._graph.remove(gone.astype(np.uint64))
        if len(labels):
            graph._graph.add(labels.astype(np.uint64), np.ascontiguousarray(vectors))
        return graph

    def save(self, draft: Draft, folder: str) -> None:
        (draft.path / folder).mkdir()
        self._graph.save(str(draft.path / folder / FILE))
        draft.adopt(folder)

    def search(self, queries: exact.Vectors, k: int) -> tuple[Labels, Scores]:
        labels = np.full((len(queries), k), -1)
        by = np.zeros((len(queries), k))
        for row, query in enumerate(queries):
            found = self._graph.search(np.ascontiguousarray(query), k)
            labels[row, : len(found)] = found.keys
            by[row, : len(found)] = found.distances
        if self._shape.element is Element.BINARY:
            by = self._shape.dim - by
        elif self._shape.metric is Metric.EUCLIDEAN:
            by = -np.sqrt(np.maximum(by, 0))
        else:
            by = 1 - by
        return labels, by
