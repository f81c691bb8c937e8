"""Tables that say something of files that stand elsewhere: sidecars, lists of URLs."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from schemas.quarantine import Reason
from tasks import plugins
from tasks.content import TEXT
from tasks.digests import digest_json
from tasks.errors import ConfigError
from tasks.sources.access import MAX_RECORD_BYTES, decompressed
from tasks.sources.base import Described, File, Problem, Record, Shard, Source
from tasks.sources.files import FileSet

KINDS = {
    "csv": re.compile(r"\.csv(\.gz|\.zst)?$"),
    "jsonl": re.compile(r"\.(jsonl|ndjson)(\.gz|\.zst)?$"),
    "parquet": re.compile(r"\.(parquet|pq)$"),
    "list": re.compile(r"\.txt(\.gz|\.zst)?$"),
}
MAX_LINE_BYTES = 64 * 2**10


class Table:
    """A CSV, JSONL or Parquet file, or several of one kind, read by the source of that name.

    The content of its records is what one column has: the name of a file.
    """

    def __init__(
        self,
        path: str | list[str],
        *,
        id: str,
        name: str,
        metadata: Sequence[str],
        rename: dict[str, str] | None = None,
        tombstone: str | None = None,
        types: dict[str, str] | None = None,
        storage_options: dict[str, object] | None = None,
    ) -> None:
        """`id` and `name` are columns, both unused where a .txt file has names alone."""
        kind = _kind_of(path)
        if kind == "list":
            if metadata or tombstone or types or id != name:
                raise ConfigError(
                    f"{path!r}: a .txt file has no columns: it has a URL in each line"
                )
            self._source: Source = _Lines(path, storage_options)
            return
        arguments: dict[str, object] = {
            "path": path,
            "id": id,
            "text": name,
            "metadata": metadata,
            "rename": rename,
            "tombstone": tombstone,
            "storage_options": storage_options,
        }
        if kind == "csv":
            arguments["types"] = types
        elif types:
            raise ConfigError(f"types = {types}: only those of CSV can be given")
        self._source = plugins.build("sources", kind, arguments)

    def files(self) -> list[File]:
        """What is there now."""
        return self._source.files()

    def read(self) -> tuple[list[File], Iterator[Record]]:
        """The files, and the records of all rows, in their order."""
        files = self._source.files()
        shards = self._source.shards(files)
        return files, (record for shard in shards for record in self._source.read(shard))

    def schema(self) -> pa.Schema | None:
        """The types of the metadata, where the files declare them."""
        return self._source.schema(self._source.files())

    def owns(self, uri: str) -> bool:
        """Whether a file of this uri would be one of the table's."""
        return self._source.owns(uri)


def described(file: File, records: Iterable[Record]) -> Described:
    """The file with its records; its stamp changes when they do."""
    found = tuple(records)
    rows = digest_json([(r.id, r.metadata, repr(r.problem), r.tombstone) for r in found]).hex()
    stamp = f"{file.stamp}-{rows}" if file.stamp else ""
    return Described(file.uri, file.size_bytes, stamp, file.state, found)


def remainder(files: Iterable[File], records: Iterable[Record]) -> Iterator[Described]:
    """The files of a table with those of its rows that speak of no file that is there.

    They change when these rows do, whatever else is written into the table.
    """
    of_file: dict[str, list[Record]] = {file.uri: [] for file in files}
    for record in records:
        of_file[record.source_uri].append(record)
    for file in files:
        yield described(File(file.uri, 0, "table"), of_file[file.uri])


def not_found(record: Record, what: str) -> Record:
    """A row of a table that names a file which is not there."""
    return replace(record, content="", problem=record.problem or Problem(Reason.NOT_FOUND, what))


def parts(files: Sequence[File], max_files: int, max_bytes: int) -> list[Shard]:
    """Neighbours together, so many files or bytes; a larger file is alone."""
    shards: list[Shard] = []
    part: list[File] = []
    size = 0
    for file in files:
        if part and (len(part) == max_files or size + file.size_bytes > max_bytes):
            shards.append(_shard(part))
            part, size = [], 0
        part.append(file)
        size += file.size_bytes
    return [*shards, _shard(part)] if part else shards


def records_of(shard: Shard) -> Iterator[tuple[Described, tuple[Record, ...]]]:
    """The files of a shard with their records, contents yet to be read."""
    for file in shard.files:
        if not isinstance(file, Described):
            raise TypeError(f"{file.uri} was listed by another source")
        yield file, file.records


def _shard(files: Sequence[File]) -> Shard:
    return Shard(tuple(files), 0, len(files), sum(file.size_bytes for file in files))


def _kind_of(path: str | list[str]) -> str:
    paths = [path] if isinstance(path, str) else path
    kinds = {name for name, ending in KINDS.items() if any(map(ending.search, paths))}
    if len(kinds) != 1 or not all(KINDS[min(kinds)].search(one) for one in paths):
        raise ConfigError(
            f"{path!r}: files or a glob of one kind are needed: .csv, .jsonl, .ndjson "
            "(also .gz, .zst), .parquet, .pq"
        )
    return kinds.pop()


class _Lines:
    """A record for each line that is not blank: the line is its id and its content."""

    modality = TEXT
    max_content_bytes = MAX_RECORD_BYTES

    def __init__(self, path: str | list[str], options: Mapping[str, object] | None) -> None:
        self._files = FileSet(path, patterns=["**/*.txt"], storage_options=options)

    def files(self) -> list[File]:
        return self._files.listed()

    def owns(self, source_uri: str) -> bool:
        return self._files.owns(source_uri)

    def shards(self, files: Sequence[File]) -> list[Shard]:
        return [Shard((file,), 0, file.size_bytes, file.size_bytes) for file in files]

    def schema(self, files: Sequence[File]) -> None:
        return None

    def read(self, shard: Shard) -> Iterator[Record]:
        (file,) = shard.files
        with self._files.reading(file) as stream, decompressed(stream, file.uri) as plain:
            going_on = False
            while line := plain.readline(MAX_LINE_BYTES):
                if not going_on and not line.isspace():
                    yield _of_line(line, file.uri)
                going_on = not line.endswith(b"\n")


def _of_line(line: bytes, uri: str) -> Record:
    if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
        problem = Problem(Reason.TOO_LARGE, f"a line of more than {MAX_LINE_BYTES} bytes")
        return Record(None, "", uri, problem=problem)
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return Record(None, "", uri, problem=Problem(Reason.INVALID_UTF8, str(error)))
    return Record(text, text, uri)
