"""Why a record could not be encoded, and how to try it again."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Reason(StrEnum):
    """The closed set of reasons; `transient` ones are tried again by every run."""

    NULL_ID = "null_id"
    ID_CONFLICT = "id_conflict"
    EMPTY = "empty"
    NUL_CHARACTER = "nul_character"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    RAGGED_ROW = "ragged_row"
    WRONG_TYPE = "wrong_type"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    UNDECODABLE = "undecodable"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_MANY_PIXELS = "too_many_pixels"
    UNSAFE_NAME = "unsafe_name"
    FORBIDDEN_ADDRESS = "forbidden_address"
    NOT_FOUND = "not_found"
    UNAVAILABLE = "unavailable"
    NOT_FINITE = "not_finite"
    ZERO_NORM = "zero_norm"
    NO_KNOWN_WORD = "no_known_word"
    KILLED_WORKER = "killed_worker"
    WORKER_LOST = "worker_lost"
    TIMEOUT = "timeout"

    @property
    def transient(self) -> bool:
        """Whether the same content may be encoded next time."""
        return self in (Reason.WORKER_LOST, Reason.TIMEOUT, Reason.UNAVAILABLE)


class QuarantineEntry(BaseModel):
    """One record in quarantine.

    `id` is the record's own, or `<uri>#row=N` (N counts the records of the file from 0) where it
    has none. `content_hash` is 32 hex digits, empty where no content could be read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    reason: Reason
    detail: str
    source_uri: str
    content_hash: str
    transient: bool
