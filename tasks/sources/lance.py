"""Records from Lance datasets and LanceDB tables, pinned at the version that was listed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tasks.digests import digest_json
from tasks.errors import ConfigError, SourceChanged, SourceError, SourceUnavailable
from tasks.sources import arrow
from tasks.sources.access import MAX_RECORD_BYTES
from tasks.sources.base import File, Record, Shard
from tasks.sources.fields import Columns, Fields
from tasks.sources.media import contents

if TYPE_CHECKING:
    from lance import LanceDataset

SHARD_ROWS = 100_000
BATCH_ROWS = 1024
BATCH_BYTES = 4 * 2**20
IO_BUFFER_BYTES = 32 * 2**20
PASSING = ("HTTP error", "Generic S3", "Generic GCS", "Generic MicrosoftAzure", "timed out")


class LanceSource:
    """A dataset is one file, and its stamp names a version; a shard is a range of its fragments."""

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
        storage_options: dict[str, str] | None = None,
        table: str | None = None,
    ) -> None:
        """`path` is a dataset, or with `table` a LanceDB folder; `storage_options` are Lance's.

        What a record is: as for `parquet`. Blobs are bytes.
        """
        paths = [path] if isinstance(path, str) else path
        ending = f"/{table}.lance" if table else ""
        self._uris = sorted({p.removeprefix("file://").rstrip("/") + ending for p in paths})
        self._storage_options = storage_options
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
        """The datasets as they are now, ordered by uri."""
        return [self._listed(uri) for uri in self._uris]

    def owns(self, source_uri: str) -> bool:
        """Whether this uri is one of the datasets."""
        return source_uri in self._uris

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """Neighbouring fragments up to 100,000 rows, a larger one alone."""
        datasets = [self._planned(file) for file in files]
        given = [(f.uri, d.schema.names) for f, d in zip(files, datasets, strict=True)]
        self._fields.check_columns(given, self._other_columns)
        shards: list[Shard] = []
        for file, dataset in zip(files, datasets, strict=True):
            arrow.check_types(dataset.schema, self._fields, file.uri)
            shards += _shards(
                file, [fragment.physical_rows for fragment in dataset.get_fragments()]
            )
        return shards

    def schema(self, files: Sequence[File]) -> pa.Schema:
        """Types over all datasets."""
        return arrow.unify(((file.uri, self._planned(file).schema) for file in files), self._fields)

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each row that is not deleted, in the order of the fragments."""
        (file,) = shard.files
        dataset = self._planned(file)
        with _errors_of(file.uri):
            fragments = dataset.get_fragments()[shard.start : shard.end]
            batches = dataset.scanner(
                columns=[name for name in self._fields.columns if name in dataset.schema.names],
                fragments=fragments,
                batch_size=BATCH_ROWS,
                batch_size_bytes=BATCH_BYTES,
                batch_readahead=1,
                fragment_readahead=1,
                io_buffer_size=IO_BUFFER_BYTES,
                scan_in_order=True,
                blob_handling="all_binary",
            ).to_batches()
            for batch in batches if fragments else ():
                for row in arrow.rows(batch, self._fields):
                    yield self._contents.read(
                        self._fields.record(row, file.uri), self.max_content_bytes
                    )

    def _listed(self, uri: str) -> File:
        dataset = self._open(uri)
        size_bytes = sum(
            file.file_size_bytes or 0
            for part in dataset.get_fragments()
            for file in part.data_files()
        )
        stamp = _stamp(dataset)
        return File(uri, size_bytes, stamp, stamp)

    def _planned(self, file: File) -> "LanceDataset":
        dataset = self._open(file.uri, int(file.stamp.partition("-")[0]))
        if _stamp(dataset) != file.stamp:
            raise SourceChanged(
                f"{file.uri} is another dataset than the one that was listed; run again"
            )
        return dataset

    def _open(self, uri: str, version: int | None = None) -> "LanceDataset":
        import lance

        with _errors_of(uri):
            try:
                return lance.dataset(uri, version=version, storage_options=self._storage_options)
            except ValueError as error:
                if "was not found" not in str(error):
                    raise
        if version is not None:
            raise SourceChanged(f"{uri} has no version {version} any more; run again")
        tables = ", ".join(sorted(path.stem for path in Path(uri).glob("*.lance")))
        found = (
            f"it is a folder with the tables {tables}: name one with table"
            if tables
            else "nothing there"
        )
        raise ConfigError(f"path = {uri!r} is no Lance dataset; {found}")

    def _other_columns(self) -> Columns:
        return ((uri, self._open(uri).schema.names) for uri in self._uris)


def _stamp(dataset: "LanceDataset") -> str:
    """Version and digest of the data files' names, which a dataset that is made anew never has."""
    parts = [
        ([file.path for file in fragment.data_files()], str(fragment.deletion_file()))
        for fragment in dataset.get_fragments()
    ]
    return f"{dataset.version}-{digest_json(parts).hex()}"


def _shards(file: File, rows: Sequence[int]) -> Iterator[Shard]:
    per_row = file.size_bytes / max(1, sum(rows))
    start = n_rows = 0
    for end, n_more in enumerate(rows):
        if n_rows and n_rows + n_more > SHARD_ROWS:
            yield Shard((file,), start, end, int(n_rows * per_row))
            start, n_rows = end, 0
        n_rows += n_more
    yield Shard((file,), start, len(rows), int(n_rows * per_row))


@contextmanager
def _errors_of(uri: str) -> Iterator[None]:
    """Lance raises ValueError and OSError for all that goes wrong; only the words tell it apart."""
    try:
        yield
    except (ValueError, OSError) as error:
        words = str(error).replace("\n", " ")[:300]
        if any(sign in words for sign in PASSING):
            raise SourceUnavailable(f"{uri} did not answer: {words}") from error
        raise SourceError(f"{uri} cannot be read: {words}; check or restore the dataset") from error
