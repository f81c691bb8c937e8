"""The rows of one shard on their way to a fragment."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.quarantine import QuarantineEntry, Reason
from tasks.content import Content, Unusable, modality_of
from tasks.encoders.base import Vectors
from tasks.errors import EncoderError
from tasks.sources.base import Record
from tasks.store.rows import to_column

NORM_TOLERANCE = 1e-3  # a float32 vector that was normalised in bfloat16 is off by less


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
    def encoded(self) -> Content:
        """What is encoded."""
        whole = self.record.content
        return whole[slice(*self.span)] if self.span and isinstance(whole, str) else whole

    @property
    def text(self) -> str | None:
        """The same if it is a text."""
        return self.encoded if isinstance(self.encoded, str) else None

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
    own: dict[str, object] = {
        "id": [row.id for row in rows],
        "record_id": [row.record_id for row in rows],
        "chunk": [row.chunk for row in rows],
        "span": [row.span for row in rows],
        "modality": [modality_of(row.record.content) for row in rows],
        "vector": to_column(vectors),
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
            values = _metadata(rows, column)
        if not isinstance(values, pa.Array):
            values = pa.array(values, column.type, safe=False)
        arrays.append(values)
    return pa.Table.from_arrays(arrays, schema=schema)


def _metadata(rows: Sequence[Row], column: pa.Field) -> list[object]:
    """Values of one column; integers in a column of floats become the nearest float."""
    values = [row.record.metadata.get(column.name) for row in rows]
    if not pa.types.is_floating(column.type):
        return list(values)
    return [float(value) if isinstance(value, int) else value for value in values]


def checksum(rows: Sequence[Row], vectors: Vectors) -> str:
    """Hex digest over ids, content hashes and vectors, in the order of the rows."""
    state = hashlib.blake2b(digest_size=16)
    for row in rows:
        state.update(row.id.encode() + b"\n" + row.content)
    state.update(np.ascontiguousarray(vectors, "<f4").tobytes())
    return state.hexdigest()


def split_bad(
    rows: list[Row],
    vectors: Vectors,
    *,
    normalized: bool,
    unusable: Mapping[bytes, Unusable] = MappingProxyType({}),
) -> tuple[list[Row], Vectors, list[QuarantineEntry]]:
    """Rows and vectors without bad records, and these records' quarantine entries.

    A record with a content that is `unusable` (by its hash), or with a vector that is not finite or
    has no length, is bad, with all its rows. Raises
    EncoderError if the vectors are said to be `normalized` and one is not.
    """
    norms = _norms(vectors)
    good = np.isfinite(norms) & (norms > 0) & [row.hash not in unusable for row in rows]
    if normalized and good.any():
        worst = norms[good][np.abs(norms[good] - 1).argmax()]
        if abs(worst - 1) > NORM_TOLERANCE:
            place = int(np.flatnonzero(norms == worst)[0])
            raise EncoderError(
                f"the encoder says that it normalises and gave record {rows[place].record_id!r} a "
                f"vector with a norm of {worst:.6f}: mend it, or let its `normalized` be False"
            )
    bad: dict[int, QuarantineEntry] = {}
    for number in np.flatnonzero(~good).tolist():
        row = rows[number]
        if (why := unusable.get(row.hash)) is not None:
            entry = row.quarantined(Reason(why.reason), why.detail)
        else:
            reason = Reason.ZERO_NORM if norms[number] == 0 else Reason.NOT_FINITE
            entry = row.quarantined(reason, f"norm of the vector: {norms[number]}")
        bad.setdefault(id(row.record), entry)
    if not bad:
        return rows, vectors, []
    keep = [number for number, row in enumerate(rows) if id(row.record) not in bad]
    return [rows[number] for number in keep], vectors[keep], list(bad.values())


def sound(vectors: Vectors, *, normalized: bool) -> npt.NDArray[np.bool_]:
    """Which vectors are finite and have a direction, and unit norm if they are `normalized`."""
    norms = _norms(vectors)
    good = np.isfinite(norms) & (norms > 0)
    return good & (np.abs(norms - 1) <= NORM_TOLERANCE) if normalized else good


def _norms(vectors: Vectors) -> npt.NDArray[np.float64]:
    norms: npt.NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return norms
