"""Fragments that workers write and that no version names yet."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata, write_fragments

from schemas.receipt import WrittenFragment
from tasks import failpoints
from tasks.digests import Digests
from tasks.store import checksums, files
from tasks.store.files import store_error
from tasks.store.rows import HASH, to_digests
from tasks.store.table import VECTOR_COLUMNS, Table

if TYPE_CHECKING:
    from lance.lance.schema import LanceField

BATCH_ROWS = 65_536
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
        files.of(table_uri).sync(
            data_path(table_uri, file.path) for fragment in fragments for file in fragment.files
        )
    except (OSError, ValueError) as error:
        raise store_error(error, f"writing rows to {table_uri}") from error
    return [_written(table_uri, fragment) for fragment in fragments]


def vector_files(table: Table, lance_versions: Iterable[int]) -> list[str]:
    """The data files with the vectors of these versions, each once.

    Deleted rows, and those of other versions, stand in them too.
    """
    found: dict[str, None] = {}
    for version in lance_versions:
        dataset = table.open(version)
        columns = dataset.lance_schema.fields()
        key = next(column.id() for column in columns if column.name() == "chunk_hash")
        for fragment in dataset.get_fragments():
            for file in fragment.metadata.files:
                if key in file.fields:
                    found.setdefault(data_path(table.uri, file.path))
    return list(found)


def vector_paths(table_uri: str, fragments: Sequence[WrittenFragment]) -> list[str]:
    """The data files of fragments that a worker wrote."""
    return [data_path(table_uri, file.path) for fragment in fragments for file in fragment.files]


def contents(path: str, wanted: npt.NDArray[np.uint64]) -> Digests:
    """The contents that rows of a data file have and whose first halves are wanted.

    Raises StoreError if the file cannot be read.
    """
    held = to_digests(_column(path, "content_hash"))
    firsts = np.sort(wanted)
    place = np.searchsorted(firsts, held[:, 0])
    found: Digests = held[firsts[np.minimum(place, len(firsts) - 1)] == held[:, 0]]
    return found


def read_vectors(path: str, hashes: Digests) -> pa.Table:
    """chunk_hash and vector of the rows of a data file that have one of these hashes.

    Raises StoreError if the file cannot be read.
    """
    wanted = pa.FixedSizeBinaryArray.from_buffers(HASH, len(hashes), [None, pa.py_buffer(hashes)])
    places = np.flatnonzero(pc.is_in(_column(path, "chunk_hash"), value_set=wanted)).tolist()
    try:
        return LanceFileReader(path, columns=VECTOR_COLUMNS).take_rows(places).to_table()
    except (OSError, ValueError) as error:
        raise store_error(error, f"reading {path}") from error


def read_keys(table_uri: str, fragments: Sequence[WrittenFragment]) -> pa.Table | None:
    """record_id, content_hash and metadata_hash of all rows, in their order.

    None if a file is not there, or is not as it was when it was written.
    """
    parts = [KEYS.empty_table()]
    for fragment in fragments:
        for file in fragment.files:
            path = data_path(table_uri, file.path)
            if files.of(path).size_bytes(path) != file.size_bytes:
                return None
            try:
                reader = LanceFileReader(path, columns=KEYS.names)
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


def _column(path: str, name: str) -> pa.ChunkedArray:
    """One column of all rows of a data file."""
    try:
        reader = LanceFileReader(path, columns=[name])
        return reader.read_all(batch_size=BATCH_ROWS).to_table()[name]
    except (OSError, ValueError) as error:
        raise store_error(error, f"reading {path}") from error


def data_path(table_uri: str, name: str) -> str:
    """Where a data file of a table is."""
    return f"{table_uri}/data/{name}"


def _written(table_uri: str, fragment: FragmentMetadata) -> WrittenFragment:
    written = tuple(checksums.look_at(data_path(table_uri, file.path)) for file in fragment.files)
    return WrittenFragment(
        metadata=json.dumps(fragment.to_json()), rows=fragment.num_rows, files=written
    )
