"""A store as its own users see it."""

import importlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from tasks.plugins import names


class Peer(Protocol):
    """One store in a folder of its own: where it is, and what those who read it see."""

    use: str

    def __init__(self, folder: Path) -> None: ...

    def arguments(self) -> dict[str, Any]:
        """What stands beside `use` in a config; starts a server where one is needed."""

    def visible(self) -> dict[str, dict[str, Any]]:
        """What is there under readers' own name: by id `vector` and metadata as plain values."""

    def bulk(self, rows: pa.Table) -> None:
        """Loads rows as the client does it fastest."""

    def stop(self) -> None:
        """Kills the server."""

    def start(self) -> None:
        """Starts it again where it was."""

    def close(self) -> None:
        """Ends all that was started."""


@runtime_checkable
class Shared(Protocol):
    """What a Peer has whose store lets others write into what serves."""

    def intrude(self, dim: int) -> None:
        """Puts a row of somebody else's there, as the client does it; it has no hash if it may."""

    def usurp(self, id_: str, dim: int) -> None:
        """Puts one under the key of one of ours."""


def peer(use: str, folder: Path) -> Peer:
    """That of a built-in sink."""
    module = names("sinks")[use].split(":")[0].rsplit(".", 1)[-1]
    made: Peer = importlib.import_module(f"tests.stores.{module}").Peer(folder)
    return made
