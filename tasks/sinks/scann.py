"""Searchers of ScaNN: brute force, then hashes, then a tree of them, as there are more rows."""

import ctypes
import math
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

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
    from scann.scann_ops.py.scann_ops_pybind import ScannSearcher

LABELS = "labels.npy"
DATASET = "dataset.npy"
HASHED_FROM = 20_000  # as ScaNN's own documentation advises
TREE_FROM = 100_000
NEIGHBORS = 10
SET_LEAST_LOGGED = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE"
ERRORS = 2
"""ScaNN logs to standard error how it is trained; only this function of its library ends that."""


class Form(StrEnum):
    """How rows are found."""

    NONE = "none"
    BRUTE_FORCE = "brute_force"
    HASHED = "hashed"
    TREE = "tree"


CHANGED = {Form.TREE: 0.05}
"""Share of the rows after which a searcher is trained anew; of the others that is half.

A tree finds a quarter of the nearest rows, or fewer, among new ones that are like none before;
hashes find them all.
"""


class ScannSink(IndexedSink):
    """Readers find a searcher in `index-*`, as the manifest names it.

    Row i of it has the label i of `labels.npy` there, which stands in `rows`. It is made anew when
    many rows have changed. Cosines are products: what is not of unit length is brought to
    it.
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
        """Makes the folder; scann must be there, and says no more than errors from now on."""
        try:
            from scann.scann_ops.py.scann_ops_pybind import scann_pybind
        except ImportError as error:
            raise ConfigError(
                f"scann cannot be imported ({error}): pip install 'vectorline[scann]'"
            ) from error
        set_least = getattr(ctypes.CDLL(scann_pybind.__file__), SET_LEAST_LOGGED, None)
        if set_least is not None:
            set_least(ERRORS)
        super().connect()

    def _empty(self, shape: Shape) -> Index:
        return _Index(shape, self._settings, np.empty(0, np.int64), Form.NONE, 0)

    def _load(self, folder: Path, shape: Shape, kind: str) -> Index:
        labels = np.load(folder / LABELS, allow_pickle=False)
        form, _, left = kind.partition(" ")
        return _Index(shape, self._settings, labels, Form(form), int(left), folder)


class _Index:
    """A searcher; row i of it has label i. It may take so many changes more as are `left`."""

    lossless = True
    has_cosine = False

    def __init__(
        self,
        shape: Shape,
        settings: "Mapping[str, int | None]",
        labels: Labels,
        form: Form,
        left: int,
        folder: Path | None = None,
        searcher: "ScannSearcher | None" = None,
    ) -> None:
        self._shape, self._settings = shape, settings
        self._labels, self._form, self._left = labels, form, left
        self._folder, self._searcher = folder, searcher
        self.kind = f"{form} {left}"

    def get(self, labels: Labels) -> exact.Vectors:
        assert self._folder is not None  # noqa: S101
        held = np.load(self._folder / DATASET, mmap_mode="r", allow_pickle=False)
        order = np.argsort(self._labels)
        made: exact.Vectors = held[order[np.searchsorted(self._labels, labels, sorter=order)]]
        return made

    def changed(self, gone: Labels, labels: Labels, new: Parts, whole: Whole) -> "_Index":
        form = _form(len(self._labels) - len(gone) + len(labels))
        left = self._left - max(len(gone), len(labels))
        if form is not self._form or left < 0:
            return self._made(form, *whole())
        if form is Form.NONE:
            return self
        from scann.scann_ops.py.scann_ops_pybind import ScannSearcher

        # Which keeps labels by place, as rows take that of one that goes.
        known = ScannSearcher(self._loaded().searcher, self._labels.tolist())
        if len(gone):
            known.delete(gone.tolist())
        if len(labels):
            known.upsert(labels.tolist(), np.concatenate(new))
        held = np.array(known.docids)
        searcher = ScannSearcher(known.searcher)
        return _Index(self._shape, self._settings, held, form, left, searcher=searcher)

    def save(self, draft: Draft, folder: str) -> None:
        path = draft.path / folder
        path.mkdir()
        np.save(path / LABELS, self._labels, allow_pickle=False)
        if self._searcher is not None:
            self._searcher.serialize(str(path), relative_path=True)
        draft.adopt(folder)

    def search(self, queries: exact.Vectors, k: int) -> tuple[Labels, Scores]:
        found, by = self._loaded().search_batched(
            np.ascontiguousarray(queries, np.float32),
            final_num_neighbors=k,
            pre_reorder_num_neighbors=max(k, self._settings["reorder"] or 0),
        )
        if self._shape.metric is Metric.EUCLIDEAN:
            by = -np.sqrt(np.maximum(by, 0))
        return np.where(np.isnan(by), -1, self._labels[found]), by

    def _loaded(self) -> "ScannSearcher":
        from scann.scann_ops.py import scann_ops_pybind as scann

        if self._searcher is None:
            self._searcher = scann.load_searcher(str(self._folder))
        return self._searcher

    def _made(self, form: Form, labels: Labels, vectors: exact.Vectors) -> "_Index":
        from scann.scann_ops.py import scann_ops_pybind as scann

        n_rows = len(labels)
        searcher = None
        if form is not Form.NONE:
            by = "squared_l2" if self._shape.metric is Metric.EUCLIDEAN else "dot_product"
            builder = scann.builder(np.ascontiguousarray(vectors), NEIGHBORS, by)
            searcher = self._chosen(builder, form, n_rows).build()
        left = round(CHANGED.get(form, 0.5) * n_rows)
        return _Index(self._shape, self._settings, labels, form, left, searcher=searcher)

    def _chosen(self, builder: "ScannBuilder", form: Form, n_rows: int) -> "ScannBuilder":
        if form is Form.BRUTE_FORCE:
            return builder.score_brute_force()
        if form is Form.TREE:
            leaves = self._settings["leaves"] or round(math.sqrt(n_rows))
            builder = builder.tree(
                num_leaves=leaves,
                num_leaves_to_search=self._settings["search"] or max(1, leaves // 10),
                training_sample_size=min(n_rows, 250_000),
            )
        return builder.score_ah(2, 0.2).reorder(self._settings["reorder"])


def _form(n_rows: int) -> Form:
    if n_rows < HASHED_FROM:
        return Form.BRUTE_FORCE if n_rows else Form.NONE
    return Form.TREE if n_rows >= TREE_FROM else Form.HASHED
