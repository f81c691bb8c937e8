"""Indexes of faiss: flat, IVF, HNSW, PQ, or what a factory string says."""

import ctypes
import math
import os
import re
from dataclasses import replace
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
    import faiss

FILE = "index.faiss"
SEED = 1234
PER_CENTROID = 39  # fewer rows to train on, and faiss warns
PQ_CENTROIDS = 256
FLAT = "Flat"
HASHTABLE = 2  # a faiss.DirectMap.Type, which finds vectors by their labels
NAMES = {"flat": FLAT, "ivf": "IVF,Flat", "hnsw": "HNSW32,Flat", "pq": "PQ"}
CODES = {Element.FLOAT32: FLAT, Element.FLOAT16: "SQfp16"}
ELEMENTS = frozenset(CODES)
FIXED = ("IndexRefine", "IndexNSG", "IndexNNDescent")
REGROWN = 4  # times as many lists as there are: the index is made anew


class FaissSink(IndexedSink):
    """Readers find `index-*/index.faiss`, as the manifest names it, and labels in `rows`.

    Rows are taken out of an index and put in where faiss can: HNSW is made anew. Cosines are
    products: what is not of unit length is brought to it in the index.
    """

    limits = replace(LIMITS, elements=ELEMENTS)

    def __init__(
        self,
        *,
        path: str,
        link: str = "current",
        index: str = "flat",
        nprobe: int = 32,
        ef_search: int = 64,
        part_rows: int = PART_ROWS,
    ) -> None:
        """`path` is a folder of a local disk, `link` what readers look under in it.

        `index` is flat, ivf, hnsw, pq, or a factory string of faiss such as `IVF1024,PQ48`, in
        force when a collection is made. One that must be trained is flat until there are rows
        enough. `nprobe` and `ef_search` go into the file. Metadata are in files of at most
        `part_rows` rows.
        """
        super().__init__(use="faiss", path=path, link=link, part_rows=part_rows)
        self._wanted = NAMES.get(index, re.sub(r"^IDMap2?,", "", index))
        self._nprobe, self._ef_search = nprobe, ef_search

    def connect(self) -> None:
        """Makes the folder; faiss must be there."""
        try:
            import faiss  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"faiss cannot be imported ({error}): pip install 'vectorline[faiss]'"
            ) from error
        super().connect()

    def _empty(self, shape: Shape) -> Index:
        wanted = self._wanted.replace(FLAT, CODES[shape.element])
        try:
            labelled = _made(_sized(wanted, shape.dim, 1), shape)  # which owns what is in it
            made = _inner(labelled)
            lossless = _is_lossless(made, shape)
        except RuntimeError as error:
            words = str(error).rpartition("Error: ")[2][:200]
            raise ConfigError(
                f"index = {self._wanted!r} with {shape.dim} components is none of "
                f"{', '.join(NAMES)} and no factory string that faiss takes: {words}"
            ) from error
        if type(made).__name__.startswith(FIXED):
            raise ConfigError(
                f"index = {self._wanted!r}: faiss takes rows neither into nor out of an "
                f"{type(made).__name__} by their labels; leave it to {', '.join(NAMES)}, or to a "
                "factory string without RFlat, Refine, NSG and NND"
            )
        flat = CODES[shape.element]
        return self._of(_made(flat, shape), shape, wanted, flat, lossless)

    def _load(self, folder: Path, shape: Shape, kind: str) -> Index:
        import faiss

        wanted, now, lossless = kind.split(" ")
        read = faiss.read_index(str(folder / FILE))
        return self._of(read, shape, wanted, now, lossless == "lossless")

    def _of(
        self, index: "faiss.Index", shape: Shape, wanted: str, now: str, lossless: bool
    ) -> Index:
        return _Index(index, shape, wanted, now, lossless, (self._nprobe, self._ef_search))


class _Index:
    """An index that knows its labels; `wanted` is what it is to be, `now` what it is."""

    has_cosine = False

    def __init__(
        self,
        index: "faiss.Index",
        shape: Shape,
        wanted: str,
        now: str,
        lossless: bool,
        searching: tuple[int, int],
    ) -> None:
        self.lossless = lossless
        self._index, self._shape, self._wanted, self._now = index, shape, wanted, now
        self._searching = searching
        self.kind = f"{wanted} {now} {'lossless' if lossless else 'coarse'}"

    def get(self, labels: Labels) -> exact.Vectors:
        ivf = _ivf(self._index)
        if ivf is not None and ivf.direct_map.no():
            ivf.set_direct_map_type(HASHTABLE)
        made: exact.Vectors = self._index.reconstruct_batch(labels)
        return made

    def changed(self, gone: Labels, labels: Labels, new: Parts, whole: Whole) -> "_Index":
        import faiss

        n_rows = self._index.ntotal - len(gone) + len(labels)
        now = self._next(n_rows)
        if now != self._now or (len(gone) and not self._removes()):
            labels, vectors = whole()
            index, new = _made(now, self._shape), [vectors]
            self._train(index, vectors)
        else:
            index = self._index
            if len(gone):
                index.remove_ids(faiss.IDSelectorBatch(gone))
        _reserve(index, sum(map(len, new)))
        start = 0
        for part in new:
            of_part = labels[start : start + len(part)]
            start += len(part)
            if len(part):
                index.add_with_ids(np.ascontiguousarray(part, np.float32), of_part)
        return _Index(index, self._shape, self._wanted, now, self.lossless, self._searching)

    def save(self, draft: Draft, folder: str) -> None:
        import faiss

        parameters = faiss.ParameterSpace()
        nprobe, ef_search = self._searching
        if _ivf(self._index) is not None:
            parameters.set_index_parameter(self._index, "nprobe", nprobe)
        if "HNSW" in self._now and "IVF" not in self._now:
            parameters.set_index_parameter(self._index, "efSearch", ef_search)
        path = draft.path / folder / FILE
        path.parent.mkdir()
        writer = faiss.FileIOWriter(str(path))
        faiss.write_index(self._index, writer)
        # When it closes the file, faiss says nothing of a last piece that had no room.
        file = ctypes.c_void_p(int(writer.f))  # type: ignore[attr-defined]
        if ctypes.CDLL(None, use_errno=True).fflush(file):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
        draft.adopt(folder)

    def search(self, queries: exact.Vectors, k: int) -> tuple[Labels, Scores]:
        by, labels = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        if self._shape.metric is Metric.EUCLIDEAN:
            by = -np.sqrt(np.maximum(by, 0))
        return labels, by

    def _next(self, n_rows: int) -> str:
        """What the index is to be with so many rows."""
        wanted = _sized(self._wanted, self._shape.dim, n_rows)
        if n_rows < _needed(wanted, self._shape):
            return CODES[self._shape.element]
        lists, before = _lists(wanted), _lists(self._now)
        near = before and max(lists, before) < REGROWN * min(lists, before)
        return self._now if near and wanted != self._wanted else wanted

    def _removes(self) -> bool:
        return "IVF" in self._now or not ("HNSW" in self._now or "NSG" in self._now)

    def _train(self, index: "faiss.Index", vectors: exact.Vectors) -> None:
        ivf = _ivf(index)
        if ivf is not None:
            ivf.cp.seed = SEED
        if not index.is_trained:
            index.train(np.ascontiguousarray(vectors, np.float32))


def _made(factory: str, shape: Shape) -> "faiss.Index":
    import faiss

    metric = faiss.METRIC_L2 if shape.metric is Metric.EUCLIDEAN else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(shape.dim, factory, metric)
    return index if _ivf(index) is not None else faiss.IndexIDMap2(index)


def _reserve(index: "faiss.Index", n_rows: int) -> None:
    """Makes room for rows that come in parts; growing with each took twice the time."""
    import faiss

    inner = _inner(index)
    if isinstance(inner, faiss.IndexFlatCodes):
        size_bytes = inner.codes.size()
        inner.codes.resize(size_bytes + n_rows * inner.code_size)
        inner.codes.resize(size_bytes)


def _inner(index: "faiss.Index") -> "faiss.Index":
    """Without labels that stand around it; gone with the whole."""
    import faiss

    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index


def _is_lossless(index: "faiss.Index", shape: Shape) -> bool:
    """Whether an index, without its labels, gives back vectors bit for bit."""
    import faiss

    if shape.element is Element.FLOAT32:
        return isinstance(index, (faiss.IndexFlat, faiss.IndexIVFFlat, faiss.IndexHNSWFlat))
    if isinstance(index, faiss.IndexHNSWSQ):
        index = faiss.downcast_index(index.storage)
    if not isinstance(index, faiss.IndexScalarQuantizer):
        return False
    return bool(index.sq.qtype == faiss.ScalarQuantizer.QT_fp16)


def _ivf(index: "faiss.Index") -> "faiss.IndexIVF | None":
    import faiss

    try:
        return faiss.extract_index_ivf(index)
    except RuntimeError:
        return None


def _sized(factory: str, dim: int, n_rows: int) -> str:
    """A factory string whose lists and codes have the number that goes with the rows."""
    lists = max(1, min(round(math.sqrt(n_rows)), n_rows // PER_CENTROID))
    codes = max(n for n in range(1, max(1, dim // 4) + 1) if dim % n == 0)
    return re.sub(r"PQ$", f"PQ{codes}", re.sub(r"^IVF,", f"IVF{lists},", factory))


def _needed(factory: str, shape: Shape) -> int:
    """Rows to train with."""
    index = _made(factory, shape)
    if index.is_trained:
        return 0
    is_coarse = not _is_lossless(_inner(index), shape)
    return PER_CENTROID * max(_lists(factory), PQ_CENTROIDS if is_coarse else 1)


def _lists(factory: str) -> int:
    found = re.search(r"IVF(\d+)", factory)
    return int(found[1]) if found else 0
