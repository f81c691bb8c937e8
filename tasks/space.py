"""Reading a space from code: one version, which stays what it is while you read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.catalog import VersionEntry
from schemas.table import TableSettings
from tasks.content import Content, modality_of
from tasks.encoders.base import Encoder, Vectors
from tasks.encoders.batching import Batcher, encode_all, usable
from tasks.encoders.fitted import FittedEncoder
from tasks.errors import ConfigError, StoreError
from tasks.mistakes import did_you_mean
from tasks.store import layout
from tasks.store.catalog import Catalog
from tasks.store.indexes import query, vector_index
from tasks.store.rows import metadata_schema, to_matrix
from tasks.store.table import Dataset, LanceDBTable, Table
from tasks.table_encoder import load_encoder

if TYPE_CHECKING:
    import pandas as pd

MISSING_FILE = "Not found: "  # in what Lance says
BATCH_ROWS = 8192
SPARE = 16  # hits beyond k in the first try, for ties and further chunks of one record
HIT_COLUMNS = ("id", "record_id", "chunk")


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that is near; `score` is the cosine similarity, `columns` what else was asked for."""

    id: str
    record_id: str
    chunk: int
    score: float
    columns: Mapping[str, object]


@dataclass(frozen=True)
class Space:
    """One version of a space; `dataset` is its Lance dataset, pinned."""

    store_uri: str
    entry: VersionEntry
    settings: TableSettings
    dataset: Dataset

    def __repr__(self) -> str:
        """In one line."""
        return f"Space({self.entry.space!r}, version={self.version}, rows={self.rows:,})"

    @property
    def version(self) -> int:
        """Its number."""
        return self.entry.version

    @property
    def rows(self) -> int:
        """How many rows it has: chunks where the table chunks, else records."""
        return int(self.dataset.count_rows())

    @property
    def records(self) -> int:
        """How many records its rows are of."""
        return int(self.dataset.count_rows("chunk = 0"))

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, with these columns or all."""
        return self.dataset.to_table(columns=None if columns is None else [*columns])

    def to_pandas(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """The same as a data frame."""
        return self.to_arrow(columns).to_pandas()

    def vectors(self) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Row ids, and vectors of shape (rows, dim): vector i belongs to id i."""
        ids: list[str] = []
        vectors = np.empty((self.rows, self.settings.dim), np.float32)
        for batch in self.dataset.to_batches(columns=["id", "vector"]):
            rows = slice(len(ids), len(ids) + batch.num_rows)
            vectors[rows] = to_matrix(batch["vector"])
            ids += batch["id"].to_pylist()
        return ids, vectors

    def lancedb(self) -> LanceDBTable:
        """The table as LanceDB opens it, at this version: to read, not to write."""
        return self._table.lancedb(self.entry.lance_version)

    def embed(self, contents: Sequence[Content]) -> Vectors:
        """Vectors of queries, shape (n, dim), by the very encoder that made the table.

        It is loaded the first time. Raises ConfigError for a content that it does not read,
        EncoderError if this machine's encoder is not that one, StoreError if the table's canaries
        are missing.
        """
        self._check_contents(contents)
        items = usable(self._encoder.prepare_query(contents))
        return Batcher(self._encoder).encode(items)

    def encode(self, contents: Sequence[Content]) -> Vectors:
        """The same for contents as records have them: without the prompt of queries, not in chunks.

        Raises as `embed` does.
        """
        self._check_contents(contents)
        return encode_all(self._encoder, contents)[0]

    def _check_contents(self, contents: Sequence[Content]) -> None:
        modalities = self._encoder.modalities
        if isinstance(self._encoder, FittedEncoder):
            raise ConfigError(
                f"space {self.entry.space!r} knows nothing but its own records, which its encoder "
                "was fitted to: search by --id"
            )
        for kind in dict.fromkeys(map(modality_of, contents)):
            if kind not in modalities:
                raise ConfigError(
                    f"space {self.entry.space!r} cannot be asked by {kind}: "
                    f"its encoder reads {' and '.join(modalities)}"
                )

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self._table)

    @property
    def _table(self) -> Table:
        return Table(self.store_uri, self.entry.table)

    def sample(self, n: int) -> list[dict[str, object]]:
        """Some rows without their vectors: the first ones."""
        columns = [name for name in self.dataset.schema.names if name != "vector"]
        rows: list[dict[str, object]] = self.dataset.to_table(columns=columns, limit=n).to_pylist()
        return rows

    def row(self, row_id: str) -> dict[str, object] | None:
        """The row with this id, all columns; None if there is none."""
        found = self.dataset.to_table(filter=pc.field("id") == row_id).to_pylist()
        return found[0] if found else None

    def rows_of(self, record_id: str) -> pa.Table:
        """The rows of a record, all columns, by chunk."""
        found = self.dataset.to_table(filter=pc.field("record_id") == record_id)
        return found.sort_by("chunk")

    def modalities(self) -> list[str]:
        """What its records are, in alphabetical order."""
        return sorted(pc.unique(self.to_arrow(["modality"])["modality"]).to_pylist())

    def check_column(self, name: str) -> None:
        """Raises ConfigError where there is no such metadata column."""
        known = metadata_schema(self.dataset.schema).names
        if name not in known:
            raise ConfigError(
                f"space {self.entry.space!r} has no metadata column {name!r}"
                f"{did_you_mean(name, known) or '.'} It has {', '.join(known) or 'none'}"
            )

    def check_filter(self, where: str | None) -> None:
        """Raises ConfigError for a filter that the table does not understand; reads nothing."""
        with self._reading(where, ()):
            self.dataset.scanner(columns=["id"], filter=where).explain_plan()

    def nearest(
        self,
        vector: npt.NDArray[np.float32],
        k: int = 10,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        chunks: bool = False,
        exact: bool = False,
    ) -> list[Hit]:
        """The k nearest by cosine, best first, ties by id: one hit a record, unless `chunks`.

        Scores are exact. Where this version has a vector index, a row may be missed; `exact` looks
        at each row and uses no index. `where` is a filter in SQL, applied first. `columns` None
        gives the text and all metadata.
        Raises ConfigError for a filter or a column that the table does not understand, or a vector
        that does not fit.
        """
        self._check_query(vector)
        if columns is None:
            text = ["text"] if self.settings.store_content else []
            columns = [*metadata_schema(self.dataset.schema).names, *text]
        index = None if exact else vector_index(self.dataset)
        limit = k + SPARE
        while True:
            asked = query(vector, limit, index, filtered=where is not None)
            hits = self._scan(asked, where, columns, exact=exact)
            best = (hits if chunks else first_of_each_record(hits))[:k]
            settled = len(best) == k and hits[-1].score < best[-1].score
            if settled or len(hits) < limit:  # else an unseen row may tie, with a smaller id
                return best
            limit *= 4

    def _check_query(self, vector: npt.NDArray[np.float32]) -> None:
        if vector.shape != (self.settings.dim,):
            raise ConfigError(
                f"the query has shape {vector.shape}; "
                f"vectors of {self.entry.space!r} have {self.settings.dim} components"
            )
        if not np.isfinite(vector).all() or not vector.any():
            raise ConfigError(
                "the query vector is zero or not finite: it has no direction to compare"
            )

    def _scan(
        self, asked: dict[str, object], where: str | None, columns: Sequence[str], *, exact: bool
    ) -> list[Hit]:
        wanted = [*dict.fromkeys([*HIT_COLUMNS, *columns, "_distance"])]
        with self._reading(where, columns):
            found = self.dataset.to_table(
                wanted, nearest=asked, filter=where, prefilter=True, use_scalar_index=not exact
            )
        hits = [
            Hit(
                id=row["id"],
                record_id=row["record_id"],
                chunk=row["chunk"],
                score=1.0 - row["_distance"],
                columns={name: row[name] for name in columns},
            )
            for row in found.to_pylist()
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))

    def batches(
        self, columns: Sequence[str], *, where: str | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """These columns of all rows that `where` holds for, in the order of the table.

        Raises ConfigError for a filter or a column that the table does not understand.
        """
        with self._reading(where, columns):
            yield from self.dataset.to_batches([*columns], where, batch_size=batch_rows)

    @contextmanager
    def _reading(self, where: str | None, columns: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if MISSING_FILE in str(error):
                raise StoreError(
                    f"version {self.version} of space {self.entry.space!r} lacks a file: {error}; "
                    f"`vectorline verify {self.entry.space}` says which versions are whole"
                ) from error
            types = {field.name: str(field.type) for field in metadata_schema(self.dataset.schema)}
            said = str(error).split(", /")[0]  # without the places in Lance's own source
            said = said.removeprefix("Invalid user input: ").removeprefix("Schema error: ")
            wanted = f" for columns {', '.join(columns)}" if columns else ""
            known = ", ".join(f"{name} ({kind})" for name, kind in types.items()) or "none"
            raise ConfigError(
                f"space {self.entry.space!r} cannot be searched with filter {where!r}{wanted}: "
                f"{said.rstrip('.?')}. Metadata columns: {known}; a CSV's are strings unless the "
                "source has `types`"
            ) from error


def open_space(space: str, store: str | None = None, version: str | int = "serving") -> Space:
    """A version of a space: a number, `serving`, `latest`, a tag or a time.

    `store` None is VECTORLINE_STORE, or ./vectors. Raises ConfigError if there is no such version.
    """
    store_uri = store or os.environ.get("VECTORLINE_STORE") or layout.DEFAULT_STORE
    entry = Catalog(store_uri).resolve(space, str(version))
    table = Table(store_uri, entry.table)
    return Space(store_uri, entry, table.settings(), table.open(entry.lance_version))


def first_of_each_record(hits: Sequence[Hit]) -> list[Hit]:
    """The best hit of each record, of hits that come best first."""
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(hit.record_id, hit)
    return list(first.values())
