"""Fragments that workers write and that no version names yet."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata, write_fragments

from schemas.receipt import WrittenFile, WrittenFragment
from tasks import failpoints
from tasks.digests import Digests
from tasks.store.durable import store_error, sync
from tasks.store.rows import HASH
from tasks.store.table import VECTOR_COLUMNS, Table

if TYPE_CHECKING:
    from lance.lance.schema import LanceField

KEYS = pa.schema([("record_id", pa.string()), ("content_hash", HASH), ("metadata_hash", HASH)])


def write(table_uri: str, rows: pa.Table) -> list[WrittenFragment]:
    """Writes rows beside a table, durably; they are no part of it before a commit.

    `rows` have the columns of the table's head. No rows, no fragment.
    """
    if rows.num_rows == 0:
        return []
    try:
        fragments = write_fragments(rows, table_uri, mode="append")
        failpoints.reach("fragment")
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


def read_keys(table_uri: str, fragments: Sequence[WrittenFragment]) -> pa.Table | None:
    """record_id, content_hash and metadata_hash of all rows, in their order.

    None if a file is not there, or is not as it was when it was written.
    """
    parts = [KEYS.empty_table()]
    for fragment in fragments:
        for file in fragment.files:
            path = data_path(table_uri, file.path)
            if not path.exists() or path.stat().st_size != file.size_bytes:
                return None
            try:
                reader = LanceFileReader(str(path), columns=KEYS.names)
                rows = reader.read_all().to_table()
            except (OSError, ValueError):
                return None
            if rows.num_rows != fragment.rows:
                return None
            parts.append(rows)
    return pa.concat_tables(parts, promote_options="default")


def columns_of(table: Table, lance_version: int) -> frozenset[int]:
    """The ids that Lance gives to the columns of a table as its data files list them."""
    return frozenset(_leaves(table.open(lance_version).lance_schema.fields()))


def have(columns: frozenset[int], fragments: Sequence[WrittenFragment]) -> bool:
    """Whether each file of the fragments has just these columns: a table's may have changed."""
    return all(
        columns == set(file.fields)
        for fragment in fragments
        for file in FragmentMetadata.from_json(fragment.metadata).files
    )


def _leaves(fields: Iterable["LanceField"]) -> Iterator[int]:
    for field in fields:
        children = field.children()
        yield from _leaves(children) if children else [field.id()]


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
