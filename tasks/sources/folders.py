"""Records from folders of images or sounds: one file is one record, its path below them its id."""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from schemas.quarantine import Reason
from tasks.content import Media
from tasks.errors import ConfigError
from tasks.sources.access import MAX_RECORD_BYTES
from tasks.sources.base import Described, File, Problem, Record, Shard, Value
from tasks.sources.fields import metadata_names
from tasks.sources.files import FileSet
from tasks.sources.media import read_file
from tasks.sources.tables import Table, described, not_found, parts, records_of, remainder

SHARD_FILES = 500
SHARD_BYTES = 48 * 2**20  # of one job: what a worker skips it has to read
IMAGES = (
    *("avif", "bmp", "gif", "heic", "heif", "jfif", "jp2", "jpeg", "jpg"),
    *("pgm", "png", "pnm", "ppm", "svg", "tif", "tiff", "webp"),
)
SOUNDS = ("flac", "mp3", "wav")


class FolderSource:
    """A shard is up to 500 files or 48 MiB. Links to files are followed, those to folders not.

    Metadata come from the row of a sidecar that names the file, or from the file's own name. They
    are null for a file of which nothing is said; a row that names no file goes to quarantine.
    """

    max_content_bytes = MAX_RECORD_BYTES
    modality: str
    endings: Sequence[str]

    def __init__(
        self,
        *,
        path: str | list[str],
        patterns: Sequence[str] | None = None,
        sidecar: str | None = None,
        key: str = "file_name",
        name_pattern: str | None = None,
        metadata: Sequence[str] = (),
        rename: dict[str, str] | None = None,
        types: dict[str, str] | None = None,
        storage_options: dict[str, object] | None = None,
    ) -> None:
        """`patterns` are those of the files that count in a folder; hidden ones do not.

        `sidecar` is a CSV, JSONL or Parquet file whose column `key` has paths below the folder;
        `types` says which metadata of a CSV are int, float, bool, date or timestamp.
        `name_pattern` is a regular expression that is looked for in the path below the folder; its
        named groups are metadata.
        """
        endings = [f"**/*.{ending}" for ending in self.endings]
        self._files = FileSet(
            path,
            patterns=endings if patterns is None else patterns,
            hidden=".",
            any_case=patterns is None,
            storage_options=storage_options,
        )
        self._names = None if name_pattern is None else _compiled(name_pattern)
        if bool(sidecar) != bool(metadata) or (self._names if sidecar else types):
            raise ConfigError(
                "metadata are columns of a sidecar, or the named groups of name_pattern: give "
                "sidecar and metadata, or name_pattern, or none of them; types go with a sidecar"
            )
        groups = tuple(self._names.groupindex) if self._names else ()
        self._metadata = metadata_names(metadata or groups, rename or {})
        self._table = None
        if sidecar:
            self._table = Table(
                sidecar,
                id=key,
                name=key,
                metadata=metadata,
                rename=rename,
                types=types,
                storage_options=storage_options,
            )

    def files(self) -> list[File]:
        """What is there now, ordered by uri, the sidecar among it; a row is part of a stamp."""
        tables, nameless, rows = self._rows()
        n_rows, own = len(rows), {file.uri for file in tables}
        listed = [file for file in self._files.listed() if file.uri not in own]
        files = [self._described(file, rows) for file in listed]
        if self._names and listed and not any(map(self._names.search, self._names_of(listed))):
            raise ConfigError(
                f"name_pattern = {self._names.pattern!r} is in the path of no file: the first is "
                f"{self._files.relative(listed[0].uri)!r}"
            )
        if n_rows and len(rows) == n_rows:
            there = f"is {self._files.relative(listed[0].uri)!r}" if listed else "is missing"
            raise ConfigError(
                f"no row of {tables[0].uri} names a file: the first row has {next(iter(rows))!r}, "
                f"the first file {there}"
            )
        left = [not_found(row, f"there is no file {path!r}") for path, row in rows.items()]
        return sorted([*files, *remainder(tables, [*nameless, *left])], key=lambda file: file.uri)

    def owns(self, source_uri: str) -> bool:
        """Whether this uri is one of a file that `path` or `sidecar` names."""
        return self._files.owns(source_uri) or (
            self._table is not None and self._table.owns(source_uri)
        )

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """Neighbours in the order of the files."""
        return parts(files, SHARD_FILES, SHARD_BYTES)

    def schema(self, files: Sequence[File]) -> pa.Schema | None:
        """Those of the sidecar; parts of names are strings."""
        if self._table is not None:
            return self._table.schema()
        return pa.schema([(name, pa.string()) for name in self._metadata.values()])

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each file, and one for each row of a sidecar that names none."""
        for file, records in records_of(shard):
            for record in records:
                if record.problem is not None:
                    yield record
                    continue
                content, problem = read_file(
                    self._files, file, self.modality, self.max_content_bytes
                )
                yield replace(record, content=content, problem=problem)

    def _rows(self) -> tuple[list[File], list[Record], dict[str, Record]]:
        """The sidecar's files, its rows without a name, and the others by the path they name."""
        if self._table is None:
            return [], [], {}
        tables, found = self._table.read()
        nameless: list[Record] = []
        rows: dict[str, Record] = {}
        for row in found:
            if row.id is None:
                nameless.append(row)
                continue
            path = posixpath.normpath(row.id)
            first = rows.setdefault(path, row)
            if (first.metadata, first.problem) != (row.metadata, row.problem):
                detail = f"{row.source_uri} has several rows for it, which differ"
                rows[path] = replace(first, problem=Problem(Reason.ID_CONFLICT, detail))
        return tables, nameless, rows

    def _described(self, file: File, rows: dict[str, Record]) -> Described:
        """The file with its record; takes its row away."""
        name = self._files.relative(file.uri)
        row = rows.pop(name, None)
        metadata = self._named(name) if row is None else row.metadata
        problem = None if row is None else row.problem
        if not _is_utf8(file.uri):
            file, name = replace(file, uri=_escaped(file.uri)), _escaped(name)
            metadata, problem = {}, Problem(Reason.INVALID_UTF8, "its name is not UTF-8: rename it")
        record = Record(name, Media(self.modality, b""), file.uri, metadata, problem)
        return described(file, [record])

    def _names_of(self, files: Sequence[File]) -> Iterator[str]:
        return (self._files.relative(file.uri) for file in files)

    def _named(self, name: str) -> Mapping[str, Value]:
        """What the name says of the metadata."""
        found = self._names.search(name) if self._names else None
        return {
            column: found.group(group) if found else None
            for group, column in self._metadata.items()
        }


class ImageSource(FolderSource):
    """Images as their files have them."""

    modality = "image"
    endings = IMAGES


class AudioSource(FolderSource):
    """Sounds as their files have them."""

    modality = "audio"
    endings = SOUNDS


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"name_pattern = {pattern!r}: {error}") from error


def _is_utf8(name: str) -> bool:
    return _escaped(name) == name


def _escaped(name: str) -> str:
    """The name as it can be written down: what is not UTF-8 in it is escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
