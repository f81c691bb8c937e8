"""Searchers of ScaNN: brute force, then hashes, then a tree of them, as there are more rows."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.errors import ConfigError
from tasks.sinks import exact
from tasks.sinks.base import Element, Metric, Shape
from tasks.sinks.folder import Draft
from tasks.sinks.index_block import Index, Labels, Parts, Scores, Whole
from tasks.sinks.indexed import IndexedSink
from tasks.sinks.parted import LIMITS, PART_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scann.scann_ops.py.scann_builder import ScannBuilder

LABELS = "labels.npy"
DATASET = "dataset.npy"
HASHED_FROM = 20_000  # as ScaNN's own documentation advises
TREE_FROM = 100_000
NEIGHBORS = 10


class ScannSink(IndexedSink):
    """Readers find a searcher in `index-*`, as the manifest names it.

    Row i of it has the label i of `labels.npy` there, which stands in `rows`. ScaNN numbers rows by
    place, so that every change makes it anew. Cosines are products: what is not of unit length is
    brought to it.
    """

    limits = replace(LIMITS, elements=frozenset({Element.FLOAT32}))

    def __init__(
        self,
        *,
        path: str,
        link: str = "current",
        leaves: int | None = None,
        leaves_to_search: int | None = None,
        reorder: int = 100,
        part_rows: int = PART_ROWS,
    ) -> None:
        """`path` is a folder of a local disk, `link` what readers look under in it.

        `leaves` are those of the tree, without it the square root of the rows; `leaves_to_search`
        by default a tenth of them. The best `reorder` rows are compared by their vectors. Metadata
        are in files of at most `part_rows` rows.
        """
        super().__init__(use="scann", path=path, link=link, part_rows=part_rows)
        self._settings = {"leaves": leaves, "search": leaves_to_search, "reorder": reorder}

    def connect(self) -> None:
        """Makes the folder; scann must be there."""
        try:
            import scann  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"scann cannot be imported ({error}): pip install 'vectorline[scann]'"
            ) from error
        super().connect()

    def _empty(self, shape: Shape) -> Index:
        none = np.empty((0, shape.dim), np.float32)
        return _Index(shape, self._settings, np.empty(0, np.int64), none)

    def _load(self, folder: Path, shape: Shape, kind: str) -> Index:
        labels = np.load(folder / LABELS, allow_pickle=False)
        if not len(labels):
            return self._empty(shape)
        held = np.load(folder / DATASET, mmap_mode="r", allow_pickle=False)
        return _Index(shape, self._settings, labels, held, folder)


class _Index:
    lossless = True
    has_cosine = False
    kind = "scann"

    def __init__(
        self,
        shape: Shape,
        settings: "Mapping[str, int | None]",
        labels: Labels,
        vectors: exact.Vectors,
        folder: Path | None = None,
    ) -> None:
        self._shape, self._settings = shape, settings
        self._labels, self._vectors = labels, vectors
        self._folder = folder
        self._searcher: Any = None

    def get(self, labels: Labels) -> exact.Vectors:
        made: exact.Vectors = self._vectors[np.searchsorted(self._labels, labels)]
        return made

    def changed(self, gone: Labels, labels: Labels, new: Parts, whole: Whole) -> "_Index":
        return _Index(self._shape, self._settings, *whole())

    def save(self, draft: Draft, folder: str) -> None:
        path = draft.path / folder
        path.mkdir()
        np.save(path / LABELS, self._labels, allow_pickle=False)
        if len(self._labels):
            builder = self._builder()
            builder.build().serialize(str(path), relative_path=True)
        draft.adopt(folder)

    def search(self, queries: exact.Vectors, k: int) -> tuple[Labels, Scores]:
        from scann.scann_ops.py import scann_ops_pybind as scann

        if self._searcher is None:
            self._searcher = scann.load_searcher(str(self._folder))
        found, by = self._searcher.search_batched(
            np.ascontiguousarray(queries, np.float32),
            final_num_neighbors=k,
            pre_reorder_num_neighbors=max(k, self._settings["reorder"] or 0),
        )
        if self._shape.metric is Metric.EUCLIDEAN:
            by = -np.sqrt(np.maximum(by, 0))
        return np.where(np.isnan(by), -1, self._labels[found]), by

    def _builder(self) -> "ScannBuilder":
        from scann.scann_ops.py import scann_ops_pybind as scann

        n_rows = len(self._labels)
        by = "squared_l2" if self._shape.metric is Metric.EUCLIDEAN else "dot_product"
        builder = scann.builder(np.ascontiguousarray(self._vectors), NEIGHBORS, by)
        if n_rows < HASHED_FROM:
            return builder.score_brute_force()
        if n_rows >= TREE_FROM:
            leaves = self._settings["leaves"] or round(math.sqrt(n_rows))
            builder = builder.tree(
                num_leaves=leaves,
                num_leaves_to_search=self._settings["search"] or max(1, leaves // 10),
                training_sample_size=min(n_rows, 250_000),
            )
        return builder.score_ah(2, 0.2).reorder(self._settings["reorder"])
