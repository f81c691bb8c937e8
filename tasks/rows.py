"""The rows of one shard on their way to a fragment."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas.quarantine import QuarantineEntry, Reason
from tasks.encoders.base import Vectors
from tasks.sources.base import Record


@dataclass(frozen=True, slots=True)
class Row:
    """One record, or one chunk of it, before it has a vector.

    `content`, `metadata` and `hash` are digests: of the record's content, of its metadata, and of
    what is encoded for this row. `span` is None where the table does not chunk.
    """

    record: Record
    content: bytes
    metadata: bytes
    chunk: int
    span: tuple[int, int] | None
    hash: bytes

    @property
    def record_id(self) -> str:
        """The record's id; records without one never become rows."""
        return self.record.id or ""

    @property
    def id(self) -> str:
        """The row's own id."""
        return self.record_id if self.span is None else f"{self.record_id}#{self.chunk}"

    @property
    def text(self) -> str:
        """What is encoded."""
        return self.record.content if self.span is None else self.record.content[slice(*self.span)]

    def quarantined(self, reason: Reason, detail: str) -> QuarantineEntry:
        """The entry that this row's record gets."""
        return QuarantineEntry(
            id=self.record_id,
            reason=reason,
            detail=detail,
            source_uri=self.record.source_uri,
            content_hash=self.content.hex(),
            transient=reason.transient,
        )


def to_arrow(rows: Sequence[Row], vectors: Vectors, schema: pa.Schema, run_id: str) -> pa.Table:
    """The rows in their table's schema, row i with vector i; missing metadata are null."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    own: dict[str, object] = {
        "id": [row.id for row in rows],
        "record_id": [row.record_id for row in rows],
        "chunk": [row.chunk for row in rows],
        "span": [row.span for row in rows],
        "modality": ["text"] * len(rows),
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        "content_hash": [row.content for row in rows],
        "chunk_hash": [row.hash for row in rows],
        "metadata_hash": [row.metadata for row in rows],
        "source_uri": [row.record.source_uri for row in rows],
        "run_id": [run_id] * len(rows),
        "text": [row.text for row in rows],
    }
    arrays = []
    for column in schema:
        values = own.get(column.name)
        if values is None:
            values = [row.record.metadata.get(column.name) for row in rows]
        if not isinstance(values, pa.Array):
            # Not safe: integers beyond 2**53 in a column of floats become the nearest float.
            values = pa.array(values, column.type, safe=False)
        arrays.append(values)
    return pa.Table.from_arrays(arrays, schema=schema)


def checksum(rows: Sequence[Row], vectors: Vectors) -> str:
    """Hex digest over ids, content hashes and vectors, in the order of the rows."""
    state = hashlib.blake2b(digest_size=16)
    for row in rows:
        state.update(row.id.encode() + b"\n" + row.content)
    state.update(np.ascontiguousarray(vectors, "<f4").tobytes())
    return state.hexdigest()
