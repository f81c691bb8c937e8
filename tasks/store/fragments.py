"""Fragments that workers write and that no version names yet."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata, write_fragments

from schemas.receipt import WrittenFile, WrittenFragment
from tasks.digests import Digests
from tasks.store.durable import store_error, sync
from tasks.store.rows import HASH
from tasks.store.table import VECTOR_COLUMNS


def write(table_uri: str, rows: pa.Table) -> list[WrittenFragment]:
    """Writes rows beside a table, durably; they are no part of it before a commit.

    `rows` have the columns of the table's head. No rows, no fragment.
    """
    if rows.num_rows == 0:
        return []
    try:
        fragments = write_fragments(rows, table_uri, mode="append")
        sync(data_path(table_uri, file.path) for fragment in fragments for file in fragment.files)
    except (OSError, ValueError) as error:
        raise store_error(error, f"writing rows to {table_uri}") from error
    return [_written(table_uri, fragment) for fragment in fragments]


def read_vectors(
    table_uri: str, fragments: Sequence[WrittenFragment], contents: Digests
) -> pa.Table:
    """content_hash, chunk, span, chunk_hash and vector of the rows that have one of these contents.

    In the order of the fragments and of their rows.
    """
    wanted = pa.FixedSizeBinaryArray.from_buffers(
        HASH, len(contents), [None, pa.py_buffer(contents)]
    )
    parts = []
    for fragment in fragments:
        for file in fragment.files:
            reader = LanceFileReader(str(data_path(table_uri, file.path)), columns=VECTOR_COLUMNS)
            for batch in reader.read_all().to_batches():
                rows = pa.Table.from_batches([batch])
                parts.append(rows.filter(pc.is_in(rows["content_hash"], value_set=wanted)))
    return pa.concat_tables(parts)


def data_path(table_uri: str, name: str) -> Path:
    """Where a data file of a table is."""
    return Path(table_uri) / "data" / name


def _written(table_uri: str, fragment: FragmentMetadata) -> WrittenFragment:
    files = tuple(
        WrittenFile(path=file.path, size_bytes=data_path(table_uri, file.path).stat().st_size)
        for file in fragment.files
    )
    return WrittenFragment(
        metadata=json.dumps(fragment.to_json()), rows=fragment.num_rows, files=files
    )
