"""What a table says about itself: the settings that never change once it has rows."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

RESERVED = frozenset(
    {
        "id",
        "record_id",
        "chunk",
        "span",
        "modality",
        "vector",
        "content_hash",
        "chunk_hash",
        "metadata_hash",
        "source_uri",
        "run_id",
        "text",
    }
)
"""The columns that every table has; no metadata column may have such a name, nor one with `_`."""


class TableSettings(BaseModel):
    """What every row of a table has in common; stands in the table's own schema metadata.

    `encoder` is what the user wrote, `use` and arguments. `fingerprint` is the whole
    hash, of which the table's name shows twelve digits. `precision` is what workers compute in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    space: str
    fingerprint: str
    encoder: dict[str, JsonValue]
    precision: str
    dim: int
    normalized: bool
    metric: Literal["cosine"] = "cosine"
    store_content: bool
