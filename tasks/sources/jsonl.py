"""Records from JSON Lines files, plain, .gz or .zst."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import IO, TypeAlias

from schemas.quarantine import Reason
from tasks.content import TEXT
from tasks.errors import ConfigError
from tasks.sources.access import MAX_RECORD_BYTES, decompressed, is_compressed, passing_over_broken
from tasks.sources.base import File, Problem, Record, Shard, Value
from tasks.sources.fields import Fields, Template, there
from tasks.sources.files import FileSet

SHARD_BYTES = 64 * 2**20
SAMPLE_RECORDS = 1000
PART_BYTES = 2**20
MAX_DETAIL = 200
BOM = b"\xef\xbb\xbf"

Object: TypeAlias = dict[str, Value]


class JsonlSource:
    """A shard is the lines that start in a range of bytes; a compressed file is one shard."""

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
    ) -> None:
        """`text` is a key or a template such as "{title}. {abstract}"."""
        names = ("**/*.jsonl", "**/*.ndjson")
        patterns = [name + suffix for name in names for suffix in ("", ".gz", ".zst")]
        self._files = FileSet(path, patterns=patterns, storage_options=storage_options)
        self._fields = Fields(
            id=id, content=Template(text), metadata=metadata, rename=rename, tombstone=tombstone
        )

    def files(self) -> list[File]:
        """What is there now, ordered by uri."""
        return self._files.listed()

    def owns(self, source_uri: str) -> bool:
        """Whether this uri is one of a file that `path` names."""
        return self._files.owns(source_uri)

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """Ranges of bytes; raises ConfigError for a key that no record looked at has.

        Keys may be rare, so one of metadata is only missed where all records could be looked at.
        """
        self._check_keys(files)
        return [shard for file in files for shard in ranges(file, SHARD_BYTES)]

    def schema(self, files: Sequence[File]) -> None:
        """None: JSON declares no types."""

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each line; blank lines are none."""
        (file,) = shard.files
        with self._lines(file, shard.start, shard.end) as found:
            for line in found:
                yield self._record(line, file.uri)

    def _record(self, line: bytes | Problem, uri: str) -> Record:
        values = line if isinstance(line, Problem) else _parsed(line)
        if isinstance(values, Problem):
            return Record(None, "", uri, problem=values)
        return self._fields.record([values.get(key) for key in self._fields.slots], uri)

    def _check_keys(self, files: Sequence[File]) -> None:
        absent, seen = self._absent(files)
        if absent:
            absent, seen = self._absent(self.files())
        if absent:
            raise ConfigError(
                f"no record that was looked at has {min(absent)!r}; {there(sorted(seen))}"
            )

    def _absent(self, files: Iterable[File]) -> tuple[set[str], set[str]]:
        """Keys that are missing from a sample of these files, and the keys that it has."""
        records = self._objects(files)
        sample = list(islice(records, SAMPLE_RECORDS))
        seen = {key for keys in sample for key in keys}
        complete = next(records, None) is None
        wanted = {*self._fields.required, *(self._fields.metadata if complete else ())}
        return wanted - seen if sample else set(), seen

    def _objects(self, files: Iterable[File]) -> Iterator[list[str]]:
        """The keys of each record."""
        for file in files:
            with passing_over_broken(), self._lines(file, 0, file.size_bytes) as found:
                for line in found:
                    values = line if isinstance(line, Problem) else _parsed(line)
                    if not isinstance(values, Problem):
                        yield list(values)

    @contextmanager
    def _lines(self, file: File, start: int, end: int) -> Iterator[Iterator[bytes | Problem]]:
        with self._files.reading(file) as stream, decompressed(stream, file.uri) as plain:
            yield lines(plain, start, None if is_compressed(file.uri) else end)


def ranges(file: File, size_bytes: int) -> list[Shard]:
    """A file cut into parts of so many bytes; a compressed or empty one is a single part."""
    whole = Shard((file,), 0, file.size_bytes, file.size_bytes)
    if is_compressed(file.uri) or file.size_bytes <= size_bytes:
        return [whole]
    starts = range(0, file.size_bytes, size_bytes)
    ends = (min(start + size_bytes, file.size_bytes) for start in starts)
    return [
        Shard((file,), start, end, end - start) for start, end in zip(starts, ends, strict=True)
    ]


def lines(stream: IO[bytes], start: int, end: int | None) -> Iterator[bytes | Problem]:
    """The lines that start in [start, end), but blank ones."""
    position = start
    if start:
        stream.seek(start - 1)
        position += _skip_line(stream, None if end is None else end - start) - 1
    while end is None or position < end:
        line = stream.readline(MAX_RECORD_BYTES)
        if not line:
            return
        at, position = position, position + len(line)
        if len(line) == MAX_RECORD_BYTES and not line.endswith(b"\n"):
            position += _skip_line(stream, None)
            yield Problem(Reason.TOO_LARGE, f"a line of more than {MAX_RECORD_BYTES} bytes")
        elif not line.isspace():
            yield line if at else line.removeprefix(BOM)


def _skip_line(stream: IO[bytes], at_most: int | None) -> int:
    """Reads to the end of the line, or beyond `at_most` bytes; gives how many bytes were read."""
    n_read = 0
    while at_most is None or n_read <= at_most:
        part = stream.readline(PART_BYTES)
        n_read += len(part)
        if not part or part.endswith(b"\n"):
            break
    return n_read


def _parsed(line: bytes) -> Object | Problem:
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        return Problem(Reason.INVALID_JSON, str(error)[:MAX_DETAIL])
    if not isinstance(value, dict):
        return Problem(Reason.INVALID_JSON, f"a {type(value).__name__}, not an object")
    return value
