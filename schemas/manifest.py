"""What a run meant to do and did."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecordBook(_Part):
    """Records by outcome; `removed` ones lose their rows, all others add up to `read`.

    `quarantined` counts every record that is in quarantine, also those of files that were not read
    again. `isolated` counts nodes of a graph without
    a neighbour, which have no row.
    """

    read: int = 0
    new: int = 0
    changed: int = 0
    metadata_changed: int = 0
    unchanged: int = 0
    removed: int = 0
    duplicate: int = 0
    quarantined: int = 0
    isolated: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every record that was read has one outcome."""
        used = self.new + self.changed + self.metadata_changed + self.unchanged
        return self.read == used + self.duplicate + self.quarantined + self.isolated


class ChunkBook(_Part):
    """Rows written and removed, and contents that were longer than the encoder reads."""

    written: int = 0
    removed: int = 0
    truncated: int = 0


class Seconds(_Part):
    """Where the time went; `start` is what passed before the plan began."""

    total: float = 0.0
    start: float = 0.0
    plan: float = 0.0
    encode: float = 0.0
    commit: float = 0.0


class FitBook(_Part):
    """The fit whose vectors a version holds.

    `model` is the digest of its files in `models/<table>/`; `residual` is what the rotation onto
    the version before left, None for a first fit.
    """

    model: str
    residual: float | None = None
    metrics: dict[str, float] = {}


class Manifest(_Part):
    """The books of one run; kept in `runs/<table>/<run_id>/manifest.json`.

    `version` is None until the run is committed, and where there was nothing to commit.
    """

    format: Literal[1] = 1
    run_id: str
    space: str
    table: str
    fingerprint: str
    base_lance_version: int
    lance_version: int | None = None
    version: int | None = None
    data_digest: str
    records: RecordBook
    chunks: ChunkBook = ChunkBook()
    rows_before: int
    rows_after: int
    encoder_loads: int = 0
    encoded: int = 0
    tokens: int = 0
    precision: str | None = None
    fit: FitBook | None = None
    seconds: Seconds = Seconds()
    started_at: AwareDatetime
    host: str
    libraries: dict[str, str] = {}
    notes: tuple[str, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether no record and no row is unaccounted for."""
        rows = self.rows_before + self.chunks.written - self.chunks.removed
        return self.records.balanced and self.rows_after == rows
