"""What a store says of weights that were fitted in it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from schemas.receipt import WrittenFile


class TrainedModel(BaseModel):
    """One fit: what it was made of, by what, how good it is, and its files.

    `digest` is that of the files, in hex: equal weights have equal ones. `train` is what the user
    wrote, and `sources` where the records came from. A fit that a run made has its table's name,
    and a `key` for the corpus and the fit before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    digest: str
    train: dict[str, JsonValue]
    sources: list[dict[str, JsonValue]]
    corpus_digest: str
    records: int
    metrics: dict[str, float]
    created_at: datetime
    files: tuple[WrittenFile, ...]
    key: str | None = None
