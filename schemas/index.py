"""How a table's vector index is to be searched, as it was measured."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class VectorIndex(BaseModel):
    """An index and the effort that reached its recall; stands in the config of a Lance version.

    `segments` are Lance's ids of its parts: of an index with others nothing is known. Without any,
    no effort was enough, and there is none. `rows` is how many rows it was trained on, `recall` the
    share of the ten nearest rows that it finds when it looks into `nprobes` partitions and compares
    `refine` times as many rows as are asked for by their own vectors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    segments: tuple[str, ...]
    rows: int
    nprobes: int
    refine: int
    recall: float
