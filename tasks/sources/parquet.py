"""Records from Parquet files, streamed a megabyte at a time."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.sources import arrow
from tasks.sources.access import MAX_RECORD_BYTES, passing_over_broken
from tasks.sources.base import File, Record, Shard
from tasks.sources.fields import Columns, Fields
from tasks.sources.files import FileSet
from tasks.sources.media import contents

BATCH_BYTES = 1 * 2**20
MAX_BATCH_ROWS = 4096  # sizes in footers are those of encoded pages: repeated values take more
BUFFER_BYTES = 2**20
FOOTERS_AT_ONCE = 8
READ_OPTIONS = {"pre_buffer": False, "buffer_size": BUFFER_BYTES, "arrow_extensions_enabled": False}

Footer: TypeAlias = tuple[pa.Schema, pq.FileMetaData]


class ParquetSource:
    """A shard is a row group."""

    max_content_bytes = MAX_RECORD_BYTES

    def __init__(
        self,
        *,
        path: str | list[str],
        id: str,
        text: str | None = None,
        image: str | None = None,
        image_path: str | None = None,
        audio: str | None = None,
        audio_path: str | None = None,
        root: str | None = None,
        root_options: dict[str, object] | None = None,
        metadata: Sequence[str] = (),
        rename: dict[str, str] | None = None,
        tombstone: str | None = None,
        storage_options: dict[str, object] | None = None,
    ) -> None:
        """One of five keys says what a record is.

        `text` is a column or a template such as "{title}. {abstract}"; `image` and `audio` are
        columns of bytes, `image_path` and `audio_path` columns or templates of paths. These are
        relative to `root`, a folder or URI, or whole and below it; `root_options` are
        fsspec's for it. A file that changes under the same path is not noticed.
        """
        patterns = ("**/*.parquet", "**/*.pq")
        self._files = FileSet(path, patterns=patterns, storage_options=storage_options)
        self._contents = contents(
            columns={"text": text, "image": image, "audio": audio},
            paths={"image": image_path, "audio": audio_path},
            root=root,
            root_options=root_options,
        )
        self.modality = self._contents.modality
        self._fields = Fields(
            id=id,
            content=self._contents.columns,
            metadata=metadata,
            rename=rename,
            tombstone=tombstone,
        )

    def files(self) -> list[File]:
        """What is there now, ordered by uri."""
        return self._files.listed()

    def owns(self, source_uri: str) -> bool:
        """Whether this uri is one of a file that `path` names."""
        return self._files.owns(source_uri)

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """One for each row group; a file without rows has an empty one."""
        footers = self._footers(files)
        given = [(file.uri, footer[0].names) for file, footer in zip(files, footers, strict=True)]
        self._fields.check_columns(given, lambda: self._other_columns(files))
        shards = []
        for file, (schema, metadata) in zip(files, footers, strict=True):
            arrow.check_types(schema, self._fields, file.uri)
            sizes = [self._size(metadata.row_group(n)) for n in range(metadata.num_row_groups)]
            shards += [Shard((file,), n, n + 1, size) for n, size in enumerate(sizes)] or [
                Shard((file,))
            ]
        return shards

    def schema(self, files: Sequence[File]) -> pa.Schema:
        """Types over all files; one that cannot be read declares none."""
        return arrow.unify(self._schemas(files), self._fields)

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each row of the row group."""
        (file,) = shard.files
        with self._files.reading(file, cache="none") as stream:
            parquet = pq.ParquetFile(stream, **READ_OPTIONS)
            groups = range(shard.start, shard.end)
            n_rows = sum(parquet.metadata.row_group(n).num_rows for n in groups)
            batches = parquet.iter_batches(
                batch_size=max(
                    1, min(MAX_BATCH_ROWS, BATCH_BYTES * n_rows // (shard.size_bytes or 1))
                ),
                row_groups=groups,
                columns=[
                    name for name in self._fields.columns if name in parquet.schema_arrow.names
                ],
                use_threads=False,
            )
            for batch in batches:
                for row in arrow.rows(batch, self._fields):
                    yield self._contents.read(
                        self._fields.record(row, file.uri), self.max_content_bytes
                    )

    def _footer(self, file: File) -> Footer:
        with self._files.reading(file, cache="none") as stream:
            parquet = pq.ParquetFile(stream, **READ_OPTIONS)
            return parquet.schema_arrow, parquet.metadata

    def _footers(self, files: Sequence[File]) -> list[Footer]:
        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
            return list(pool.map(self._footer, files))

    def _schemas(self, files: Iterable[File]) -> Iterator[tuple[str, pa.Schema]]:
        for file in files:
            with passing_over_broken():
                yield file.uri, self._footer(file)[0]

    def _other_columns(self, files: Sequence[File]) -> Columns:
        given = {file.uri for file in files}
        others = (file for file in self.files() if file.uri not in given)
        return ((uri, schema.names) for uri, schema in self._schemas(others))

    def _size(self, group: pq.RowGroupMetaData) -> int:
        columns = (group.column(n) for n in range(group.num_columns))
        wanted = self._fields.columns
        return sum(
            column.total_uncompressed_size
            for column in columns
            if column.path_in_schema in wanted or column.path_in_schema.split(".")[0] in wanted
        )
