"""What was published: the stamp that a sink keeps, and the record that the store keeps."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Published(_Part):
    """A version of a space, told apart from those of other stores and of a space made anew."""

    version: int
    run_id: str
    created_at: AwareDatetime


class Recall(_Part):
    """The share of the ten nearest rows that are found, with its 95 % interval, of n queries.

    `since` is how many rows were pushed after it was measured.
    """

    value: float
    low: float
    high: float
    n: int
    since: int = 0


class Stamp(_Part):
    """What a collection in a sink says of itself.

    Attributes:
        space: Whose rows it has.
        table: The table that they are of.
        fingerprint: Of their encoder.
        key: Of all that the rows have in common; another key is another collection.
        shape: The same, so that the collection can be read: `Shape` as `tasks/shapes.py` writes it.
        holds: The version that it has, whole; None before its first one is.
        moving: The version that it is on the way to; None while it is whole. Where it neither
            holds a version nor moves to one, it had other rows than it should.
        marks: Stands for what is in columns that change within a version, such as the topics that
            `vectorline clusters` finds.
        finished: Whether what searches need was made of its rows, such as an index.
        refused: How many rows of the version the store would not take.
        publication: The record that names them.
        recall: What its compression costs.
        stamped_at: When this was written.
    """

    format: Literal[1] = 1
    space: str
    table: str
    fingerprint: str
    key: str
    shape: dict[str, str | int]
    holds: Published | None = None
    moving: Published | None = None
    marks: str = ""
    finished: bool = True
    refused: int = 0
    publication: str = ""
    recall: Recall | None = None
    stamped_at: AwareDatetime


class Refused(_Part):
    """A row that a store would not take, and why."""

    id: str
    reason: str


How = Literal["nothing", "changes", "all rows", "by comparison", "repair"]
"""What was pushed: nothing, what changed since what the sink had, ..."""


class Proof(_Part):
    """What was read back after rows were pushed.

    Attributes:
        count: The rows that the collection has.
        expected: Those that it should have.
        sampled: Of how many of them vector and metadata were compared.
        differ: The ids of those that were missing or other than they should be.
    """

    count: int
    expected: int
    sampled: int
    differ: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether all of it agrees."""
        return self.count == self.expected and not self.differ


class PublicationRecord(_Part):
    """One publication of a version into a sink.

    `recall` is what the compression of vectors costs, None where they are not compressed. Before
    rows are pushed it is written without a `proof`, which says that it has come to its end.
    """

    format: Literal[1] = 1
    id: str
    space: str
    sink: str
    use: str
    mode: Literal["atomic", "switch", "rowwise"]
    collection: str
    table: str
    from_version: int | None
    to_version: int
    how: How
    upserted: int
    deleted: int
    refused: tuple[Refused, ...] = ()
    n_refused: int = 0
    recall: Recall | None = None
    proof: Proof | None = None
    seconds: float
    created_at: AwareDatetime
    notes: tuple[str, ...] = ()
