"""What the catalog says: versions, what serves, and the configs that made them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1


class VersionEntry(_Entry):
    """A version of a space: a Lance version of one of its tables, made by one run.

    A later entry with the same number replaces an earlier one (maintenance moves `lance_version`).
    """

    kind: Literal["version"] = "version"
    space: str
    version: int
    table: str
    fingerprint: str
    lance_version: int
    run_id: str
    rows: int
    data_digest: str
    created_at: datetime


class ServingEntry(_Entry):
    """The serving version moved; with `hold`, no run moves it again before someone promotes."""

    kind: Literal["serving"] = "serving"
    space: str
    from_version: int | None
    to_version: int
    who: str
    when: datetime
    why: str
    hold: bool = False


class PublishedEntry(_Entry):
    """A sink has a version, whole."""

    kind: Literal["published"] = "published"
    space: str
    sink: str
    version: int
    table: str
    collection: str
    publication: str
    rows: int
    when: datetime


class RetiredEntry(_Entry):
    """A version that retention let go."""

    kind: Literal["retired"] = "retired"
    space: str
    version: int
    when: datetime


class DroppedEntry(_Entry):
    """A table that was dropped: what stands before this entry about it is gone.

    It is there before anything is removed, and once more, `finished`, when all is.
    """

    kind: Literal["dropped"] = "dropped"
    space: str
    table: str
    who: str
    when: datetime
    finished: bool = False


class ConfigEntry(_Entry):
    """A config of a space, secrets as references.

    It is in force once the run that it names has a version, at once with an empty `run_id`: the
    config of a run that had nothing to do.
    """

    kind: Literal["config"] = "config"
    space: str
    fingerprint: str
    run_id: str
    config: dict[str, object]


Entry = Annotated[
    VersionEntry | ServingEntry | PublishedEntry | RetiredEntry | DroppedEntry | ConfigEntry,
    Field(discriminator="kind"),
]
"""One row of the catalog's log."""
