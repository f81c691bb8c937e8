"""Search: a question as text, a record's id or a vector, against one version of a space."""

from dataclasses import dataclass

import numpy as np

from tasks.encoders.base import Vectors
from tasks.errors import ConfigError
from tasks.space import Hit, Space
from tasks.store.rows import metadata_schema, to_matrix


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: `text` or the `id` of a record whose neighbours are wanted.

    `where` is a filter in Lance's SQL, applied before the search. `chunks` gives rows, not records.
    `exact` uses no index.
    """

    text: str | None = None
    id: str | None = None
    k: int = 10
    where: str | None = None
    modality: str | None = None
    chunks: bool = False
    exact: bool = False


def search(space: Space, query: Query) -> list[Hit]:
    """The `k` best hits, best first, ties by id.

    Raises ConfigError for a question that cannot be asked, EncoderError if this machine's encoder
    is not the one that made the table, StoreError if the table's canaries are missing.
    """
    if (query.text is None) == (query.id is None):
        raise ConfigError("a search takes a text or --id, one of them")
    if query.k < 1:
        raise ConfigError(f"-k = {query.k}: expected 1 or more")
    if query.text is None:
        vector = _vector_of(space, query.id or "")
    else:
        if not query.text.strip():
            raise ConfigError("the text to search for is empty")
        vector = space.embed([query.text])[0]
    columns = [*metadata_schema(space.dataset.schema).names, "text"]
    held = [name for name in columns if name in space.dataset.schema.names]
    where = query.where
    if query.modality is not None:
        if not query.modality.isalnum():
            raise ConfigError(f"--modality = {query.modality!r}: expected a name such as text")
        same = f"modality = '{query.modality}'"
        where = same if where is None else f"({where}) AND {same}"
    return space.nearest(
        vector, query.k, where=where, columns=held, chunks=query.chunks, exact=query.exact
    )


def _vector_of(space: Space, record_id: str) -> Vectors:
    rows = space.rows_of(record_id)
    if not rows.num_rows:
        raise ConfigError(
            f"space {space.entry.space!r} version {space.version} has no record {record_id!r}"
        )
    mean: Vectors = to_matrix(rows["vector"]).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean
