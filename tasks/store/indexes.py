"""Indexes: what makes searches and filters quick, and the proof that they find what is there.

Metadata columns that the config names get a B-tree, vectors an IVF index. Rows that came after an
index are found beside it, by looking at each. How hard a search must try is measured against an
exact one, and stands in the config of the Lance version that has the index: the two can not be
parted, and an index that was not measured is not used.

All of it is done under the table's lease; each step can be cut off and done again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from lance import LanceDataset
from pydantic import TypeAdapter

from schemas.config import IndexConfig
from schemas.index import VectorIndex
from tasks import failpoints
from tasks.errors import ConfigError
from tasks.store.files import lance_errors
from tasks.store.formats import parse
from tasks.store.index_check import look_at_indexes
from tasks.store.rows import Matrix, metadata_schema, to_matrix, unit
from tasks.store.table import Table

if TYPE_CHECKING:
    from lance.lance.indices import IndexDescription

PREFIX = "vectorline-"
"""Before the column's name: indexes of other names are somebody else's, and are left alone."""
VECTORS = f"{PREFIX}vector"
CONFIG_KEY = "vectorline.index"
INDEX = TypeAdapter(VectorIndex)

SPARE_ROWS = 1_000
"""Rows that may be outside of an index: to look at each of them takes 2 ms."""
SPARE_SEGMENTS = 8
"""Parts of an index besides its first one; then all are merged.

A version that is kept has the files of its own parts, so merging them each time would multiply the
disk; and fragments of different parts cannot be gathered into one.
"""
GROWN = 2
"""Times the rows that an index was trained on: then it is trained anew, for more partitions."""
EVERY = 1_000_000
"""More partitions than there are."""
EFFORTS = ((20, 3), (60, 3), (200, 3), (200, 10), (EVERY, 30))
"""Partitions to look into, and candidates to compare by their own vectors, times k."""
FILTERED_REFINE = 10
"""With a filter, the least of such candidates: no recall is measured for it."""
NEAREST = 10
QUERIES = 200
BATCH_ROWS = 8192
ROUNDING = 1e-6
"""Cosines of float32 vectors that are nearer to each other than this are the same."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Whether an index was trained in place of another one, and what people should know."""

    retrained: bool = False
    notes: list[str] = field(default_factory=list)


def check_columns(schema: pa.Schema, wanted: IndexConfig) -> None:
    """Raises ConfigError for a column that is not there, or whose values no index takes."""
    known = _indexable(schema)
    for column in wanted.columns:
        if column not in known:
            there = ", ".join(f"{name} ({type_})" for name, type_ in known.items()) or "none"
            raise ConfigError(
                f"index.columns = {column!r}: no metadata column of this name that can have an "
                f"index; there are: {there}. A column without any value yet is not there, "
                "and one of lists cannot have an index"
            )


def update(table: Table, wanted: IndexConfig) -> None:
    """Makes the indexes of metadata columns, drops what is not wanted, and takes in new rows.

    One that has lost rows which it claims to have is made anew.

    Columns that the table lacks are passed over.
    """
    dataset = table.open()
    n_rows = dataset.count_rows()
    names = {f"{PREFIX}{name}": name for name in _indexable(dataset.schema)}
    columns = {name: column for name, column in names.items() if column in wanted.columns}
    kept = {*columns, *([VECTORS] if n_rows >= wanted.rows else [])}
    own = {name: one for name, one in _indexes(dataset).items() if name.startswith(PREFIX)}
    looked = look_at_indexes(dataset, np.random.default_rng(dataset.version)) if own else []
    stale = own.keys() & {one.index for one in looked if one.fault is not None}
    own = {name: one for name, one in own.items() if name not in stale}
    with lance_errors(f"bringing the indexes of table {table.name!r} up to date"):
        for name in (own.keys() - kept) | stale:
            dataset.drop_index(name)
        for name in sorted(columns.keys() - own.keys()) if n_rows else ():
            dataset.create_scalar_index(columns[name], "BTREE", name=name)
        for name in sorted(own.keys() & kept):
            if n_rows - own[name].num_rows_indexed > SPARE_ROWS:
                merged = len(own[name].segments) if _in_parts(own[name]) else 0
                dataset.optimize.optimize_indices(index_names=[name], num_indices_to_merge=merged)
    failpoints.reach("index")


def tune(table: Table, wanted: IndexConfig) -> Tuned:
    """Sees to it that the vector index, if there is to be one, finds the share that is wanted.

    One that does not, or that has outgrown its partitions, is trained anew, then searched harder;
    where that is not enough either, there is none: a search is rather slow than wrong.
    """
    dataset = table.open()
    n_rows, segments, last = dataset.count_rows(), _segments(dataset), _last(dataset)
    if n_rows < wanted.rows:
        return Tuned()
    if last is not None and n_rows < GROWN * last.rows:
        known = last.segments == segments
        if known and bool(segments) == (last.recall >= wanted.recall):
            return Tuned()
        if segments and (found := _measured(dataset, last)).recall >= wanted.recall:
            _keep(table, found)
            return Tuned()
    kind = "IVF_RQ" if table.settings().dim % 8 == 0 else "IVF_SQ"  # RQ takes no other dimensions
    with lance_errors(f"training the vector index of table {table.name!r}"):
        dataset.create_index("vector", kind, name=VECTORS, metric="cosine", replace=True)
    dataset = table.open()
    for nprobes, refine in EFFORTS:
        effort = VectorIndex(segments=(), rows=n_rows, nprobes=nprobes, refine=refine, recall=0)
        found = _measured(dataset, effort)
        if found.recall >= wanted.recall:
            _keep(table, found)
            return Tuned(retrained=bool(segments))
    with lance_errors(f"dropping the vector index of table {table.name!r}"):
        dataset.drop_index(VECTORS)
    _keep(table, found.model_copy(update={"segments": ()}))
    note = (
        f"table {table.name}: its vector index found {found.recall:.1%} of the nearest rows at "
        f"best, and index.recall is {wanted.recall}: there is none, and searches look at each row"
    )
    return Tuned(notes=[note])


def vector_index(dataset: LanceDataset) -> VectorIndex | None:
    """The index of a Lance version, if it was measured."""
    last = _last(dataset)
    return (
        last if last is not None and last.segments and last.segments == _segments(dataset) else None
    )


def recall(dataset: LanceDataset, index: VectorIndex) -> float:
    """The share of the ten nearest rows that the index finds for 200 of the stored vectors.

    Against exact search; rows at the same distance stand for each other.
    """
    n_rows = dataset.count_rows()
    if not n_rows:
        return 1.0
    chosen = np.random.default_rng(0).choice(n_rows, min(QUERIES, n_rows), replace=False)
    queries = to_matrix(dataset.take(np.sort(chosen).tolist(), ["vector"])["vector"])
    k = min(NEAREST, n_rows)
    n_found = 0
    for vector, least in zip(queries, _exact_scores(dataset, queries, k)[:, -1], strict=True):
        hits = dataset.to_table(["_distance"], nearest=query(vector, k, index))
        scores = 1 - hits["_distance"].to_numpy()
        n_found += int(np.count_nonzero(scores >= least - ROUNDING))
    return n_found / (k * len(queries))


def query(
    vector: npt.NDArray[np.float32], k: int, index: VectorIndex | None, *, filtered: bool = False
) -> dict[str, object]:
    """What Lance is asked for: the k nearest rows, by an index or by all vectors.

    More partitions are looked into where these do not have k rows; all of them for a filter, whose
    rows may be anywhere.
    """
    asked = {"column": "vector", "q": vector, "k": k, "metric": "cosine"}
    if index is None:
        return {**asked, "use_index": False}
    if filtered:
        refine = max(index.refine, FILTERED_REFINE)
        return {**asked, "minimum_nprobes": EVERY, "refine_factor": refine}
    return {**asked, "minimum_nprobes": index.nprobes, "refine_factor": index.refine}


def describe(dataset: LanceDataset) -> dict[str, object]:
    """What a Lance version has: plain data; `kind` is None where searches look at each row."""
    there = _indexes(dataset)
    index = vector_index(dataset)
    columns = sorted(
        name.removeprefix(PREFIX) for name in there if name.startswith(PREFIX) and name != VECTORS
    )
    return {
        "kind": None if index is None else there[VECTORS].index_type,
        "recall": None if index is None else index.recall,
        "nprobes": None if index is None else index.nprobes,
        "refine": None if index is None else index.refine,
        "columns": columns,
    }


def _indexable(schema: pa.Schema) -> Mapping[str, pa.DataType]:
    fields = metadata_schema(schema)
    return {field.name: field.type for field in fields if not pa.types.is_nested(field.type)}


def _indexes(dataset: LanceDataset) -> dict[str, "IndexDescription"]:
    return {index.name: index for index in dataset.describe_indices()}


def _in_parts(index: "IndexDescription") -> bool:
    return len(index.segments) > SPARE_SEGMENTS


def _segments(dataset: LanceDataset) -> tuple[str, ...]:
    """Ids of the parts of the vector index, sorted; none without an index."""
    index = _indexes(dataset).get(VECTORS)
    return () if index is None else tuple(sorted(segment.uuid for segment in index.segments))


def _last(dataset: LanceDataset) -> VectorIndex | None:
    text = dataset.config().get(CONFIG_KEY)
    return None if text is None else parse(INDEX, text, f"the index of {dataset.uri}")


def _measured(dataset: LanceDataset, effort: VectorIndex) -> VectorIndex:
    """This effort with the index that is there, and what it finds."""
    update = {"segments": _segments(dataset), "recall": recall(dataset, effort)}
    return effort.model_copy(update=update)


def _keep(table: Table, index: VectorIndex) -> None:
    failpoints.reach("recall")
    with lance_errors(f"writing down the index of table {table.name!r}"):
        table.open().update_config({CONFIG_KEY: index.model_dump_json()})


def _exact_scores(dataset: LanceDataset, queries: Matrix, k: int) -> Matrix:
    """The k best cosines of each query, best first; vectors are streamed, never held."""
    asked = unit(queries)
    best = np.full((len(queries), k), -np.inf, np.float32)
    for batch in dataset.to_batches(columns=["vector"], batch_size=BATCH_ROWS):
        scores = np.hstack([best, asked @ unit(to_matrix(batch["vector"])).T])
        best = -np.partition(-scores, k - 1, axis=1)[:, :k]
    return -np.sort(-best, axis=1)
