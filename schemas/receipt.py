"""The durable proof that one shard is done."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.quarantine import QuarantineEntry


class WrittenFile(BaseModel):
    """A data file below the table's `data` folder, as it was when it was written.

    `digest` is the blake2b-128 of its bytes, in hex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size_bytes: int
    digest: str


class FileList(BaseModel):
    """Data files that were written together: by a run, a change of columns, or upkeep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    files: tuple[WrittenFile, ...]


class WrittenFragment(BaseModel):
    """A fragment that is written but that no version names yet.

    `metadata` is Lance's own description of it, as JSON; `rows` leaves out rows that it marks as
    deleted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metadata: str
    rows: int
    files: tuple[WrittenFile, ...]


class Receipt(BaseModel):
    """What a worker did with one shard.

    `session` is one execution of a run: the run that is started again after a crash has another
    one. `job` numbers the shards of a session, `attempt` the tries of one shard. `encoded` counts
    the contents that the encoder really saw, `encoder_loads` how often it was loaded for them.
    `checksum` is the hex digest over id, content hash and vector bytes of each row, in the order of
    the fragments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    table: str
    run_id: str
    session: str
    job: int
    attempt: int
    fragments: tuple[WrittenFragment, ...]
    rows: int
    records: int
    encoded: int
    encoder_loads: int
    tokens: int
    truncated: int
    checksum: str
    quarantined: tuple[QuarantineEntry, ...]
    seconds: dict[str, float]
