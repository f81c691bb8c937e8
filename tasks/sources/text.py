"""Records from text files: one file is one record, and its path below the folder is its id."""

from collections.abc import Iterator, Sequence

from schemas.quarantine import Reason
from tasks.content import TEXT
from tasks.sources.access import MAX_RECORD_BYTES
from tasks.sources.base import File, Problem, Record, Shard, too_large
from tasks.sources.files import FileSet

SHARD_FILES = 1000


class TextSource:
    """A shard is up to a thousand files. Files have no metadata."""

    modality = TEXT
    max_content_bytes = MAX_RECORD_BYTES

    def __init__(
        self,
        *,
        path: str | list[str],
        patterns: Sequence[str] = ("**/*.txt", "**/*.md"),
        storage_options: dict[str, object] | None = None,
    ) -> None:
        """`patterns` are those of the files that count in a folder; hidden ones do not."""
        self._files = FileSet(path, patterns=patterns, hidden=".", storage_options=storage_options)

    def files(self) -> list[File]:
        """What is there now, ordered by uri."""
        return self._files.listed()

    def owns(self, source_uri: str) -> bool:
        """Whether this uri is one of a file that `path` names."""
        return self._files.owns(source_uri)

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """Neighbours in the order of the files."""
        parts = (tuple(files[n : n + SHARD_FILES]) for n in range(0, len(files), SHARD_FILES))
        return [Shard(part, 0, len(part), sum(file.size_bytes for file in part)) for part in parts]

    def schema(self, files: Sequence[File]) -> None:
        """None: there is no metadata."""

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each file."""
        for file in shard.files:
            content, problem = self._content(file)
            yield Record(self._files.relative(file.uri), content, file.uri, problem=problem)

    def _content(self, file: File) -> tuple[str, Problem | None]:
        if file.size_bytes > self.max_content_bytes:
            return "", too_large(file.size_bytes, self.max_content_bytes)
        with self._files.reading(file) as stream:
            encoded = stream.read()
        try:
            return encoded.decode("utf-8-sig"), None
        except UnicodeDecodeError as error:
            return "", Problem(
                Reason.INVALID_UTF8, f"byte {error.start} is not UTF-8: {error.reason}"
            )
