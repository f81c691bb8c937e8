"""Records from CSV files with a header, plain, .gz or .zst."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TypeAlias

import pyarrow as pa

from schemas.quarantine import Reason
from tasks.content import TEXT
from tasks.errors import ConfigError, SourceError
from tasks.sources.access import MAX_RECORD_BYTES, decompressed, passing_over_broken
from tasks.sources.base import File, Problem, Record, Shard, Value
from tasks.sources.fields import Columns, Fields, Template, read_id
from tasks.sources.files import FileSet

MAX_FIELD_CHARACTERS = (
    100_000_000  # where a quote that is never closed ends; 4 bytes each while read
)
WORDS = {
    "true": True,
    "t": True,
    "yes": True,
    "1": True,
    "false": False,
    "f": False,
    "no": False,
    "0": False,
}

Rows: TypeAlias = Iterator[list[str] | Problem]


class CsvSource:
    """A shard is a file: a quoted field may hold newlines, so no part can be read on its own.

    An empty field is null, unless it is a string. Timestamps with an offset become UTC.
    """

    modality = TEXT
    max_content_bytes = MAX_RECORD_BYTES

    def __init__(
        self,
        *,
        path: str | list[str],
        id: str,
        text: str,
        metadata: Sequence[str] = (),
        rename: dict[str, str] | None = None,
        tombstone: str | None = None,
        storage_options: dict[str, object] | None = None,
        delimiter: str = ",",
        types: dict[str, str] | None = None,
    ) -> None:
        """`types` says which metadata are int, float, bool, date or timestamp, not string."""
        patterns = ("**/*.csv", "**/*.csv.gz", "**/*.csv.zst")
        self._files = FileSet(path, patterns=patterns, storage_options=storage_options)
        self._fields = Fields(
            id=id, content=Template(text), metadata=metadata, rename=rename, tombstone=tombstone
        )
        self._types = _known(types or {}, self._fields.metadata)
        self._delimiter = delimiter
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise ConfigError(
                f"delimiter = {delimiter!r}: one character is needed, such as ',' or a tab"
            )

    def files(self) -> list[File]:
        """What is there now, ordered by uri."""
        return self._files.listed()

    def owns(self, source_uri: str) -> bool:
        """Whether this uri is one of a file that `path` names."""
        return self._files.owns(source_uri)

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """One for each file."""
        self._fields.check_columns(self._headers(files), self._other_headers)
        return [Shard((file,), 0, file.size_bytes, file.size_bytes) for file in files]

    def schema(self, files: Sequence[File]) -> pa.Schema:
        """The declared types; the files have none."""
        names = self._fields.metadata.items()
        return pa.schema(
            [(name, TYPES[self._types.get(column, "string")][0]) for column, name in names]
        )

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each row but the header; blank lines are no rows."""
        (file,) = shard.files
        with self._opened(file) as (header, rows):
            nowhere = len(header)
            places = [header.index(c) if c in header else nowhere for c in self._fields.slots]
            for row in rows:
                if isinstance(row, Problem):
                    yield Record(None, "", file.uri, problem=row)
                elif len(row) != len(header):
                    yield _ragged(row, header, places[0], file.uri)
                else:
                    cells: list[Value] = [*row, None]
                    yield self._fields.record(self._typed([cells[n] for n in places]), file.uri)

    def _typed(self, values: list[Value]) -> list[Value]:
        if self._types:
            for n, column in enumerate(self._fields.metadata, self._fields.metadata_at):
                values[n] = _parsed(values[n], column, self._types.get(column, "string"))
        return values

    def _headers(self, files: Sequence[File]) -> Columns:
        for file in files:
            with self._opened(file) as (header, _):
                pass
            yield file.uri, header

    def _other_headers(self) -> Columns:
        for file in self.files():
            with passing_over_broken():
                yield from self._headers([file])

    @contextmanager
    def _opened(self, file: File) -> Iterator[tuple[list[str], Rows]]:
        with self._files.reading(file) as stream, decompressed(stream, file.uri) as plain:
            text = io.TextIOWrapper(plain, "utf-8-sig", errors="surrogateescape", newline="")
            rows = _rows(text, self._delimiter)
            header = next(rows, [])
            if isinstance(header, Problem):
                raise SourceError(f"{file.uri} has no header that can be read: {header.detail}")
            yield header, rows


def _rows(lines: io.TextIOWrapper, delimiter: str) -> Rows:
    """Rows as they come; strict: a quote that is never closed must not swallow rows in silence."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            too_large = str(error).startswith("field larger")
            yield Problem(Reason.TOO_LARGE if too_large else Reason.RAGGED_ROW, str(error))
            continue
        if row and not (len(row) == 1 and row[0].isspace()):
            yield row


def _ragged(row: Sequence[str], header: Sequence[str], id_place: int, uri: str) -> Record:
    record_id, _ = read_id(row[id_place] if id_place < len(row) else None)
    detail = f"{len(row)} fields, the header has {len(header)}"
    return Record(record_id, "", uri, problem=Problem(Reason.RAGGED_ROW, detail))


def _known(types: dict[str, str], metadata: dict[str, str]) -> dict[str, str]:
    for column, name in types.items():
        if column not in metadata:
            raise ConfigError(f"types: {column!r} is not one of metadata = {list(metadata)}")
        if name not in TYPES:
            raise ConfigError(f"types: {column} = {name!r}; allowed are {', '.join(TYPES)}")
    return types


def _parsed(value: Value, column: str, name: str) -> Value:
    if not isinstance(value, str) or name == "string":
        return value
    if not value.strip():
        return None
    try:
        return TYPES[name][1](value.strip())
    except (ValueError, OverflowError):
        return Problem(Reason.WRONG_TYPE, f"metadata {column!r}: {value[:50]!r} is no {name}")


def _bool(text: str) -> bool:
    word = text.lower()
    if word not in WORDS:
        raise ValueError(text)
    return WORDS[word]


def _timestamp(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


TYPES: dict[str, tuple[pa.DataType, Callable[[str], Value]]] = {
    "int": (pa.int64(), int),
    "float": (pa.float64(), float),
    "bool": (pa.bool_(), _bool),
    "string": (pa.string(), str),
    "date": (pa.date32(), date.fromisoformat),
    "timestamp": (pa.timestamp("us"), _timestamp),
}
