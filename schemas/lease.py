"""Who writes a table, as a lock file or an object says it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Holder(BaseModel):
    """A process that has a lease, or had it last; `token` grows with every lease of a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: int
    pid: int
    host: str
    since: str
    command: str

    def __str__(self) -> str:
        """For a message."""
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


class Epoch(BaseModel):
    """A lease on an object store.

    `id` is like no other's. `beat` counts how often it was renewed, `ended` says that its holder is
    done.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    holder: Holder
    id: str
    beat: int = 0
    ended: bool = False
