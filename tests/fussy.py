"""A folder of Parquet files that is as hard to please as stores far away are."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.errors import RowsRefused, SinkUnavailable
from tasks.sinks.base import Shape, Writer
from tasks.sinks.parquet import ParquetSink


class FussySink(ParquetSink):
    """Refuses texts with a word, and is away for the first calls of some methods.

    `away` says for how many calls of each method, over all processes; a file beside counts them.
    """

    def __init__(
        self, *, path: str, refuses: str = "", away: dict[str, int] | None = None, key: str = ""
    ) -> None:
        super().__init__(path=path)
        self._refuses = refuses
        self._away = away or {}
        self._key = key
        self._calls = Path(f"{path}.calls")

    def calls(self) -> dict[str, int]:
        """How often each method was called."""
        made: dict[str, int] = json.loads(self._calls.read_text()) if self._calls.exists() else {}
        return made

    def _called(self, method: str) -> None:
        calls = self.calls()
        calls[method] = calls.get(method, 0) + 1
        self._calls.write_text(json.dumps(calls))
        if calls[method] <= self._away.get(method, 0):
            raise SinkUnavailable(f"{method} is away, and was asked with {self._key}")

    def stamp(self, name: str, text: str) -> None:
        self._called("stamp")
        super().stamp(name, text)

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        with super().writing(name, shape, stamp) as writer:
            yield Fussy(writer, self._refuses, self._key)

    def finish(self, name: str, shape: Shape) -> None:
        self._called("finish")
        super().finish(name, shape)

    def count(self, name: str) -> int:
        self._called("count")
        return super().count(name)

    def serve(self, name: str) -> None:
        self._called("serve")
        super().serve(name)


class Fussy:
    """Its writer."""

    def __init__(self, writer: Writer, refuses: str, key: str) -> None:
        self._writer = writer
        self._refuses = refuses
        self._key = key

    def upsert(self, rows: pa.Table) -> None:
        said: list[Any] = rows["text"].to_pylist()
        if self._refuses and any(self._refuses in one for one in said):
            raise RowsRefused(f"no {self._refuses}s here, says {self._key}")
        self._writer.upsert(rows)

    def delete(self, ids: Sequence[str]) -> None:
        self._writer.delete(ids)
