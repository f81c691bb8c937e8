"""Whether indexes know the rows that they claim to cover.

An index that a commit left behind does not fail: filters and searches miss rows without a word. So
some rows of each fragment are looked for with each index, and again without it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from lance import LanceDataset
from lance.dataset import LanceScanner

from tasks.errors import StoreError
from tasks.store.files import lance_errors
from tasks.store.rows import to_matrix

SAMPLE_ROWS = 256
OWN_INDEX = "__"  # what Lance keeps for itself has such a name
VECTORS, VALUES = "IVF_", ("BTree", "Bitmap")
"""The kinds that can be asked: what words or bounds answer cannot."""


@dataclass(frozen=True, slots=True)
class Looked:
    """An index, and what is wrong with it; with `known` False it could not be looked at."""

    index: str
    fault: str | None = None
    known: bool = True


def look_at_indexes(dataset: LanceDataset, rng: np.random.Generator) -> list[Looked]:
    """Each index of a version."""
    own = [one for one in dataset.describe_indices() if not one.name.startswith(OWN_INDEX)]
    sample = _sample(dataset, rng) if own else pa.table({})
    return [
        _look(dataset, one.name, one.index_type, one.field_names[0], sample, rng) for one in own
    ]


def _look(
    dataset: LanceDataset,
    index: str,
    kind: str,
    column: str,
    sample: pa.Table,
    rng: np.random.Generator,
) -> Looked:
    if not kind.startswith(VECTORS) and kind not in VALUES:
        return Looked(index, known=False)
    try:
        with lance_errors("a search by it"):
            if kind.startswith(VECTORS):
                return Looked(index, _missed_by_search(dataset, column, sample))
            return Looked(index, _missed_by_filter(dataset, column, sample, rng))
    except StoreError as error:
        return Looked(index, str(error))


def _sample(dataset: LanceDataset, rng: np.random.Generator) -> pa.Table:
    """Rows from all over, some from each fragment: a stale index misses those of the last ones."""
    fragments = dataset.get_fragments()
    each = -(-SAMPLE_ROWS // max(1, len(fragments)))
    parts = []
    for number in rng.permutation(len(fragments))[:SAMPLE_ROWS].tolist():
        n_rows = fragments[number].count_rows()
        places = np.sort(rng.permutation(n_rows)[:each])
        parts.append(fragments[number].take(places.tolist()))
    return pa.concat_tables(parts) if parts else dataset.schema.empty_table()


def _missed_by_filter(
    dataset: LanceDataset, column: str, sample: pa.Table, rng: np.random.Generator
) -> str | None:
    values = sample[column].drop_null().unique()
    if pa.types.is_boolean(values.type):  # both are no filter
        values = values.take(rng.permutation(len(values))[:1])
    wanted = pc.field(column).isin(values)
    by_index, without = (
        _row_ids(dataset.scanner([], filter=wanted, with_row_id=True, use_scalar_index=use))
        for use in (True, False)
    )
    if np.array_equal(by_index, without):
        return None
    n_missed = len(np.setdiff1d(without, by_index))
    n_wrong = len(np.setdiff1d(by_index, without))
    return (
        f"of {len(without):,} rows with {len(values):,} values of {column!r} it misses {n_missed:,}"
        f" and gives {n_wrong:,} others"
    )


def _missed_by_search(dataset: LanceDataset, column: str, sample: pa.Table) -> str | None:
    """A search among the sample alone, in all partitions, must give all of it."""
    vectors = to_matrix(sample[column])
    directed = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not directed.any():
        return None
    asked = sample.filter(pa.array(directed))
    query = {
        "column": column,
        "q": vectors[directed][0],
        "k": asked.num_rows,
        "minimum_nprobes": 1,
        "use_index": True,
    }
    found = dataset.scanner(
        ["id"],
        filter=pc.field("id").isin(asked["id"].combine_chunks()),
        prefilter=True,
        nearest=query,
        use_scalar_index=False,
    ).to_table()
    missed = sorted(set(asked["id"].to_pylist()) - set(found["id"].to_pylist()))
    if not missed:
        return None
    return f"of {asked.num_rows:,} rows a search never finds {len(missed):,}, such as {missed[0]!r}"


def _row_ids(scanner: LanceScanner) -> npt.NDArray[np.uint64]:
    return np.sort(scanner.to_table()["_rowid"].to_numpy())
